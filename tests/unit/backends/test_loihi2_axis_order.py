"""Axis orders between the graph and Lava; what the engine refuses; constant frames as biases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.backends.loihi2.axis_order import (
    conv_arguments,
    dense_columns,
    flat_order,
    from_lava,
    lava_shape,
    to_lava,
    ungrouped,
)
from neuroport.backends.loihi2.bias_input import biases
from neuroport.backends.loihi2.legality import refuse
from neuroport.errors import FramesError, IllegalError
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
from neuroport.targets.target import load_target

SHAPE = (2, 3, 4)  # C, H, W: no two alike


def test_feature_maps_are_turned_around_and_back() -> None:
    rows = np.arange(5 * 24).reshape(5, *SHAPE)
    there = to_lava(rows, SHAPE)
    assert lava_shape(SHAPE) == (4, 3, 2)
    assert there.shape == (5, 4, 3, 2)
    assert there[2, 3, 1, 0] == rows[2, 0, 1, 3]
    np.testing.assert_array_equal(from_lava(there, SHAPE), rows)
    np.testing.assert_array_equal(from_lava(there.reshape(5, -1), SHAPE), rows)
    np.testing.assert_array_equal(from_lava(to_lava(rows[:, 0, 0], (4,)), (4,)), rows[:, 0, 0])


def test_dense_columns_meet_the_neurons_that_they_met_before() -> None:
    rng = np.random.default_rng(0)
    weight, spikes = rng.integers(-9, 9, (5, 24)), rng.integers(0, 2, SHAPE)
    flat = to_lava(spikes, SHAPE).reshape(-1)
    np.testing.assert_array_equal(dense_columns(weight, SHAPE) @ flat, weight @ spikes.reshape(-1))
    assert flat_order((7,)).tolist() == list(range(7))


@pytest.mark.lava
@pytest.mark.parametrize("groups", [1, 2])
def test_lavas_convolution_of_turned_around_arrays_is_the_graphs(groups: int) -> None:
    from lava.proc.conv.utils import conv_scipy

    rng = np.random.default_rng(1)
    weight = 2 * rng.integers(-9, 9, (6, 4 // groups, 3, 2))
    node = Conv("c", ("frames",), weight, 0, (2, 1), (1, 0), (1, 2), groups)
    frames = rng.integers(0, 2, (1, 1, 4, 7, 9))
    graph = Graph([Input("frames", (4, 7, 9), 1), node, Relay("out", ("c",))], 1)
    want = port.run(graph, frames)["out"][0, 0]
    arguments: dict[str, Any] = conv_arguments(node.kernel, weight, (4, 7, 9))
    assert arguments["input_shape"] == (9, 7, 4)
    got = conv_scipy(
        to_lava(frames[0, 0], (4, 7, 9)),
        arguments["weight"],
        arguments["weight"].shape[1:3],
        arguments["stride"],
        arguments["padding"],
        arguments["dilation"],
        1,
    )
    np.testing.assert_array_equal(got.transpose(2, 1, 0), want)


def test_groups_are_written_out_with_zeros_between_them() -> None:
    full = ungrouped(np.ones((4, 1, 1, 1), np.int64), 2)
    assert full[:, :, 0, 0].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def ending(*nodes: Node, steps: int = 4) -> Graph:
    """A network from two inputs to a readout of what the last node sends."""
    last = nodes[-1].name
    width = int(np.prod(Graph([Input("frames", (2,), 1), *nodes], steps).facts(last).shape))
    tail = (
        Dense("classes", (last,), 2 * np.ones((1, width), np.int64)),
        Readout("v", ("classes",)),
    )
    return Graph([Input("frames", (2,), 1), *nodes, *tail], steps)


EYE = 2 * np.eye(2, dtype=np.int64)


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (
            ending(
                Dense("in", ("frames",), EYE), Lif("lif", ("in",), 1), Delay("wait", ("lif",), 1)
            ),
            "wait: Lava's delays carry messages of a sample into the next one",
        ),
        (
            ending(Dense("in", ("frames",), EYE, delay=EYE // 2), Lif("lif", ("in",), 1)),
            "in: it delays messages",
        ),
        (
            ending(Dense("in", ("frames",), EYE), Recurrent("loop", ("in",), EYE, 1)),
            "loop: its last spikes would reach into the next sample",
        ),
        (
            ending(Dense("in", ("frames",), EYE), Delta("change", ("in",), 1)),
            "change: a delta population has no reset",
        ),
        (
            ending(Dense("in", ("frames",), EYE), Lif("lif", ("in",), 1), steps=5),
            "interval_is_a_power_of_two",
        ),
    ],
)
def test_what_no_chip_does_is_refused_with_its_node(graph: Graph, told: str) -> None:
    with pytest.raises(IllegalError) as caught:
        refuse(graph, load_target("loihi2"))
    assert told in caught.value.message


def test_an_exponent_that_a_convolution_cannot_hold_is_refused() -> None:
    def graph(exponent: int) -> Graph:
        weight = np.array([[[[100]], [[-100]]]])
        nodes: list[Node] = [
            Input("frames", (2, 2, 2), 1),
            Conv("c", ("frames",), weight, exponent),
            Lif("lif", ("c",), 1),
        ]
        return Graph(nodes, 4)

    refuse(graph(1), load_target("loihi2"))
    with pytest.raises(IllegalError, match="Conv ignores weight exponents"):
        refuse(graph(2), load_target("loihi2"))


def test_a_constant_frame_as_biases_gives_the_same_spikes() -> None:
    frames = np.ones((4, 2, 2), np.int64) * np.array([1, 0])
    graph = ending(
        Dense("in", ("frames",), np.array([[4, 2], [6, 8]])), Lif("lif", ("in",), 9, 4096, 100, 1)
    )
    want = port.run(graph, frames)
    found = biases(graph, frames)
    assert {name: values.tolist() for name, values in found.items()} == {"lif": [5, 7]}
    nodes = [
        Lif("lif", ("in",), 9, 4096, 100, found["lif"]) if node.name == "lif" else node
        for node in graph
    ]
    got = port.run(Graph(nodes, 4), np.zeros_like(frames))
    assert want["lif"].any()
    np.testing.assert_array_equal(got["lif"], want["lif"])


def test_frames_that_cannot_be_biases_are_refused() -> None:
    graph = ending(Dense("in", ("frames",), EYE), Lif("lif", ("in",), 9, 1000))
    with pytest.raises(IllegalError, match="lif: keeps its current"):
        biases(graph, np.ones((4, 1, 2), np.int64))
    with pytest.raises(FramesError, match="frames change"):
        biases(graph, np.arange(8).reshape(4, 1, 2) // 4)
    graph = ending(Dense("in", ("frames",), EYE), Relay("relay", ("in",)))
    with pytest.raises(IllegalError, match="relay: has no bias"):
        biases(graph, np.ones((4, 1, 2), np.int64))
