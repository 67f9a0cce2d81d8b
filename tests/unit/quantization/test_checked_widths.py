"""Widths that are checked and not proven: the grid, what it says of itself, and who refuses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import neuroport as port  # noqa: E402
from neuroport.errors import (  # noqa: E402
    CaptureError,
    FormatError,
    GraphError,
    IllegalError,
    RangeError,
)
from neuroport.frontends.nir.writing import as_nir  # noqa: E402
from neuroport.graph import store  # noqa: E402
from neuroport.graph.graph import Graph  # noqa: E402
from neuroport.graph.integers import CURRENT_MAX, MESSAGE_MAX, STATE_MAX  # noqa: E402
from neuroport.graph.node import Dense, Input, Relay, Sigma  # noqa: E402
from neuroport.graph.node import Lif as LifNode  # noqa: E402
from neuroport.lowering.layer_chain import chain  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.targets.rules import UNPROVEN, findings, refusals  # noqa: E402
from neuroport.targets.target import load_target  # noqa: E402
from tests.helpers.modules import StrongAndWeak, enliven, frames_for  # noqa: E402
from tests.properties.declared import currents  # noqa: E402


def network(blocks: int = 3) -> tuple[MsResNet, np.ndarray]:
    """A residual network whose branches are all at work, and frames."""
    net = MsResNet(blocks, (4, 6, 8))
    frames = frames_for(net, samples=6)
    return enliven(net, 0, frames), frames


def pictures(brightest: int) -> np.ndarray:
    """Frames (3, 4, 1, 8, 8) of random pixels up to ``brightest``."""
    return np.random.default_rng(0).integers(0, brightest + 1, (3, 4, 1, 8, 8))


def small(**checked: int) -> Graph:
    """Two neurons, the second of which hears the first."""
    nodes = [
        Input("frames", (3,), bits=4),
        Dense("in", ("frames",), [[2, 4, -6], [8, 2, 2]], 3),
        LifNode("first", ("in",), 100),
        Dense("on", ("first",), [[20, 4]], 9),
        LifNode("second", ("on",), 100),
    ]
    return Graph(nodes, 4, checked=checked)


# -- the grid ----------------------------------------------------------------------------------


def test_checked_widths_leave_a_finer_grid_where_range_binds() -> None:
    thresholds = {}
    frames = pictures(255)
    for widths in ("proven", "checked"):
        net = StrongAndWeak().eval()
        graph = port.quantize(net, frames, widths=widths)
        thresholds[widths] = int(graph.expect("neuron2", LifNode).threshold.min())
        chip = port.lower(graph)
        assert chip.checked.items() >= graph.checked.items()
        assert port.compare(port.run(graph, frames), port.run(chip, frames, time_model="chip"))
        assert bool(graph.checked) == (widths == "checked")
    assert thresholds["checked"] >= 4 * thresholds["proven"]
    assert graph.checked.keys() == {node.name for node in graph.populations}
    assert graph.facts("neuron2").worst > CURRENT_MAX  # or there would be nothing to check


def test_calibration_frames_reach_half_of_the_widths_at_most() -> None:
    net, frames = network()
    graph = port.quantize(net, frames, widths="checked")
    seen = currents(graph, frames)
    streams = [node for node in graph.populations if isinstance(node, (LifNode, Relay))]
    # rounding and spikes that differ move a current, but not by a fifth of its room
    assert max(seen[node.name] / graph.checked[node.name] for node in streams) < 0.6


def test_the_module_and_the_engines_are_equal_on_a_checked_grid() -> None:
    net, frames = network()
    graph = port.quantize(net, frames, widths="checked")
    want = port.run(graph, frames)
    for got in (port.run(net, frames), port.run(graph, frames, on="fast")):
        assert port.compare(want, got)


def test_every_engine_tells_of_frames_beyond_the_calibration_alike() -> None:
    net, dark = StrongAndWeak().eval(), pictures(40)
    graph = port.quantize(net, dark, widths="checked")
    beyond = dark.copy()
    beyond[:, 2:] = 255
    with pytest.raises(RangeError) as want:
        port.run(graph, beyond)
    assert want.value.sample is not None
    assert want.value.sample == 2
    for run in (
        lambda: port.run(net, beyond),
        lambda: port.run(graph, beyond, on="fast"),
        lambda: port.run(graph, beyond, batch=1),
    ):
        with pytest.raises(RangeError) as got:
            run()
        assert got.value.message == want.value.message


def test_widths_are_chosen_once() -> None:
    net, frames = network()
    with pytest.raises(CaptureError, match="use 'proven' or 'checked'"):
        port.quantize(net, frames, widths="guessed")
    graph = port.quantize(net, frames, widths="checked")
    assert port.quantize(net, frames).hash == graph.hash
    with pytest.raises(CaptureError, match="chosen where the integer phase begins"):
        port.quantize(net, frames, widths="proven")


def test_the_cost_says_what_loses_most() -> None:
    net, frames = StrongAndWeak().eval(), pictures(255)
    proven = port.quantization_cost(net, frames)
    assert proven.loses is not None
    assert "adds most" in proven.loses
    checked = port.quantization_cost(net, frames, widths="checked")
    finer = {cost.name: cost.threshold for cost in checked.populations}["neuron2"]
    assert finer >= 4 * {cost.name: cost.threshold for cost in proven.populations}["neuron2"]
    assert "widths='checked'" in str(proven)


# -- the graph ---------------------------------------------------------------------------------


def test_what_reads_a_declared_population_is_bounded_by_its_width() -> None:
    nodes = [
        Input("frames", (1,), bits=8),
        Dense("in", ("frames",), [[254]]),
        Relay("stream", ("in",), shift=2),
        Dense("on", ("stream",), [[2]]),
        LifNode("unit", ("on",), 10),
    ]
    assert Graph(nodes, 1).facts("on").high.tolist() == [2 * ((254 * 255 + 2) >> 2)]
    graph = Graph(nodes, 1, checked={"stream": 1000})
    assert graph.facts("stream").reach_high.tolist() == [254 * 255]  # what could arrive
    assert graph.facts("on").high.tolist() == [2 * 250]


def test_a_declaration_that_nobody_could_check_is_refused() -> None:
    with pytest.raises(GraphError, match="nobody: is no population of the graph"):
        small(nobody=5)
    with pytest.raises(GraphError, match="in: is a dense"):
        small(**{"in": 5})
    for limit in (0, -1, CURRENT_MAX + 1, True, 5.0):
        with pytest.raises(GraphError, match=f"use 1 to {CURRENT_MAX}"):
            small(first=limit)
    nodes = [Input("frames", (1,)), Dense("in", ("frames",), [[2]])]
    with pytest.raises(GraphError, match="units: is a sigma"):
        Graph([*nodes, Sigma("units", ("in",))], 1, checked={"units": 5})
    Graph([*nodes, Relay("units", ("in",))], 1, checked={"units": MESSAGE_MAX})


def test_text_and_hash_say_that_widths_are_checked() -> None:
    plain, graph = small(), small(second=9000)
    assert "checked=1, not proven" in str(graph)
    assert "checked" not in str(plain)
    assert graph.widths == "widths of 1 of 2 populations checked, not proven"
    assert len({plain.hash, graph.hash, small(second=9001).hash}) == 3


def test_a_state_that_would_saturate_is_left_before_it_does() -> None:
    """9 steps of a current that reaches the voltage's end in the ninth."""
    current = STATE_MAX // 64 // 8
    nodes = [
        Input("frames", (1,)),
        Dense("in", ("frames",), [[-254]], 6),
        LifNode("unit", ("in",), 100_000, 4096, 0),
    ]
    assert 254 << 6 < current < (254 << 6) + 200
    frames = np.ones((9, 2, 1), np.int64)
    frames[:, 0] = 0
    graph = Graph(nodes, 9, checked={"unit": CURRENT_MAX})
    for on in ("reference", "fast"):
        with pytest.raises(RangeError, match=r"sample 1: unit: at step 8 neuron \(0\).*its state"):
            port.run(graph, frames, on=on)
    fewer = Graph(nodes, 8, checked={"unit": CURRENT_MAX})
    assert port.run(fewer, frames[:8])["unit"].sum() == 0


