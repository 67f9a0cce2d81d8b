"""The engine for GPUs sends what the reference sends, in Triton's interpreter; no GPU is needed.

``python -m benchmarks.gpu`` runs the same networks on a GPU, where there is one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import neuroport as port
from neuroport.backends.executor import walk
from neuroport.errors import BackendError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Readout, Relay
from neuroport.runs.recording import recording
from tests.helpers.triton_interpreter import interpreter
from tests.properties.networks import network

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed; torch brings it along on Linux with CUDA",
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Callable[..., Any]]:
    """Calls a function of this module with Triton interpreted."""
    with interpreter() as call:
        yield call


def ran(graph: Graph, frames: np.ndarray, **record: Any) -> port.Trace:
    from neuroport.backends.gpu_network import GpuNetwork

    plan = recording(graph, **record)
    return walk(
        GpuNetwork(graph, CPU),
        graph,
        frames,
        progress=None,
        time_model="ideal",
        batch=2,
        plan=plan,
    )


def drawn(seeds: range) -> tuple[list[int], int, int]:
    """Random networks that differ; positions; networks that sent a spike."""
    from neuroport.backends.compiled_network import fits

    differ, positions, active = [], 0, 0
    for seed in seeds:
        case = network(seed)
        if case.graph.checked or not fits(case.graph):
            continue
        frames = case.frames[:, :3]
        want = port.run(case.graph, frames, on="reference")
        outcome = port.compare(want, ran(case.graph, frames))
        if not outcome:
            differ.append(seed)
        positions += outcome.positions
        active += any(want.sent(n) for n, kind in want.kinds.items() if kind == "lif")
    return differ, positions, active


@pytest.mark.parametrize("first", [0, 10, 20])
def test_random_networks_send_what_the_reference_sends(
    interpreted: Callable[..., Any], first: int
) -> None:
    differ, positions, active = interpreted(drawn, range(first, first + 10))
    assert differ == []
    assert positions > 10_000
    assert active > 5


def graph_of(bits: int, signed: bool, weight: int) -> Graph:
    """Seven synapses of weights up to ``weight`` meet, and a delayed one and a graded relay."""
    rng = np.random.default_rng(weight)
    nodes: list[Any] = [Input("frames", (3, 5, 4), bits, signed)]
    for number in range(7):
        kernel = rng.integers(-weight, weight + 1, (5, 3, 3, 2))
        kernel.flat[:2] = weight, -weight
        geometry = {"padding": (1, 2), "stride": (2, 1), "dilation": (1, 1 + number % 2)}
        if number % 2:
            geometry = {"padding": (1, 2), "stride": (2, 1), "dilation": (1, 2)}
        nodes.append(Conv(f"conv{number}", ("frames",), kernel, **geometry))
    drives = tuple(node.name for node in nodes[1:] if node.dilation == (1, 2))
    own = rng.integers(-50, 50, (5, 3, 6))
    size = 5 * 3 * 6
    late = rng.integers(0, 4, (4, size))
    nodes += [
        Lif(
            "neuron",
            drives,
            threshold=np.arange(5) * weight // 2 + 100,
            current_decay=np.array([4096, 0, 100, 2000, 4095]),
            voltage_decay=np.array([4096, 0, 100, 2000, 4095]),
            bias=own,
        ),
        Relay("graded", drives[:2], shift=weight.bit_length() + bits - 6, threshold=5),
        Delay("later", ("neuron",), 2),
        Dense("b", ("later",), rng.integers(-99, 99, (4, size)), delay=late),
        Dense("c", ("graded",), rng.integers(-2, 3, (4, size))),
        Readout("answer", ("b", "c"), bias=np.arange(4)),
    ]  # fmt: skip
    return Graph(nodes, 5)


def digits(bits: int, signed: bool, weight: int) -> tuple[str, float]:
    """How they compare, and the rate of the neurons; or that the kernels do not take it."""
    from neuroport.backends.gpu_network import NotFittingError

    graph = graph_of(bits, signed, weight)
    least, most = -(1 << (bits - 1)) if signed else 0, (1 << (bits - signed)) - 1
    frames = np.random.default_rng(0).integers(least, most + 1, (5, 3, 3, 5, 4))
    frames.flat[:2] = least, most
    want = port.run(graph, frames, on="reference")
    try:
        outcome = port.compare(want, ran(graph, frames))
    except NotFittingError:
        return "not taken", 0.0
    return str(bool(outcome)), float(want["neuron"].mean())


@pytest.mark.parametrize("weight", [127, 254, 255, (1 << 14) - 1])
@pytest.mark.parametrize(("bits", "signed"), [(1, False), (7, False), (8, True), (8, False)])
def test_values_and_weights_of_one_and_two_digits_add_up_exactly(
    interpreted: Callable[..., Any], bits: int, signed: bool, weight: int
) -> None:
    equal, rate = interpreted(digits, bits, signed, weight)
    assert equal == "True"
    assert 0.02 < rate < 0.98


@pytest.mark.parametrize(("bits", "signed", "weight"), [(15, True, 3), (14, False, 3)])
def test_messages_of_fifteen_bits_are_the_largest(
    interpreted: Callable[..., Any], bits: int, signed: bool, weight: int
) -> None:
    assert interpreted(digits, bits, signed, weight)[0] == "True"
    assert interpreted(digits, bits + 1, signed, weight)[0] == "not taken"


def test_weights_of_fifteen_bits_are_the_largest(interpreted: Callable[..., Any]) -> None:
    assert interpreted(digits, 1, False, (1 << 14) + 1)[0] == "not taken"


def counted(granularity: str) -> bool:
    graph = graph_of(4, False, 127)
    frames = np.random.default_rng(0).integers(0, 16, (5, 3, 3, 5, 4))
    record = {"record": "counts", "granularity": granularity}
    want, got = port.run(graph, frames, on="reference", **record), ran(graph, frames, **record)
    same = [np.array_equal(want.counts[name], got.counts[name]) for name in want.counts]
    same += [np.array_equal(want.messages[name], got.messages[name]) for name in want.messages]
    assert any(array.any() for array in want.counts.values())
    return len(same) == 3 and all(same)


@pytest.mark.parametrize("granularity", ["neuron", "channel", "layer"])
def test_counts_are_those_of_the_reference(
    interpreted: Callable[..., Any], granularity: str
) -> None:
    assert interpreted(counted, granularity)


def fault(where: str) -> str | None:
    """What the self-test finds where a kernel does something else."""
    from neuroport.backends import gpu_network
    from neuroport.backends.fast import TorchArithmetic
    from neuroport.kernels import triton_network

    kept = {name: getattr(triton_network, name) for name in ("DIGIT", "count", "relay", "neuron")}
    if where == "digits":
        triton_network.DIGIT = 6
    elif where == "count":
        triton_network.count = lambda x: kept["count"](x) + 1
    elif where == "relay":
        triton_network.relay = lambda values, shift, threshold, kind: kept["relay"](
            values, shift, threshold + 1, kind
        )
    elif where == "neuron":
        triton_network.neuron = lambda values, steps, **given: kept["neuron"](
            values, steps, **{**given, "memory": False}
        )
    try:
        return gpu_network.fault_of(CPU, TorchArithmetic, 12)
    finally:
        for name, value in kept.items():
            setattr(triton_network, name, value)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("nowhere", None),
        ("digits", "a population of kind 'lif' differs from the CPU's"),
        ("count", "counts of every layer differ from the CPU's"),
        ("relay", "a population of kind 'relay' differs from the CPU's"),
        ("neuron", "a population of kind 'lif' differs from the CPU's"),
    ],
)
def test_kernels_that_compute_something_else_are_found_before_they_are_used(
    interpreted: Callable[..., Any], where: str, found: str | None
) -> None:
    assert interpreted(fault, where) == found


def test_the_self_test_has_large_and_small_layers_and_active_neurons() -> None:
    from neuroport.backends.compiled_network import every_operation, fits

    graph = every_operation(64)
    assert fits(graph)
    rows = [np.prod(graph.facts(node.name).shape[1:]) * 4 for node in graph.synapses]
    assert min(rows) < 1 << 14 <= max(rows)
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 64, 64))
    trace = port.run(graph, frames, on="fast")
    for name in ("first", "second", "third"):
        assert 0.1 < trace[name].mean() < 0.9
    assert 0.1 < (trace["graded"] != 0).mean() < 1
    assert abs(trace["graded"]).max() > 127


def collisions() -> list[bool]:
    """Nodes whose names are those that values inside of the engine once had."""
    kernel = np.array([[[[3]]]])
    found = []
    for name in ("b/0", "a+4", "x@1/1", "frames", "0", "1"):
        nodes = [
            Input("x", (1, 2, 2), 4),
            Conv("b", ("x",), -kernel),
            Conv("a", ("x",), kernel),
            Lif(name, ("a",), threshold=np.array([1])),
            Lif("out", ("b",), threshold=np.array([0])),
            Conv("c", ("out", name), kernel),
            Readout("answer", ("c",), bias=np.array([0])),
        ]
        graph = Graph(nodes, 1)
        frames = np.full((1, 1, 1, 2, 2), 5)
        want = port.run(graph, frames, on="reference")
        found.append(bool(port.compare(want, ran(graph, frames))))
    return found


def test_nodes_may_have_any_name(interpreted: Callable[..., Any]) -> None:
    assert all(interpreted(collisions))


def unfit(graph: Graph) -> str:
    from neuroport.backends import gpu_network

    class OutOfResources(Exception):  # noqa: N818 - Triton's, whose place differs by version
        __module__ = "triton.runtime.errors"

    def fails(*_: Any) -> None:
        raise OutOfResources("out of resource: shared memory")

    network = gpu_network.GpuNetwork(graph, CPU)
    network._found = fails
    frames = np.zeros((5, 1, 3, 5, 4), np.int64)
    try:
        network.fill(frames, {})
    except BackendError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def test_kernels_that_do_not_fit_a_gpu_are_told_with_what_to_do(
    interpreted: Callable[..., Any],
) -> None:
    said = interpreted(unfit, graph_of(1, False, 127))
    assert said.startswith("BackendError: the kernels of 'fast' do not run on cpu (")
    assert "NEUROPORT_KERNELS=off" in said


def test_more_positions_than_the_kernels_number_are_refused() -> None:
    from neuroport.kernels import triton_network

    weights = triton_network.Weights(torch.ones(1, 1, 1, 1, dtype=torch.int64), 0, 1, CPU)
    many = torch.empty(1, dtype=torch.int8).expand(1 << 15, 1 << 8, 1 << 8, 1)
    with pytest.raises(BackendError, match=r"2,147,483,648 positions .*; lower batch"):
        triton_network.synapse(many, weights, (1, 1), (0, 0), (1, 1), torch.int8)


def test_only_graphs_in_ideal_time_on_a_gpu_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from neuroport.backends import compiled_network, fast, gpu_network

    graph, gpu = graph_of(1, False, 127), torch.device("cuda", 0)
    monkeypatch.setattr(gpu_network, "_usable", lambda device, plain: True)
    monkeypatch.setattr(gpu_network, "GpuNetwork", lambda graph, device: "taken")
    monkeypatch.setattr(fast, "TorchArithmetic", lambda graph, device: "torch")
    assert fast.arithmetic_for(graph, gpu, "ideal") == "taken"
    assert fast.arithmetic_for(graph, gpu, "chip") == "torch"
    assert isinstance(fast.arithmetic_for(graph, CPU, "ideal"), compiled_network.CompiledNetwork)
    declared = Graph(graph.nodes, graph.steps, checked={"neuron": 1 << 16})
    assert fast.arithmetic_for(declared, gpu, "ideal") == "torch"
    monkeypatch.setenv("NEUROPORT_KERNELS", "off")
    assert fast.arithmetic_for(graph, gpu, "ideal") == "torch"
