"""Pass: make the inputs of every node distinct. Effect: exact; repeats synapses.

An input that is listed twice counts twice, but Lava connects two ports only once. A copy of the
synapse therefore delivers it the second time.
"""

from __future__ import annotations

from collections import Counter

from neuroport.graph.graph import Graph
from neuroport.graph.node import Node, Population
from neuroport.lowering.latency import Schedule


def each_once(graph: Graph) -> Graph:
    """Make the inputs of every node distinct without changing populations."""
    if all(len(set(node.inputs)) == len(node.inputs) for node in graph):
        return graph
    names = Schedule(graph, "relays")
    nodes: dict[str, Node] = {}
    parts: dict[str, list[str]] = {}  # node -> nodes whose sum equals it

    def add(node: Node) -> str:
        nodes[node.name] = node
        return node.name

    def again(name: str) -> str:
        return add(nodes[name].replace(name=names.fresh(name)))

    for node in graph:
        inputs = [part for name in node.inputs for part in parts.get(name, [name])]
        counts = Counter(inputs)
        if isinstance(node, Population):
            more = [again(name) for name, count in counts.items() for _ in range(count - 1)]
            add(node.replace(inputs=(*counts, *more)) if more or parts else node)
            continue
        add(node.replace(inputs=tuple(counts)) if counts else node)
        parts[node.name] = [node.name]
        for least in range(2, max(counts.values(), default=1) + 1):
            left = tuple(name for name, count in counts.items() if count >= least)
            parts[node.name].append(add(node.replace(name=names.fresh(node.name), inputs=left)))
    return graph.derived(list(nodes.values()))
