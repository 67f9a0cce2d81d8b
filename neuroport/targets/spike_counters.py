"""The cost of counting spikes on a chip: populations of counters, placed by fitted formulas.

A counter is a LIF that never fires. A synapse of weight 1 connects every counted neuron to it, with
one axon each. The counters of a population are a population: they share cores with each other, not
with other counters. A counted neuron has one more axon, to its counter. Graded messages are not
counted, because a stock neuron would sum their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from neuroport.runs.recording import counters
from neuroport.runs.trace import is_readout, is_spiking
from neuroport.targets.population_demands import CONSTANT, PopulationDemand, SynapseDemand
from neuroport.targets.resources import Resources

KIND = "counter"


@dataclass(frozen=True, slots=True)
class CounterCost:
    """Counters on a target.

    Attributes:
        granularity: the neurons that share a counter: ``neuron``, ``channel`` or ``layer``.
        populations: number of counted populations.
        counters: number of counters.
        cores: cores that hold only counters.
        more_cores: additional cores of the network because of counters, including these.
        not_counted: populations of graded messages.
    """

    granularity: str
    populations: int
    counters: int
    cores: int
    more_cores: int
    not_counted: tuple[str, ...]

    def __str__(self) -> str:
        line = (
            f"counters: {self.counters:,} per {self.granularity} of {self.populations} "
            f"populations, on {self.cores:,} cores of their own; {self.more_cores:,} cores more "
            "than without; a core holds counters of one population only"
        )
        if self.not_counted:
            line += f"; graded, not counted: {', '.join(self.not_counted)}"
        return line

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def with_counters(
    layers: Sequence[PopulationDemand], granularity: str
) -> tuple[PopulationDemand, ...]:
    """Return the layers, each spiking population followed by its counters."""
    found: list[PopulationDemand] = []
    for layer in layers:
        if not is_spiking(layer.kind):
            found.append(layer)
            continue
        number = int(np.prod(counters(layer.shape, granularity)))
        name = f"{layer.name}.{KIND}"
        synapse = SynapseDemand("pool", layer.neurons // number, 1)
        found.append(replace(layer, readers=(*layer.readers, (name, "dense"))))
        found.append(PopulationDemand(name, KIND, (number,), (synapse,)))
    return tuple(found)


def cost(granularity: str, found: Resources, without: Resources) -> CounterCost:
    """Return the additional cost of ``found``, with counters, over the network ``without`` them."""
    placed = [p for p in found.placed if p.layer.kind == KIND]
    others = [p.layer for p in without.placed]
    return CounterCost(
        granularity=granularity,
        populations=len(placed),
        counters=sum(p.layer.neurons for p in placed),
        cores=sum(p.cores for p in placed),
        more_cores=found.cores - without.cores,
        not_counted=tuple(
            layer.name
            for layer in others
            if not is_spiking(layer.kind) and layer.kind != CONSTANT and not is_readout(layer.kind)
        ),
    )
