"""Core memory of a part of a population, in 64-bit words, by fitted formulas.

The formulas are not Intel's. They were fitted to the public tables in ``neuroport/targets/tables``;
``neuroport targets --fit`` prints the residuals. They were not checked on hardware. A *slot* is the
memory of one axon in the core:

* convolution: ``axons * (1 + ceil(channels * bits / 64))``, stored once for all positions;
* dense: ``axons * ceil((neurons * (bits + 12) + 4) / 64)``;
* pooling, with one weight per axon: the slot of a dense synapse to one neuron, one word;
* axon map: one word per position for each convolution that reads the population, one word per
neuron for each dense synapse, and one word per neuron without readers;
* axon memory: for each convolution, one word per position and per part of its reader's channels
(0.5 to 1 times this in the tables);
* total: neurons + synapse words + axon map + axon memory + 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from neuroport.targets.population_demands import PopulationDemand

WORD = 64
INDEX_BITS = 12
SLOT_BITS = 4
CORE_WORDS = 4


@dataclass(frozen=True, slots=True)
class Fill:
    """The contents of one core; the names are those of the target's limits."""

    neurons: int
    synapse_words: int
    axon_map_words: int
    axon_memory_words: int
    axons_in: int

    @property
    def memory_words(self) -> int:
        """Total words of a core."""
        words = self.synapse_words + self.axon_map_words + self.axon_memory_words
        return self.neurons + words + CORE_WORDS


def synapse_words(layer: PopulationDemand, channels: int, positions: int = 1) -> int:
    """Return the words of all synapses of a part of ``layer``: channels, or neurons if flat.

    Only dense synapses take more words for more positions.
    """
    words = 0
    for synapse in layer.arriving:
        reached = channels * synapse.spread
        if synapse.kind == "conv":
            slot = 1 + ceil(reached * synapse.bits / WORD)
        elif synapse.kind == "pool":
            slot = channels * ceil((synapse.bits + INDEX_BITS + SLOT_BITS) / WORD)
        else:
            slot = ceil((reached * positions * (synapse.bits + INDEX_BITS) + SLOT_BITS) / WORD)
        words += synapse.copies * synapse.axons * slot
    return words


def fill(
    layer: PopulationDemand, positions: int, channels: int, parts: Mapping[str, int], neurons: int
) -> Fill:
    """Return the contents of a core with ``channels`` channels at ``positions`` positions.

    ``parts`` maps names of populations to the number of parts of their channels; ``neurons`` is the
    number of reserved neurons.
    """
    mapped = listed = 0
    for reader, kind in layer.readers:
        mapped += positions if kind == "conv" else positions * channels
        listed += positions * parts.get(reader, 1) if kind == "conv" else 0
    if not layer.readers:
        mapped = positions * channels
    each = {"conv": 0, "pool": channels, "dense": 1}
    arriving = sum(s.copies * max(1, each[s.kind] * s.axons) for s in layer.arriving)
    return Fill(neurons, synapse_words(layer, channels, positions), mapped, listed, arriving)
