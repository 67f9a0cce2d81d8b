"""docs/grid_options.md says what docs/grid_options.json holds."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks.grid_options import BITS, DEEP, OPTIONS, OUT, PAGE, page, zoo
from neuroport.files import read_json


def test_page_is_made_of_the_results() -> None:
    results = read_json(OUT)
    assert PAGE.read_text() == page(results)
    assert results["networks"].keys() <= {*zoo(), *DEEP}
    for name, found in results["networks"].items():
        assert f"| {name} |" in PAGE.read_text()
        for bits in BITS:
            assert found[str(bits)].keys() == OPTIONS.keys()
