"""Nodes that readers and passes add to a graph."""

from __future__ import annotations

import numpy as np

from neuroport.graph.node import Conv, Dense, Shape


def identity(name: str, source: str, shape: Shape, lag: int = 0) -> Conv | Dense:
    """Synapse that delivers each message unchanged (weight 1, one per neuron)."""
    if len(shape) == 3:
        weight = np.ones((shape[0], 1, 1, 1), np.int64)
        return Conv(name, (source,), weight, groups=shape[0], lag=lag)
    size = int(np.prod(shape))
    return Dense(name, (source,), np.eye(size, dtype=np.int64), lag=lag)