# -- files -------------------------------------------------------------------------------------


def test_a_checked_graph_is_stored_as_version_4_and_others_as_before(tmp_path: Path) -> None:
    for graph, version in ((small(), 3), (small(first=700, second=9000), 4)):
        path = store.save(graph, tmp_path / f"{version}.graph")
        with h5py.File(path) as file:
            assert file.attrs["version"] == version
        again = store.load(path)
        assert again.hash == graph.hash
        assert again.checked == graph.checked


def test_a_file_cannot_smuggle_a_declared_width(tmp_path: Path) -> None:
    path = store.save(small(second=9000), tmp_path / "a.graph")
    for edit, said in (
        (lambda f: f.attrs.__setitem__("version", 3), "has a declared width, which version 3"),
        (lambda f: f["graph/00004"].attrs.__setitem__("checked", 1 << 40), "use 1 to"),
        (lambda f: f["graph/00004"].attrs.__setitem__("checked", "x"), "expected an integer"),
        (lambda f: f["graph/00003"].attrs.__setitem__("checked", 5), "is a dense"),
        (lambda f: f["graph/00004"].attrs.__delitem__("checked"), "does not match"),
    ):
        broken = tmp_path / "b.graph"
        broken.write_bytes(path.read_bytes())
        with h5py.File(broken, "r+") as file:
            edit(file)
        with pytest.raises(FormatError, match=said):
            store.load(broken)


# -- who refuses it ----------------------------------------------------------------------------


def test_chips_refuse_what_is_not_proven_unless_their_file_allows_it() -> None:
    graph = small(second=9000)
    board = load_target("loihi2")
    (found,) = (f for f in refusals(graph, board) if f.rule == "widths_are_proven")
    assert found.node == "second"
    assert "loihi2 checks nothing while it runs" in found.message
    with pytest.raises(IllegalError, match="widths_are_proven"):
        port.lower(graph, "loihi2")
    allowed = replace(board.values["checked_widths"], value=True)
    own = replace(board, values={**board.values, "checked_widths": allowed})
    (found,) = (f for f in findings(graph, own) if f.rule == "widths_are_proven")
    assert (found.node, found.severity) == ("second", UNPROVEN)
    assert "run the same frames on an engine that checks first" in found.message
    assert not refusals(graph, load_target("lava-cpu"))


def test_what_cannot_be_checked_elsewhere_is_not_written_there(tmp_path: Path) -> None:
    graph = port.lower(small(second=9000))
    with pytest.raises(IllegalError, match="NetX checks nothing"):
        chain(graph)
    with pytest.raises(IllegalError, match="NetX checks nothing"):
        port.lower(small(second=9000), carrier="stock")
    with pytest.raises(GraphError, match="NIR cannot say"):
        as_nir(graph)
    path = port.export(graph, tmp_path / "a.net")
    with h5py.File(path) as file:
        assert file["layer/0/type"][0] == b"concat"
        assert "checked, not proven" in file["layer"].attrs["refused"]
    assert port.read(path).checked == {"second": 9000}
