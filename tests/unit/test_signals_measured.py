"""What ``make signals`` measured: every verb and every signal was tried, and nothing went wrong."""

from __future__ import annotations

import json

import pytest

from tests.signals import CASES, RESULTS, SIGNALS, summed

MEASURED = json.loads(RESULTS.read_text())["cases"]
FEWEST = 3  # of what takes long; verbs of a second or two have ten


@pytest.mark.parametrize("name", CASES)
def test_every_signal_was_tried_and_no_try_failed(name: str) -> None:
    case = MEASURED[name]
    for told in SIGNALS:
        if told.endswith("child") and not case["children"]:
            continue  # the verb has none
        tries = case["tries"][told]
        row = case["rows"][told]
        assert row == json.loads(json.dumps(summed(tries)))
        assert row["failures"] == 0, row["faults"]
        assert row["tries"] >= FEWEST, (told, row)


def test_the_verbs_that_start_children_had_one_hit() -> None:
    with_children = {name for name, case in MEASURED.items() if case["children"]}
    assert with_children >= {name for name in CASES if "lava" in name}
