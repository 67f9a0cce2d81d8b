"""Graphs of integers as NIR, and back: the same graph, and for other tools the same spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.errors import FormatError, FramesError, GraphError
from neuroport.frontends.nir.interpreter import interpret
from neuroport.frontends.nir.reading import read
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Delay,
    Delta,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
)

FILES = Path(__file__).parent / "files"
ROOT = Path(__file__).resolve().parents[2]


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def residual(steps: int = 40, currents: bool = True, leak: int = 0) -> Graph:
    """Two blocks of dense layers, a shortcut of spikes and, if asked, of currents."""
    rng = np.random.default_rng(7)

    def dense(name: str, *inputs: str) -> Dense:
        return Dense(name, inputs, 2 * rng.integers(-20, 45, (6, 6)), exponent=1)

    nodes: list[Node] = [Input("input", (6,), bits=1), dense("w1", "input")]
    nodes += [Lif("n1", ("w1",), ints(90), ints(4096), ints(leak), ints(3, -2, 0, 1, 5, 0))]
    past = [dense("past", "input")] if currents else []
    sums = ("w2", *(node.name for node in past))
    nodes += [dense("w2", "n1"), *past, Lif("n2", sums, ints(120), ints(4096), ints(leak))]
    nodes += [dense("w3", "n1", "n2"), Lif("n3", ("w3",), ints(150), ints(4096), ints(leak))]
    return Graph(nodes, steps)


def every_kind() -> Graph:
    rng = np.random.default_rng(1)
    weight = 2 * rng.integers(-20, 30, (3, 2, 3, 3))
    nodes: list[Node] = [
        Input("in/put", (2, 5, 6), bits=4, signed=True),
        Conv("conv", ("in/put",), weight, 2, padding=(1, 1)),
        Lif("lif", ("conv",), ints(80, 90, 100), voltage_decay=ints(200), bias=ints(1, 2, 3)),
        Conv("down", ("lif",), weight[:, :1], stride=(2, 2), groups=3, lag=2),
        Relay("relay", ("down",), shift=1),
        Delay("late", ("relay",), 2),
        Dense(
            "dense", ("late",), 2 * rng.integers(-9, 9, (4, 12)), delay=rng.integers(0, 3, (4, 12))
        ),
        Lif("cuba", ("dense",), ints(50), ints(1000), ints(300, 200, 100, 1), ints(7)),
        Dense("again", ("cuba",), 2 * rng.integers(-9, 20, (5, 4))),
        Recurrent("loop", ("again",), 2 * rng.integers(-9, 9, (5, 5)), ints(30), bias=ints(4)),
        Dense("last", ("loop",), 2 * rng.integers(-9, 9, (3, 5))),
        Readout("sum", ("last",), ints(1, 0, -1)),
        LeakyReadout("leaky", ("last",), ints(4096), ints(700)),
        LeakyReadout("slow", ("last",), ints(900), ints(700), ints(5)),
    ]
    return Graph(nodes, 9, 12)


@pytest.mark.parametrize("make", [residual, every_kind])
def test_out_and_in_is_the_same_graph(make: Any, tmp_path: Path) -> None:
    graph = make()
    path = port.to_nir(graph, tmp_path / "n.nir")
    assert port.from_nir(path).hash == graph.hash


def test_a_trained_residual_network_goes_out_and_in(tmp_path: Path) -> None:
    graph = port.read(ROOT / "models/ms_resnet8_mnist/network.net")
    assert port.from_nir(port.to_nir(graph, tmp_path / "n.nir")).hash == graph.hash


def test_a_network_without_leaks_means_the_same_to_other_tools(tmp_path: Path) -> None:
    graph = residual()
    frames = np.random.default_rng(0).integers(0, 2, (40, 5, 6))
    path = port.to_nir(graph, tmp_path / "n.nir")
    want = port.run(graph, frames)
    said = interpret(read(path), {"input": frames}, 1.0)
    for name in ("n1", "n2", "n3"):
        assert 0.05 < want[name].mean() < 0.95
        assert (said[name] == want[name]).all()
    assert port.from_nir(port.to_nir(graph, tmp_path / "m.nir", dt=1e-4)).hash == graph.hash
    same = interpret(read(tmp_path / "m.nir"), {"input": frames}, 1e-4)
    assert all((same[name] == said[name]).all() for name in ("n1", "n2", "n3"))
    again = port.import_nir(path, frames=frames, integers=False)
    assert again.cost is not None
    assert [p.differing for p in again.cost.populations] == [0, 0, 0]


def test_norse_runs_an_exported_residual_network_with_equal_spikes() -> None:
    said = np.load(FILES / "said.npz")  # tests.nir.tools made it
    graph = port.from_nir(FILES / "exported.nir")
    assert graph.hash == residual(currents=False).hash
    want = port.run(graph, said["exported_frames"].astype(np.int64))
    assert want["n3"].mean() > 0.05
    assert (want["n3"] == said["exported_norse"]).all()


def test_snntorch_runs_an_exported_residual_network_that_leaks_with_equal_spikes() -> None:
    said = np.load(FILES / "said.npz")
    graph = port.from_nir(FILES / "leaking.nir")
    assert graph.hash == residual(currents=False, leak=1024).hash
    want = port.run(graph, said["exported_frames"].astype(np.int64))
    assert 0.05 < want["n3"].mean() < 0.95
    assert (want["n3"] == said["leaking_snntorch"]).all()


def test_leaks_differ_from_other_tools_by_their_rounding_only(tmp_path: Path) -> None:
    graph = every_kind()
    frames = np.random.default_rng(0).integers(-8, 8, (9, 4, 2, 5, 6))
    said = interpret(read(port.to_nir(graph, tmp_path / "n.nir")), {"in|put": frames}, 1.0)
    want = port.run(graph, frames)
    assert (said["lif"] != want["lif"]).mean() < 0.01


def test_the_name_of_a_node_that_nir_lacks_is_told() -> None:
    nodes: list[Node] = [Input("in", (2,)), Dense("w", ("in",), np.eye(2, dtype=np.int64))]
    with pytest.raises(GraphError, match="changes: NIR has no primitive for delta"):
        port.to_nir(Graph([*nodes, Delta("changes", ("w",), 1)], 3), "never.nir")
    assert not Path("never.nir").exists()


def test_integers_of_a_network_that_was_changed_since_are_refused(tmp_path: Path) -> None:
    path = port.to_nir(residual(), tmp_path / "n.nir")
    with h5py.File(path, "r+") as file:
        file["node/nodes/w1/weight"][0, 0] += 1
    with pytest.raises(FormatError, match="was changed since its integers were written"):
        port.from_nir(path)
    frames = np.zeros((4, 1, 6), np.int64)
    assert port.from_nir(path, frames=frames, integers=False).steps == 4


def test_frames_of_stored_integers_are_checked_and_not_scaled(tmp_path: Path) -> None:
    path = port.to_nir(residual(), tmp_path / "n.nir")
    frames = np.zeros((40, 2, 6), np.int64)
    assert port.import_nir(path, frames=frames).frames is not None
    with pytest.raises(FramesError, match="the network takes"):
        port.import_nir(path, frames=frames[:5])
    with pytest.raises(FramesError, match="leave dt, scale, one_unit and reset out"):
        port.from_nir(path, frames=frames, scale=0.5)
    with pytest.raises(FramesError, match="leave dt, scale, one_unit and reset out"):
        port.import_nir(path, dt=3)
    for dt in (0, "x", np.nan, np.inf, True):
        with pytest.raises(FormatError, match=r"dt is .*; give the seconds of a step"):
            port.from_nir(path, dt=dt)  # type: ignore[arg-type]


def test_what_is_no_network_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="Graph is neither the path of"):
        port.from_nir(residual())


def test_integers_of_a_later_convention_are_refused(tmp_path: Path) -> None:
    path = port.to_nir(residual(), tmp_path / "n.nir")
    with h5py.File(path, "r+") as file:
        file["node/metadata/neuroport/convention"][()] = 2
    with pytest.raises(FormatError, match="convention 2, this neuroport reads 1"):
        port.from_nir(path)


def test_the_package_nir_reads_it_and_writes_it_again(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    path = port.to_nir(residual(), tmp_path / "n.nir")
    graph = nir.read(path)
    nir.write(tmp_path / "again.nir", graph)
    assert port.from_nir(tmp_path / "again.nir").hash == residual().hash
    assert port.from_nir(graph).hash == residual().hash
