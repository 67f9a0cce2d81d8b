"""What this engine refuses before anything is built: what a chip, or Lava on it, does not do."""

from __future__ import annotations

from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    KIND,
    Adaptive,
    Conv,
    Delay,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
)
from neuroport.targets.rules import refusals
from neuroport.targets.target import Target


def refuse(graph: Graph, target: Target) -> None:
    """Raise where the chip's rules or this engine refuse a node.

    Raises:
        IllegalError: names the nodes, the reasons and the cures.
    """
    found = [str(finding) for finding in refusals(graph, target)]
    reasons = ((node.name, _refused(graph, node)) for node in graph)
    found += [f"{name}: {why}" for name, why in reasons if why is not None]
    if found:
        more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
        raise IllegalError(f"illegal for loihi2: {'; '.join(found[:4])}{more}")


def _refused(graph: Graph, node: Node) -> str | None:
    if isinstance(node, (Input, Lif, Readout, Relay)):
        return None
    if isinstance(node, (Conv, Dense)):
        return _synapse(graph, node)
    if isinstance(node, Delay):
        return (
            "Lava's delays carry messages of a sample into the next one; train without axonal "
            "delays"
        )
    if isinstance(node, Recurrent):
        return (
            "its last spikes would reach into the next sample: the synapse onto itself has no "
            "reset in Lava; train without recurrence"
        )
    if isinstance(node, Adaptive):
        return "its threshold adapts, which no neuron of Lava does; train with fixed thresholds"
    if isinstance(node, LeakyReadout):
        return "it leaks, and a readout on a chip does not; use a readout without leaks"
    return f"a {KIND[type(node)]} population has no reset in Lava; use leaky integrate-and-fire"


def _synapse(graph: Graph, node: Conv | Dense) -> str | None:
    if node.lag or (isinstance(node, Dense) and node.delay.any()):
        return "it delays messages, which Lava carries into the next sample; lower --align relays"
    if isinstance(node, Conv) and len(graph.facts(node.name).shape) != 3:
        return "a convolution whose map has no three axes; use (C, H, W)"
    return None
