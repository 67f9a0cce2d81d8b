"""Pass: carry shortcuts by unrolling them. Effect: exact in ideal time; copies synapses.

Currents add up, so a membrane stream is the sum of its synapses' currents. Instead of holding that
sum, this pass repeats every earlier synapse for every later dendrite that it reaches, delayed to
meet the branch. The traffic stays that of the sources (spikes), but the number of synapses grows.

A copy is delayed by spike relays that hold its messages (``align="relays"``), or by an extra delay
of the synapse (``align="delays"``; Lava's and Loihi's synapses delay up to 62 steps).
"""

from __future__ import annotations

from neuroport.graph.graph import Graph
from neuroport.graph.node import Population, Synapse
from neuroport.lowering.latency import Schedule


def unroll(graph: Graph, align: str = "delays", most: int | None = None) -> Graph:
    """Repeat synapses until the inputs of every node have equal latency.

    Raises:
        IllegalError: more than ``most`` nodes would be needed.
    """
    if graph.balanced:
        return graph
    plan = Schedule(graph, align, most)
    delivered: dict[tuple[str, int], tuple[str, ...]] = {}
    used = {name for node in graph for name in node.inputs}

    def arrival(synapse: Synapse) -> int:
        return max(plan.latency[name] for name in synapse.inputs) + 1 + synapse.lag

    def deliver(synapse: Synapse, at: int) -> tuple[str, ...]:
        """Return names of currents that sum to the synapse's and arrive at latency ``at``."""
        if (synapse.name, at) not in delivered:
            late = at - arrival(synapse)
            name = f"{synapse.name}.late{late}" if late else synapse.name
            delivered[synapse.name, at] = tuple(copies(synapse, name, at))
        return delivered[synapse.name, at]

    def copies(synapse: Synapse, name: str, at: int) -> list[str]:
        send = (
            at - 1 - synapse.lag
        )  # step at which a synapse with an extra delay must read its messages
        sources = synapse.inputs
        if not plan.delays:
            shape = graph.facts(sources[0]).shape
            held = tuple(plan.hold(source, send, shape) for source in sources)
            return [plan.add(synapse.replace(name=named(synapse, name), inputs=held))]
        made: list[str] = []
        for latency in sorted({plan.latency[source] for source in sources}, reverse=True):
            group = tuple(source for source in sources if plan.latency[source] == latency)
            copy = named(synapse, f"{name}.from{latency}" if made else name)
            lag = synapse.lag + send - latency
            made.append(plan.add(synapse.replace(name=copy, inputs=group, lag=lag)))
        return made

    def named(synapse: Synapse, name: str) -> str:
        return name if name == synapse.name else plan.fresh(name)

    for node in graph:
        if isinstance(node, Synapse):
            if node.name not in used:
                deliver(node, arrival(node))
            continue
        inputs = node.inputs
        if isinstance(node, Population):
            synapses = [graph[name] for name in inputs]
            arriving = [synapse for synapse in synapses if isinstance(synapse, Synapse)]
            at = max(arrival(synapse) for synapse in arriving)
            inputs = tuple(name for synapse in arriving for name in deliver(synapse, at))
        elif inputs:
            until = max(plan.latency[name] for name in inputs)
            shape = graph.facts(inputs[0]).shape
            inputs = tuple(plan.hold(name, until, shape) for name in inputs)
        plan.add(node if inputs == node.inputs else node.replace(inputs=inputs))
    return plan.finish()
