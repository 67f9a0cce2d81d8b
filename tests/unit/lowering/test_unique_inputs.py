"""No node takes an input twice, and the network means the same."""

from __future__ import annotations

import numpy as np

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Readout
from neuroport.lowering.layer_chain import chain
from neuroport.lowering.unique_inputs import each_once

EYE = 2 * np.eye(3, dtype=np.int64)


def doubled() -> Graph:
    """Messages, currents and delayed messages, each added to itself, once or twice."""
    nodes: list[Node] = [
        Input("frames", (3,), 4),
        Dense("in", ("frames", "frames"), EYE),
        Lif("one", ("in", "in", "in"), 60, 3000, 1000),
        Delay("wait", ("one", "one"), 1),
        Dense("next", ("wait", "one", "wait", "one", "one"), EYE + 2),
        Lif("two", ("next",), 60, 4096, 500),
        Dense("classes", ("two",), EYE),
        Readout("potential", ("classes", "classes")),
    ]
    return Graph(nodes, 6)


def test_inputs_differ_and_populations_keep_their_names_and_their_meaning() -> None:
    graph = doubled()
    once = each_once(graph)
    assert all(len(set(node.inputs)) == len(node.inputs) for node in once)
    assert [n.name for n in once.populations] == [n.name for n in graph.populations]
    frames = np.random.default_rng(0).integers(0, 16, (6, 5, 3))
    want = port.run(graph, frames)
    assert want["two"].any()
    assert want["two"].mean() < 0.9
    outcome = port.compare(want, port.run(once, frames))
    assert outcome, str(outcome)


def test_a_network_without_doubles_stays_as_it_is() -> None:
    nodes: list[Node] = [
        Input("frames", (1, 4, 4), 1),
        Conv("stem", ("frames",), np.full((2, 1, 3, 3), 2), padding=(1, 1)),
        Lif("one", ("stem",), 9),
    ]
    graph = Graph(nodes, 2)
    assert each_once(graph) is graph


def test_a_layer_of_netx_counts_a_source_as_often_as_its_convolution_of_groups_reads_it() -> None:
    weight = 2 * np.random.default_rng(0).integers(-9, 10, (4, 1, 2, 2))
    for times in (1, 2, 3):
        sources = ("frames",) * times
        nodes: list[Node] = [
            Input("frames", (2, 4, 4), 1),
            Conv("conv", sources, weight, groups=2, exponent=1),
            Lif("lif", ("conv",), 25),
        ]
        (layer,) = chain(Graph(nodes, 3))
        assert layer.groups == 2
        assert np.array_equal(layer.weight, weight * 2 * times)
