"""Fused processes send what Lava's own processes send, and what the reference says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import neuroport as port
from neuroport.backends.lava_cpu.fused_partition import held, left_to_stock
from neuroport.errors import BackendError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Delay,
    Delta,
    Dense,
    Input,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
)
from neuroport.runs.trace import Trace
from tests.helpers.neurons import neurons
from tests.properties.networks import network

pytestmark = pytest.mark.lava


def equal(got: Trace, want: Trace) -> None:
    assert set(got.messages) == set(want.messages)
    for name, messages in want.messages.items():
        np.testing.assert_array_equal(got[name], messages, name)


def even(rng: np.random.Generator, *shape: int) -> npt.NDArray[Any]:
    return 2 * rng.integers(-9, 10, shape)


def everything(interval: int) -> tuple[Graph, npt.NDArray[Any]]:
    """Each kernel, neuron and connection that a fused process has, and some that it has not."""
    rng = np.random.default_rng(4)
    one = np.ones((2, 1, 1, 1), np.int64)
    delays = rng.integers(0, 3, (6, 24))
    nodes: list[Node] = [
        Input("frames", (2, 4, 3), bits=4, signed=True),
        Conv("stem", ("frames",), even(rng, 2, 2, 3, 3), padding=(1, 1)),
        Relay("stream", ("stem",), shift=2, threshold=1),
        Conv("base", ("stream",), one, groups=2),
        # one dendrite: two levels of a neuron, and what carries its current on
        Lif("low", ("base",), 6, 700, 300, np.array([3, -2])),
        Lif("high", ("base",), np.array([9, 12]), 4096, np.array([1000, 4000])),
        Relay("exact", ("base",)),
        Conv("late", ("exact",), one * 6, 1, groups=2, lag=2),
        Conv("wide", ("low", "high", "high"), even(rng, 8, 2, 3, 2), padding=(1, 1)),
        Relay("wide out", ("wide",)),
        Conv("few", ("wide out",), even(rng, 4, 4, 2, 3), stride=(2, 1), dilation=(2, 1), groups=2),
        Lif("few out", ("few",), 200, 4096, 4095, rng.integers(-9, 10, (4, 1, 2))),
        Lif("first", ("late", "late"), 40, voltage_decay=1000, bias=np.array([30, -3])),
        Delay("later", ("first",), 3),
        Dense("second in", ("later",), even(rng, 6, 24), 2, delays),
        Dense("short cut", ("first",), even(rng, 6, 24)),
        Lif("second", ("second in", "short cut"), 9, bias=2),
        Dense("classes", ("second",), even(rng, 3, 6)),
        Readout("potential", ("classes",), np.array([5, -7, 0])),
        *neurons("frames", (2, 4, 3)),
    ]
    return Graph(nodes, 9, interval), rng.integers(-3, 4, (9, 4, 2, 4, 3))


def detour(interval: int) -> tuple[Graph, npt.NDArray[Any]]:
    """A residual network that leaves the fused process and comes back, late synapses beside it."""
    rng = np.random.default_rng(6)
    nodes: list[Node] = [
        Input("frames", (2, 4, 3), bits=4, signed=True),
        Conv("stem", ("frames",), even(rng, 6, 2, 3, 3), padding=(1, 1)),
        Lif("a", ("stem",), 30, 2000, 300),
        Relay("carry", ("stem",)),
        Conv("main", ("a",), even(rng, 6, 6, 3, 3), padding=(1, 1)),
        Conv("identity", ("carry",), np.ones((6, 1, 1, 1), np.int64), groups=6),
        Lif("b", ("main", "identity"), 60),
        Relay("stream", ("main", "identity"), shift=6),
        Dense("to heard", ("b",), even(rng, 5, 72)),
        Recurrent("heard", ("to heard",), even(rng, 5, 5), 9, 3000, 200, np.arange(5)),
        Dense("back", ("heard",), even(rng, 7, 5)),
        Dense("short cut", ("b", "stream"), even(rng, 7, 72), lag=1),
        Delay("later", ("b",), 2),
        Dense("old", ("later",), even(rng, 7, 72), 1, rng.integers(0, 3, (7, 72)), 1),
        Lif("c", ("back", "short cut", "old"), 300, bias=3),
        Dense("classes", ("c",), even(rng, 3, 7)),
        Readout("potential", ("classes",), np.array([5, -7, 0])),
    ]
    return Graph(nodes, 7, interval), rng.integers(-3, 4, (7, 5, 2, 4, 3))


@pytest.mark.parametrize("interval", [7, 10])
def test_residual_network_that_leaves_the_fused_process_and_comes_back_is_the_references(
    interval: int,
) -> None:
    graph, frames = detour(interval)
    want = port.run(graph, frames)
    got = port.run(graph, frames, on="lava-cpu", processes="fused")
    equal(got, want)
    with pytest.MonkeyPatch.context() as patch:  # the steps in NumPy
        patch.setenv("NEUROPORT_KERNELS", "off")
        equal(port.run(graph, frames, on="lava-cpu", processes="fused"), want)
    for name, messages in want.messages.items():
        assert len(np.unique(messages)) > 1, name
        assert (messages[:, 0] != messages[:, 1]).any(), name
    assert got.provenance["stock_populations"] == ["heard"]
    counting: dict[str, Any] = {"record": "counts", "count": ["heard", "stream", "a"]}
    want = port.run(graph, frames, **counting)
    got = port.run(graph, frames, on="lava-cpu", processes="fused", workers=2, **counting)
    equal(got, want)
    assert set(got.counts) == {"heard", "stream", "a"}
    for name, counts in want.counts.items():
        np.testing.assert_array_equal(got.counts[name], counts, name)


def test_neurons_that_are_stepped_in_parts_are_the_references(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than fit into the cache, the last part smaller than the others."""
    monkeypatch.setenv("NEUROPORT_KERNELS", "off")
    rng = np.random.default_rng(7)
    shape = (5, 90, 80)
    nodes: list[Node] = [
        Input("frames", (1, 90, 80), bits=7, signed=True),
        Conv("stem", ("frames",), even(rng, 5, 1, 1, 1)),
        Lif("neurons", ("stem",), rng.integers(20, 200, 5), 700, 300, rng.integers(-9, 9, shape)),
    ]
    graph, frames = Graph(nodes, 4), rng.integers(-9, 10, (4, 2, 1, 90, 80))
    want = port.run(graph, frames)
    equal(port.run(graph, frames, on="lava-cpu", processes="fused"), want)
    assert 0 < want["neurons"][:, :, -1].mean() < 1


