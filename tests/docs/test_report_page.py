"""Reports of all trained networks are small, and their page has the sizes that were measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.reports import DOCS, LIMIT, MODELS, SHOWN, page_with, write_report

RESULTS = json.loads((DOCS / "reports.json").read_text())


def test_the_page_has_the_sizes_that_were_measured() -> None:
    text = (DOCS / "report.md").read_text()
    assert text == page_with(RESULTS, text)


def test_the_report_of_every_trained_network_is_below_5_mb_and_has_several_samples() -> None:
    assert list(RESULTS) == MODELS
    for name, row in RESULTS.items():
        assert row["bytes"] < LIMIT, name
        assert row["samples"] >= 4, name


@pytest.mark.slow
def test_the_sizes_are_those_of_today(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    today, then = write_report(SHOWN, tmp_path / "page.html"), RESULTS[SHOWN]
    assert today == {**then, "bytes": today["bytes"]}
    assert today["bytes"] == pytest.approx(then["bytes"], rel=0.02)
