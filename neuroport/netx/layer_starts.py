"""Start steps of the layers of a chain that do not begin with the first frame to reach them.

In a graph each layer begins with the first frame that reaches it. In two cases it does not, and a
stock file does not say which case applies:

* SLAYER with ``delay_shift`` (its default, except in sigma-delta blocks): every block answers a
  step late. As in :mod:`neuroport.capture.slayer` the steps themselves are removed; where a layer
  acts without input (it has a bias) it began at SLAYER's first step, that many steps before the
  first frame reached it.
* NetX and the chip without resets: every synapse takes a step, and all layers begin at once.
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
    """Populations whose input SLAYER's ``delay_shift`` has later than their bias: by so many steps.

    Args:
        sigma_delta: whether sigma-delta blocks shift, too; by default SLAYER's do not.
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
    """The network with NetX's latency in its own time: step t is the (t + 1)th that NetX runs.

    Args:
        hosted: whether the first layer is neurons that the host drives, without a synapse.
    """
    first = graph.input.name
    late = {
        node.name: 1
        for node in graph
        if isinstance(node, Synapse) and not (hosted and first in node.inputs)
    }
    return read_later(graph, late)
