"""What a core must hold of each population: shapes, synapses, readers; no weights.

A population stands for itself: a neuron of K levels is K populations, each with its own copy of
the synapses, and a relay is a population like any other. The frames come from outside and take no
cores.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    KIND,
    Conv,
    Delay,
    Dense,
    Input,
    IntArray,
    Node,
    Recurrent,
    Relay,
    ResonateFire,
    is_population,
)


@dataclass(frozen=True, slots=True)
class Arriving:
    """One synapse of a population.

    Attributes:
        kind: ``conv`` or ``dense``.
        axons: input channels times kernel taps, or inputs of a dense synapse.
        bits: of a weight, :func:`weight_bits`.
        copies: populations whose messages it takes; each has its own axons.
        spread: sums of a neuron that it reaches, 2 where a neuron has a real and an imaginary one.
    """

    kind: str
    axons: int
    bits: int
    copies: int = 1
    spread: int = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """One population; ``readers`` are the names of those it sends to, and by what kind of synapse.

    ``levels`` counts the populations that share its dendrite, itself included: K of a K-level unit.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    arriving: tuple[Arriving, ...]
    readers: tuple[tuple[str, str], ...] = ()
    levels: int = 1

    @property
    def neurons(self) -> int:
        """Neurons of the population."""
        return int(np.prod(self.shape))


def weight_bits(weight: IntArray) -> int:
    """Bits that lava-dl stores of each weight: without common low zeros, with a sign if needed."""
    together = int(np.bitwise_or.reduce(np.abs(weight).ravel()))
    if together == 0:
        return 1
    zeros = (together & -together).bit_length() - 1
    low, high = int(weight.min()) >> zeros, int(weight.max()) >> zeros
    if low < 0 < high:
        return 1 + max((-low - 1).bit_length(), high.bit_length())
    return max(-low, high).bit_length()


def layers(graph: Graph) -> tuple[Layer, ...]:
    """The populations of ``graph``, in its order."""
    readers: dict[str, list[tuple[str, str]]] = {node.name: [] for node in graph}
    dendrites = Counter(
        node.inputs for node in graph if is_population(node) and not isinstance(node, Relay)
    )
    found = []
    for node in graph:
        if not is_population(node):
            continue
        arriving = []
        for name in node.inputs:
            synapse = graph[name]
            assert isinstance(synapse, (Conv, Dense))
            sources = [_source(graph, source) for source in synapse.inputs]
            for source in sources:
                readers[source].append((node.name, KIND[type(synapse)]))
            arriving.append(_arriving(synapse, len(sources), 1 + isinstance(node, ResonateFire)))
        if isinstance(node, Recurrent):
            readers[node.name].append((node.name, "dense"))
            arriving.append(Arriving("dense", len(node.weight), weight_bits(node.weight)))
        found.append((node, tuple(arriving)))
    return tuple(
        Layer(
            node.name,
            KIND[type(node)],
            graph.facts(node.name).shape,
            arriving,
            tuple(readers[node.name]),
            1 if isinstance(node, Relay) else dendrites[node.inputs],
        )
        for node, arriving in found
    )


def _source(graph: Graph, name: str) -> str:
    """The population or input behind a chain of delays."""
    node: Node = graph[name]
    while isinstance(node, Delay):
        node = graph[node.inputs[0]]
    assert isinstance(node, Input) or is_population(node)
    return node.name


def _arriving(synapse: Conv | Dense, copies: int, spread: int) -> Arriving:
    weight = synapse.weight
    bits = weight_bits(weight)
    if isinstance(synapse, Dense):
        return Arriving("dense", weight.shape[1], bits, copies, spread)
    # groups are written out: whether hardware has grouped convolutions is not documented
    channels = weight.shape[1] * synapse.groups
    return Arriving("conv", channels * int(np.prod(weight.shape[2:])), bits, copies, spread)
