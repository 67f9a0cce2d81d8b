"""A slice of the hostile files, and what the run over all of them has to show."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.__main__ import GOOD, MEGABYTES, SECONDS, run
from tests.hostile.bombs import BOMBS
from tests.hostile.flips import FLIPS
from tests.hostile.mutations import mutation
from tests.hostile.structures import EDITS


@pytest.fixture(scope="module")
def committed() -> Any:
    """What ``make hostile`` wrote last."""
    return json.loads(Path(__file__).with_name("results.json").read_text())


def test_mutated_files_are_read_equal_or_refused_at_once_and_cheaply() -> None:
    tally = run(range(250))
    found = sum(tally.counts.values(), Counter())
    assert tally.failures == []
    assert found["equal"] > 5, "damage to padding is harmless"
    assert found["hash"] > 10, "damage to values is seen by the hash alone"
    assert found["refused"] > 100
    assert tally.verbs > 5


def test_seed_makes_the_same_file_again() -> None:
    for seed in (0, 1, 2, 3, 8):
        assert mutation(seed) == mutation(seed)


def test_committed_run_read_ten_thousand_files_without_a_failure(committed: Any) -> None:
    assert committed["files"] >= 10_000
    assert committed["failures"] == []
    assert committed["read equal"] + committed["refused"] == committed["files"]
    assert committed["largest, MB above the process"]["value"] <= MEGABYTES
    slowest = committed["slowest, CPU seconds"]
    assert slowest["value"] <= SECONDS or slowest["outcome"] == "equal"


def test_committed_run_tried_every_mutation_on_networks_and_a_thousand_traces(
    committed: Any,
) -> None:
    kinds = committed["kinds"]
    for what in ("graph", "trace"):
        for kind in (*FLIPS, *EDITS):
            for sealed in ("", ", sealed again"):
                assert f"{what}: {kind}{sealed}" in kinds
    assert {kind.split("bomb: ")[1] for kind in kinds if "bomb" in kind} == set(BOMBS)
    traces = sum(sum(found.values()) for kind, found in kinds.items() if kind.startswith("trace"))
    assert traces >= 1000
    assert all(set(found) <= set(GOOD) for found in kinds.values())
