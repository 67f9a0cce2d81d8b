"""The demands of each population on its cores: shapes, synapses, readers; no weights.

A neuron of K levels is K populations, each with its own copy of the synapses. A relay is a
population like any other. Rounding relays take two constants from a neuron that fires at every
step, which is a population of its own. The frames come from outside and take no cores.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from neuroport.deprecated import moved
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED
from neuroport.graph.node import IntArray, Node, Synapse

CONSTANT = "constant"  # kind of the neuron that fires at every step
CONSTANTS = 2  # that a neuron takes which rounds: 1, and half a unit


@dataclass(frozen=True, slots=True)
class SynapseDemand:
    """One synapse of a population.

    Attributes:
        kind: ``conv`` or ``dense``; ``pool`` if an axon reaches one neuron.
        axons: input channels times kernel taps, or inputs of a dense synapse with a weight; for
        ``pool``, per neuron.
        bits: bits of a weight, :func:`weight_bits`.
        copies: number of populations whose messages it takes; each has its own axons.
        spread: number of currents per neuron: 2 if a neuron has a real and an imaginary current.
        outside: whether it reads the frames.
    """

    kind: str
    axons: int
    bits: int
    copies: int = 1
    spread: int = 1
    outside: bool = False


@dataclass(frozen=True, slots=True)
class PopulationDemand:
    """One population; ``readers`` are the names of its readers, with the kinds of synapses.

    ``levels`` is the number of populations with the same dendrite and readers, including itself:
    the K of a K-level neuron.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    arriving: tuple[SynapseDemand, ...]
    readers: tuple[tuple[str, str], ...] = ()
    levels: int = 1

    @property
    def neurons(self) -> int:
        """Number of neurons of the population."""
        return int(np.prod(self.shape))


def weight_bits(weight: IntArray) -> int:
    """Return the bits that lava-dl stores per weight: no common low zeros, a sign if needed."""
    together = int(np.bitwise_or.reduce(np.abs(weight).ravel()))
    if together == 0:
        return 1
    zeros = (together & -together).bit_length() - 1
    low, high = int(weight.min()) >> zeros, int(weight.max()) >> zeros
    if low < 0 < high:
        return 1 + max((-low - 1).bit_length(), high.bit_length())
    return max(-low, high).bit_length()


def population_demands(graph: Graph) -> tuple[PopulationDemand, ...]:
    """Return the demands of the populations of ``graph``, in graph order."""
    readers: dict[str, list[tuple[str, str]]] = {node.name: [] for node in graph}
    found = []
    for node in graph.populations:
        arriving = []
        for synapse in graph.synapses_into(node.name):
            sources = [found for name in synapse.inputs for found, _ in graph.past_delays(name)]
            for source in sources:
                readers[source.name].append((node.name, synapse.kind))
            outside = any(not source.takes for source in sources)
            spread = node.currents_per_neuron
            arriving.append(_arriving(synapse, len(sources), spread, outside))
        own = node.own_weight
        if own is not None:
            readers[node.name].append((node.name, "dense"))
            arriving.append(SynapseDemand("dense", len(own), weight_bits(own)))
        found.append((node, tuple(arriving)))
    units = _units([node for node, _ in found], readers)
    populations = tuple(
        PopulationDemand(
            node.name,
            node.kind,
            graph.facts(node.name).shape,
            arriving,
            tuple(readers[node.name]),
            units[node.name],
        )
        for node, arriving in found
    )
    return _with_constants(graph, populations)


def rounding(graph: Graph) -> list[str]:
    """Return the rounding relays: on a chip, each is a ``ProdNeuron`` with a constant factor."""
    return [node.name for node in graph.populations if node.rounds]


def _with_constants(
    graph: Graph, found: tuple[PopulationDemand, ...]
) -> tuple[PopulationDemand, ...]:
    """Add the constants of rounding relays, and the neuron that sends them.

    Each constant has a synapse of its own.
    """
    rounds = rounding(graph)
    if not rounds:
        return found
    constants = (SynapseDemand("dense", 1, 1),) * CONSTANTS
    name = CONSTANT
    while any(node.name == name for node in graph):
        name += "'"
    readers = tuple((relay, "dense") for relay in rounds for _ in constants)
    fed = (
        replace(layer, arriving=layer.arriving + constants) if layer.name in rounds else layer
        for layer in found
    )
    return (*fed, PopulationDemand(name, CONSTANT, (1,), (), readers))


def _units(populations: list[Node], readers: dict[str, list[tuple[str, str]]]) -> dict[str, int]:
    """Count the populations that share a dendrite and, after their relays, the same readers."""
    relays = {node.name for node in populations if node.emits == GRADED}
    ends: dict[str, frozenset[str]] = {}
    for node in reversed(populations):  # readers come later, a population itself excepted
        named = {name for name, _ in readers[node.name]}
        past = [ends[name] for name in named & relays if name in ends]
        ends[node.name] = frozenset(named - relays).union(*past)
    keys = {node.name: (node.inputs, ends[node.name]) for node in populations}
    number = Counter(key for name, key in keys.items() if name not in relays)
    return {name: 1 if name in relays else number[key] for name, key in keys.items()}


def _arriving(synapse: Synapse, copies: int, spread: int, outside: bool) -> SynapseDemand:
    weight = synapse.weight
    bits = weight_bits(weight)
    if synapse.kernel is not None:
        # groups are written out: whether hardware has grouped convolutions is not documented
        channels = weight.shape[1] * synapse.kernel.groups
        taps = int(np.prod(weight.shape[2:]))
        return SynapseDemand("conv", channels * taps, bits, copies, spread, outside)
    axons = max(1, int(np.count_nonzero(weight.any(axis=0))))  # none where no weight is
    return SynapseDemand("dense", axons, bits, copies, spread, outside)


__getattr__ = moved(
    __name__,
    {
        "Arriving": "neuroport.targets.population_demands:SynapseDemand",
        "Layer": "neuroport.targets.population_demands:PopulationDemand",
        "layers": "neuroport.targets.population_demands:population_demands",
    },
)
