"""Random residual graphs: every engine time, every pass and every file mean the same network.

The network is also evaluated here, by a step-by-step interpreter that shares no line with the
package: one node after the other at every step, with its own arithmetic.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroport.backends.reference import Reference
from neuroport.backends.trace import Trace
from neuroport.errors import IllegalError
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay
from neuroport.lowering.skew import balance_skew

ENGINE = Reference()
TOP = 2**23
random_graphs = settings(max_examples=60, deadline=None)


@dataclass(frozen=True)
class Case:
    """A network and frames for it."""

    graph: Graph
    frames: np.ndarray

    def __repr__(self) -> str:
        return f"{self.graph}\nframes {self.frames.shape}"


# -- the strategy ----------------------------------------------------------------------------


class Builder:
    """Grows a graph node by node, from choices that hypothesis draws."""

    def __init__(self, draw: Any, steps: int) -> None:
        self.draw = draw
        self.steps = steps
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.nodes: list[Node] = []

    def add(self, node: Node) -> None:
        self.nodes.append(node)

    @property
    def graph(self) -> Graph:
        return Graph(self.nodes, self.steps)

    def name(self) -> str:
        return f"n{len(self.nodes)}"

    def even(self, shape: tuple[int, ...]) -> np.ndarray:
        return 2 * self.rng.integers(-4, 6, shape)

    def meeting(self, wire: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """One to three nodes of equal shape whose outputs are summed; the last ones are likely."""
        graph = self.graph
        names = [n.name for n in graph if graph.facts(n.name).wire == wire]
        first = names[-1 - min(self.draw(st.integers(0, 3)), len(names) - 1)]
        shape = graph.facts(first).shape
        equal = [name for name in names if graph.facts(name).shape == shape]
        more = [self.draw(st.sampled_from(equal)) for _ in range(self.draw(st.integers(0, 2)))]
        return (first, *more), shape

    def synapse(self) -> None:
        inputs, shape = self.meeting("messages")
        exponent = self.draw(st.sampled_from([0, 0, 1, 3]))
        if len(shape) != 3 or self.draw(st.integers(0, 5)) == 0:
            outputs = shape[0] if len(shape) == 1 else 4
            weight = self.even((outputs, int(np.prod(shape))))
            self.add(Dense(self.name(), inputs, weight, exponent))
            return
        if self.draw(st.booleans()):  # keeps the shape, so that shortcuts can meet
            kernel, stride, padding, dilation = (3, 3), (1, 1), (1, 1), (1, 1)
            channels = shape[0]
        else:
            kernel = self.pair(1, 3)
            stride = self.pair(1, 2)
            dilation = self.pair(1, 2)
            padding = self.pair(0, 2)
            channels = self.draw(st.sampled_from([2, 4, 6]))
        fits = all(
            n + 2 * p >= d * (k - 1) + 1
            for n, p, d, k in zip(shape[1:], padding, dilation, kernel, strict=True)
        )
        if not fits:
            kernel = (1, 1)
        groups = self.draw(
            st.sampled_from([g for g in (1, 2, 4) if shape[0] % g == channels % g == 0])
        )
        weight = self.even((channels, shape[0] // groups, *kernel))
        self.add(
            Conv(self.name(), inputs, weight, exponent, stride, padding, dilation, groups=groups)
        )

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    def bias(self, channels: int) -> np.ndarray:
        count = self.draw(st.sampled_from([1, channels]))
        return 2 * self.rng.integers(-4, 8, count)

    def population(self) -> None:
        inputs, shape = self.meeting("current")
        if self.draw(st.integers(0, 3)) == 0:
            graph = Graph([*self.nodes, Relay("probe", inputs)], self.steps)
            facts = graph.facts("probe")
            width = int(max(facts.high.max(), -facts.low.min())).bit_length()
            # a message of at most 8 bits, so that sums of sums keep within 24 bits
            shift = max(0, width - 8) + self.draw(st.integers(0, 2))
            threshold = self.draw(st.sampled_from([0, 0, 1, 5]))
            self.add(Relay(self.name(), inputs, shift, threshold))
            return
        rates = st.sampled_from([0, 1, 1000, 3072, 4095, 4096]) | st.integers(0, 4096)
        if self.draw(st.booleans()):  # no leak: even sums meet small even thresholds exactly
            current_decay, voltage_decay = 4096, 0
            threshold = self.draw(st.sampled_from([0, 2, 4, 8, 16]))
        else:
            current_decay, voltage_decay = self.draw(rates), self.draw(rates)
            threshold = self.draw(st.integers(0, 100))
        bias = self.bias(shape[0])
        self.add(Lif(self.name(), inputs, threshold, current_decay, voltage_decay, bias))


@st.composite
def cases(draw: Any) -> Case:
    steps = draw(st.integers(1, 6))
    build = Builder(draw, steps)
    bits, signed = draw(st.sampled_from([(1, False), (1, True), (4, False), (4, True)]))
    image = (draw(st.sampled_from([1, 2, 4])), draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    shape = draw(st.sampled_from([image, image, image, (7,)]))
    build.add(Input("frames", shape, bits, signed))
    for _ in range(draw(st.integers(2, 5))):
        build.synapse()
        if draw(st.integers(0, 3)) == 0:
            build.synapse()
        build.population()
    inputs, shape = build.meeting("messages")
    build.add(Dense("classes", inputs, build.even((3, int(np.prod(shape))))))
    build.add(Readout("potential", ("classes",), build.bias(3)))
    low, high = build.graph.facts("frames").low[0], build.graph.facts("frames").high[0]
    samples = draw(st.integers(1, 3))
    frames = build.rng.integers(low, high + 1, (steps, samples, *build.graph.input.shape))
    return Case(build.graph, frames)


# -- the interpreter -------------------------------------------------------------------------


def leak(x: np.ndarray, rate: int) -> np.ndarray:
    # products stay below 2**36 and the divisor is a power of two, so float64 is exact
    return np.trunc(x * float(4096 - rate) / 4096).astype(np.int64)


def wrapped(x: np.ndarray) -> np.ndarray:
    return (x + TOP - 1) % 2**24 - (TOP - 1)


def correlate(x: np.ndarray, node: Conv, shape: tuple[int, ...]) -> np.ndarray:
    """(N, C, H, W), one kernel tap and one group at a time."""
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in node.padding)))
    out = np.zeros((len(x), *shape), np.int64)
    inputs, outputs = x.shape[1] // node.groups, shape[0] // node.groups
    for group, ky, kx in product(range(node.groups), *map(range, node.weight.shape[2:])):
        y, z = ky * node.dilation[0], kx * node.dilation[1]
        taken = padded[
            :,
            group * inputs : (group + 1) * inputs,
            y : y + (shape[1] - 1) * node.stride[0] + 1 : node.stride[0],
            z : z + (shape[2] - 1) * node.stride[1] + 1 : node.stride[1],
        ]
        rows = slice(group * outputs, (group + 1) * outputs)
        out[:, rows] += np.einsum("oi,niyx->noyx", node.weight[rows, :, ky, kx], taken)
    return out


class Interpreter:
    """A network that is stepped as a whole; every node keeps its own state."""

    def __init__(self, graph: Graph, samples: int) -> None:
        self.graph = graph
        self.samples = samples
        self.state: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.delivered: dict[str, np.ndarray] = {}
        for node in graph:
            self.reset(node)
            self.delivered[node.name] = self.zeros(node)
        self.ties = 0

    def zeros(self, node: Node) -> np.ndarray:
        return np.zeros((self.samples, *self.graph.facts(node.name).shape), np.int64)

    def reset(self, node: Node) -> None:
        self.state[node.name] = (self.zeros(node), self.zeros(node))

    def step(self, frame: np.ndarray, chip: bool) -> dict[str, np.ndarray]:
        """Outputs of all nodes; in chip time a synapse delivers what it computed a step ago."""
        out: dict[str, np.ndarray] = {}
        for node in self.graph:
            result = self.output(node, [out[name] for name in node.inputs], frame)
            if chip and isinstance(node, (Conv, Dense)):
                result, self.delivered[node.name] = self.delivered[node.name], result
            out[node.name] = result
        return out

    def output(self, node: Node, inputs: list[np.ndarray], frame: np.ndarray) -> np.ndarray:
        if isinstance(node, Input):
            return frame
        total = np.sum(inputs, axis=0)
        shape = self.graph.facts(node.name).shape
        if isinstance(node, Conv):
            return correlate(total, node, shape) * 2**node.exponent
        if isinstance(node, Dense):
            return np.einsum("oi,ni->no", node.weight, total.reshape(len(total), -1)) * (
                2**node.exponent
            )
        if isinstance(node, Relay):
            rounded = np.floor(total / 2**node.shift + 0.5) if node.shift else total
            message = rounded.astype(np.int64)
            return np.where(np.abs(message) <= node.threshold, 0, message)
        u, v = self.state[node.name]
        bias = np.broadcast_to(
            node.bias.reshape(-1, *[1] * (len(shape) - 1)), (self.samples, *shape)
        )
        if isinstance(node, Readout):
            v = np.clip(v + wrapped(64 * total) + 64 * bias, 1 - TOP, TOP - 1)
            self.state[node.name] = (u, v)
            return v
        u = wrapped(leak(u, node.current_decay) + 64 * total)
        v = np.clip(leak(v, node.voltage_decay) + u + 64 * bias, 1 - TOP, TOP - 1)
        spikes = v > 64 * node.threshold
        self.ties += int((v == 64 * node.threshold).sum())
        self.state[node.name] = (u, np.where(spikes, 0, v))
        return spikes.astype(np.int64)


def interpret(case: Case) -> dict[str, np.ndarray]:
    """Outputs of all nodes in ideal time, (T, N, *shape)."""
    network = Interpreter(case.graph, case.frames.shape[1])
    outs = [network.step(frame, chip=False) for frame in case.frames]
    return {name: np.stack([out[name] for out in outs]) for name in outs[0]}


def interpret_chip(case: Case) -> dict[str, np.ndarray]:
    """The same from one network in chip time, samples back to back, each node's lag removed."""
    graph, steps = case.graph, case.graph.steps
    samples = case.frames.shape[1]
    network = Interpreter(graph, 1)
    outs = []
    for time in range(steps * samples + graph.depth):
        for node in graph:
            since = time - graph.facts(node.name).skew
            if since >= 0 and since % steps == 0:
                network.reset(node)
        sample, t = divmod(time, steps)
        frame = case.frames[t, sample] if sample < samples else np.zeros_like(case.frames[0, 0])
        outs.append(network.step(frame[None], chip=True))
    found = {}
    for node in graph:
        skew = graph.facts(node.name).skew
        window = np.stack([out[node.name][0] for out in outs[skew : skew + steps * samples]])
        by_sample = window.reshape(samples, steps, *window.shape[1:])
        found[node.name] = np.moveaxis(by_sample, 0, 1)
    return found


