"""What ``make signals`` measured so far: of verbs and signals that were tried nothing failed."""

from __future__ import annotations

import json

import pytest

from benchmarks.signals import CASES, RESULTS, SIGNALS, summed

MEASURED = json.loads(RESULTS.read_text())["cases"]


@pytest.mark.parametrize("name", MEASURED)
def test_no_try_failed(name: str) -> None:
    assert name in CASES
    case = MEASURED[name]
    assert set(case["rows"]) <= set(SIGNALS)
    for told, row in case["rows"].items():
        assert row == json.loads(json.dumps(summed(case["tries"][told])))
        assert row["failures"] == 0, row["faults"]


def test_a_child_of_lava_was_killed_and_one_was_stopped() -> None:
    for told in ("SIGKILL of a child", "SIGSTOP of a child"):
        assert sum(c["rows"].get(told, {"tries": 0})["tries"] for c in MEASURED.values()) > 0
