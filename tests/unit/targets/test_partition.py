"""Tiles on chips: the optimum where all placements can be tried, never worse than in order."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroport.errors import BackendError
from neuroport.targets import partition as module
from neuroport.targets.message_traffic import Flow
from neuroport.targets.partition import crossings, edges, naive, partition
from neuroport.targets.refinement import Search
from tests.tiers import examples

needs_solver = pytest.mark.skipif(
    find_spec("mtkahypar") is None,
    reason="mtkahypar is not installed; pip install 'neuroport[map]'",
)


def random_flows(seed: int, count: int) -> list[Flow]:
    """Flows that repeat sources, reach up to five tiles and now and then their own."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(int(rng.integers(1, 3 * count))):
        some = rng.choice(count, int(rng.integers(1, min(count, 5) + 1)), replace=False)
        targets = tuple(sorted(some.tolist()))
        found.append(Flow(int(rng.integers(count)), targets, int(rng.integers(0, 40))))
    return found


def optimum(flows: Sequence[Flow], count: int, chips: int, cores: int) -> int:
    """The fewest crossings of all placements that no chip is too small for."""
    return min(
        crossings(flows, placed)
        for placed in itertools.product(range(chips), repeat=count)
        if max(placed.count(chip) for chip in range(chips)) <= cores
    )


def test_a_message_crosses_once_to_every_other_chip_however_many_cores_hear_it_there() -> None:
    flows = [Flow(0, (0, 1, 2, 3, 4), 7), Flow(3, (1, 2), 2)]
    assert crossings(flows, (0, 0, 0, 0, 0)) == 0
    assert crossings(flows, (0, 0, 1, 1, 1)) == 7 + 2  # 3 is beside 2, away from 1
    assert crossings(flows, (0, 1, 1, 2, 2)) == 2 * 7 + 2
    assert naive(5, 2).tolist() == [0, 0, 1, 1, 2]


@needs_solver
def test_columns_of_a_map_stay_together_when_layers_would_be_torn() -> None:
    # two layers of two tiles, and little over the border: in order 10 + 10 + 1 messages cross
    flows = [Flow(0, (2,), 10), Flow(1, (3,), 10), Flow(1, (2, 3), 1)]
    assert crossings(flows, naive(4, 2)) == 10 + 10 + 1
    assert partition(4, flows, 2, 2) == (0, 1, 0, 1)
    assert crossings(flows, (0, 1, 0, 1)) == 1


@needs_solver
def test_of_eight_small_networks_all_but_one_are_placed_best_and_that_one_within_a_percent() -> (
    None
):
    missed = {}
    for seed in range(8):
        count, chips, cores = ((7, 2, 4), (6, 3, 2), (7, 3, 3), (8, 2, 4))[seed % 4]
        flows = random_flows(seed, count)
        found = crossings(flows, partition(count, flows, chips, cores))
        best = optimum(flows, count, chips, cores)
        assert best <= found <= 1.01 * best
        if found > best:
            missed[seed] = found, best
    assert len(missed) <= 1, missed


@needs_solver
@settings(max_examples=examples(8), deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 9))
def test_it_is_never_worse_than_in_order_and_no_chip_is_too_small(
    seed: int, count: int, cores: int
) -> None:
    flows = random_flows(seed, count)
    chips = -(-count // cores)
    placed = partition(count, flows, chips, cores)
    assert len(placed) == count
    assert set(placed) <= set(range(chips))
    assert np.bincount(placed).max() <= cores
    assert crossings(flows, placed) <= crossings(flows, naive(count, cores))


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(1, 4))
def test_polishing_ends_where_no_move_and_no_swap_helps(seed: int, count: int, cores: int) -> None:
    flows = random_flows(seed, count)
    chips = -(-count // cores)
    joint = edges(flows)
    placed = Search(count, joint, chips, cores).polish(naive(count, cores)).tolist()
    least = crossings(flows, placed)
    assert least <= crossings(flows, naive(count, cores))
    for tile, chip in itertools.product(range(count), range(chips)):
        if placed.count(chip) < cores:
            moved = [chip if t == tile else c for t, c in enumerate(placed)]
            assert crossings(flows, moved) >= least
    for one, other in itertools.combinations(range(count), 2):
        swapped = list(placed)
        swapped[one], swapped[other] = placed[other], placed[one]
        assert crossings(flows, swapped) >= least


@needs_solver
def test_more_messages_than_32_bits_count_are_partitioned_like_few() -> None:
    flows = random_flows(5, 20)
    many = [Flow(f.source, f.targets, f.messages << 40) for f in flows]
    placed = partition(20, many, 4, 6)
    assert crossings(many, placed) == crossings(flows, partition(20, flows, 4, 6)) << 40


def test_a_chip_that_holds_too_much_gives_away_the_tile_that_costs_least() -> None:
    # all on chip 0 but the last; 2 is tied to 3, which has moved already
    joint = edges([Flow(0, (1,), 9), Flow(2, (3,), 5)])
    repaired = Search(4, joint, 2, 2).repair(np.array([0, 0, 0, 1]))
    assert repaired.tolist() == [0, 0, 1, 1]


@needs_solver
def test_the_same_network_is_placed_alike_in_every_process() -> None:
    here = partition(40, random_flows(3, 40), 6, 7)
    code = (
        "from tests.unit.targets.test_partition import *\n"
        "print(partition(40, random_flows(3, 40), 6, 7))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(here), done.stderr


def test_without_the_partitioner_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mtkahypar", None)
    with pytest.raises(BackendError, match=r"pip install '.\[map\]'"):
        partition(4, [Flow(0, (3,), 1)], 2, 2)
    assert partition(4, [Flow(0, (3,), 1)], 1, 4) == (0, 0, 0, 0)  # one chip asks nobody


def test_a_partitioner_that_crashes_is_told_and_the_result_is_still_no_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("mtkahypar", reason="pip install 'neuroport[map]'")
    flows = [Flow(0, (2,), 10), Flow(1, (3,), 10), Flow(1, (2, 3), 1)]
    monkeypatch.setattr(module, "_solve", lambda *_: os.abort())
    with pytest.warns(RuntimeWarning, match="Mt-KaHyPar crashed"):
        assert partition(4, flows, 2, 2) == (0, 1, 0, 1)