def agree(graph: Graph, want: Trace | dict[str, np.ndarray], got: Trace) -> None:
    """``got`` holds what ``want`` holds, for every population of ``graph``."""
    for node in graph.populations:
        np.testing.assert_array_equal(got[node.name], want[node.name], node.name)


# -- properties ------------------------------------------------------------------------------


@random_graphs
@given(cases())
def test_reference_in_ideal_time_is_the_interpreted_network(case: Case) -> None:
    trace = ENGINE.run(case.graph, case.frames)
    assert list(trace.messages) == [node.name for node in case.graph.populations]
    agree(case.graph, interpret(case), trace)


@random_graphs
@given(cases())
def test_balancing_changes_no_population(case: Case) -> None:
    balanced = balance_skew(case.graph)
    agree(case.graph, ENGINE.run(case.graph, case.frames), ENGINE.run(balanced, case.frames))


@random_graphs
@given(cases())
def test_chip_time_is_ideal_time_seen_later(case: Case) -> None:
    balanced = balance_skew(case.graph)
    chip = ENGINE.run(balanced, case.frames, time_model="chip")
    agree(case.graph, ENGINE.run(case.graph, case.frames), chip)
    agree(balanced, ENGINE.run(balanced, case.frames), chip)


@random_graphs
@given(cases())
def test_chip_time_is_the_network_interpreted_in_chip_time(case: Case) -> None:
    balanced = Case(balance_skew(case.graph), case.frames)
    chip = ENGINE.run(balanced.graph, balanced.frames, time_model="chip")
    agree(balanced.graph, interpret_chip(balanced), chip)


