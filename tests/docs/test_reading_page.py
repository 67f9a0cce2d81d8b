"""The table of how fast samples are read is that of its JSON, and says what was reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")

from benchmarks.reading import GOAL, page, photograph

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = json.loads((DOCS / "reading.json").read_text())


def test_table_holds_what_the_json_does() -> None:
    text = (DOCS / "devices.md").read_text()
    assert text == page(RESULTS, text)


def test_pictures_are_read_as_fast_as_was_asked_for() -> None:
    rates = RESULTS["pictures"]["rates"]
    assert rates["by one process beside it"]["per_core"][0] >= GOAL
    shared, whole = (
        rates[f"of two processes of torchrun, {way}"]["per_core"][0]
        for way in ("each its part", "whole batch")
    )
    assert shared > 1.7 * whole


def test_pictures_have_the_bytes_of_imagenets() -> None:
    assert 90_000 < RESULTS["pictures"]["bytes"] < 130_000
    import numpy as np

    content = photograph(np.random.default_rng(0), 80)
    assert content[:2] == b"\xff\xd8"  # a JPEG
    assert content == photograph(np.random.default_rng(0), 80)
