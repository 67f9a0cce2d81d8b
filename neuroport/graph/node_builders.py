"""Build nodes that readers and passes add to a graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Node, Population, Relay, Shape, Synapse


def identity(name: str, source: str, shape: Shape, lag: int = 0) -> Synapse:
    """Build a synapse that delivers each message unchanged (weight 1, one per neuron)."""
    if len(shape) == 3:
        weight = np.ones((shape[0], 1, 1, 1), np.int64)
        return Conv(name, (source,), weight, groups=shape[0], lag=lag)
    size = int(np.prod(shape))
    return Dense(name, (source,), np.eye(size, dtype=np.int64), lag=lag)


def relay(name: str, inputs: tuple[str, ...]) -> Population:
    """Build a population that forwards each summed current unchanged."""
    return Relay(name, inputs)


def read_later(graph: Graph, late: Mapping[str, int]) -> Graph:
    """Return the graph with synapses that read their input some steps later."""
    nodes: list[Node] = []
    for node in graph:
        if node.name in late:
            nodes.append(Delay(f"{node.name}.late", node.inputs, late[node.name]))
            node = node.replace(inputs=(nodes[-1].name,))
        nodes.append(node)
    return Graph(nodes, graph.steps)


def bits_for(low: int, high: int) -> int:
    """Return the bits that hold ``low`` to ``high``, including the sign; at least 1."""
    size = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
    return max(1, size + (low < 0))


def input_for(name: str, shape: Shape, low: int, high: int, bits: int = 1) -> Input:
    """Build an input for messages from ``low`` to ``high``.

    ``bits`` is its width if they are not spikes.
    """
    if low >= 0 and high <= 1:
        return Input(name, shape, 1)
    return Input(name, shape, max(bits + (low < 0), bits_for(low, high)), signed=low < 0)
