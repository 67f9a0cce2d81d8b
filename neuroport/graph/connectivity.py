"""Who reaches whom: the fan-out of a synapse, counted without building its matrix."""

from __future__ import annotations

import numpy as np

from neuroport.graph.blocks import blocks
from neuroport.graph.graph import Graph
from neuroport.graph.node import KIND, Conv, Dense, IntArray


def connections(graph: Graph, name: str) -> int:
    """Pairs of neurons that a synapse joins with a nonzero weight."""
    return int(fan_out(graph, name).sum())


def fan_out(graph: Graph, name: str) -> IntArray:
    """Nonzero weights that each message into a synapse meets, in the shape of one message frame.

    A tap reaches input row ``y`` from output row ``(y + padding - tap * dilation) / stride``,
    where that is a whole number inside the output; columns alike. So the map of a convolution is
    ``fan[c, y, x] = sum over taps of outputs(c, tap) * reaches(tap, y) * reaches(tap, x)``.
    """
    node = graph[name]
    shape = graph.facts(node.inputs[0]).shape
    match node:
        case Conv():
            kept = node.weight != 0
            grouped = kept.reshape(node.groups, -1, *kept.shape[1:])
            taps = grouped.sum(axis=1, dtype=np.int64).reshape(shape[0], *kept.shape[2:])
            rows, columns = (_reaches(graph, node, axis) for axis in (0, 1))
            return np.asarray(np.einsum("ckl,ky,lx->cyx", taps, rows, columns))
        case Dense():
            fan = np.zeros(node.weight.shape[1], np.int64)
            for part in blocks(len(node.weight), node.weight.size):
                fan += np.count_nonzero(node.weight[part], axis=0)
            return fan.reshape(shape)
        case _:
            raise TypeError(f"{name} is a {KIND[type(node)]}; only synapses have a fan-out")


def _reaches(graph: Graph, node: Conv, axis: int) -> IntArray:
    """(taps, size) of 0/1: whether a kernel tap reads an input row (``axis`` 0) or column (1)."""
    size = graph.facts(node.inputs[0]).shape[1 + axis]
    outputs = graph.facts(node.name).shape[1 + axis]
    tap = np.arange(node.weight.shape[2 + axis])[:, None]
    start = np.arange(size)[None] + node.padding[axis] - tap * node.dilation[axis]
    position, remainder = np.divmod(start, node.stride[axis])
    reaches = (remainder == 0) & (position >= 0) & (position < outputs)
    return np.asarray(reaches, np.int64)