@random_graphs
@given(cases())
def test_balancing_moves_nobody_and_makes_all_that_meets_equally_late(case: Case) -> None:
    balanced = balance_skew(case.graph)
    assert balanced.balanced
    assert balanced.depth == case.graph.depth
    for node in case.graph:
        assert balanced.facts(node.name).skew == case.graph.facts(node.name).skew
        assert balanced.facts(node.name).shape == case.graph.facts(node.name).shape
    assert balance_skew(balanced).hash == balanced.hash
    assert (len(balanced) == len(case.graph)) == case.graph.balanced
    if not case.graph.balanced:
        with pytest.raises(IllegalError):
            ENGINE.run(case.graph, case.frames, time_model="chip")


@random_graphs
@given(cases())
def test_every_value_lies_in_the_interval_of_its_channel(case: Case) -> None:
    for graph in (case.graph, balance_skew(case.graph)):
        values = interpret(Case(graph, case.frames))
        recorded = ENGINE.run(graph, case.frames)
        for node in graph:
            facts = graph.facts(node.name)
            arriving = [values[name] for name in node.inputs]
            checks = [(values[node.name], facts.low, facts.high)]
            if node.name in recorded.messages:
                checks.append((recorded[node.name], facts.low, facts.high))
            if arriving:
                checks.append((np.sum(arriving, axis=0), facts.reach_low, facts.reach_high))
            for array, low, high in checks:
                by_channel = np.moveaxis(array, 2, 0).reshape(array.shape[2], -1)
                assert (by_channel.min(1) >= low).all(), node.name
                assert (by_channel.max(1) <= high).all(), node.name


