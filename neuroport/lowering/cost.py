"""Compute the cost of each carrier of the shortcuts, and find the cheapest.

The time of a step on Lava's CPU simulator is estimated as ``0.25 ms * processes + 0.5 ns *
connections``: every process takes part in every step, and a sparse product visits every nonzero
weight whether or not a spike meets it. ``benchmarks/speed`` measures both constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroport.graph.fan_out import connections
from neuroport.graph.graph import Graph
from neuroport.graph.node import Population, Synapse

PROCESS_SECONDS = 250e-6
CONNECTION_SECONDS = 0.5e-9


@dataclass(frozen=True, slots=True)
class Cost:
    """Size of a lowered graph.

    Attributes:
        processes: nodes, one Lava process each.
        neurons: neurons, relays included.
        connections: pairs of neurons joined by a nonzero weight.
        messages: the largest number of messages that populations can send to synapses in a step.
        graded: how many of these messages are not spikes.
        step_seconds: estimated time of a step on Lava's CPU simulator.
    """

    processes: int
    neurons: int
    connections: int
    messages: int
    graded: int
    step_seconds: float


def cost(graph: Graph) -> Cost:
    """Count the processes, neurons, connections and messages of a graph."""
    joined = sum(connections(graph, node.name) for node in graph if isinstance(node, Synapse))
    size = {node.name: int(np.prod(graph.facts(node.name).shape)) for node in graph}
    sent = [name for node in graph if isinstance(node, Synapse) for name in node.inputs]
    graded = [name for name in sent if graph.facts(name).graded]
    return Cost(
        processes=len(graph),
        neurons=sum(size[node.name] for node in graph if isinstance(node, Population)),
        connections=joined,
        messages=sum(size[name] for name in sent),
        graded=sum(size[name] for name in graded),
        step_seconds=PROCESS_SECONDS * len(graph) + CONNECTION_SECONDS * joined,
    )
