"""Synapses that add nothing are left out, and the network means the same."""

from __future__ import annotations

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node, Readout
from neuroport.lowering.zero_synapses import without_zeros, zero_synapses
from neuroport.targets.lowering import picked
from neuroport.targets.target import load_target

EYE = 2 * np.eye(3, dtype=np.int64)
NONE = 0 * EYE


def late_stem(stem: np.ndarray) -> Graph:
    """Pixels reach the second neuron directly, too, two steps of chip time before its spikes do."""
    nodes: list[Node] = [
        Input("frames", (3,), 4),
        Dense("in", ("frames",), EYE),
        Lif("one", ("in",), 9, 3000, 1000),
        Dense("next", ("one",), 20 * EYE),
        Dense("stem", ("frames",), stem),
        Lif("two", ("next", "stem"), 60, 4096, 500),
        Dense("classes", ("two",), EYE),
        Readout("potential", ("classes",)),
    ]
    return Graph(nodes, 6)


@pytest.mark.parametrize("target", ["lava-cpu", "kapoho-point"])
def test_lowering_leaves_them_and_the_relays_that_waited_for_them_out(target: str) -> None:
    graph, frames = late_stem(NONE), np.random.default_rng(0).integers(0, 16, (6, 5, 3))
    lowered = port.lower(graph, target)
    assert "stem" not in lowered
    assert len(lowered) == len(graph) - 1
    assert len(port.lower(late_stem(EYE), target, align="relays")) > len(
        graph
    )  # pixels wait in a relay
    want = port.run(graph, frames)
    assert 0 < want["two"].mean() < 1
    outcome = port.compare(want, port.run(lowered, frames))
    assert outcome, str(outcome)
    told = picked(graph, lowered, load_target(target))
    left = "left out, since every weight is 0: stem"
    assert (left in told) == (target != "lava-cpu")


def test_a_network_without_them_stays_as_it_is() -> None:
    graph = late_stem(EYE)
    assert without_zeros(graph) is graph


def test_the_only_input_of_a_population_and_the_only_reader_of_one_stay() -> None:
    nodes: list[Node] = [
        Input("frames", (3,), 4),
        Dense("in", ("frames",), EYE),
        Lif("one", ("in",), 9),
        Dense("all of it", ("frames",), NONE),
        Lif("silent", ("all of it",), 9),
        Dense("lone reader", ("silent",), NONE),
        Dense("first", ("one",), NONE),
        Dense("second", ("one",), NONE),
        Readout("potential", ("lone reader", "first", "second")),
    ]
    graph = Graph(nodes, 2)
    assert zero_synapses(graph) == {"first"}
    assert [n.name for n in without_zeros(graph).populations] == [n.name for n in graph.populations]
