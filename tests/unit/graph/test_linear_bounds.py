"""Ranges of projected streams: never left, and as narrow as the composed kernels make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.graph import linear_bounds
from neuroport.graph.graph import Graph
from neuroport.graph.linear_bounds import Box, Budget, LinearMap, Sum, reach
from neuroport.graph.node import Conv, Input, Lif, Node, Relay
from neuroport.lowering import CARRIERS


def kernel(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return 2 * rng.integers(-9, 10, shape)


def projected(seed: int, shifts: tuple[int, int] = (3, 4), size: int = 9) -> list[Node]:
    """A stream of pixels and spikes that is projected twice, with padding, strides and dilation."""
    rng = np.random.default_rng(seed)
    ones = np.ones((6, 1, 1, 1), np.int64)
    pooled = np.repeat(np.repeat(kernel(rng, 5, 6, 1, 1), 2, 2), 2, 3)
    return [
        Input("frames", (3, size, size)),
        Conv("stem", ("frames",), kernel(rng, 6, 3, 3, 3), padding=(1, 1)),
        Relay("rounded", ("stem",), shift=2),
        Conv("stream", ("rounded",), ones, groups=6),
        Lif("first", ("stream",), 200, voltage_decay=3072),
        Conv("branch", ("first",), kernel(rng, 6, 3, 3, 3), 1, padding=(1, 1), groups=2),
        Relay("read", ("branch", "stream"), shift=shifts[0], threshold=1),
        Conv("wide", ("read",), kernel(rng, 6, 6, 3, 3), 0, (2, 1), (1, 2), (1, 2)),
        Relay("between", ("wide",), shift=shifts[1]),
        Conv("pool", ("between",), pooled, stride=(2, 2)),
        Relay("out", ("pool",), shift=4),
    ]


def product_of_ranges(graph: Graph, name: str) -> int:
    node, facts = graph[name], graph.facts(name)
    assert isinstance(node, Conv)
    worst = np.maximum(-facts.reach_low, facts.reach_high)
    return int((np.abs(node.weight).sum((2, 3)) @ worst).max()) << node.exponent


@pytest.mark.parametrize("seed", range(4))
def test_no_frames_leave_the_range_of_a_projection(seed: int) -> None:
    graph = Graph(projected(seed), 2)
    rng = np.random.default_rng(seed)
    signs = np.sign(rng.normal(size=(2, 20, 3, 1, 1)))  # whole planes that are dark or bright
    noise = rng.integers(0, 256, (2, 20, 3, 9, 9))
    frames = np.concatenate([noise, np.where(signs > 0, 255, 0) * np.ones_like(noise)], axis=1)
    trace = port.run(graph, frames)
    for name, reader in (("wide", "between"), ("pool", "out")):
        facts = graph.facts(name)
        assert max(-facts.low.min(), facts.high.max()) < product_of_ranges(graph, name)
        low, high = (
            b.reshape(-1, 1, 1) for b in (graph.facts(reader).low, graph.facts(reader).high)
        )
        assert ((trace[reader] >= low) & (trace[reader] <= high)).all()


def test_range_of_a_projection_of_spikes_is_reached_by_the_worst_spikes() -> None:
    rng = np.random.default_rng(0)
    weight, projection = kernel(rng, 8, 5, 3, 3), kernel(rng, 4, 8, 1, 1)
    nodes: list[Node] = [
        Input("frames", (5, 7, 7), bits=1),
        Conv("branch", ("frames",), weight, 2),
        Relay("read", ("branch",)),
        Conv("projection", ("read",), projection),
        Relay("out", ("projection",)),
    ]
    graph = Graph(nodes, 1)
    composed = np.einsum("oc,cikl->oikl", projection[:, :, 0, 0], 4 * weight)
    facts = graph.facts("projection")
    assert facts.high.tolist() == np.maximum(composed, 0).sum((1, 2, 3)).tolist()
    assert facts.low.tolist() == np.minimum(composed, 0).sum((1, 2, 3)).tolist()
    for channel in range(4):
        frames = np.zeros((1, 1, 5, 7, 7), np.int64)
        frames[0, 0, :, 2:5, 2:5] = composed[channel] > 0
        assert port.run(graph, frames)["out"][0, 0, channel].max() == facts.high[channel]


def test_what_relays_round_away_widens_the_range() -> None:
    found = []
    for shift, threshold in ((0, 0), (1, 0), (0, 3)):
        nodes = projected(0, (shift, 0))
        nodes[6] = Relay("read", nodes[6].inputs, shift, threshold)
        graph = Graph(nodes, 1)
        assert isinstance(nodes[7], Conv)
        found.append((graph.facts("wide").high, np.abs(nodes[7].weight).sum((1, 2, 3))))
    (exact, weights), (rounded, _), (dropped, _) = found
    assert (rounded <= exact / 2 + weights / 2 + 1).all()
    assert (rounded > exact / 2).all()
    assert (dropped > exact).all()
    assert (dropped <= exact + 3 * weights).all()


def test_every_carrier_of_a_projected_stream_has_its_range() -> None:
    graph = Graph(projected(1), 2)
    for carrier in list(CARRIERS)[:2]:
        for align in ("relays", "delays"):
            lowered = port.lower(graph, carrier=carrier, align=align)
            for name in ("wide", "pool"):
                want, got = graph.facts(name), lowered.facts(name)
                assert (want.low.tolist(), want.high.tolist()) == (
                    got.low.tolist(),
                    got.high.tolist(),
                )


def random_current(rng: np.random.Generator, depth: int) -> LinearMap:
    """A stream read through ``depth`` projections; whole numbers, so that nothing is rounded."""
    box = Box(np.full(1, -1.0), np.full(1, 2.0))
    current = LinearMap(kernel(rng, 6, 4, 2, 2), (box,), groups=2, factor=2.0)
    for _ in range(depth):
        other = LinearMap(kernel(rng, 6, 6, 1, 1), (box,))
        stream = Sum(np.full(6, -1e6), np.full(6, 1e6), (current, other), 0.25, 0.5)
        current = LinearMap(kernel(rng, 6, 6, 2, 1), (stream, box))
    return current


def values(current: LinearMap, rng: np.random.Generator) -> np.ndarray:
    """Currents (O,) that a random choice of messages gives; each tap has its own, some read 0."""
    total: Any = np.zeros(len(current.weight))
    each_in = current.weight.shape[1]
    for message in current.messages:
        for tap in np.ndindex(current.weight.shape[2:]):
            if isinstance(message, Sum):
                parts = sum(values(inner, rng) for inner in message.currents)
                read = message.scale * parts + rng.choice([-1, 1], 6) * message.error
            else:
                read = rng.choice([-1.0, 2.0], each_in * current.groups)
            read = read * (rng.random() < 0.9)
            matrix = current.weight[(..., *tap)].reshape(current.groups, -1, each_in)
            total = (
                total + np.einsum("goi,gi->go", matrix, read.reshape(current.groups, -1)).ravel()
            )
    return np.asarray(total * current.factor)


@pytest.mark.parametrize("depth", range(4))
def test_range_holds_whatever_the_messages_are(depth: int) -> None:
    rng = np.random.default_rng(depth)
    current = random_current(rng, depth)
    low, high = reach(current, Budget())
    for _ in range(100):
        found = values(current, rng)
        assert ((low <= found) & (found <= high)).all()


def test_range_without_a_budget_is_the_product_of_ranges() -> None:
    rng = np.random.default_rng(0)
    current = random_current(rng, 1)
    _, high = reach(current, Budget(0.0))
    stream, box = current.messages
    positive, negative = (f(current.weight, 0).sum((2, 3)) for f in (np.maximum, np.minimum))
    want = sum(
        positive @ (m.high * np.ones(6)) + negative @ (m.low * np.ones(6)) for m in (stream, box)
    )
    np.testing.assert_allclose(high, want, rtol=1e-8)
    assert (reach(current, Budget())[1] < want).all()


def test_numbers_beyond_floating_point_leave_the_range_open() -> None:
    weight = np.full((1, 2, 1, 1), 1e200)
    stream = Sum(
        np.zeros(2), np.ones(2), (LinearMap(weight.repeat(2, 0), (Box(*np.eye(2)[:, :1]),)),)
    )
    low, high = reach(LinearMap(weight, (stream,)), Budget())
    assert low[0] == -np.inf
    assert high[0] == np.inf


def test_rounding_errors_of_composed_kernels_widen_the_range() -> None:
    rng = np.random.default_rng(0)
    big = rng.integers(2**40, 2**42, (3, 3, 1, 1))
    box = Box(np.zeros(1), np.ones(1))
    inner = LinearMap(big, (box,))
    stream = Sum(np.zeros(3), np.full(3, 3.0 * 2**42), (inner,))
    _, high = reach(LinearMap(big - 2**41, (stream,)), Budget())
    matrix = [[int(x) for x in row] for row in big[:, :, 0, 0]]
    for row, found in zip(matrix, high, strict=True):
        entries = [
            sum((a - 2**41) * b for a, b in zip(row, column, strict=True))
            for column in zip(*matrix, strict=True)
        ]
        assert int(found) >= sum(max(e, 0) for e in entries)


def test_composing_costs_what_the_weights_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[int] = []
    spend = Budget.spend

    def counted(self: Budget, multiplications: int) -> bool:
        spent.append(multiplications)
        return spend(self, multiplications)

    monkeypatch.setattr(linear_bounds.Budget, "spend", counted)
    ones = np.ones((2, 2, 1, 1), np.int64)
    nodes: list[Node] = [Input("frames", (2, 4, 4), bits=1), Conv("0", ("frames",), ones)]
    for level in range(1, 40):  # two ways from each relay to the next: 2**39 ways in all
        nodes += [
            Relay(
                f"r{level}",
                (f"{level - 1}",) if level == 1 else (f"{level - 1}a", f"{level - 1}b"),
                2,
            )
        ]
        nodes += [Conv(f"{level}{way}", (f"r{level}",), ones) for way in "ab"]
    graph = Graph(nodes, 1)
    assert len(spent) < 100_000
    assert int(graph.facts("39a").high.max()) >= 2
