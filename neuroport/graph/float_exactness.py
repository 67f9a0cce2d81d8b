"""Decide where floating point is exact: where it can hold all partial sums of a synapse.

float32 holds every integer below 2**24, float64 below 2**53. Sums of products of integers are then
exact in any order, also with fused multiply-adds.
"""

from __future__ import annotations

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Synapse

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53


def largest_sum(graph: Graph, node: Synapse) -> int:
    """Bound a synapse's partial sums: the largest ``sum |weight| * max |message|`` of an output."""
    facts = graph.facts(node.name)
    message = int(np.maximum(np.abs(facts.reach_low), np.abs(facts.reach_high)).max())
    weight = np.abs(node.weight)
    together = node.inside(graph.facts(node.inputs[0]).shape)
    if together is None:
        each = weight.reshape(len(weight), -1).sum(1)
    else:
        each = together.most(weight.sum(1))
    return max(int(each.max()), 1) * message
