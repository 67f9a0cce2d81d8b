"""Divide a population into tiles (x, y, c), one per core, like lava-dl's compiler.

Feature maps: channels are halved until the synapses fit. Then columns are divided by powers of two
and rows are halved, for the fewest cores (for equal numbers, the squarest tile that is not wider
than tall). Flat populations: as many equal parts as the synapse words require, doubled until no
limit is exceeded. This reproduces published tables (``neuroport targets --fit``); the compiler
itself is closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from neuroport.targets.core_memory import Fill, fill, synapse_words
from neuroport.targets.population_demands import PopulationDemand
from neuroport.targets.target import Target

LIMITS = (
    "neurons",
    "synapse_words",
    "axon_map_words",
    "axon_memory_words",
    "axons_in",
    "memory_words",
)
Limits = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Tiling:
    """``cores`` tiles of at most ``tile`` (x, y, c); ``full`` is the fullest core.

    ``mean_synapse_words`` is the mean over all cores, as in the published tables. ``exceeded``
    names the limits that even the smallest tile exceeds; it is empty if the population fits.
    """

    tile: tuple[int, int, int]
    cores: int
    full: Fill
    mean_synapse_words: float
    exceeded: tuple[str, ...] = ()


def limits_of(target: Target) -> dict[str, int | None]:
    """Return the limits of one core."""
    return {name: target.limit(name) for name in LIMITS}


def exceeded(found: Fill, limits: Limits) -> tuple[str, ...]:
    """Return the names of the limits that a core exceeds."""
    return tuple(
        name
        for name in LIMITS
        if (limit := limits[name]) is not None and getattr(found, name) > limit
    )


def channel_parts(layer: PopulationDemand, limits: Limits) -> int:
    """Return the number of parts of the channels that the synapses require."""
    if len(layer.shape) != 3:
        return 1
    limit = limits["synapse_words"]
    channels = layer.shape[0]
    while limit is not None and channels > 1 and synapse_words(layer, channels) > limit:
        channels = ceil(channels / 2)
    return ceil(layer.shape[0] / channels)


def tile(layer: PopulationDemand, limits: Limits, parts: Mapping[str, int]) -> Tiling:
    """Divide ``layer`` into tiles; for ``parts`` see :func:`neuroport.targets.core_memory.fill`."""
    return _map(layer, limits, parts) if len(layer.shape) == 3 else _flat(layer, limits, parts)


def _map(layer: PopulationDemand, limits: Limits, parts: Mapping[str, int]) -> Tiling:
    whole, height, width = layer.shape
    channels = ceil(whole / channel_parts(layer, limits))
    while True:
        found = [_at(layer, x, y, channels, parts) for x in _powers(width) for y in _halves(height)]
        fitting = [tiling for tiling in found if not exceeded(tiling.full, limits)]
        if fitting:
            return min(fitting, key=_preference)
        if channels == 1:
            least = _at(layer, 1, 1, 1, parts)
            over = exceeded(least.full, limits)
            return Tiling(least.tile, least.cores, least.full, least.mean_synapse_words, over)
        channels = ceil(channels / 2)


def _preference(tiling: Tiling) -> tuple[int, bool, int]:
    x, y, _ = tiling.tile
    return tiling.cores, x > y, abs(x - y)


def _at(layer: PopulationDemand, x: int, y: int, c: int, parts: Mapping[str, int]) -> Tiling:
    whole, height, width = layer.shape
    cores = ceil(width / x) * ceil(height / y) * ceil(whole / c)
    # the compiler reserves whole powers of two: 49 columns in one tile take the room of 64
    full = fill(layer, min(x, width) * y, c, parts, x * y * c)
    return Tiling((min(x, width), y, c), cores, full, full.synapse_words)


def _powers(size: int) -> list[int]:
    return [1 << k for k in range((size - 1).bit_length() + 1)]


def _halves(size: int) -> list[int]:
    sizes = [size]
    while sizes[-1] > 1:
        sizes.append(ceil(sizes[-1] / 2))
    return sizes


def _flat(layer: PopulationDemand, limits: Limits, parts: Mapping[str, int]) -> Tiling:
    count = layer.neurons
    factor = 1
    for need, name in ((synapse_words(layer, count), "synapse_words"), (count, "neurons")):
        limit = limits[name]
        factor = max(factor, ceil(need / limit) if limit is not None else 1)
    while True:
        size = ceil(count / factor)
        full = fill(layer, 1, size, parts, size)
        over = exceeded(full, limits)
        if not over or size == 1:
            break
        factor *= 2
    cores = ceil(count / size)
    last = synapse_words(layer, count - (cores - 1) * size)
    mean = ((cores - 1) * full.synapse_words + last) / cores
    return Tiling((1, 1, size), cores, full, mean, over)
