"""A fault is planted, and exactly that fault is named as the cause.

The faulty engine below steps whole networks in chip time with arithmetic of its own; it shares
nothing with the reruns by which causes are found.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from neuroport.analysis.compare import Comparison, compare
from neuroport.backends.reference import convolve
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Readout, Relay, Synapse
from neuroport.lowering.latency import balance_latency
from neuroport.runs.trace import Trace, empty_messages

STEPS, SAMPLES = 5, 4
TOP = 2**23


@dataclass(frozen=True)
class Fault:
    """What the faulty engine does wrong; the defaults are right."""

    fires_at_equality: bool = False
    relays_floor: bool = False
    decays_floor: bool = False
    current_wraps: bool = True
    voltage_clips: bool = True
    resets: str = "each"  # or first, never
    reset_early: int = 0
    reset_with_frames: bool = False
    cut_early: int = 0
    cut_early_of: str | None = None
    late: tuple[str, int] | None = None  # a synapse that takes so many steps more
    drop: tuple[str, str] | None = None  # an input that a population does not receive
    no_bias: bool = False


def engine(graph: Graph, frames: np.ndarray, fault: Fault) -> Trace:
    """Chip time, step by step, sample after sample."""
    samples = frames.shape[1]
    raster: dict[str, list[np.ndarray]] = {node.name: [] for node in graph}
    shapes = {node.name: graph.facts(node.name).shape for node in graph}
    state = {name: (np.zeros(s, np.int64), np.zeros(s, np.int64)) for name, s in shapes.items()}
    queues = {}
    for node in graph:
        if isinstance(node, Synapse):
            slow = fault.late[1] if fault.late and fault.late[0] == node.name else 0
            zeros = np.zeros(shapes[node.name], np.int64)
            queues[node.name] = deque([zeros] * (1 + node.lag + slow))
    for time in range(STEPS * samples + graph.depth + 3):
        n, t = divmod(time, STEPS)
        out: dict[str, np.ndarray] = {}
        for node in graph:
            if isinstance(node, Input):
                frame = frames[t, n] if n < samples else np.zeros(node.shape)
                out[node.name] = frame.astype(np.int64)
            else:
                names = [i for i in node.inputs if fault.drop != (i, node.name)]
                total = sum((out[i] for i in names), np.zeros(shapes[node.inputs[0]], np.int64))
                out[node.name] = step(graph, node, total, state, queues, time, fault)
            raster[node.name].append(out[node.name])
    messages, kinds = empty_messages(graph.populations, shapes, STEPS, samples)
    for name, array in messages.items():
        early = fault.cut_early if fault.cut_early_of in (None, name) else 0
        for n in range(samples):
            first = graph.facts(name).latency + n * STEPS - early
            rows = [
                raster[name][i] if i >= 0 else 0 * raster[name][0]
                for i in range(first, first + STEPS)
            ]
            array[:, n] = rows
    return Trace(messages, kinds, {"engine": "faulty", "graph": graph.hash})


def step(
    graph: Graph, node: Any, total: np.ndarray, state: Any, queues: Any, time: int, fault: Fault
) -> np.ndarray:
    if isinstance(node, Synapse):
        if isinstance(node, Conv):
            product = convolve(total[None, None], node)[0, 0]
        else:
            product = node.weight @ total.reshape(-1)
        queues[node.name].append(product * 2**node.exponent)
        return queues[node.name].popleft()
    if isinstance(node, Relay):
        half = 0.0 if fault.relays_floor else 0.5
        message = np.floor(total / 2**node.shift + half * (node.shift > 0)).astype(np.int64)
        return np.where(abs(message) <= node.threshold, 0, message)
    latency = 0 if fault.reset_with_frames else graph.facts(node.name).latency
    since = time - (latency - fault.reset_early)
    due = {"each": since % STEPS == 0, "first": since == 0, "never": False}[fault.resets]
    u, v = state[node.name]
    if due:
        u, v = 0 * u, 0 * v
    bias = node.bias.reshape(-1, *[1] * (u.ndim - 1)) * (not fault.no_bias)

    def wrap(x: np.ndarray) -> np.ndarray:
        return (x + TOP - 1) % 2**24 - (TOP - 1) if fault.current_wraps else x

    def clip(x: np.ndarray) -> np.ndarray:
        return np.clip(x, 1 - TOP, TOP - 1) if fault.voltage_clips else x

    def leak(x: np.ndarray, rate: int) -> np.ndarray:
        exact = x * (4096 - rate) / 4096
        return (np.floor if fault.decays_floor else np.trunc)(exact).astype(np.int64)

    if isinstance(node, Readout):
        v = clip(v + wrap(64 * total) + 64 * bias)
        state[node.name] = (u, v)
        return v
    u = wrap(leak(u, int(node.current_decay[0])) + 64 * total)
    v = clip(leak(v, int(node.voltage_decay[0])) + u + 64 * bias)
    limit = 64 * node.threshold.reshape(-1, *[1] * (u.ndim - 1))
    spikes = v >= limit if fault.fires_at_equality else v > limit
    state[node.name] = (u, np.where(spikes, 0, v))
    return spikes.astype(np.int64)


def residual(scale: int = 0, bias: int = 3, seed: int = 1, lowered: bool = True) -> Graph:
    """Two shortcuts, a rounding relay, leaks, biases; ``scale`` makes currents overflow."""
    rng = np.random.default_rng(seed)

    def conv(name: str, *inputs: str) -> Conv:
        weight = 2 * rng.integers(-4, 6, (2, 2, 3, 3))
        return Conv(name, inputs, weight, scale, padding=(1, 1))

    def lif(name: str, *inputs: str, decays: tuple[int, int] = (4096, 0)) -> Lif:
        return Lif(name, inputs, 8 << scale, *decays, bias=[bias, bias - (bias > 0)])

    graph = Graph(
        [
            Input("frames", (2, 4, 4), bits=1),
            conv("stem", "frames"),
            lif("first", "stem"),
            conv("conv1", "first"),
            Relay("rounded", ("conv1",), shift=2),
            conv("conv2", "rounded"),
            lif("second", "conv2", "stem", decays=(3000, 300)),
            conv("conv3", "second"),
            lif("third", "conv3", "conv1"),
            Dense("classes", ("third",), 2 * rng.integers(-4, 5, (3, 32)), scale),
            Readout("potential", ("classes",), [1, 2, 3] if bias else 0),
        ],
        steps=STEPS,
    )
    return balance_latency(graph) if lowered else graph


def frames(samples: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 2, (STEPS, samples, 2, 4, 4))


def outcome_of(fault: Fault, graph: Graph | None = None, samples: int = SAMPLES) -> Comparison:
    graph, data = graph or residual(), frames(samples)
    want, got = Reference().run(graph, data), engine(graph, data, fault)
    return compare(want, got, graph=graph, frames=data)


def test_engine_without_a_fault_is_the_reference() -> None:
    for graph in (residual(), residual(scale=13, bias=4000)):
        want = Reference().run(graph, frames())
        assert compare(want, engine(graph, frames(), Fault()), graph=graph, frames=frames())
        assert all(want[name].any() for name, kind in want.kinds.items() if kind == "lif")


FAULTS = {
    "threshold equality": Fault(fires_at_equality=True),
    "rounding": Fault(relays_floor=True),
    "reset": Fault(resets="first"),
    "bias gating": Fault(reset_with_frames=True),
    "bias gating by one step": Fault(reset_early=1),
    "delay of all": Fault(cut_early=1),
    "delay of one": Fault(cut_early=2, cut_early_of="second"),
    "delay of an input": Fault(late=("conv3", 2)),
    "missing edge": Fault(drop=("conv3", "third")),
    "scale": Fault(no_bias=True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_the_cause_that_is_named(name: str) -> None:
    outcome = outcome_of(FAULTS[name])
    assert not outcome
    assert outcome.cause is not None
    kind = name.split(" of ")[0].split(" by ")[0]
    assert outcome.cause.kind == kind, str(outcome)
    assert outcome.cause.side == "got"
    assert outcome.cause.also == ()
    assert f"cause: {kind}: " in str(outcome)


@pytest.mark.parametrize("name", ["threshold equality", "reset", "bias gating", "delay of all"])
def test_many_samples_have_the_same_cause(name: str) -> None:
    outcome = outcome_of(FAULTS[name], samples=40)
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.also) == (name.split(" of ")[0], ())


def test_fault_that_ends_is_not_the_cause() -> None:
    """The last sample is as it should be: no fault that holds in every sample gives this."""
    graph, data = residual(), frames(40)
    want, got = Reference().run(graph, data), engine(graph, data, FAULTS["threshold equality"])
    assert not np.array_equal(want["first"][:, 39], got["first"][:, 39])
    for name, array in want.messages.items():
        got.messages[name][:, 39] = array[:, 39]
    outcome = compare(want, got, graph=graph, frames=data)
    assert outcome.cause is not None
    assert outcome.cause.kind == "unknown"


def test_decay_that_rounds_otherwise_is_rounding() -> None:
    outcome = outcome_of(Fault(decays_floor=True), residual(seed=120))
    assert not outcome
    assert outcome.cause is not None
    assert outcome.cause.kind == "rounding"
    assert outcome.cause.also == ()
    assert "decays floor" in outcome.cause.sentence


def test_causes_that_the_runs_cannot_tell_apart_are_both_named() -> None:
    outcome = outcome_of(Fault(decays_floor=True), residual(seed=39))
    assert outcome.cause is not None
    (other,) = outcome.cause.also
    assert outcome.cause.kind == "rounding"
    assert other.startswith("scale: ")
    assert "voltage decays are one too small" in other
    assert f"; or {other}" in str(outcome)


def test_sides_may_be_exchanged() -> None:
    graph = residual()
    want, got = engine(graph, frames(), Fault(resets="first")), Reference().run(graph, frames())
    outcome = compare(want, got, graph=graph, frames=frames())
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.side) == ("reset", "want")


@pytest.mark.parametrize("fault", [Fault(current_wraps=False), Fault(voltage_clips=False)])
def test_states_beyond_24_bits_are_told(fault: Fault) -> None:
    graph = residual(scale=13, bias=4000)
    outcome = outcome_of(fault, graph)
    assert outcome.cause is not None
    assert outcome.cause.kind == "saturation", str(outcome)
    assert ("current u" in outcome.cause.sentence) == (not fault.current_wraps)


def test_two_faults_at_once_are_unknown() -> None:
    outcome = outcome_of(Fault(fires_at_equality=True, relays_floor=True))
    assert outcome.cause is not None
    assert outcome.cause.kind == "unknown"
    assert outcome.cause.side == "got"


def test_one_flipped_spike_has_no_cause_but_a_neuron_at_fault() -> None:
    graph = residual()
    want = Reference().run(graph, frames())
    messages = {name: array.copy() for name, array in want.messages.items()}
    messages["second"][3, 2, 1, 0, 2] ^= True
    got = Trace(messages, want.kinds, want.provenance)
    outcome = compare(want, got, graph=graph, frames=frames())
    assert outcome.cause is not None
    assert outcome.cause.kind == "unknown"
    near = outcome.neighbourhood
    assert near is not None
    assert (near.population, near.sample, near.neuron) == ("second", 2, (1, 0, 2))
    assert near.fault == "got"
    assert [m.step for m in near.got] == [1, 2, 3]
    assert near.got[-1].should == int(want["second"][3, 2, 1, 0, 2]) == 1 - near.got[-1].recorded


def test_missing_reset_is_not_claimed_where_the_first_sample_differs() -> None:
    outcome = outcome_of(Fault(resets="never"))
    assert outcome.cause is not None
    assert outcome.cause.kind == "bias gating"
    assert "never reset" in outcome.cause.sentence
    # without a bias nothing precedes the first sample
    outcome = outcome_of(Fault(resets="never"), residual(bias=0))
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.also) == ("reset", ())


def test_reset_that_comes_early_is_no_matter_of_bias_where_there_is_none() -> None:
    outcome = outcome_of(Fault(reset_with_frames=True), residual(bias=0))
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.also) == ("reset", ())
    assert "by its latency too early" in outcome.cause.sentence


def test_run_of_a_network_that_was_not_given_is_told() -> None:
    graph = residual()
    other = changed(graph, "conv2", weight=weight_of(graph, "conv2", (1, 0, 2, 1), 8))
    want, got = Reference().run(graph, frames()), Reference().run(other, frames())
    outcome = compare(want, got, graph=graph, frames=frames())
    assert outcome.cause is not None
    assert outcome.cause.kind == "unknown"
    assert f"got was made by another network ({other.hash[:12]})" in outcome.cause.sentence
    with pytest.raises(CompareError, match="not the frames of the runs"):
        compare(want, got, graph=graph, frames=1 - frames())


# -- networks that differ ----------------------------------------------------------------------


def changed(graph: Graph, name: str, **values: Any) -> Graph:
    nodes = [replace(n, **values) if n.name == name else n for n in graph]
    return Graph(nodes, graph.steps, graph.interval)


def compared(graph: Graph, other: Graph) -> Comparison:
    want, got = Reference().run(graph, frames()), Reference().run(other, frames())
    return compare(want, got, graph=graph, other=other, frames=frames())


def weight_of(graph: Graph, name: str, index: tuple[int, ...], by: int) -> np.ndarray:
    weight = graph[name].weight.copy()  # type: ignore[union-attr]
    weight[index] += by
    return weight


def test_weight_that_differs_is_named_with_its_index() -> None:
    graph = residual()
    at = (1, 0, 2, 1)
    other = changed(graph, "conv2", weight=weight_of(graph, "conv2", at, 8))
    outcome = compared(graph, other)
    assert outcome.cause is not None
    found = outcome.cause
    assert (found.kind, found.side, found.node) == ("scale", "networks", "conv2")
    assert (found.field, found.index) == ("weight", at)
    value = int(graph["conv2"].weight[at])  # type: ignore[union-attr]
    assert f"weight[1, 0, 2, 1] is {value} in want and {value + 8} in got" in str(outcome)
    assert outcome.neighbourhood is not None
    assert outcome.neighbourhood.fault == "inputs"
    assert "conv2 gives" in outcome.neighbourhood.verdict


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("conv1", "exponent", 1),
        ("second", "bias", [3, 4]),
        ("third", "threshold", [8, 12]),
        ("second", "voltage_decay", 900),
    ],
)
def test_field_that_differs_is_named(name: str, field: str, value: Any) -> None:
    graph = residual()
    outcome = compared(graph, changed(graph, name, **{field: value}))
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.node, outcome.cause.field) == ("scale", name, field)
    if field != "exponent":
        assert outcome.neighbourhood is not None
        assert outcome.neighbourhood.fault == "constants"


def test_difference_that_does_nothing_is_not_the_cause() -> None:
    graph = residual()
    silent = changed(graph, "conv2", weight=weight_of(graph, "conv2", (0, 0, 0, 0), 0))
    harmless = changed(silent, "rounded", inputs=("conv1",))
    two = changed(changed(harmless, "potential", bias=[1, 2, 4]), "third", threshold=[8, 12])
    outcome = compared(graph, two)
    assert outcome.cause is not None
    assert (outcome.cause.node, outcome.cause.field) == ("third", "threshold")
    assert "1 other field" in outcome.cause.sentence
    # the stem comes first, and changes nothing: a threshold nobody reaches either way
    outcome = compared(graph, changed(changed(graph, "stem", lag=0), "third", threshold=[8, 12]))
    assert outcome.cause is not None
    assert "other field" not in outcome.cause.sentence


def test_edge_that_one_network_lacks_is_named() -> None:
    graph = residual()
    (kept, *_) = [n for n in graph["third"].inputs if n == "conv3"]
    for pair, side in (((graph, changed(graph, "third", inputs=(kept,))), "got"),):
        outcome = compared(*pair)
        assert outcome.cause is not None
        assert (outcome.cause.kind, outcome.cause.node) == ("missing edge", "third")
        assert f"in {side}" in outcome.cause.sentence
        backwards = compared(*reversed(pair))
        assert backwards.cause is not None
        assert backwards.cause.kind == "missing edge"
        assert "in want" in backwards.cause.sentence


def test_delay_that_differs_is_named() -> None:
    graph = residual()
    nodes = list(graph)
    at = next(i for i, n in enumerate(nodes) if n.name == "classes")
    nodes[at] = replace(nodes[at], inputs=("held",))
    one, two = (
        Graph([*nodes[:at], Delay("held", ("third",), k), *nodes[at:]], STEPS) for k in (1, 2)
    )
    outcome = compared(one, two)
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.node) == ("delay", "held")
    assert outcome.cause.field == "steps"


def test_networks_that_differ_without_an_effect_are_equal_and_said_to_differ() -> None:
    graph = residual()
    other = changed(graph, "third", threshold=[8, 8])
    assert other.hash != graph.hash
    assert compared(graph, other).networks is None  # one value for all is the same network
    unheard = Graph(
        [*graph, Dense("unheard", ("third",), np.ones((1, 32), int)), Relay("deaf", ("unheard",))],
        STEPS,
    )
    two = changed(unheard, "deaf", threshold=10**6)
    silent = changed(unheard, "deaf", threshold=10**6 + 1)
    outcome = compared(two, silent)
    assert outcome
    assert outcome.networks is not None
    text = "the networks differ (first: node 'deaf', threshold: 1000000 and 1000001), the spikes do"
    assert text in str(outcome)
    assert outcome.cause is None


def test_lowering_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    graph = Graph(
        [
            Input("frames", (2, 4, 4), bits=1),
            Conv("stem", ("frames",), 2 * rng.integers(-4, 6, (2, 2, 3, 3)), padding=(1, 1)),
            Lif("first", ("stem",), 3),
            Conv("conv", ("first",), 2 * rng.integers(-4, 6, (2, 2, 3, 3)), padding=(1, 1)),
            Lif("second", ("conv", "stem"), 3),
        ],
        STEPS,
    )
    lowered = balance_latency(graph)
    assert lowered.hash != graph.hash
    for pair in ((graph, lowered), (lowered, graph)):
        outcome = compared(*pair)
        assert outcome
        assert outcome.networks is None
        assert str(outcome).endswith(", 0 differ")


def test_shortcuts_that_are_not_held_back_are_a_delay() -> None:
    """The chip runs the network as it is: shortcuts arrive before the branches they bypass."""
    graph = residual(lowered=False)
    assert not graph.balanced
    outcome = outcome_of(Fault(), graph)
    assert outcome.cause is not None
    assert outcome.cause.kind == "delay"
    assert "unequal latency" in outcome.cause.sentence


# -- the table ---------------------------------------------------------------------------------


def test_neighbourhood_is_an_aligned_table_and_plain_values() -> None:
    outcome = outcome_of(FAULTS["threshold equality"])
    near = outcome.neighbourhood
    assert near is not None
    last = near.got[-1]
    assert last.v == last.limit
    assert (last.should, last.recorded, near.fault) == (0, 1, "got")
    assert "given what arrived, the neuron of got should have given 0 and gave 1" in near.verdict
    table = str(near).splitlines()[:-1]
    assert len({len(line) for line in table}) == 1
    assert table[0].split() == [
        "step", "run", "current", "u", "v", "threshold<<6", "bias", "should", "gave",
    ]  # fmt: skip
    assert len(table) == 1 + 2 * len(near.got)
    values = json.loads(json.dumps(outcome.to_dict()))
    assert values["neighbourhood"]["got"][-1]["v"] == last.v
    assert values["neighbourhood"]["verdict"] == near.verdict
    assert values["cause"]["kind"] == "threshold equality"
    assert str(near) in values["text"]


def test_current_of_the_table_is_the_sum_of_its_inputs() -> None:
    near = outcome_of(FAULTS["missing edge"]).neighbourhood
    assert near is not None
    for moment in (*near.want, *near.got):
        assert moment.current == sum(moment.inputs.values())
        assert len(moment.inputs) == 2


def test_inputs_that_arrived_otherwise_are_at_fault_not_the_neuron() -> None:
    """A relay that one run lacks was wrong: the neuron behind it did as it was told."""
    graph = residual()
    other = changed(graph, "rounded", shift=3)
    want, got = Reference().run(graph, frames()), Reference().run(other, frames())
    kept = {name: array for name, array in got.messages.items() if name != "rounded"}
    got = Trace(kept, {name: got.kinds[name] for name in kept}, got.provenance)
    outcome = compare(want, got, graph=graph, other=other, frames=frames())
    near = outcome.neighbourhood
    assert near is not None
    assert (near.population, near.fault) == ("second", "inputs")
    assert outcome.cause is not None
    assert (outcome.cause.kind, outcome.cause.node) == ("scale", "rounded")
