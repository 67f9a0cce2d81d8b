"""Count the fan-out of a synapse without building its matrix."""

from __future__ import annotations

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import IntArray, Synapse


def connections(graph: Graph, name: str) -> int:
    """Return the number of pairs of neurons that a synapse connects with a nonzero weight."""
    return int(fan_out(graph, name).sum())


def fan_out(graph: Graph, name: str) -> IntArray:
    """Return the number of nonzero weights for each message into a synapse, for one frame.

    Raises:
        TypeError: the node is no synapse.
    """
    node = graph[name]
    if not isinstance(node, Synapse):
        raise TypeError(f"{name} is a {node.kind}; only synapses have a fan-out")
    return node.fan_out(graph.facts(node.inputs[0]).shape, graph.facts(name).shape)
