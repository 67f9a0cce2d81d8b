"""Nodes that readers and passes add to a graph, and weights that they rewrite."""

from __future__ import annotations

import numpy as np

from neuroport.graph.node import Conv, Dense, IntArray, Shape, Synapse


def identity(name: str, source: str, shape: Shape, lag: int = 0) -> Synapse:
    """Synapse that delivers each message unchanged (weight 1, one per neuron)."""
    if len(shape) == 3:
        weight = np.ones((shape[0], 1, 1, 1), np.int64)
        return Conv(name, (source,), weight, groups=shape[0], lag=lag)
    size = int(np.prod(shape))
    return Dense(name, (source,), np.eye(size, dtype=np.int64), lag=lag)


def ungrouped(weight: IntArray, groups: int) -> IntArray:
    """Weights (O, I / groups, kH, kW) as (O, I, kH, kW), zeros between the groups."""
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    full = np.zeros((weight.shape[0], groups * inputs, *weight.shape[2:]), np.int64)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        full[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return full
