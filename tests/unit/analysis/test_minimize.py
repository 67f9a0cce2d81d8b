"""A difference becomes small, and is still a difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.analysis import differing_case, extraction
from neuroport.analysis.compare import compare
from neuroport.analysis.delta_debugging import ddmin
from neuroport.analysis.fault_models import at_or_above
from neuroport.analysis.fault_simulation import Plan, Rules, rerun
from neuroport.analysis.minimization_result import Minimized
from neuroport.analysis.minimize import minimize
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay, Synapse
from neuroport.lowering.latency import balance_latency
from neuroport.runs.trace import Trace

STEPS, SAMPLES = 4, 5


def residual(blocks: int = 4) -> Graph:
    """Blocks of two convolutions with a membrane shortcut, a stride, a projection, a readout."""
    rng = np.random.default_rng(3)

    def conv(name: str, source: str, out: int = 3, into: int = 3, stride: int = 1) -> Conv:
        weight = 2 * rng.integers(-4, 6, (out, into, 3, 3))
        return Conv(name, (source,), weight, stride=(stride, stride), padding=(1, 1))

    nodes: list[Node] = [Input("frames", (1, 8, 8), bits=4), conv("stem", "frames", 3, 1)]
    stream: tuple[str, ...] = ("stem",)
    for i in range(blocks):
        stride = 2 if i == 1 else 1
        nodes += [
            Lif(f"{i}.first", stream, 20 + 10 * i, voltage_decay=400, bias=[1, 2, 3]),
            conv(f"{i}.conv1", f"{i}.first", stride=stride),
            Lif(f"{i}.second", (f"{i}.conv1",), 8),
            conv(f"{i}.conv2", f"{i}.second"),
        ]
        if stride == 2:
            nodes.append(Relay(f"{i}.relay", stream, shift=5))
            nodes.append(conv(f"{i}.projection", f"{i}.relay", stride=2))
            stream = (f"{i}.projection",)
        stream = (*stream, f"{i}.conv2")
    nodes += [
        Lif("last", stream, 30),
        Dense("classes", ("last",), 2 * rng.integers(-4, 5, (4, 48))),
        Readout("potential", ("classes",)),
    ]
    return Graph(nodes, STEPS)


def frames() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 16, (STEPS, SAMPLES, 1, 8, 8))


def with_weight(graph: Graph, name: str, index: tuple[int, ...], by: int = 2) -> Graph:
    (node,) = [n for n in graph if n.name == name]
    weight = node.weight.copy()  # type: ignore[union-attr]
    weight[index] += by
    nodes = [replace(n, weight=weight) if n is node else n for n in graph]  # type: ignore[call-arg]
    return Graph(nodes, graph.steps)


def differs(small: Minimized, engine: Callable[..., Trace] | None = None) -> bool:
    want = Reference().run(small.graph, small.frames)
    got = (engine or Reference().run)(small.other, small.frames)
    return not compare(want, got)


@pytest.mark.parametrize("lowered", [False, True])
@pytest.mark.parametrize("name", ["stem", "0.conv2", "1.conv1", "1.projection", "3.conv2"])
def test_one_wrong_weight_of_twenty_nodes_ends_in_four_nodes_or_fewer(
    name: str, lowered: bool, tmp_path: Path
) -> None:
    graph = balance_latency(residual()) if lowered else residual()
    assert len(graph) >= 20
    other = with_weight(graph, name, (1, 0, 1, 1), 30)
    assert not compare(*(Reference().run(g, frames()) for g in (graph, other)))
    small = minimize(graph, other, frames())
    assert len(small.graph) <= 4
    assert len(small.other) <= 4
    assert differs(small)
    assert small.frames.shape[1] == 1
    assert small.before[0] == len(graph)
    assert small.after == small_size(small) <= small.before
    # what was written is what was seen
    net, other_net, npy = small.save(tmp_path / "small.net")
    assert (net.name, other_net.name, npy.name) == ("small.net", "small.other.net", "small.npy")
    want, got = (port.run(port.read(path), np.load(npy)) for path in (net, other_net))
    outcome = port.compare(
        want, got, graph=port.read(net), other=port.read(other_net), frames=np.load(npy)
    )
    assert not outcome
    assert outcome.first == small.first
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.node) == ("scale", name)


def small_size(small: Minimized) -> tuple[int, int]:
    return max(
        (len(g), sum(n.weight.size for n in g if isinstance(n, Synapse)))
        for g in (small.graph, small.other)
    )


def test_what_is_left_cannot_do_without_any_value_of_its_frames() -> None:
    graph = residual()
    small = minimize(graph, with_weight(graph, "1.conv1", (1, 0, 1, 1), 30), frames())
    for place in np.argwhere(small.frames):
        fewer = small.frames.copy()
        fewer[tuple(place)] = 0
        case = replace(small, frames=fewer)
        first = compare(*(Reference().run(g, fewer) for g in (case.graph, case.other))).first
        assert first is None or first.population != small.first.population


def faulty(plan: Plan) -> Callable[..., Trace]:
    def run(graph: Graph, data: np.ndarray) -> Trace:
        right = Reference().run(graph, data)
        messages = {
            name: array.astype(right[name].dtype) for name, array in rerun(graph, data, plan)
        }
        return Trace(messages, right.kinds, {"engine": "faulty"})

    return run


@pytest.mark.parametrize(
    ("plan", "nodes", "samples"),
    [
        (Plan(Rules(fires=at_or_above)), 3, 1),
        (Plan(Rules(round=lambda x, shift: x >> shift)), 3, 1),
        (Plan(stream=True, resets="first"), 3, 2),
    ],
)
def test_fault_of_an_engine_ends_in_one_neuron(plan: Plan, nodes: int, samples: int) -> None:
    graph = balance_latency(residual())
    engine = faulty(plan)
    small = minimize(graph, engine, frames())
    assert small.other is small.graph
    assert differs(small, engine)
    assert len(small.graph) == nodes
    assert small.frames.shape[1] == samples
    assert small.graph.balanced


def test_fault_that_needs_its_surroundings_keeps_them() -> None:
    """An engine that is wrong in networks of two neuron populations and more, and nowhere else."""
    graph = residual()

    def engine(given: Graph, data: np.ndarray) -> Trace:
        right = Reference().run(given, data)
        lifs = [name for name, kind in right.kinds.items() if kind == "lif"]
        if len(lifs) >= 2 and "1.second" in lifs:
            right.messages["1.second"][-1, -1] ^= True
        return right

    small = minimize(graph, engine, frames())
    assert differs(small, engine)
    assert len(small.graph) < len(graph) / 2
    assert sum(isinstance(n, Lif) for n in small.graph) == 2


def test_fault_of_a_whole_layer_keeps_the_layer() -> None:
    graph = residual()

    def engine(given: Graph, data: np.ndarray) -> Trace:
        right = Reference().run(given, data)
        wide = [name for name in ("1.second",) if right[name].ndim == 5]
        for name in wide:
            right.messages[name][0, 0, 0, 0, 0] ^= True
        return right

    small = minimize(graph, engine, frames())
    assert differs(small, engine)
    assert [n.name for n in small.graph] == ["frames", "1.conv1", "1.second"]
    assert small.frames.shape[0] == small.frames.shape[1] == 1
    assert not small.frames.any()


def test_what_does_not_differ_is_refused() -> None:
    graph = residual()
    with pytest.raises(CompareError, match="nothing differs"):
        minimize(graph, "reference", frames())
    with pytest.raises(CompareError, match="nothing differs"):
        minimize(graph, balance_latency(graph), frames())


def test_interrupt_returns_the_best_so_far() -> None:
    graph = residual()
    other = with_weight(graph, "3.conv2", (1, 0, 1, 1), 30)
    for after in (1, 2, 3, 5, 8):
        left = [after]

        def engine(given: Graph, data: np.ndarray, left: list[int] = left) -> Trace:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return Reference().run(given, data)

        small = minimize(graph, other, frames(), on=engine)
        assert small.interrupted
        assert "interrupted" in str(small)
        assert differs(small)
    with pytest.raises(KeyboardInterrupt):
        minimize(graph, other, frames(), on=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))


def test_what_is_returned_was_run() -> None:
    graph = residual()
    other = with_weight(graph, "1.projection", (1, 0, 1, 1), 30)
    runs: list[tuple[Graph, Any]] = []

    def engine(given: Graph, data: np.ndarray) -> Trace:
        runs.append((given, data))
        return Reference().run(given, data)

    small = minimize(graph, other, frames(), on=engine)
    assert small.tests == len(runs)
    assert any(given is small.other and data is small.frames for given, data in runs)
    assert differs(small)


def test_progress_is_told_as_it_becomes_smaller() -> None:
    graph = residual()
    lines: list[str] = []
    minimize(graph, with_weight(graph, "0.conv1", (1, 0, 1, 1), 30), frames(), report=lines.append)
    assert [line.split(":")[0] for line in lines][:4] == [
        "samples",
        "steps",
        "what is downstream",
        "what is upstream",
    ]


def test_cropped_neuron_does_what_it_did_in_its_network() -> None:
    """Convolutions with strides, paddings, dilations, groups and delays, any neuron, any kept."""
    rng = np.random.default_rng(5)
    data = rng.integers(0, 2, (STEPS, 2, 4, 7, 6))
    graph = Graph(
        [
            Input("frames", (4, 7, 6), bits=1),
            Conv("a", ("frames",), rng.integers(-4, 5, (6, 2, 3, 2)), 1, (2, 1), (1, 2), (1, 2), 2),
            Conv("b", ("frames",), rng.integers(-4, 5, (6, 4, 3, 1)), 0, (2, 1), (1, 1), (1, 2)),
            Lif("neurons", ("a", "b", "a"), [3, 4, 5, 6, 7, 8], voltage_decay=100, bias=1),
            Dense(
                "c",
                ("neurons",),
                rng.integers(-4, 5, (3, 192)),
                delay=rng.integers(0, 3, (3, 192)),
            ),
            Readout("potential", ("c",), [1, 2, 3]),
        ],
        STEPS,
    )
    case = differing_case.Case(graph, graph, data)
    trace = Reference().run(graph, data)
    for name, neurons in (("neurons", [(0, 0, 0), (5, 3, 5), (3, 2, 1)]), ("potential", [(1,)])):
        inputs = graph[name].inputs
        for neuron in neurons:
            for kept in ((), (inputs[0],), tuple(dict.fromkeys(inputs))):
                small = extraction.one_neuron(case, trace, trace, name, neuron, kept)
                again = Reference().run(small.graph, small.frames)
                want = trace[name][(slice(None), slice(None), *neuron)]
                np.testing.assert_array_equal(again[name][:, :, 0], want)


def test_cropped_layer_does_what_it_did_in_its_network() -> None:
    graph = residual()
    trace = Reference().run(graph, frames())
    case = differing_case.Case(graph, graph, frames())
    for name in ("0.second", "1.first", "1.second", "2.second"):
        small = extraction.one_layer(case, trace, trace, name)
        again = Reference().run(small.graph, small.frames)
        np.testing.assert_array_equal(again[name], trace[name])


@pytest.mark.parametrize("needed", [[], [3], [0, 99], [5, 6, 7], list(range(0, 100, 17))])
def test_ddmin_finds_what_is_needed(needed: list[int]) -> None:
    tests = [0]

    def shows(items: list[int]) -> bool:
        tests[0] += 1
        return set(needed) <= set(items)

    assert ddmin(list(range(100)), shows) == needed
    assert tests[0] < 150
