"""Core memory of a part of a population, in 64-bit words, by formulas fitted to public tables.

Not Intel's formulas: fitted to the tables of ``neuroport/targets/tables``; ``neuroport targets
--fit`` prints how well. Not checked on hardware. A *slot* is what one axon finds in the core:

* convolution: ``axons * (1 + ceil(channels * bits / 64))``, stored once for all positions;
* dense: ``axons * ceil((neurons * (bits + 12) + 4) / 64)``;
* pooling, a weight per axon: the slot of a dense synapse that reaches one neuron, a word each;
* axon map: a word per position for each convolution that reads the population, a word per neuron
  for each dense synapse, and a word per neuron where nothing reads it;
* axon memory: for each convolution a word per position and per part that its reader's channels are
  split into (the tables have a half to one of that);
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
        """Words of a core, all together."""
        words = self.synapse_words + self.axon_map_words + self.axon_memory_words
        return self.neurons + words + CORE_WORDS


def synapse_words(layer: PopulationDemand, channels: int, positions: int = 1) -> int:
    """Words of all synapses of a part of ``layer``: so many channels, or neurons if it is flat.

    Only a dense synapse takes more where the part has more positions.
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
    """A core that holds ``channels`` channels at ``positions`` positions of ``layer``.

    ``parts`` maps the names of populations to how many parts their channels are split into;
    ``neurons`` are those that the core reserves.
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