@random_graphs
@given(cases())
def test_a_stored_graph_keeps_its_hash_and_its_text(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for graph in (case.graph, balance_skew(case.graph)):
            again = store.load(store.save(graph, Path(folder) / "a.graph"))
            assert again.hash == graph.hash
            assert str(again) == str(graph)


@random_graphs
@given(cases(), st.integers(1, 4))
def test_batch_never_changes_a_result(case: Case, batch: int) -> None:
    whole = ENGINE.run(case.graph, case.frames, batch=100)
    agree(case.graph, whole, ENGINE.run(case.graph, case.frames, batch=batch))
    for sample in range(case.frames.shape[1]):
        alone = ENGINE.run(case.graph, case.frames[:, sample : sample + 1])
        for name in alone.messages:
            np.testing.assert_array_equal(alone[name][:, 0], whole[name][:, sample])


def test_random_graphs_have_everything_that_matters() -> None:
    """The strategy itself: without ties, shortcuts and activity the properties prove nothing."""
    seen: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(cases())
    def look(case: Case) -> None:
        graph = case.graph
        network = Interpreter(graph, case.frames.shape[1])
        active = 0
        for frame in case.frames:
            out = network.step(frame, chip=False)
            active += sum(int(out[n.name].sum()) for n in graph if isinstance(n, Lif))
        seen["cases"] += 1
        seen["ties"] += network.ties > 0
        seen["spikes"] += active > 0
        seen["unbalanced"] += not graph.balanced
        for node in graph:
            meet = len(set(graph.facts(node.name).skews)) > 1
            seen["unequal currents"] += meet and isinstance(node, (Lif, Relay))
            seen["unequal messages"] += meet and isinstance(node, (Conv, Dense))
            seen["shifting relay"] += isinstance(node, Relay) and node.shift > 0
            seen["relay with threshold"] += isinstance(node, Relay) and node.threshold > 0
            if isinstance(node, Conv):
                seen["groups"] += node.groups > 1
                seen["stride"] += node.stride != (1, 1)
                seen["dilation"] += node.dilation != (1, 1)

    look()
    rare = {name: count for name, count in seen.items() if count < 4}
    assert not rare, seen
    assert len(seen) == 11
    assert seen["spikes"] > 0.7 * seen["cases"]
    assert seen["ties"] > 0.1 * seen["cases"]
