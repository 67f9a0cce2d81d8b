"""Real Lava against the reference and the torch module, every population, no tolerance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay
from neuroport.runs.trace import Trace

pytestmark = pytest.mark.lava


def even(rng: np.random.Generator, shape: tuple[int, ...], top: int = 60) -> npt.NDArray[np.int64]:
    return 2 * rng.integers(-top // 2, top // 2 + 1, shape)


def residual_graph(seed: int) -> Graph:
    """A membrane shortcut over two convolutions, a spike sum, and a dense readout."""
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 6))
    exponent = int(rng.integers(0, 3))

    def lif(name: str, inputs: tuple[str, ...], channels: int) -> Lif:
        return Lif(
            name,
            inputs,
            threshold=int(rng.integers(10, 120)),
            current_decay=int(rng.choice([1, 1000, 3000, 4096])),
            voltage_decay=int(rng.choice([0, 123, 3072, 4095])),
            bias=rng.integers(-30, 31, channels),
        )

    nodes: list[Node] = [
        Input("input", (2, 7, 6), bits=4),
        Conv("stem", ("input",), even(rng, (4, 2, 3, 3)), padding=(1, 1)),
        Relay("relay", ("stem",), shift=int(rng.integers(1, 6)), threshold=int(rng.integers(0, 3))),
        Conv("base", ("relay",), np.ones((4, 1, 1, 1), np.int64), groups=4),
        lif("a", ("base",), 4),
        Conv(
            "c1",
            ("a",),
            even(rng, (4, 2, 3, 3)),
            exponent,
            padding=(2, 2),
            dilation=(2, 2),
            groups=2,
        ),
        lif("b", ("c1",), 4),
        Conv("c2", ("b",), even(rng, (4, 4, 3, 3)), padding=(1, 1)),
        lif("c", ("c2", "base"), 4),
        Conv("c3", ("c", "a"), even(rng, (6, 4, 3, 2)), stride=(2, 1), padding=(1, 0)),
        lif("d", ("c3",), 6),
        Dense("classes", ("d",), even(rng, (5, 6 * 4 * 5)), exponent),
        Readout("potential", ("classes",), bias=rng.integers(-20, 21, 5)),
    ]
    return port.lower(Graph(nodes, steps))


@pytest.mark.parametrize("seed", range(3))
def test_random_residual_graphs_run_bit_equal_on_lava(seed: int) -> None:
    graph = residual_graph(seed)
    rng = np.random.default_rng(100 + seed)
    frames = rng.integers(0, 16, (graph.steps, int(rng.integers(1, 5)), 2, 7, 6))
    want = port.run(graph, frames)
    outcome = port.compare(want, port.run(graph, frames, on="lava-cpu"))
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want
    assert not outcome.only_got
    assert sum(int(want[n].sum()) for n in "abcd") > 0, "a silent network proves nothing"


@pytest.fixture(scope="module")
def together(network: Path, frames: Path) -> Trace:
    """The trained network's samples on Lava, back to back."""
    return port.run(network, np.load(frames), on="lava-cpu")


def test_trained_network_is_equal_in_module_reference_and_lava(
    trained: Path, network: Path, frames: Path, together: Trace
) -> None:
    data = np.load(frames)
    module = port.run(port.load(trained), data)
    reference = port.run(network, data)
    chip = port.run(network, data, time_model="chip")
    lava = together
    assert module.provenance["graph"] != reference.provenance["graph"]  # lowering added relays
    for want, got in ((module, lava), (reference, lava), (reference, chip)):
        outcome = port.compare(want, got)
        assert outcome, str(outcome)
        assert outcome.positions > 10_000
        assert outcome.same_predictions
    assert all(int(module[name].sum()) > 0 for name, kind in module.kinds.items() if kind == "lif")


def test_samples_back_to_back_do_not_leak_into_each_other(
    network: Path, frames: Path, together: Trace
) -> None:
    last = port.run(network, np.load(frames)[:, -1:], on="lava-cpu")
    for name in together.messages:
        np.testing.assert_array_equal(together[name][:, -1:], last[name])


def test_lava_runs_the_graph_that_was_checked_whatever_became_of_its_file(tmp_path: Path) -> None:
    graph, other = residual_graph(0), residual_graph(1)
    frames = np.random.default_rng(0).integers(0, 16, (graph.steps, 2, 2, 7, 6))
    path = port.export(graph, tmp_path / "exported_over.net")
    with port.prepare(path, on="lava-cpu") as prepared:
        port.export(other, path)
        got = prepared.run(frames)
    assert got.provenance["graph"] == graph.hash
    assert port.compare(port.run(graph, frames), got)


def test_what_is_added_to_itself_counts_twice() -> None:
    rng = np.random.default_rng(0)
    graph = Graph(
        [
            Input("input", (4,), 1),
            Dense("first", ("input",), even(rng, (4, 4), 8)),
            Lif("a", ("first", "first"), 6),
            Dense("second", ("a", "a", "a"), even(rng, (4, 4), 8)),
            Readout("potential", ("second",)),
        ],
        4,
    )
    frames = rng.integers(0, 2, (4, 3, 4))
    want = port.run(graph, frames)
    assert 0 < want["a"].mean() < 1
    assert port.compare(want, port.run(graph, frames, on="lava-cpu"))


def test_sparse_matrix_is_lavas_own_convolution() -> None:
    from lava.proc.conv import utils

    from neuroport.backends.lava_cpu.weight_products import conv_matrix

    rng = np.random.default_rng(3)
    for stride, padding, dilation, groups in (
        ((1, 1), (1, 1), (1, 1), 1),
        ((2, 1), (0, 2), (1, 2), 2),
        ((3, 2), (2, 0), (2, 1), 4),
    ):
        weight = even(rng, (8, 4 // groups, 3, 2), 254)
        node = Conv("c", ("i",), weight, 0, stride, padding, dilation, groups)
        graph = Graph([Input("i", (4, 9, 8)), node], 1)
        x = rng.integers(0, 255, (4, 9, 8))
        ours = conv_matrix(node.kernel, (4, 9, 8), graph.facts("c").shape) @ x.reshape(-1)
        # Lava: (W, H, C) inputs, true convolution with (O, W, H, I) weights
        theirs = utils.conv(
            x.transpose(2, 1, 0),
            weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).astype(np.int32),
            weight.shape[:1:-1],
            stride[::-1],
            padding[::-1],
            dilation[::-1],
            groups,
        )
        np.testing.assert_array_equal(ours, theirs.transpose(2, 1, 0).reshape(-1))


def test_unmodified_netx_stops_at_a_residual_file_instead_of_skipping_it(network: Path) -> None:
    hdf5 = pytest.importorskip("lava.lib.dl.netx.hdf5", reason="lava-dl is not installed")
    with pytest.raises(NotImplementedError):
        hdf5.Network(net_config=str(network), input_shape=(28, 28, 1))
