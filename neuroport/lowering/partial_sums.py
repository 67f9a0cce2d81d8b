"""Passes: add up the inputs of a small population in parts. Effect: exact in ideal time.

A readout of many feature maps may receive more messages than a core can take, and early maps would
wait in relays of their own size. Sums are associative, so the readout's current can be added up in
parts, each only as large as the readout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, IntArray, Node, Relay
from neuroport.graph.node_builders import identity
from neuroport.lowering.latency import Schedule


@dataclass(frozen=True)
class _Part:
    """Columns [start, stop) of a synapse that belong to one of its sources."""

    synapse: Dense
    source: str
    start: int
    stop: int

    @property
    def axons(self) -> int:
        return self.stop - self.start


def partial_sums(graph: Graph, most: int) -> Graph:
    """Limit flat populations behind dense synapses to ``most`` messages per step.

    All other populations stay unchanged.
    """
    crowded = {
        node.name: synapses
        for node in graph.populations
        if node.currents_per_neuron == 1
        and (synapses := _dense(graph, node)) is not None
        and sum(_axons(synapse) for synapse in synapses) > most
    }
    if not crowded:
        return graph
    names = Schedule(graph, "relays")
    used = {name for node in graph if node.name not in crowded for name in node.inputs}
    gone = {s.name for synapses in crowded.values() for s in synapses if s.name not in used}
    nodes: list[Node] = []
    for node in graph:
        if node.name in gone:
            continue
        if node.name not in crowded:
            nodes.append(node)
            continue
        shape = graph.facts(node.name).shape
        sums = []
        for number, part in enumerate(_bins(crowded[node.name], most)):
            relay = names.fresh(f"{node.name}.part{number}")
            made = [_synapse(names.fresh(f"{relay}.sum"), piece) for piece in _joined(part)]
            nodes += [*made, Relay(relay, tuple(each.name for each in made))]
            nodes.append(identity(names.fresh(f"{relay}.identity"), relay, shape))
            sums.append(nodes[-1].name)
        nodes.append(node.replace(inputs=tuple(sums)))
    return graph.derived(nodes)


def parts_by_source(graph: Graph) -> Graph:
    """Give each source its own synapse, if a dense synapse has fewer outputs than inputs.

    If sources have unequal latency, their currents then wait in relays, instead of their messages.
    """
    names = Schedule(graph, "relays")
    parts: dict[str, list[str]] = {}
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Dense) and len(node.inputs) > 1 and _narrows(node):
            own = [(names.fresh(f"{node.name}.of.{source}"), source) for source in node.inputs]
            nodes += [node.replace(name=name, inputs=(source,)) for name, source in own]
            parts[node.name] = [name for name, _ in own]
            continue
        inputs = tuple(part for name in node.inputs for part in parts.get(name, [name]))
        nodes.append(node if inputs == node.inputs else node.replace(inputs=inputs))
    return graph.derived(nodes) if parts else graph


def _narrows(node: Dense) -> bool:
    outputs, inputs = node.packed("weight").shape
    return outputs < inputs


def _dense(graph: Graph, node: Node) -> list[Dense] | None:
    """Return the synapses of a population if all are dense and none has an extra delay."""
    synapses = [graph[name] for name in node.inputs]
    plain = [s for s in synapses if isinstance(s, Dense) and not s.delays]
    return plain if len(plain) == len(synapses) else None


def _axons(synapse: Dense) -> int:
    return len(synapse.inputs) * synapse.packed("weight").shape[1]


def _bins(synapses: list[Dense], most: int) -> list[list[_Part]]:
    """All columns of all sources, in order, in parts of at most ``most``; sources stay whole if
    they can."""
    bins: list[list[_Part]] = [[]]
    for synapse in synapses:
        size = synapse.packed("weight").shape[1]
        for source in synapse.inputs:
            for start in range(0, size, most):
                part = _Part(synapse, source, start, min(size, start + most))
                if sum(each.axons for each in bins[-1]) + part.axons > most:
                    bins.append([])
                bins[-1].append(part)
    return [each for each in bins if each]


def _joined(parts: list[_Part]) -> list[list[_Part]]:
    """Join parts that one synapse can hold: the same columns of the same weights."""
    groups: dict[tuple[str, int, int], list[_Part]] = {}
    for part in parts:
        groups.setdefault((part.synapse.name, part.start, part.stop), []).append(part)
    return list(groups.values())


def _synapse(name: str, parts: list[_Part]) -> Dense:
    first = parts[0]
    made = first.synapse.replace(name=name, inputs=tuple(part.source for part in parts))
    if first.axons == made.packed("weight").shape[1]:
        return made
    whole = made.weight
    weight: IntArray = np.zeros_like(whole)
    columns = slice(first.start, first.stop)
    weight[:, columns] = whole[:, columns]
    return made.replace(weight=weight)
