"""docs/widths.md says what docs/widths.json holds."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks.widths import OUT, PAGE, WIDTHS, page
from neuroport.files import read_json


def test_page_is_made_of_the_results() -> None:
    results = read_json(OUT)
    assert PAGE.read_text() == page(results)
    for name, found in results["networks"].items():
        for widths in WIDTHS:
            assert f"| {name} |" in PAGE.read_text()
            assert widths in found[widths]["widths"]
