"""A training step by how OpenMP's threads wait for work: alone, and beside another training.

Threads that sleep at once wake too late for the short loops of a step. Threads that spin for
milliseconds, as they do by themselves, take the cores from the other training.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.speed.figure import Figure
from benchmarks.speed.timing import Spread
from neuroport.processes import WAITING

ROOT = Path(__file__).resolve().parents[2]
OURS = "as the command line sets it"
WAYS = {
    OURS: WAITING,
    "threads asleep at once": {"OMP_WAIT_POLICY": "passive"},
    "OpenMP's default": {},
}
SECONDS = 6.0
TURNS = 3


def measure(rounds: int) -> list[Figure]:
    """Median steps of every way over ours, in ``TURNS`` turns of a process each."""
    found = []
    for beside, named in ((0, "alone"), (1, "two trainings at once")):
        turns = [
            {way: _step(variables, beside) for way, variables in WAYS.items()} for _ in range(TURNS)
        ]
        what = f"MS-ResNet-20, batch 16, training step, {named}"
        found.append(Figure(f"{what}: {OURS}", Spread.of([turn[OURS] for turn in turns]), "s"))
        for way in WAYS:
            if way != OURS:
                ratios = Spread.of([turn[way] / turn[OURS] for turn in turns])
                found.append(Figure(f"{what}: {way} / {OURS}", ratios, "x"))
    return found


def _step(variables: dict[str, str], beside: int) -> float:
    """Seconds of a step in a process with ``variables``, beside as many others of its kind."""
    environment = {k: v for k, v in os.environ.items() if k not in WAITING} | variables
    command = [sys.executable, "-m", __name__]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        for _ in range(1 + beside)
    ]
    told = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError("a process that trains ended early")
    return max(float(text.splitlines()[-1]) for text in told)


def _trained() -> float:
    """Median seconds of the steps of ``SECONDS``."""
    import torch

    from benchmarks.speed.topology import BLOCKS, WIDTHS, frames, stepping
    from neuroport.kernels.allocator import keep_freed
    from neuroport.nets.ms_resnet import MsResNet

    keep_freed()
    net = MsResNet(BLOCKS, WIDTHS, in_channels=3).to(memory_format=torch.channels_last)
    step = stepping(net, *frames(16))
    for _ in range(3):
        step()
    taken, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end or not taken:
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return Spread.of(taken).median


if __name__ == "__main__":
    print(_trained())
