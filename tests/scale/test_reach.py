"""How far one scheduler reaches: the simulation, and the figures that the page shows."""

from __future__ import annotations

import json

import pytest

from benchmarks.scale import OUT, working
from benchmarks.scheduler_reach import PAGE, extrapolated, page, simulated

RESULTS = json.loads(OUT.read_text())


@pytest.mark.parametrize("workers", [1, 10, 300])
def test_workers_that_nothing_keeps_waiting_always_work(workers: int) -> None:
    found = simulated(workers, 8.0, 0.0, 0.0)
    assert found["binds"] == "workers"
    assert found["shards_a_second"] == pytest.approx(workers / 8)


def test_a_busy_scheduler_binds_and_gives_what_it_can_serve() -> None:
    found = simulated(1000, 8.0, 0.05, 0.03)
    assert found["binds"] == "scheduler"
    assert found["shards_a_second"] == pytest.approx(1 / 0.05, rel=0.01)
    assert found["use"]["run"] == pytest.approx(0.6, rel=0.01)


def test_a_worker_that_holds_a_second_shard_does_not_wait_for_it() -> None:
    assert simulated(1, 1.0, 0.2, 0.2)["use"]["workers"] == pytest.approx(1)
    assert simulated(1, 0.1, 0.2, 0.0)["binds"] == "scheduler"


def test_the_page_shows_what_the_measured_costs_give() -> None:
    for found in RESULTS["reach"].values():
        assert extrapolated(found["costs"]) == found["workers"]
        assert found["costs"]["scheduler_seconds"] > 0 < found["costs"]["run_seconds"]
    assert page(RESULTS) in PAGE.read_text()


def test_the_rate_at_which_workers_work_begins_when_all_of_them_do() -> None:
    ended = [(3.0, 10), (4.0, 20), (6.0, 30), (8.0, 40)]
    assert working(ended, 1) == 6.0
    assert working(ended, 2) == 5.0
