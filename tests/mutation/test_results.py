"""What ``make mutate`` wrote last: every change of a line is noticed, or listed with a reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent


def test_no_mutant_of_the_semantics_survives() -> None:
    found = json.loads((FOLDER / "results.json").read_text())
    config = tomllib.loads((FOLDER / "cosmic-ray.toml").read_text())["cosmic-ray"]
    assert set(found["modules"]) == set(config["module-path"]) == set(config["tests"])
    totals = found["totals"]
    assert totals["survivors"] == totals["wrongly called equivalent"] == 0
    assert totals["killed"] + totals["equivalent"] == totals["mutants"] > 2000
    for part in found["modules"].values():
        assert all(entry["why"] for entry in part["equivalent"])
