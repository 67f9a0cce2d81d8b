"""Select the nodes of the fused process: the populations that it supports, and their synapses.

Populations that share a dendrite (a neuron and the relay that carries its current on, or the levels
of an MLF neuron) read the same currents, and a shared synapse is computed once. They therefore go
into the fused process together or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Population, Synapse

FUSED_KINDS = ("lif", "relay", "readout")  # other kinds are built from Lava's own processes


@dataclass(frozen=True)
class Group:
    """Nodes of a fused process, by name, in the order of the graph."""

    synapses: tuple[str, ...] = ()
    populations: tuple[str, ...] = ()


def held(graph: Graph) -> Group:
    """Select the nodes of a balanced graph for the fused process; none if no population fits."""
    found: set[str] = set()
    for dendrite in _dendrites(graph):
        synapses = {name for population in dendrite for name in graph[population].inputs}
        kinds = all(graph[name].kind in FUSED_KINDS for name in dendrite)
        if kinds and all(isinstance(graph[name], Synapse) for name in synapses):
            found |= {*dendrite, *synapses}
    inside = [node for node in graph if node.name in found]
    return Group(
        tuple(node.name for node in inside if not isinstance(node, Population)),
        tuple(node.name for node in inside if isinstance(node, Population)),
    )


def left_to_stock(graph: Graph) -> dict[str, str]:
    """Return the populations outside the fused process, and their kinds."""
    inside = held(graph).populations
    return {n.name: n.kind for n in graph.populations if n.name not in inside}


def _dendrites(graph: Graph) -> list[list[str]]:
    """Return groups of populations that share synapses."""
    root: dict[str, str] = {}

    def top(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    members = [node for node in graph if isinstance(node, Population)]
    for node in members:
        for name in node.inputs:
            root[top(name)] = top(node.name)
    found: dict[str, list[str]] = {}
    for node in members:
        found.setdefault(top(node.name), []).append(node.name)
    return list(found.values())
