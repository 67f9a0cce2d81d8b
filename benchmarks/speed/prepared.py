"""What a call of the fast engine costs at batch 1 beyond what its compiled code takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from unittest import mock

import numpy as np

import neuroport as port
from benchmarks.speed.figure import Figure
from benchmarks.speed.inference import chip
from benchmarks.speed.timing import Spread
from benchmarks.speed.topology import frames
from neuroport.kernels.network_kernel import Program

CALLS = 50  # of a round


def beyond(call: Callable[[], object], calls: int) -> list[float]:
    """Seconds of every call, without those in the compiled code."""
    compiled = 0.0
    plain = Program.run

    def timed(program: Program, steps: int, samples: int, threads: int) -> None:
        nonlocal compiled
        started = time.perf_counter()
        plain(program, steps, samples, threads)
        compiled += time.perf_counter() - started

    found = []
    with mock.patch.object(Program, "run", timed):
        for _ in range(calls):
            compiled, started = 0.0, time.perf_counter()
            call()
            found.append(time.perf_counter() - started - compiled)
    return found


def measure(rounds: int) -> list[Figure]:
    """Of a prepared network, and of one that every call plans anew; each round tells its least.

    What is more than the least, other work on the machine has caused, as timeit says.
    """
    graph = chip()
    sample = frames(1)[0].numpy().astype(np.uint8)
    seconds: dict[str, list[float]] = {"prepared": [], "planned": []}
    with port.prepare(graph, "fast") as prepared:
        ways = {
            "prepared": lambda: prepared.run(sample),
            "planned": lambda: port.run(graph, sample, on="fast"),
        }
        for _ in range(rounds):
            for name, way in ways.items():
                calls = CALLS if name == "prepared" else CALLS // 10
                seconds[name].append(min(beyond(way, calls)))
    about = "MS-ResNet-20, batch 1, a call beyond its compiled code"
    return [
        Figure(f"{about}: port.prepare", Spread.of(seconds["prepared"]), "s", 0.001),
        Figure(f"{about}: port.run, which plans anew", Spread.of(seconds["planned"]), "s"),
    ]
