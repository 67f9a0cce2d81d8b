"""Statistics against brute force: every count is repeated one message and one weight at a time."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest

from neuroport.analysis.energy import energy
from neuroport.analysis.statistics import Statistics, fan_out, statistics
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError, FramesError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.delay import Delay
from neuroport.graph.kinds.lif import Recurrent
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay
from neuroport.lowering.latency import balance_latency
from neuroport.runs.trace import Trace


def sparse(*shape: int) -> np.ndarray:
    """Even weights, about a third of them zero."""
    random = np.random.default_rng(shape)
    return random.integers(-4, 5, shape) * 2 * (random.random(shape) < 0.75)


def brute_fan_out(graph: Graph, node: Conv) -> np.ndarray:
    """One output neuron and one tap at a time."""
    shape, out = graph.facts(node.inputs[0]).shape, graph.facts(node.name).shape
    fan = np.zeros(shape, int)
    inputs, outputs = shape[0] // node.groups, out[0] // node.groups
    for o, y, x in product(*map(range, out)):
        for i, ky, kx in product(*map(range, node.weight.shape[1:])):
            row = y * node.stride[0] - node.padding[0] + ky * node.dilation[0]
            column = x * node.stride[1] - node.padding[1] + kx * node.dilation[1]
            inside = 0 <= row < shape[1] and 0 <= column < shape[2]
            if inside and node.weight[o, i, ky, kx] != 0:
                fan[(o // outputs) * inputs + i, row, column] += 1
    return fan


def brute_operations(messages: np.ndarray, fan: np.ndarray) -> float:
    """Per sample, one message at a time."""
    total = sum(fan[at[2:]] for at in np.ndindex(*messages.shape) if messages[at] != 0)
    return total / messages.shape[1]


def single(conv: Conv, shape: tuple[int, int, int]) -> Graph:
    return Graph([Input("input", shape), conv], steps=1)


def residual() -> Graph:
    """A membrane shortcut around one block, carried by relays after balancing."""
    nodes: list[Node] = [
        Input("input", (2, 5, 5), bits=1),
        Conv("stem", ("input",), sparse(4, 2, 3, 3), padding=(1, 1)),
        Lif("first", ("stem",), threshold=6),
        Conv("conv1", ("first",), sparse(4, 2, 3, 3), padding=(1, 1), groups=2),
        Lif("second", ("conv1",), threshold=4),
        Conv("conv2", ("second",), sparse(4, 4, 3, 3), padding=(1, 1)),
        Lif("last", ("conv2", "stem"), threshold=8),
        Dense("fc", ("last",), sparse(3, 100)),
        Readout("out", ("fc",)),
    ]
    return balance_latency(Graph(nodes, steps=3))


def frames(samples: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, (3, samples, 2, 5, 5))


def run() -> tuple[Graph, Trace, np.ndarray]:
    graph, given = residual(), frames()
    return graph, Reference().run(graph, given), given


def without(trace: Trace, *names: str) -> Trace:
    kept = {name: array for name, array in trace.messages.items() if name not in names}
    return Trace(kept, {name: trace.kinds[name] for name in kept}, trace.provenance)


@pytest.mark.parametrize(
    ("weight", "options"),
    [
        ((3, 2, 3, 3), {}),
        ((3, 2, 3, 3), {"padding": (1, 1)}),
        ((3, 2, 3, 3), {"padding": (1, 1), "stride": (2, 2)}),
        ((3, 2, 2, 2), {"stride": (2, 2)}),
        ((3, 2, 1, 1), {"stride": (3, 2)}),
        ((3, 2, 2, 3), {"padding": (0, 2), "stride": (1, 2), "dilation": (2, 1)}),
        ((3, 2, 5, 5), {"padding": (4, 3), "stride": (3, 1)}),
        ((6, 1, 3, 3), {"padding": (1, 1), "groups": 2}),
        ((2, 1, 1, 1), {"groups": 2}),
    ],
)
def test_fan_out_counts_border_taps_exactly(weight: tuple[int, ...], options: dict) -> None:
    conv = Conv("conv", ("input",), sparse(*weight), **options)
    graph = single(conv, (2, 7, 6))
    assert np.array_equal(fan_out(graph, "conv"), brute_fan_out(graph, conv))


def test_fan_out_at_a_corner_is_smaller_than_inside() -> None:
    conv = Conv("conv", ("input",), np.ones((1, 1, 3, 3), int), padding=(1, 1))
    fan = fan_out(single(conv, (1, 4, 4)), "conv")[0]
    assert fan.tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]


def test_fan_out_skips_zero_weights_of_a_dense_synapse() -> None:
    weight = np.array([[2, 0, 0, 4], [2, 0, -6, 0]])
    graph = Graph([Input("input", (1, 2, 2)), Dense("fc", ("input",), weight)], steps=1)
    assert fan_out(graph, "fc").tolist() == [[[2, 0], [1, 1]]]


def test_fan_out_of_a_population_is_refused() -> None:
    with pytest.raises(TypeError, match="only synapses"):
        fan_out(residual(), "first")


def test_operations_equal_a_count_of_every_message_and_weight() -> None:
    graph, trace, given = run()
    stats = statistics(graph, trace, given)
    sent = {**trace.messages, "input": given}
    expected = {}
    for node in graph:
        if isinstance(node, Conv):
            fan = brute_fan_out(graph, node)
        elif isinstance(node, Dense):
            fan = (node.weight != 0).sum(0).reshape(graph.facts(node.inputs[0]).shape)
        else:
            continue
        expected[node.name] = sum(brute_operations(sent[name], fan) for name in node.inputs)
    assert {s.name: s.operations for s in stats.synapses} == expected
    assert stats.operations == sum(expected.values()) > 0
    assert stats.not_counted == stats.not_recorded == ()


def test_summed_inputs_each_send_their_own_messages() -> None:
    nodes: list[Node] = [
        Input("input", (2, 3, 3), bits=1),
        Conv("a", ("input",), np.full((2, 2, 1, 1), 2)),
        Lif("left", ("a",), threshold=0),
        Lif("right", ("a",), threshold=2),
        Dense("join", ("left", "right"), np.ones((1, 18), int)),
        Readout("out", ("join",)),
    ]
    graph = Graph(nodes, steps=2)
    trace = Reference().run(graph, np.ones((2, 1, 2, 3, 3), int))
    join = statistics(graph, trace).synapses[-1]
    assert join.operations == trace["left"].sum() + trace["right"].sum() == 72
    assert join.ceiling == 72


def one_by_one(graph: Graph, sent: dict[str, np.ndarray]) -> tuple[int, int]:
    """Operations, and those of a chip, which copies currents: each message, each weight."""

    def origins(name: str, late: int = 0) -> list[tuple[str, int]]:
        node = graph[name]
        if not isinstance(node, Delay):
            return [(name, late)]
        return [found for each in node.inputs for found in origins(each, late + node.steps)]

    plain = chip = 0
    for node in graph:
        if isinstance(node, Dense):
            weight, delay = node.weight, np.broadcast_to(node.delay, node.weight.shape)
            heard = [found for name in node.inputs for found in origins(name)]
            copies = [name for p in graph.populations for name in p.inputs].count(node.name)
        elif isinstance(node, Recurrent):
            weight, delay = node.weight, np.ones_like(node.weight)
            heard, copies = [(node.name, 0)], 1
        else:
            continue
        for source, late in heard:
            for step, _, neuron in np.argwhere(sent[source]):
                for to in np.flatnonzero(weight[:, neuron]):
                    if step + late + delay[to, neuron] < graph.steps:
                        plain, chip = plain + 1, chip + copies
    return plain, chip


def every_delay() -> tuple[Graph, np.ndarray]:
    """A network in which messages take longer in every way, and currents are taken twice."""
    random = np.random.default_rng(5)
    nodes: list[Node] = [
        Input("input", (4,), bits=1),
        Dense("in", ("input",), 2 * random.integers(0, 9, (5, 4))),
        Lif("twice", ("in", "in"), threshold=20),
        Lif("once", ("in",), threshold=15),
        Delay("both", ("twice", "once"), 1),
        Dense(
            "late",
            ("both",),
            2 * random.integers(0, 4, (5, 5)),
            delay=random.integers(0, 4, (5, 5)),
        ),
        Recurrent("itself", ("late",), 2 * random.integers(0, 3, (5, 5)), threshold=9),
        Dense("out", ("itself", "both"), 2 * random.integers(0, 2, (2, 5))),
        Readout("readout", ("out",)),
    ]
    return Graph(nodes, steps=5), random.integers(0, 2, (5, 3, 4))


def test_operations_of_messages_that_take_longer_are_those_of_energy_and_of_a_count() -> None:
    graph, given = every_delay()
    trace = Reference().run(graph, given)
    plain, chip = one_by_one(graph, {**trace.messages, "input": given})
    stats, work = statistics(graph, trace, given), energy(graph, trace, given).work
    assert round(3 * stats.operations, 6) == plain
    assert round(3 * (work.accumulates + work.multiplies), 6) == plain
    assert round(3 * work.chip_operations, 6) == chip > plain
    assert stats.not_counted == ()
    assert [s.name for s in stats.synapses] == ["in", "late", "itself", "out"]
    ones = {name: np.ones_like(array) for name, array in trace.messages.items()}
    assert 3 * stats.ceiling == one_by_one(graph, {**ones, "input": np.ones_like(given)})[0]


def test_counts_do_not_tell_which_messages_come_too_late() -> None:
    graph, given = every_delay()
    stats = statistics(graph, Reference().run(graph, given, record="counts"), given)
    assert stats.not_counted == ("late", "itself", "out")
    assert [s.missing for s in stats.synapses[1:]] == [("both",), ("itself",), ("both",)]


def test_spikes_and_rates_are_means_per_neuron_sample_and_step() -> None:
    graph, trace, _ = run()
    stats = statistics(graph, trace)
    lifs = [p for p in stats.populations if p.kind == "lif"]
    assert [p.name for p in lifs] == ["first", "second", "last"]
    for p in lifs:
        assert p.spikes == trace[p.name].sum() > 0
        assert p.spikes_per_neuron == pytest.approx(trace[p.name].sum((0,)).mean())
        assert p.rate == pytest.approx(trace[p.name].mean())
    everything = np.concatenate([trace[p.name].reshape(3, 4, -1) for p in lifs], axis=2)
    assert stats.spikes_per_neuron == pytest.approx(everything.sum(0).mean())


def test_updates_include_relays_and_readouts() -> None:
    graph, trace, _ = run()
    relays = sum(isinstance(node, Relay) for node in graph)
    assert relays == 2
    assert statistics(graph, trace).updates == 3 * (100 * (3 + relays) + 3)


def test_a_readout_sends_nothing() -> None:
    graph, trace, _ = run()
    readout = statistics(graph, trace).populations[-1]
    assert (readout.kind, readout.spikes, readout.rate) == ("readout", 0, 0.0)


def test_without_frames_the_first_synapse_is_not_counted() -> None:
    graph, trace, given = run()
    bare, full = statistics(graph, trace), statistics(graph, trace, given)
    assert bare.not_counted == ("stem",)
    stem = bare.synapses[0]
    assert (stem.operations, stem.missing) == (None, ("input",))
    assert bare.operations == full.operations - (full.synapses[0].operations or 0)
    assert bare.ceiling == full.ceiling - full.synapses[0].ceiling


def test_populations_that_the_trace_lacks_are_named_and_never_zero() -> None:
    graph, trace, given = run()
    relays = [node.name for node in graph if isinstance(node, Relay)]
    stats = statistics(graph, without(trace, *relays), given)
    assert stats.not_recorded == tuple(relays)
    assert stats.not_counted == tuple(f"{name}.identity" for name in relays)
    missing = [p for p in stats.populations if p.name in relays]
    assert {(p.spikes, p.spikes_per_neuron, p.rate) for p in missing} == {(None, None, None)}


def test_a_synapse_with_one_unrecorded_source_is_not_counted() -> None:
    given = frames()
    lowered = Graph(
        [
            Input("input", (2, 5, 5), bits=1),
            Conv("stem", ("input",), np.ones((1, 2, 1, 1), int)),
            Lif("a", ("stem",), threshold=0),
            Relay("b", ("stem",)),
            Dense("fc", ("a", "b"), np.ones((1, 25), int)),
            Readout("out", ("fc",)),
        ],
        steps=3,
    )
    stats = statistics(lowered, without(Reference().run(lowered, given), "b"), given)
    assert stats.synapses[-1].missing == ("b",)
    assert stats.synapses[-1].operations is None


def test_graded_messages_are_told_from_spikes() -> None:
    graph, trace, _ = run()
    graded = {s.name: s.graded for s in statistics(graph, trace).synapses}
    assert graded.pop("last.carry0.identity")
    assert graded.pop("last.carry1.identity")
    assert not any(graded.values())


def test_a_trace_of_another_network_is_refused() -> None:
    graph, trace, _ = run()
    other = Trace({"foreign": np.zeros((3, 4, 2), bool)}, {"foreign": "lif"})
    with pytest.raises(CompareError, match="no population of the graph"):
        statistics(graph, other)
    cut = Trace({"first": trace["first"][:2]}, {"first": "lif"})
    with pytest.raises(CompareError, match="first: the trace holds"):
        statistics(graph, cut)


def test_a_trace_of_a_network_of_the_same_shapes_is_refused() -> None:
    graph, trace, given = run()
    weight = graph["stem"].weight.copy()  # type: ignore[attr-defined]
    weight[weight != 0] = 2
    nodes = [node.replace(weight=weight) if node.name == "stem" else node for node in graph]
    other = Graph(nodes, graph.steps, graph.interval)
    with pytest.raises(CompareError, match=f"of network {graph.hash[:12]}, the graph is"):
        statistics(other, trace, given)


def test_frames_of_another_run_are_refused() -> None:
    graph, trace, given = run()
    with pytest.raises(FramesError, match="2 samples of frames, 4 in the trace"):
        statistics(graph, trace, given[:, :2])
    with pytest.raises(CompareError, match="other frames"):
        statistics(graph, trace, 1 - given)


def test_statistics_become_json() -> None:
    graph, trace, given = run()
    stats = statistics(graph, trace, given)
    assert isinstance(stats, Statistics)
    stored = json.loads(json.dumps(stats.to_dict()))
    assert stored["operations"] == stats.operations
    assert stored["populations"][0]["name"] == stats.populations[0].name
