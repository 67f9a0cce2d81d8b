"""The committed table of cores per carrier: complete, consistent, and what the code gives today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.resources import DEEP, NETWORKS, measure, page

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = json.loads((DOCS / "resources.json").read_text())


def test_the_page_is_made_of_the_numbers() -> None:
    assert (DOCS / "resources.md").read_text() == page(RESULTS)
    assert list(RESULTS["networks"]) == list(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_cheapest_is_never_worse_than_a_forced_carrier(name: str) -> None:
    found = RESULTS["networks"][name]
    ways = [(row["unfit"], row["cores"]) for row in found["rows"] if "cores" in row]
    assert len(ways) >= (2 if name == DEEP else 4)
    assert (found["cheapest"]["unfit"], found["cheapest"]["cores"]) == min(ways)


@pytest.mark.parametrize("name", ["MS-ResNet-20, 28x28", "DANet-20, spike, stage, 28x28"])
def test_the_numbers_are_those_of_today(name: str) -> None:
    today = json.loads(json.dumps(measure(NETWORKS[name]())))
    assert today == RESULTS["networks"][name]
