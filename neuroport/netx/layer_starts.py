"""Compute the start steps of layers in chains that do not start with their first input.

In a graph, each layer starts with the first frame that reaches it. There are two other cases, and a
stock file does not say which one applies:

* SLAYER with ``delay_shift`` (its default, except in sigma-delta blocks): the output of every block
is one step late. As in :mod:`neuroport.capture.slayer`, these steps are removed. A layer that acts
without input (it has a bias) started at SLAYER's first step, that many steps before its first
input.
* NetX and the chip without resets: every synapse takes a step, and all layers start together.
"""

from __future__ import annotations

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import SPIKES
from neuroport.graph.node import (
    Synapse,
)
from neuroport.graph.node_builders import read_later

SIGMA_DELTA = "sigmadelta"


def shifts(graph: Graph, *, sigma_delta: bool = False) -> dict[str, int]:
    """Return the steps by which ``delay_shift`` delays the input of populations, not their bias.

    Args:
        sigma_delta: whether sigma-delta blocks shift, too (SLAYER's do not by default).
    """
    late, found = 0, {}
    for node in graph.populations:
        if late and node.acts_alone():
            found[node.name] = late
            late = 0
        # Average, Affine, Output and Input of sigma_delta have no shift
        if node.emits == SPIKES or (sigma_delta and node.kind == SIGMA_DELTA):
            late += 1
    return found


def doubt(graph: Graph) -> str:
    """Describe what a stock file leaves open about its biases; empty if nothing depends on it."""
    by = shifts(graph)
    if not by:
        return ""
    first = next(iter(by))
    others = f" (and {len(by) - 1} more layers)" if len(by) > 1 else ""
    steps = f"{by[first]} step{'s' if by[first] > 1 else ''}"
    return (
        "does not say whether it was trained with delay_shift=True, SLAYER's default: there the "
        f"bias of {first}{others} acts {steps} longer before its input arrives than here, and "
        "spikes differ; say which: delay_shift=True or False (--delay-shift or --no-delay-shift)"
    )


def shifted(graph: Graph) -> Graph:
    """Return the network as SLAYER trained it with ``delay_shift=True`` in every block."""
    by = shifts(graph, sigma_delta=True)
    late = {synapse: steps for name, steps in by.items() for synapse in graph[name].inputs}
    return read_later(graph, late)


def free_running(graph: Graph, *, hosted: bool) -> Graph:
    """Return the network in NetX's time: step t is the (t + 1)th step of NetX.

    Args:
        hosted: whether the first layer has neurons without a synapse, driven by the host.
    """
    first = graph.input.name
    late = {
        node.name: 1
        for node in graph
        if isinstance(node, Synapse) and not (hosted and first in node.inputs)
    }
    return read_later(graph, late)
