"""Which nodes go into one fused process: populations that share a synapse, and their synapses.

Populations of one dendrite (a neuron and the relay that carries its current on, the levels of an
MLF neuron) take the same currents, and a synapse that several of them share is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuroport.graph.graph import Graph
from neuroport.graph.node import KIND, Conv, Dense, Lif, Readout, Relay, is_population

FUSED_KINDS = (Lif, Relay, Readout)  # others are built of stock processes
PROCESSES = ("stock", "fused")


@dataclass(frozen=True)
class Group:
    """Nodes of one fused process, by name, in the order of the graph."""

    synapses: tuple[str, ...]
    populations: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the process is called in an error."""
        return ", ".join(self.populations)


def groups(graph: Graph) -> tuple[Group, ...]:
    """The fused processes of a balanced graph."""
    found: list[Group] = []
    for synapses, populations in _sharing(graph):
        kinds = all(type(graph[name]) in FUSED_KINDS for name in populations)
        if kinds and all(type(graph[name]) in (Conv, Dense) for name in synapses):
            found.append(Group(tuple(synapses), tuple(populations)))
    return tuple(found)


def left_to_stock(graph: Graph) -> dict[str, str]:
    """Populations that no fused process holds, and their kinds."""
    held = {name for group in groups(graph) for name in group.populations}
    return {n.name: KIND[type(n)] for n in graph.populations if n.name not in held}


def _sharing(graph: Graph) -> list[tuple[list[str], list[str]]]:
    """Synapses and populations that hang together, in the order of the graph."""
    root: dict[str, str] = {}

    def top(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    members = [node for node in graph if is_population(node)]
    for node in members:
        for name in node.inputs:
            root[top(name)] = top(node.name)
    found: dict[str, tuple[list[str], list[str]]] = {}
    for node in members:
        synapses, populations = found.setdefault(top(node.name), ([], []))
        populations.append(node.name)
        synapses += [name for name in dict.fromkeys(node.inputs) if name not in synapses]
    return list(found.values())
