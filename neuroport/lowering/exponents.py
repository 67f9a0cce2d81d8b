"""Pass: weights of convolutions hold their exponents. Effect: exact; repeats convolutions.

Lava's ``Conv`` ignores ``weight_exp``, so the eight bits of the weights must include the exponent.
Weights that do not fit with their exponent become a sum of several kernels that do.
"""

from __future__ import annotations

import numpy as np

from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import IntArray, Node, Synapse
from neuroport.lowering.latency import Schedule

MOST_PARTS = (
    16  # a convolution that needs more kernels than this is left unchanged, and the rules refuse it
)
ONE_SIGN_MAX = 255  # largest weight if all weights have the same sign


def shifted(node: Synapse) -> IntArray:
    """Multiply the weights of a convolution by its power of two."""
    found: IntArray = node.weight << node.exponent
    return found


def largest(weight: IntArray) -> int:
    """Return the largest magnitude in eight bits for weights of these signs."""
    return integers.WEIGHT_MAX if weight.min() < 0 < weight.max() else ONE_SIGN_MAX


def holds_exponent(node: Synapse) -> bool:
    """Return whether the weights fit eight bits after multiplication by their exponent."""
    weight = shifted(node)
    return int(np.abs(weight).max()) <= largest(weight)


def split_exponents(graph: Graph) -> Graph:
    """Replace each convolution whose weights cannot include its exponent by several that can."""
    split = {node.name: node for node in _convolutions(graph) if _to_split(node)}
    if not split:
        return graph
    names = Schedule(graph, "relays")
    parts: dict[str, tuple[str, ...]] = {}
    nodes: list[Node] = []
    for node in graph:
        inputs = tuple(part for name in node.inputs for part in parts.get(name, (name,)))
        if inputs != node.inputs:
            node = node.replace(inputs=inputs)
        if node.name not in split:
            nodes.append(node)
            continue
        made = [
            node.replace(name=node.name if not k else names.fresh(node.name), weight=w, exponent=0)
            for k, w in enumerate(_parts(shifted(split[node.name])))
        ]
        nodes += made
        parts[node.name] = tuple(part.name for part in made)
    return graph.derived(nodes)


def convolutions_beyond(graph: Graph) -> int:
    """Count the convolutions whose weights do not fit eight bits with their exponent."""
    return sum(not holds_exponent(node) for node in _convolutions(graph))


def _convolutions(graph: Graph) -> list[Synapse]:
    return [node for node in graph.synapses if node.kernel is not None]


def _to_split(node: Synapse) -> bool:
    weight = shifted(node)
    return not holds_exponent(node) and int(np.abs(weight).max()) <= MOST_PARTS * largest(weight)


def _parts(weight: IntArray) -> list[IntArray]:
    """Split ``weight`` into weights of eight bits: as much as fits in the first, and so on."""
    most = largest(weight)
    if most == ONE_SIGN_MAX and not np.any(weight & 1):
        most -= 1  # even weights have even parts
    found = []
    while weight.any():
        found.append(np.clip(weight, -most, most))
        weight = weight - found[-1]
    return found
