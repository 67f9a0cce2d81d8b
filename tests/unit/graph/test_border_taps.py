"""Bounds of convolutions on maps that their kernels never lie inside of."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.border_taps import inside
from neuroport.graph.float_exactness import largest_sum
from neuroport.graph.graph import Graph
from neuroport.graph.linear_bounds import Box, Budget, LinearMap, Sum, reach
from neuroport.graph.node import Conv, Input, Lif, Node, Relay


def geometries() -> list[tuple[int, int, int, int, int]]:
    """Size, kernel, stride, padding and dilation of an axis, windows in the padding included."""
    axes = product(range(1, 5), range(1, 5), (1, 2), range(5), (1, 2, 3))
    return [axis for axis in axes if axis[0] + 2 * axis[3] > axis[4] * (axis[1] - 1)]


def test_ranges_of_taps_are_those_of_the_positions() -> None:
    for size, kernel, stride, padding, dilation in geometries():
        found = inside((size, 1), (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
        rows = ((0, kernel),) if found is None else found.rows
        outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        read = {
            frozenset(t for t in range(kernel) if 0 <= o * stride + t * dilation - padding < size)
            for o in range(outputs)
        }
        read = {taps for taps in read if taps and not any(taps < other for other in read)}
        if read:
            assert {frozenset(range(*taps)) for taps in rows} == read


CASES = [
    # size, kernel, stride, padding, dilation
    ((1, 1), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 2), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 5), (3, 3), (2, 1), (1, 0), (1, 1)),
    ((3, 2), (5, 5), (1, 1), (4, 4), (2, 2)),
    ((2, 3), (4, 2), (1, 2), (3, 1), (1, 3)),
    ((6, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), CASES)
@pytest.mark.parametrize("groups", [1, 2])
def test_bound_of_a_convolution_is_reached_and_not_exceeded(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    rng = np.random.default_rng(0)
    weight = 2 * rng.integers(-9, 10, (4, 4 // groups, *kernel))
    nodes: list[Node] = [
        Input("frames", (4, *size), bits=3),
        Conv("synapse", ("frames",), weight, 1, stride, padding, dilation, groups),
        Relay("out", ("synapse",)),
    ]
    graph = Graph(nodes, 1)
    facts = graph.facts("synapse")
    outputs = [
        (o, y, x) for o in range(4) for y in range(facts.shape[1]) for x in range(facts.shape[2])
    ]
    # every unit at 1 alone: columns of the matrix that the convolution is
    units = np.eye(4 * size[0] * size[1], dtype=np.int64).reshape(1, -1, 4, *size)
    matrix = port.run(graph, units)["out"][0].reshape(-1, len(outputs)).T.astype(np.int64)
    for sign, bound in ((1, facts.high), (-1, -facts.low)):
        most = np.maximum(sign * matrix, 0).sum(1) * 7
        want = [
            max(m for m, (o, _, _) in zip(most, outputs, strict=True) if o == c) for c in range(4)
        ]
        assert bound.tolist() == want
    exact = np.abs(matrix).sum(1).max() // 2 * 7  # without the exponent
    assert largest_sum(graph, nodes[1]) == exact


@pytest.mark.parametrize("seed", range(6))
def test_bound_of_a_projection_on_a_small_map_holds_and_is_the_exact_one_of_a_single_position(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    size = [(1, 1), (1, 2), (2, 2)][seed % 3]
    nodes: list[Node] = [Input("frames", (3, *size), bits=1)]
    source = "frames"
    for depth in range(3):
        weight = 2 * rng.integers(-5, 6, (3, 3, 3, 3))
        nodes.append(Conv(f"synapse{depth}", (source,), weight, padding=(1, 1)))
        nodes.append(Relay(f"relay{depth}", (f"synapse{depth}",)))
        source = f"relay{depth}"
    graph = Graph(nodes, 1)
    units = np.eye(3 * size[0] * size[1], dtype=np.int64).reshape(1, -1, 3, *size)
    matrix = port.run(graph, units)[source][0].reshape(len(units[0]), 3, -1).astype(np.int64)
    facts = graph.facts("synapse2")
    high = np.maximum(matrix, 0).sum(0).max(1)
    low = np.minimum(matrix, 0).sum(0).min(1)
    assert (facts.high >= high).all()
    assert (facts.low <= low).all()
    if size == (1, 1):
        assert facts.high.tolist() == high.tolist()
        assert facts.low.tolist() == low.tolist()


def test_taps_that_never_read_together_are_bounded_apart_behind_a_projection_too() -> None:
    taps = inside((1, 1), (1, 2), (1, 1), (0, 1), (1, 1))
    box = Box(np.zeros(1), np.ones(1))
    inner = LinearMap(np.array([[[[3.0, 5.0]]]]), (box,), inside=taps)
    stream = Sum(np.zeros(1), np.full(1, 5.0), (inner,))
    _, high = reach(LinearMap(np.array([[[[2.0, 4.0]]]]), (stream,), inside=taps), Budget())
    assert high == pytest.approx([20.0])


def test_safe_network_on_a_map_of_one_position_lowers_and_runs() -> None:
    weight = np.full((1, 2, 3, 3), 254)
    nodes: list[Node] = [
        Input("frames", (2, 1, 1), bits=8),
        Conv("synapse", ("frames",), weight, padding=(1, 1)),
        Lif("neuron", ("synapse",), np.array([100000])),
    ]
    graph = Graph(nodes, 2)
    assert graph.facts("neuron").reach_high.tolist() == [254 * 2 * 255]
    chip = port.lower(graph)
    frames = np.full((2, 1, 2, 1, 1), 255)
    want = port.run(graph, frames)
    assert want["neuron"].all()
    for engine in ("reference", "fast"):
        assert port.compare(want, port.run(chip, frames, on=engine)).equal
