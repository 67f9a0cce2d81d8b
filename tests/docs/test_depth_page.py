"""The page of the published depths is that of its JSON, and the JSON shows what it is for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.depth import CASES, page

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = json.loads((DOCS / "depth.json").read_text())


def test_page_holds_what_the_json_does() -> None:
    assert (DOCS / "depth.md").read_text() == page(RESULTS)


def test_every_published_depth_is_there_at_full_size() -> None:
    assert set(RESULTS["networks"]) == set(CASES)
    for name, case in CASES.items():
        row = RESULTS["networks"][name]
        assert row["frames"] == [4, case.batch, 3, case.size, case.size]
        assert row["batches"] == case.batches
        assert row["peak_bytes"] < 24 * 2**30
        for said in row["boards"].values():
            assert said["fits"] == (not said["does_not_fit"])


def test_time_and_memory_grow_with_the_depth_at_most() -> None:
    found = RESULTS["482 over 110"]
    for what in ("train (CPU time)", "peak_bytes_of_training", "file_bytes", "nodes"):
        assert found[what] < 1.05 * found["depth"], what