@pytest.mark.parametrize("interval", [9, 13])
def test_every_population_is_the_references_with_the_fused_process(interval: int) -> None:
    graph, frames = everything(interval)
    want = port.run(graph, frames)
    got = port.run(graph, frames, on="lava-cpu", processes="fused")
    equal(got, want)
    for name, messages in want.messages.items():
        assert messages.any(), name
        assert len(np.unique(messages)) > 1, name
    assert got.provenance["processes"] == "fused"
    assert set(got.provenance["stock_populations"]) == set(left_to_stock(graph))


@pytest.mark.parametrize(
    ("interval", "granularity", "counters"),
    [(9, "channel", "stock"), (13, "neuron", "inside"), (9, "layer", None)],
)
def test_counts_and_workers_are_the_same_with_fused_processes(
    interval: int, granularity: str, counters: str | None
) -> None:
    graph, frames = everything(interval)
    want = port.run(graph, frames, record="counts", granularity=granularity)
    options: dict[str, Any] = {"record": "counts", "granularity": granularity, "workers": 2}
    got = port.run(graph, frames, on="lava-cpu", processes="fused", counters=counters, **options)
    assert set(got.counts) == set(want.counts)
    for name, counts in want.counts.items():
        np.testing.assert_array_equal(got.counts[name], counts, name)
    equal(got, want)

    readers = (
        len(want.counts)
        if counters == "stock"
        else len(set(want.counts) & set(left_to_stock(graph)))
    )

    assert got.provenance["counters"] == (counters or "inside")
    built = got.provenance["built"]
    assert built["neuroport.backends.lava_cpu.processes.counting.CountReader"] == readers


def test_counters_inside_hold_more_than_a_neuron_of_the_chip() -> None:
    """A counter per layer that could reach 2**17: refused of stock processes, counted inside."""
    nodes: list[Node] = [
        Input("frames", (1, 200, 200), bits=1),
        Conv("same", ("frames",), np.full((1, 1, 1, 1), 2)),
        Lif("neurons", ("same",), 1),
    ]
    graph = Graph(nodes, 4)
    frames = np.ones((4, 1, 1, 200, 200), np.int8)
    options: dict[str, Any] = {"processes": "fused", "record": "counts", "granularity": "layer"}
    with pytest.raises(BackendError, match="counts exactly up to 131,071"):
        port.run(graph, frames, on="lava-cpu", counters="stock", **options)
    got = port.run(graph, frames, on="lava-cpu", **options)
    assert got.counts["neurons"].tolist() == [[160_000]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"counters": "inside", "record": "counts"}, "give processes='fused'"),
        ({"counters": "stock"}, "counters is for record='counts'"),
        ({"counters": "outside", "record": "counts"}, "use 'inside' or 'stock'"),
    ],
)
def test_counters_that_contradict_other_options_are_refused(
    options: dict[str, Any], said: str
) -> None:
    graph, frames = everything(9)
    with pytest.raises(BackendError, match=said):
        port.run(graph, frames, on="lava-cpu", **options)


