"""Refine a partition by moving and swapping tiles between chips (Kernighan and Lin's method).

The gain of each step is computed exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

SWAPPED = 300  # tiles up to which swaps are tried, whose price grows with their square
UPHILL = 20  # steps that a walk goes on without a better placement
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Chips = npt.NDArray[np.int64]  # of each tile
Edge: TypeAlias = tuple[tuple[int, ...], int]  # tiles that messages join, and how many messages


class Search:
    """Search by moves and swaps of tiles, with exact costs.

    ``member`` is (tiles, edges) 0/1. The cost of a move is the weight of the tile's edges that are
    new on the new chip, minus the weight of those that leave the old chip.
    """

    def __init__(self, count: int, edges: Sequence[Edge], chips: int, cores: int) -> None:
        self.chips, self.cores = chips, cores
        self.weight = np.array([weight for _, weight in edges], np.float64)
        self.member = np.zeros((count, len(edges)))
        for edge, (pins, _) in enumerate(edges):
            self.member[list(pins), edge] = 1

    def repair(self, placed: Chips) -> Chips:
        """Empty overfull chips by the cheapest moves."""
        placed = placed.copy()
        while True:
            fill = np.bincount(placed, minlength=self.chips)
            over = fill[placed] > self.cores
            if not over.any():
                return placed
            cost, _ = self._moves(placed)
            cost[~over] = np.inf
            cost[:, fill >= self.cores] = np.inf
            tile, chip = np.unravel_index(int(cost.argmin()), cost.shape)
            placed[tile] = chip

    def polish(self, placed: Chips) -> Chips:
        """Repeat passes of moves and swaps while they help."""
        while True:
            better = self._passed(placed)
            if better is None:
                return placed
            placed = better

    def _passed(self, placed: Chips) -> Chips | None:
        """Return the best placement on a walk, moving each tile once; None if none helps.

        The walk also goes uphill, for at most ``UPHILL`` steps (Kernighan and Lin's method).
        """
        placed, best = placed.copy(), None
        free = np.ones(len(placed), np.bool_)
        total = least = 0.0
        uphill = 0
        while uphill < UPHILL:
            cost, alone = self._moves(placed)
            swaps = self._swaps(placed, cost, alone, free)
            cost[:, np.bincount(placed, minlength=self.chips) >= self.cores] = np.inf
            cost[np.arange(len(placed)), placed] = np.inf
            cost[~free] = np.inf
            tile, chip = np.unravel_index(int(cost.argmin()), cost.shape)
            one, other = np.unravel_index(int(swaps.argmin()), swaps.shape)
            step = min(cost[tile, chip], swaps[one, other])
            if np.isinf(step):
                break
            if step == cost[tile, chip]:
                placed[tile] = chip
                free[tile] = False
            else:
                placed[[one, other]] = placed[[other, one]]
                free[[one, other]] = False
            total, uphill = total + step, uphill + 1
            if total < least:
                least, best, uphill = total, placed.copy(), 0
        return best

    def _swaps(self, placed: Chips, cost: Floats, alone: Floats, free: Bools) -> Floats:
        """Return the cost (tiles, tiles) of each swap of free tiles."""
        if len(placed) > SWAPPED:
            return np.full((1, 1), np.inf)
        to = cost[:, placed]  # (tile, other): the tile goes where the other one is
        both = alone @ self.member.T  # an edge that holds both leaves neither chip
        swaps = to + to.T + both + both.T
        swaps[(placed[:, None] == placed) | ~free | ~free[:, None]] = np.inf
        return np.asarray(swaps)

    def _moves(self, placed: Chips) -> tuple[Floats, Floats]:
        """Return costs (tiles, chips) of moves, and the weights (tiles, edges) they remove."""
        pins = np.zeros((self.chips, self.member.shape[1]))
        np.add.at(pins, placed, self.member)
        alone = self.member * (pins[placed] == 1) * self.weight
        new = self.member @ ((pins == 0) * self.weight).T
        return new - alone.sum(axis=1)[:, None], alone
