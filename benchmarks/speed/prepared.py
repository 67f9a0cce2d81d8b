"""What a call of the fast engine costs at batch 1: whole, and beyond its compiled code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch

import neuroport as port
from benchmarks.speed.figure import Figure
from benchmarks.speed.inference import BATCH, chip
from benchmarks.speed.timing import Spread
from benchmarks.speed.topology import frames
from neuroport.graph.graph import Graph
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
        *_alone(graph, rounds),
    ]


def _alone(graph: Graph, rounds: int) -> list[Figure]:
    """Whole calls of a prepared network on one thread: one sample, and a batch."""
    alone, batch = (frames(n)[0].numpy().astype(np.uint8) for n in (1, BATCH))
    seconds: list[list[float]] = []
    ratios = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with port.prepare(graph, "fast") as prepared:
            for work in (alone, batch):
                prepared.run(work)  # what is made once
            for _ in range(rounds):
                seconds.append([_seconds(prepared, alone) for _ in range(CALLS)])
                together = [_seconds(prepared, batch) / BATCH for _ in range(3)]
                ratios.append(float(np.median(seconds[-1]) / np.median(together)))
    finally:
        torch.set_num_threads(threads)
    about = "MS-ResNet-20, prepared, one thread, a whole call"
    parts = [
        Figure(f"{about}: {what}", Spread.of([float(np.percentile(s, part)) for s in seconds]), "s")
        for what, part in (
            ("one sample, median", 50),
            ("one sample, 95 of 100 calls take at most", 95),
            ("one sample, 99 of 100 calls take at most", 99),
        )
    ]
    what = f"{about}: one sample / a sample of {BATCH}"
    return [*parts, Figure(what, Spread.of(ratios), "x", 1.3)]


def _seconds(prepared: Any, work: Any) -> float:
    started = time.perf_counter()
    prepared.run(work)
    return time.perf_counter() - started
