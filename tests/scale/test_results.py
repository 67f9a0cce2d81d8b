"""The committed figures of clusters whose parts were killed: every trace is that of one process."""

from __future__ import annotations

import json

from benchmarks.scale import KILLED, OUT, broken

RESULTS = json.loads(OUT.read_text())


def test_every_run_of_which_something_was_killed_ended_with_the_trace_of_one_process() -> None:
    assert {row["killed"] for row in RESULTS["kills"]} == set(KILLED)
    assert broken(RESULTS) == []


def test_counting_inside_takes_less_memory_and_no_more_time_than_messages() -> None:
    rows = RESULTS["counting"]
    for what in ("peak_bytes", "seconds", "lava_seconds"):
        assert rows["counts inside"][what] <= rows["messages"][what] < rows["counts, stock"][what]
