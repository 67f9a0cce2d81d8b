"""Random forward passes: a slice, and what the run over 2,000 of them has to show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lava.lib.dl.slayer")

from tests.forwards.networks import ASKS, HOOKS, WRITES
from tests.forwards.probe import FAMILIES, GOOD, NO_NETWORK, probe


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("first", range(9000, 9100, 25))
def test_random_forward_is_the_graph_or_refused_with_its_line(family: str, first: int) -> None:
    found = [
        probe(family, seed) for seed in range(first, first + (25 if family == "native" else 8))
    ]
    bad = [one for one in found if one.outcome not in (*GOOD, NO_NETWORK)]
    assert not bad, bad[0]
    assert {"equal", "refused"} <= {one.outcome for one in found}


@pytest.fixture(scope="module")
def committed() -> Any:
    """What ``make forwards`` wrote last."""
    if not Path(__file__).with_name("results.json").exists():
        pytest.skip("tests/forwards/results.json is not made yet: make forwards (half an hour)")
    return json.loads(Path(__file__).with_name("results.json").read_text())


def test_of_two_thousand_forwards_none_is_silently_another(committed: Any) -> None:
    assert committed["networks"] >= 2000
    for family in FAMILIES:
        found = committed["families"][family]
        assert found["failures"] == []
        assert set(found["outcomes"]) == set(GOOD)
        assert min(found["outcomes"].values()) > 300
        assert found["positions"] > 10**6


def test_every_prank_and_way_was_tried(committed: Any) -> None:
    seen = {name for one in committed["families"].values() for name in one["pranks"]}
    assert {*WRITES, *ASKS, *HOOKS} <= seen
    for family in FAMILIES:
        ways = committed["families"][family]["ways"]
        for way in ("concatenation", "checkpoint", "dropout", "DataParallel", "compile"):
            assert ways[way]["equal"] > 0, (family, way)
