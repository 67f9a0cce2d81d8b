"""Passes: relays hold sums that several populations read. Effect: exact in ideal time; adds relays.

On a chip every population has its own copy of each input synapse, and each source of a synapse has
its own axons. If a relay holds a sum and sends it on through an identity synapse, the sum is stored
only once and arrives one step later:

* :func:`share_dendrites`: the current of populations that share a dendrite, such as the levels of
  a neuron;
* :func:`share_messages`: the messages that a convolution adds up. Messages of early sources are
  added on the way, instead of waiting separately.
"""

from __future__ import annotations

from collections import Counter

from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Lif, Node, Population, Relay
from neuroport.graph.node_builders import identity
from neuroport.lowering.latency import Schedule


def share_dendrites(graph: Graph) -> Graph:
    """Let neurons with the same inputs read them from one relay."""
    wanted = Counter(node.inputs for node in graph.of(Lif))
    shared = {inputs for inputs, n in wanted.items() if n > 1 and not _passed_on(graph, inputs)}
    if not shared:
        return graph
    names = Schedule(graph, "relays")
    made: dict[tuple[str, ...], str] = {}
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, (Lif, Relay)) and node.inputs in shared:
            if node.inputs not in made:
                relay = names.fresh(f"{node.name}.shared")
                nodes.append(Relay(relay, node.inputs))
                shape = graph.facts(node.name).shape
                nodes.append(identity(names.fresh(f"{relay}.identity"), relay, shape))
                made[node.inputs] = nodes[-1].name
            node = node.replace(inputs=(made[node.inputs],))
        nodes.append(node)
    return graph.derived(nodes)


def share_messages(graph: Graph) -> Graph:
    """Let convolutions of several sources read one relay that adds up their messages."""
    many = {
        node.name
        for node in graph.of(Conv)
        if len(node.inputs) > 1 and not _passes_on(node)
        if all(isinstance(graph[name], Population) for name in node.inputs)
    }
    if not many:
        return graph
    names = Schedule(graph, "relays")
    made: dict[tuple[str, ...], str] = {}
    nodes: list[Node] = []
    for node in graph:
        if node.name in many:
            if node.inputs not in made:
                relay = names.fresh(f"{node.name}.sum")
                shape = graph.facts(node.inputs[0]).shape
                late: dict[int, list[str]] = {}
                for name in node.inputs:
                    late.setdefault(graph.facts(name).latency, []).append(name)
                currents = []
                for sources in late.values():
                    each = identity(names.fresh(f"{relay}.identity"), sources[0], shape)
                    nodes.append(each.replace(inputs=tuple(sources)))
                    currents.append(each.name)
                nodes.append(Relay(relay, tuple(currents)))
                made[node.inputs] = relay
            node = node.replace(inputs=(made[node.inputs],))
        nodes.append(node)
    return graph.derived(nodes)


def _passed_on(graph: Graph, inputs: tuple[str, ...]) -> bool:
    """Return whether one identity delivers the whole current, so that sharing it saves nothing."""
    node = graph[inputs[0]]
    return len(inputs) == 1 and isinstance(node, Conv) and _passes_on(node)


def _passes_on(node: Conv) -> bool:
    """Return whether a convolution delivers each message to one neuron."""
    return node.packed("weight").shape == (node.groups, 1, 1, 1)
