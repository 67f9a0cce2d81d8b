"""The committed messages between chips: within the goal, and what the code gives today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.mapping import NETWORKS, measure, table

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = json.loads((DOCS / "mapping.json").read_text())


def test_the_page_is_made_of_the_numbers() -> None:
    assert (DOCS / "mapping.md").read_text() == table(RESULTS)
    assert tuple(RESULTS["networks"]) == NETWORKS


def test_mapping_at_least_halves_the_messages_of_every_network_on_four_chips_or_more() -> None:
    for rows in RESULTS["networks"].values():
        for row in rows:
            assert row["chips"] >= 4
            assert row["cores"] <= row["chips"] * row["cores_of_a_chip"]
            assert row["ratio"] == pytest.approx(row["messages"] / row["in_order"], abs=1e-3)
            assert row["ratio"] <= 0.5
            assert row["ratio_unseen"] <= 0.5


def test_the_numbers_are_those_of_today() -> None:
    pytest.importorskip("mtkahypar", reason="pip install 'neuroport[map]'")
    pytest.importorskip("torch", reason="pip install 'neuroport[train]'")
    assert json.loads(json.dumps(measure(NETWORKS[0]))) == RESULTS["networks"][NETWORKS[0]]
