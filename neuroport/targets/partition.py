"""Partition tiles onto chips with few messages between them: Mt-KaHyPar, repaired and refined.

A flow is a hyperedge over the cores that it connects, including its source. If these lie on ``n``
chips, each message crosses between chips ``n - 1`` times. Mt-KaHyPar's connectivity metric
therefore *is* the number of messages between chips, with one message per destination chip. The
partitioner only balances chips; this module ensures that no chip gets more tiles than it has cores.
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
    """Fill chips one after the other, in the order of the tiles."""
    return np.arange(count) // cores


def crossings(flows: Sequence[Flow], chips: Sequence[int] | Chips) -> int:
    """Return the messages between chips, one per destination chip."""
    return sum(
        flow.messages * (len({int(chips[t]) for t in (flow.source, *flow.targets)}) - 1)
        for flow in flows
    )


def partition(count: int, flows: Sequence[Flow], chips: int, cores: int) -> tuple[int, ...]:
    """Return the chip of each of ``count`` tiles, never with more crossings than :func:`naive`.

    The result is deterministic. It is the best of the naive filling and of ``STARTS`` partitions,
    each improved by moves and swaps of tiles.

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
    """Return sets of two or more tiles that messages connect, and their numbers of messages."""
    found: dict[tuple[int, ...], int] = {}
    for flow in flows:
        pins = tuple(sorted({flow.source, *flow.targets}))
        if len(pins) > 1 and flow.messages:  # Mt-KaHyPar dies of edges without weight
            found[pins] = found.get(pins, 0) + flow.messages
    return sorted(found.items())


def _renumbered(chips: Chips) -> Chips:
    """Renumber chips in the order of their first tiles."""
    _, first = np.unique(chips, return_index=True)
    numbers = {int(chips[place]): number for number, place in enumerate(sorted(first))}
    return np.array([numbers[int(chip)] for chip in chips])


def _solved(count: int, joint: Sequence[Edge], chips: int, cores: int) -> list[Chips]:
    """Return ``STARTS`` partitions from a child process, which may crash alone."""
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
    """Return the initialized module; one thread, so that results are the same everywhere."""
    import mtkahypar

    return mtkahypar, mtkahypar.initialize(1)


def _solve(count: int, joint: Sequence[Edge], chips: int, cores: int, seed: int) -> Chips:
    """Return one partition; the order of tiles varies, because the presets take no seed."""
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
