"""Tiles onto chips with the fewest messages between them: Mt-KaHyPar, repaired and polished.

A flow is an edge of a hypergraph over the cores that it joins, its source included. Where these lie
on ``n`` chips, each of its messages crosses between chips ``n - 1`` times: Mt-KaHyPar's
connectivity metric *is* the number of messages between chips, at one message per destination chip.
The partitioner balances; that no chip holds more cores than it has is made certain here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.errors import BackendError
from neuroport.targets.traffic import Flow

SWAPPED = 300  # tiles up to which swaps are tried, whose price grows with their square
UPHILL = 20  # steps that a walk goes on without a better placement
HEAVIEST = 1 << 29  # Mt-KaHyPar's sums of weights are integers of 32 bits
STARTS = 4  # orders of the tiles in which the partitioner sees them
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Chips = npt.NDArray[np.int64]


def naive(count: int, cores: int) -> Chips:
    """Chips filled one after the other, in the order of the tiles."""
    return np.arange(count) // cores


def crossings(flows: Sequence[Flow], chips: Sequence[int] | Chips) -> int:
    """Messages between chips, one per destination chip."""
    return sum(
        flow.messages * (len({int(chips[t]) for t in (flow.source, *flow.targets)}) - 1)
        for flow in flows
    )


def partition(count: int, flows: Sequence[Flow], chips: int, cores: int) -> tuple[int, ...]:
    """The chip of each of ``count`` tiles: never more crossings than :func:`naive` has.

    Deterministic: the same numbers each time. The result is the best of the naive filling and of
    ``STARTS`` partitions, each improved by moves and swaps of tiles.

    Raises:
        BackendError: Mt-KaHyPar is not installed.
    """
    joined = _joined(flows)
    if not joined or chips < 2:
        return tuple(naive(count, cores).tolist())
    search = _Search(count, joined, chips, cores)
    starts = [naive(count, cores), *(_solve(count, joined, chips, cores, s) for s in range(STARTS))]
    found = [search.polish(search.repair(start)) for start in starts]
    best = min(found, key=lambda each: crossings(flows, each))
    return tuple(_renumbered(best).tolist())


def _joined(flows: Sequence[Flow]) -> list[tuple[tuple[int, ...], int]]:
    """Sets of two tiles or more that messages join, and how many."""
    found: dict[tuple[int, ...], int] = {}
    for flow in flows:
        pins = tuple(sorted({flow.source, *flow.targets}))
        if len(pins) > 1 and flow.messages:  # Mt-KaHyPar dies of edges without weight
            found[pins] = found.get(pins, 0) + flow.messages
    return sorted(found.items())


def _renumbered(chips: Chips) -> Chips:
    """Chips in the order in which the tiles come upon them."""
    _, first = np.unique(chips, return_index=True)
    numbers = {int(chips[place]): number for number, place in enumerate(sorted(first))}
    return np.array([numbers[int(chip)] for chip in chips])


@lru_cache(maxsize=1)
def _mtkahypar() -> tuple[Any, Any]:
    """The module and its one initializer; one thread, so that a result does not depend on them."""
    try:
        import mtkahypar
    except ImportError as error:
        raise BackendError(
            "mapping a network onto chips needs mtkahypar, which is not installed; "
            "pip install 'neuroport[map]'"
        ) from error
    return mtkahypar, mtkahypar.initialize(1)


def _solve(
    count: int, joined: Sequence[tuple[tuple[int, ...], int]], chips: int, cores: int, seed: int
) -> Chips:
    """One partition; the deterministic presets know no seed, so the order of the tiles varies."""
    module, make = _mtkahypar()
    order = np.random.default_rng(seed).permutation(count) if seed else np.arange(count)
    context = make.context_from_preset(module.PresetType.DETERMINISTIC_QUALITY)
    # a chip may hold (1 + imbalance) * ceil(count / chips), rounded down: all of its cores
    imbalance = (cores + 0.5) / -(-count // chips) - 1
    context.set_partitioning_parameters(chips, imbalance, module.Objective.KM1)
    context.logging = False
    edges = [order[list(pins)].tolist() for pins, _ in joined]
    scale = -(-chips * sum(weight for _, weight in joined) // HEAVIEST)
    weights = [-(-weight // scale) for _, weight in joined]
    graph = make.create_hypergraph(context, count, len(edges), edges, [1] * count, weights)
    blocks: Chips = np.array(graph.partition(context).get_partition(), np.int64)
    return np.asarray(blocks[order])


class _Search:
    """Moves and swaps of tiles, priced exactly.

    ``member`` is (tiles, edges) 0/1. What a move costs: the weight of the tile's edges that are not
    on the new chip yet, less that of those that have no other tile on the old one.
    """

    def __init__(
        self, count: int, joined: Sequence[tuple[tuple[int, ...], int]], chips: int, cores: int
    ) -> None:
        self.chips, self.cores = chips, cores
        self.weight = np.array([weight for _, weight in joined], np.float64)
        self.member = np.zeros((count, len(joined)))
        for edge, (pins, _) in enumerate(joined):
            self.member[list(pins), edge] = 1

    def repair(self, placed: Chips) -> Chips:
        """No chip holds more than it can: the cheapest moves from chips that do."""
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
        """Passes of moves and swaps, as long as a pass helps."""
        while True:
            better = self._passed(placed)
            if better is None:
                return placed
            placed = better

    def _passed(self, placed: Chips) -> Chips | None:
        """The best placement on a walk of best moves and swaps, each tile once; None: none helps.

        The walk goes uphill, too, ``UPHILL`` steps at most (Kernighan and Lin's method).
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
        """Cost (tiles, tiles) of each swap of tiles that are free."""
        if len(placed) > SWAPPED:
            return np.full((1, 1), np.inf)
        to = cost[:, placed]  # (tile, other): the tile goes where the other one is
        both = alone @ self.member.T  # an edge that holds both leaves neither chip
        swaps = to + to.T + both + both.T
        swaps[(placed[:, None] == placed) | ~free | ~free[:, None]] = np.inf
        return np.asarray(swaps)

    def _moves(self, placed: Chips) -> tuple[Floats, Floats]:
        """Cost (tiles, chips) of each move, and the weight (tiles, edges) that leaves a chip."""
        pins = np.zeros((self.chips, self.member.shape[1]))
        np.add.at(pins, placed, self.member)
        alone = self.member * (pins[placed] == 1) * self.weight
        new = self.member @ ((pins == 0) * self.weight).T
        return new - alone.sum(axis=1)[:, None], alone
