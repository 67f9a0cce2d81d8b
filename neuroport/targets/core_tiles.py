"""The tiles of a network, one per core: which neurons of which population.

The unit of placement on chips. A flat population of N neurons counts as (N, 1, 1).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from neuroport.graph.node import Shape
from neuroport.targets.resources import Placed, Resources

Span = tuple[int, int]
Box = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """Neurons [start, stop) of a population in channels, rows and columns."""

    population: str
    channels: Span
    rows: Span
    columns: Span

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The tile in an array (C, H, W) of its population."""
        return slice(*self.channels), slice(*self.rows), slice(*self.columns)

    @property
    def neurons(self) -> int:
        """Number of neurons of the tile; at borders, fewer than a core reserves."""
        return prod(stop - start for start, stop in (self.channels, self.rows, self.columns))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def box(shape: Shape) -> Box:
    """Return ``shape`` as channels, rows and columns."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (prod(shape), 1, 1)


def tiles(found: Resources) -> tuple[Tile, ...]:
    """Return the tile of every core: populations in graph order; columns fastest, then rows."""
    return tuple(tile for placed in found.placed for tile in _tiles(placed))


def _tiles(placed: Placed) -> list[Tile]:
    x, y, c = placed.tiling.tile
    channels, height, width = box(placed.layer.shape)
    return [
        Tile(placed.layer.name, each, rows, columns)
        for each in _spans(channels, c)
        for rows in _spans(height, y)
        for columns in _spans(width, x)
    ]


def _spans(size: int, step: int) -> list[Span]:
    return [(start, min(start + step, size)) for start in range(0, size, step)]
