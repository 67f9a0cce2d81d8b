"""Pass: remove synapses whose weights are all 0. Effect: exact; fewer synapses and relays.

Rounding creates them if a branch adds less than one unit of the grid that it enters, as a composed
stem may in a late stage. They would need cores and relays.
"""

from __future__ import annotations

from collections import Counter

from neuroport.graph.graph import Graph


def zero_synapses(graph: Graph) -> set[str]:
    """Return removable synapses: every population keeps an input and, if it had one, a reader."""
    readers = Counter(name for node in graph for name in node.inputs)
    inputs = {node.name: len(node.inputs) for node in graph}
    found: set[str] = set()
    for node in graph.synapses:
        if node.packed("weight").range != (0, 0):
            continue
        after = [other for other in graph if node.name in other.inputs]
        lonely = any(inputs[other.name] <= other.inputs.count(node.name) for other in after)
        if lonely or any(readers[name] <= node.inputs.count(name) for name in node.inputs):
            continue
        found.add(node.name)
        readers.subtract(node.inputs)
        for other in after:
            inputs[other.name] -= other.inputs.count(node.name)
    return found


def without_zeros(graph: Graph) -> Graph:
    """Return the network without synapses that add nothing; populations stay unchanged."""
    zero = zero_synapses(graph)
    if not zero:
        return graph
    kept = [node for node in graph if node.name not in zero]
    nodes = [
        node.replace(inputs=tuple(name for name in node.inputs if name not in zero))
        if zero & set(node.inputs)
        else node
        for node in kept
    ]
    return graph.derived(nodes)
