"""Partition tiles onto chips with few messages between them: Mt-KaHyPar, repaired and refined.

A flow is an edge of a hypergraph over the cores that it joins, its source included. Where these lie
on ``n`` chips, each of its messages crosses between chips ``n - 1`` times: Mt-KaHyPar's
connectivity metric *is* the number of messages between chips, at one message per destination chip.
The partitioner only balances; this module ensures that no chip holds more cores than it has.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from neuroport import sandbox
from neuroport.errors import BackendError
from neuroport.targets.message_traffic import Flow
from neuroport.targets.refinement import Chips, Edge, Search

HEAVIEST = 1 << 29  # Mt-KaHyPar's sums of weights are integers of 32 bits
STARTS = 4  # orders of the tiles in which the partitioner sees them
SECONDS, MEMORY = 600.0, 8 << 30  # of the partitioner's child: CPU time and bytes


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
    joint = edges(flows)
    if not joint or chips < 2:
        return tuple(naive(count, cores).tolist())
    search = Search(count, joint, chips, cores)
    starts = [naive(count, cores), *_solved(count, joint, chips, cores)]
    found = [search.polish(search.repair(start)) for start in starts]
    best = min(found, key=lambda each: crossings(flows, each))
    return tuple(_renumbered(best).tolist())


def edges(flows: Sequence[Flow]) -> list[Edge]:
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


def _solved(count: int, joint: Sequence[Edge], chips: int, cores: int) -> list[Chips]:
    """``STARTS`` partitions, from a child: a crash of the partitioner must not be ours."""
    if find_spec("mtkahypar") is None:
        raise BackendError(
            "mapping a network onto chips needs mtkahypar, which is not installed; "
            "pip install '.[map]' in neuroport's folder"
        )

    def work() -> list[Chips]:
        return [_solve(count, joint, chips, cores, seed) for seed in range(STARTS)]

    if not sandbox.AVAILABLE:
        return work()
    try:
        return list(sandbox.call(work, seconds=SECONDS, memory=MEMORY))
    except sandbox.LostError:
        warnings.warn(
            "Mt-KaHyPar crashed or took too long; chips filled in order are improved instead",
            RuntimeWarning,
            stacklevel=3,
        )
        return []


@lru_cache(maxsize=1)
def _mtkahypar() -> tuple[Any, Any]:
    """The module and its one initializer; one thread, so that a result does not depend on them."""
    import mtkahypar

    return mtkahypar, mtkahypar.initialize(1)


def _solve(count: int, joint: Sequence[Edge], chips: int, cores: int, seed: int) -> Chips:
    """One partition; the deterministic presets know no seed, so the order of the tiles varies."""
    module, make = _mtkahypar()
    order = np.random.default_rng(seed).permutation(count) if seed else np.arange(count)
    context = make.context_from_preset(module.PresetType.DETERMINISTIC_QUALITY)
    # a chip may hold (1 + imbalance) * ceil(count / chips), rounded down: all of its cores
    imbalance = (cores + 0.5) / -(-count // chips) - 1
    context.set_partitioning_parameters(chips, imbalance, module.Objective.KM1)
    context.logging = False
    pins = [order[list(tiles)].tolist() for tiles, _ in joint]
    scale = -(-chips * sum(weight for _, weight in joint) // HEAVIEST)
    weights = [-(-weight // scale) for _, weight in joint]
    graph = make.create_hypergraph(context, count, len(pins), pins, [1] * count, weights)
    blocks: Chips = np.array(graph.partition(context).get_partition(), np.int64)
    return np.asarray(blocks[order])
