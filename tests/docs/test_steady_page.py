"""What many runs and long ones leave behind: the committed figures, the page, how they are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.steady import PARTS, broken, descendants, looked_at, page, segments, slope

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = json.loads((DOCS / "steady.json").read_text())
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_page_holds_the_figures() -> None:
    assert page(RESULTS) in (DOCS / "performance.md").read_text()


def test_no_part_that_ran_to_its_end_grew() -> None:
    assert set(PARTS) & set(RESULTS)
    assert broken(RESULTS) == []


def test_growth_is_told() -> None:
    steps = [1, 2, 3, 4, 5, 6]
    assert slope(steps, [900, 0, 50, 7, 17, 27]) == pytest.approx(10)
    part = next(part for part in PARTS if part in RESULTS)
    row = json.loads(json.dumps(RESULTS[part]))
    unit = next(key for key in row["process"] if key.startswith("bytes_a_"))
    row["process"][unit] = row["bound"]
    row["done"] = row["asked"]
    row["process"]["in_second_half"]["descriptors"] = [4, 5]
    said = broken({part: row})
    assert len(said) == 2
    assert "memory of process" in said[0]
    assert "[4, 5]" in said[1]


def test_one_step_is_no_growth_and_what_each_run_adds_is() -> None:
    at = list(range(1, 51))
    step = [400_000 * (number > 43) for number in at]
    assert slope(at, step) == 0
    assert slope(at, [30_000 * number + once for number, once in zip(at, step, strict=True)]) == (
        30_000
    )


@linux
def test_what_is_held_is_seen_and_what_was_let_go_is_not() -> None:
    # A process of its own: in this one, what earlier tests have freed is filled first.
    told = """
import os
from benchmarks.steady import looked_at, slope
held = []
def grown(keep):
    rows = []
    for number in range(1, 33):
        made = [bytes([number]) * 1000 for _ in range(100)]
        held.extend(made if keep else [])
        del made
        rows.append(looked_at([os.getpid()])["memory"])
    return slope(list(range(32)), rows)
print(grown(keep=True), grown(keep=False))
"""
    root = Path(__file__).resolve().parents[2]
    out = subprocess.check_output([sys.executable, "-c", told], cwd=root, text=True)
    kept, freed = map(float, out.split())
    assert kept > 90_000
    assert abs(freed) < 1_000


@linux
def test_a_child_and_what_it_maps_are_seen() -> None:
    told = """
import os, sys
from multiprocessing.shared_memory import SharedMemory
held = SharedMemory(create=True, size=1 << 22)
held.buf[:] = bytes(1 << 22)
print(os.getpid(), held.name, flush=True)
sys.stdin.read()
held.close()
held.unlink()
"""
    with subprocess.Popen(
        [sys.executable, "-c", told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        number, name = child.stdout.readline().split()
        assert int(number) in descendants(os.getpid())
        assert name in segments([int(number)])
        assert looked_at([int(number)])["memory"] > 1 << 22
        child.communicate("")
    assert looked_at([int(number)]) == {"memory": 0, "descriptors": 0, "threads": 0}