@pytest.mark.parametrize(
    ("seed", "carrier"),
    [
        (100_003, "relay"),
        (100_011, "unroll"),
        (100_017, "relay"),
        (100_042, "unroll"),
        (100_077, "unroll"),
        (100_152, "relay"),
    ],
)
def test_random_networks_are_the_references_with_fused_processes(seed: int, carrier: str) -> None:
    case = network(seed)
    graph = port.lower(case.graph, carrier=carrier)
    want = port.run(graph, case.frames)
    equal(port.run(graph, case.frames, on="lava-cpu", processes="fused"), want)


def test_trained_network_is_equal_in_stock_and_in_fused_processes(
    network: Path, frames: Path
) -> None:
    data = np.load(frames)[:, :3]
    stock = port.run(network, data, on="lava-cpu")
    fused = port.run(network, data, on="lava-cpu", processes="fused")
    equal(fused, stock)
    assert stock.provenance["processes"] == "stock"
    assert "stock_populations" not in fused.provenance
    assert sum(np.count_nonzero(messages) for messages in fused.messages.values()) > 1000


def test_one_process_holds_all_that_it_supports_and_no_other_population() -> None:
    from neuroport.backends.lava_cpu.build import build

    graph, _ = everything(9)
    left = {"heard", "changes", "units", "sum", "phase", "izhikevich"}
    left |= {"tired", "tuned", "rung", "musing", "fading"}  # adaptive ones, and a leaking readout
    left |= {"soft", "murmur"}  # those whose spikes subtract
    assert set(left_to_stock(graph)) == left
    group = held(graph)
    assert sorted([*group.populations, *left]) == sorted(node.name for node in graph.populations)
    assert {"base", "late", "second in", "short cut"} < set(group.synapses)
    processes = build(graph, "frames.npy", fused=True)
    fused = {processes[name].process for name in group.populations}
    assert len(fused) == 1
    assert set(processes) == {node.name for node in graph} - set(group.synapses)
    # frames, and what is delayed; what the process itself sends takes no port
    assert [port.name for port in fused.pop().in_ports] == ["s_in_0", "s_in_1"]


def test_populations_that_share_a_synapse_are_held_together_or_not_at_all() -> None:
    nodes: list[Node] = [
        Input("frames", (2,), bits=4),
        Dense("in", ("frames",), np.eye(2, dtype=np.int64)),
        Lif("neurons", ("in",), 9),
        Delta("changes", ("in",), 2),
        Dense("out", ("neurons",), np.eye(2, dtype=np.int64)),
        Readout("potential", ("out",)),
    ]
    graph = Graph(nodes, 3)
    assert held(graph).populations == ("potential",)
    assert held(graph).synapses == ("out",)
    assert left_to_stock(graph) == {"neurons": "lif", "changes": "delta"}
    nothing = Graph([node for node in nodes[:4] if node.name != "neurons"], 3)
    assert held(nothing).populations == ()
    frames = np.arange(12).reshape(3, 2, 2)
    for some in (graph, nothing):
        want = port.run(some, frames)
        equal(port.run(some, frames, on="lava-cpu", processes="fused"), want)


def test_unknown_processes_are_refused_before_lava_starts() -> None:
    graph, frames = everything(9)
    with pytest.raises(BackendError, match="processes is 'fast'; use 'stock' or 'fused'"):
        port.run(graph, frames, on="lava-cpu", processes="fast")


def test_the_command_line_runs_compares_and_tells_of_fused_processes(
    entry_point: list[str], tmp_path: Path
) -> None:
    graph, frames = everything(9)
    net = str(port.export(graph, tmp_path / "a.net"))
    np.save(tmp_path / "frames.npy", frames)
    fused = ["--on", "lava-cpu", "--processes", "fused"]
    given = ["--frames", str(tmp_path / "frames.npy")]

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*entry_point, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=200)

    done = call("run", net, *given, *fused)
    populations = f"4 samples, {len(graph.populations)} populations"
    assert done.stdout.startswith(f"lava-cpu (fused processes): {populations}"), done
    done = call("compare", net, net, *given, *fused)
    assert (done.returncode, "0 differ" in done.stdout) == (0, True), done
    done = call("check", net)
    assert done.returncode == 0
    assert "no fused process holds, so that stock ones do: heard (recurrent), " in done.stdout
    assert call("run", net, *given, "--on", "lava-cpu", "--processes", "x").returncode == 2
