"""Cores, chips and words that a network needs on a target, and the binding limit.

An estimate by the fitted formulas of :mod:`neuroport.targets.core_memory`; not run on hardware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import ceil
from typing import Any

from neuroport.graph.graph import Graph
from neuroport.targets.core_memory import Fill
from neuroport.targets.population_demands import PopulationDemand, SynapseDemand, population_demands
from neuroport.targets.target import Target
from neuroport.targets.tiling import (
    LIMITS,
    Limits,
    Tiling,
    channel_parts,
    limits_of,
    tile,
)

TITLES = {
    "neurons": "neurons",
    "synapse_words": "synapse words",
    "axon_map_words": "axon map",
    "axon_memory_words": "axon memory",
    "axons_in": "arriving axons",
    "memory_words": "words in all",
}


@dataclass(frozen=True, slots=True)
class Placed:
    """One population on its cores.

    ``binding`` is the limit whose removal would save the most cores, or the fullest limit if no
    single one matters. ``fraction`` is the use of the fullest limit of the fullest core.
    """

    layer: PopulationDemand
    tiling: Tiling
    binding: str
    fraction: float

    @property
    def cores(self) -> int:
        """Number of cores of the population."""
        return self.tiling.cores

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.layer.name,
            "kind": self.layer.kind,
            "shape": list(self.layer.shape),
            "levels": self.layer.levels,
            "tile": list(self.tiling.tile),
            "cores": self.cores,
            **asdict(self.tiling.full),
            "memory_words": self.tiling.full.memory_words,
            "mean_synapse_words": self.tiling.mean_synapse_words,
            "binding": TITLES[self.binding],
            "fraction": self.fraction,
            "exceeded": [TITLES[name] for name in self.tiling.exceeded],
        }


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a network on a target: one entry per population, in graph order."""

    target: Target
    placed: tuple[Placed, ...]

    @property
    def cores(self) -> int:
        """Number of cores; a core holds parts of one population only."""
        return sum(p.cores for p in self.placed)

    @property
    def chips(self) -> int:
        """Number of chips for these cores."""
        return ceil(self.cores / self.target["cores"])

    @property
    def neurons(self) -> int:
        """Number of neurons, including relays."""
        return sum(p.layer.neurons for p in self.placed)

    @property
    def relays(self) -> tuple[int, int]:
        """Numbers of neurons and cores of relays."""
        found = [p for p in self.placed if p.layer.kind == "relay"]
        return sum(p.layer.neurons for p in found), sum(p.cores for p in found)

    @property
    def units(self) -> dict[int, int]:
        """K -> number of neurons of K >= 2 levels; each is K neurons on the chip."""
        found: Counter[int] = Counter()
        for p in self.placed:
            if p.layer.levels > 1:
                found[p.layer.levels] += p.layer.neurons
        return {levels: count // levels for levels, count in sorted(found.items())}

    @property
    def binding(self) -> str:
        """The limit that binds the populations with the most cores."""
        found: Counter[str] = Counter()
        for p in self.placed:
            found[p.binding] += p.cores
        return TITLES[found.most_common(1)[0][0]] if found else "none"

    @property
    def impossible(self) -> tuple[Placed, ...]:
        """Populations of which not a single neuron fits a core."""
        return tuple(p for p in self.placed if p.tiling.exceeded)

    @property
    def fits(self) -> bool:
        """Whether the target holds the network."""
        return not self.impossible and self.cores <= self.target.capacity

    def __str__(self) -> str:
        relay_neurons, relay_cores = self.relays
        parts = [
            f"{self.cores:,} of {self.target.capacity:,} cores",
            f"{self.chips} of {self.target['chips']} chips",
            f"{self.neurons:,} neurons",
        ]
        if relay_cores:
            parts.append(f"{relay_neurons:,} of them in relays on {relay_cores:,} cores")
        for levels, count in self.units.items():
            parts.append(f"{count:,} units of {levels} levels")
        return f"{', '.join(parts)}; bound by {self.binding}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "target": self.target.name,
            "fits": self.fits,
            "cores": self.cores,
            "capacity": self.target.capacity,
            "chips": self.chips,
            "neurons": self.neurons,
            "relays": dict(zip(("neurons", "cores"), self.relays, strict=True)),
            "units": self.units,
            "binding": self.binding,
            "populations": [p.to_dict() for p in self.placed],
        }


def resources(network: Graph | Sequence[PopulationDemand], target: Target) -> Resources:
    """Estimate the resources that ``network``, a graph or its layers, needs on ``target``."""
    found = population_demands(network) if isinstance(network, Graph) else network
    limits = limits_of(target)
    parts = {layer.name: channel_parts(layer, limits) for layer in found}
    return Resources(target, tuple(_place(layer, limits, parts) for layer in found))


def _place(layer: PopulationDemand, limits: Limits, parts: dict[str, int]) -> Placed:
    readers = tuple(sorted((kind, parts.get(reader, 1)) for reader, kind in layer.readers))
    found = _fit(layer.shape, layer.arriving, readers, tuple(limits.items()))
    return Placed(layer, *found)


@lru_cache(maxsize=4096)  # deep networks repeat few shapes
def _fit(
    shape: tuple[int, ...],
    arriving: tuple[SynapseDemand, ...],
    readers: tuple[tuple[str, int], ...],
    given: tuple[tuple[str, int | None], ...],
) -> tuple[Tiling, str, float]:
    """Return tiling, binding limit and fraction; a reader is a kind and its number of parts."""
    limits = dict(given)
    parts = {str(number): number for _, number in readers}
    layer = PopulationDemand(
        "", "", shape, arriving, tuple((str(number), kind) for kind, number in readers)
    )
    best = tile(layer, limits, parts)
    used = _fractions(best.full, limits)
    fullest = max(used, key=lambda name: used[name])
    binding = fullest
    if best.exceeded:
        binding = max(best.exceeded, key=lambda name: used[name])
    elif best.cores > 1:
        free = {name: tile(layer, _without(name, limits), parts).cores for name in used}
        least = min(free.values())
        if least < best.cores:
            binding = max((n for n in free if free[n] == least), key=lambda name: used[name])
    return best, binding, used[fullest]


def _without(name: str, limits: Limits) -> dict[str, int | None]:
    """Return the limits without one; words that count twice are freed twice."""
    also = "memory_words" if name.endswith("_words") else name
    return {**limits, name: None, also: None}


def _fractions(full: Fill, limits: Limits) -> dict[str, float]:
    return {
        name: getattr(full, name) / limit for name in LIMITS if (limit := limits[name]) is not None
    }
