"""Describe nodes in a few words, for labels and tooltips."""

from __future__ import annotations

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Node, Synapse, by


def describe_population(graph: Graph, node: Node) -> str:
    """Return name, kind, shape and constants of a population or input, one per line."""
    facts = graph.facts(node.name)
    place = [f"shape {by(facts.shape)}", f"latency {facts.latency}"]
    return "\n".join([node.name, node.title(), *place, *node.details()])


def describe_synapse(node: Synapse, source: str, target: str) -> str:
    """Return name, ends, kernel and weights of a synapse, one per line."""
    lines = [node.name, f"{source} \N{RIGHTWARDS ARROW} {target}", node.title()]
    lines.append(f"weight {by(node.weight.shape)}, {node.weight.min()} to {node.weight.max()}")
    return "\n".join([*lines, *node.details()])
