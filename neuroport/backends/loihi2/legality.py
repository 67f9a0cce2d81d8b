"""Refuse constructs that a chip, or Lava on it, does not support, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Node, Population, Synapse
from neuroport.targets.rules import Finding, refusals, require_none
from neuroport.targets.target import Fact, Target

RULE = "engine_builds"
ADDED = ("channel_constants", "custom_neurons")  # by a board's file, to what Lava's processes do
KNOWN = ("input", "lif", "readout", "relay")  # kinds that this engine builds, beside synapses


def refuse(graph: Graph, target: Target) -> None:
    """Raise if the chip's rules or this engine refuse a node.

    Raises:
        IllegalError: names the nodes, the reasons and what to change.
    """
    found = refusals(graph, target)
    reasons = ((node.name, _refused(graph, node)) for node in graph)
    found += [Finding(RULE, name, why) for name, why in reasons if why is not None]
    found += _beyond_lava(graph, target, {finding.node for finding in found})
    require_none(found, "loihi2")


def _beyond_lava(graph: Graph, target: Target, refused: set[str]) -> Iterator[Finding]:
    """Yield what the board's file permits but this engine, of Lava's processes only, cannot do."""
    lacks = Fact(False, "Lava 0.10.0: LIFReset, GradedVec and ProdNeuron", "seen")
    stock = replace(target, values={**target.values, **dict.fromkeys(ADDED, lacks)})
    for finding in refusals(graph, stock):
        if finding.node not in refused:
            why = f"{finding.message}; the engine loihi2 builds Lava's own processes only"
            yield replace(finding, rule=RULE, message=why)


def _refused(graph: Graph, node: Node) -> str | None:
    if node.kind in KNOWN:
        return None
    if isinstance(node, Synapse):
        return _synapse(graph, node)
    if not isinstance(node, Population):
        return (
            "Lava's delays carry messages of a sample into the next one; train without axonal "
            "delays"
        )
    if node.cpu_only():
        return node.cpu_only()
    if node.own_weight is not None:
        return (
            "its last spikes would reach into the next sample: the synapse onto itself has no "
            "reset in Lava; train without recurrence"
        )
    return f"a {node.kind} population has no reset in Lava; use leaky integrate-and-fire"


def _synapse(graph: Graph, node: Synapse) -> str | None:
    if node.delays:
        return "it delays messages, which Lava carries into the next sample; lower --align relays"
    if node.weight.ndim == 4 and len(graph.facts(node.name).shape) != 3:
        return "a convolution whose map has no three axes; use (C, H, W)"
    return None
