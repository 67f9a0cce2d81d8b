"""Runs one after another take the memory that the one before has freed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
import neuroport as port
from neuroport.kernels.allocator import keep_freed

chip = port.read("models/ms_resnet8_mnist/network.net")
frames = np.load("models/ms_resnet8_mnist/frames.npy")
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    port.run(chip, frames, on="fast")
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(keep_freed(), min(faults[1:]))
"""


def run(**environment: str) -> tuple[bool, int]:
    pytest.importorskip("torch")
    plain = {name: text for name, text in os.environ.items() if not name.startswith("MALLOC_")}
    plain.pop("LD_PRELOAD", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=True,
        capture_output=True,
        text=True,
        env=plain | {"OMP_NUM_THREADS": "1"} | environment,
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


def test_a_second_run_takes_hardly_a_page_from_the_system() -> None:
    kept, faults = run()
    if not kept:
        pytest.skip("not glibc: the C library keeps to its own ways")
    assert faults < 300


def test_what_the_user_has_set_stands() -> None:
    kept, faults = run(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert not kept
    assert faults > 3000
