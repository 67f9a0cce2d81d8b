"""The cost of counting spikes on a chip: populations of counters, placed by fitted formulas.

A counter is a LIF that never fires; a synapse of weight 1 leads to it from every neuron that it
counts, an axon for each. The counters of a population fill cores of their own, like any population:
they share cores with each other, not with the counters of another population. Neurons that are
counted have one axon more, to the counter. Graded messages are not counted: a stock neuron would
add up their values.
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
        granularity: ``neuron``, ``channel`` or ``layer``: what shares a counter.
        populations: how many populations are counted.
        counters: how many counters there are.
        cores: cores that hold nothing but counters.
        more_cores: cores that the network takes more than without counters, those included.
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
    """The layers, and behind each population of spikes the population that counts them."""
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
    """Return the extra cost of ``found``, with counters, over the same network ``without`` them."""
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
