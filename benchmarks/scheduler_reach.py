"""How many workers one scheduler keeps busy: measured costs of a shard, and a simulation with them.

Measured are, for shards of the size that ``neuroport run --cluster`` chooses by itself:

* the seconds that a shard takes one worker while it works, from the end of one shard to that of the
  next (``throughput`` in ``docs/scale.json``);
* the seconds of processor that the scheduler's process, and the process of ``neuroport run``, need
  for a shard. Workers then answer at once, with a result of that size: nothing else is timed.
  Both are measured twice: results come through the scheduler, or workers write them into the folder
  of the run, where they reach it;
* the seconds of merging, by one process when all shards are there (``throughput`` likewise).

The simulation has these two processes, which serve one shard after another, and workers that hold
one shard waiting while another runs, as :mod:`neuroport.scale.spread` sends them. Merging follows
when all shards are there. What the file system of the folder takes is not simulated.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from neuroport.files import write_atomic
from neuroport.processes import run_folder
from neuroport.scale import spread as spreading
from neuroport.scale.shard_folder import ShardFolder
from tests.helpers.dask_processes import Running

WORKERS = (1, 10, 100, 1_000)
SHARDS, LANES = 60, 4  # shards that are timed, and workers that answer at once
ROUNDS = 20  # shards per worker that are simulated
PARTS = {"workers": "the workers", "scheduler": "the scheduler", "run": "`neuroport run`"}
BINDS = {**PARTS, "merging": "merging"}
BEGIN, END = "<!-- reach: begin -->", "<!-- reach: end -->"
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "howto" / "many_machines.md"


def answer(job: dict[str, Any], graphs: tuple[bytes, ...], frames: Any) -> dict[str, Any]:
    """A worker's task that only answers: as many bytes as a shard's result has."""
    result = os.urandom(int(job["bytes"]))
    if "place" not in job:
        return {"result": result}
    Path(job["place"]).write_bytes(result)
    return {"result": None}


def costs(frames: np.ndarray[Any, Any], graph: bytes, size: int, *, sent: bool) -> dict[str, Any]:
    """Seconds of processor for a shard of these frames whose result has ``size`` bytes.

    Args:
        sent: results come through the scheduler; otherwise workers write them.
    """
    from distributed import Client

    answers = {"PYTHONPATH": str(ROOT)}  # workers import the task of this module
    with run_folder("neuroport-reach-") as place, mock.patch.dict(os.environ, answers):
        running = Running(place)
        try:
            for _ in range(LANES):
                running.join()
            client: Any = Client(running.address, set_as_default=False)  # type: ignore[no-untyped-call]
            with client:
                client.wait_for_workers(LANES)
                folder = ShardFolder(place / "out.shards", {"shards": SHARDS})

                def job(number: int) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
                    there = {} if sent else folder.told(folder.path(number))
                    return {"bytes": size, **there}, frames

                before = seconds_of(running.scheduler.pid), sum(os.times()[:2])
                started = time.perf_counter()
                with mock.patch.object(spreading, "run_shard", answer):
                    spreading.spread(
                        client,
                        (graph,),
                        job,
                        folder,
                        (),
                        lambda number: None,
                    )
                wall = time.perf_counter() - started
                after = seconds_of(running.scheduler.pid), sum(os.times()[:2])
        finally:
            running.close()
    return {
        "shards": SHARDS,
        "bytes_of_frames": frames.nbytes,
        "bytes_of_a_result": size,
        "scheduler_seconds": round((after[0] - before[0]) / SHARDS, 4),
        "run_seconds": round((after[1] - before[1]) / SHARDS, 4),
        "wall_seconds": round(wall / SHARDS, 4),
    }


def seconds_of(pid: int) -> float:
    """Seconds of processor that a process took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def simulated(workers: int, shard: float, scheduler: float, run: float) -> dict[str, Any]:
    """Shards a second, and the share of time in which each part works, in the steady state.

    Args:
        workers: number of workers, each with one thread.
        shard: seconds in which a worker runs a shard.
        scheduler, run: seconds that the two processes need for a shard.
    """
    queue: deque[tuple[float, int]] = deque()  # when a shard of a worker is wanted
    waiting = dict.fromkeys(range(workers), 0)  # shards that are sent and not begun
    busy = dict.fromkeys(range(workers), False)
    events: list[tuple[float, int, int]] = []  # time, kind (0: arrives, 1: ends), worker
    for worker in range(workers):
        queue.extend([(0.0, worker)] * spreading.AHEAD)
    free = [0.0, 0.0]  # when run, then scheduler, have finished what they have
    ended: list[float] = []  # when each shard ended
    target = ROUNDS * workers

    def serve() -> None:
        while queue:
            wanted, worker = queue.popleft()
            free[0] = max(free[0], wanted) + run
            free[1] = max(free[1], free[0]) + scheduler
            heapq.heappush(events, (free[1], 0, worker))

    serve()
    while len(ended) < target:
        now, kind, worker = heapq.heappop(events)
        if kind == 0:
            waiting[worker] += 1
        else:
            busy[worker] = False
            ended.append(now)
            queue.append((now, worker))
            serve()
        if waiting[worker] and not busy[worker]:
            waiting[worker] -= 1
            busy[worker] = True
            heapq.heappush(events, (now + shard, 1, worker))
    # the first rounds fill the line; the last half is steady
    half = len(ended) // 2
    rate = (len(ended) - half) / (ended[-1] - ended[half - 1])
    use = {
        "workers": rate * shard / workers,
        "scheduler": rate * scheduler,
        "run": rate * run,
    }
    return {
        "shards_a_second": round(rate, 4),
        "use": {name: round(share, 3) for name, share in use.items()},
        "binds": max(use, key=lambda name: use[name]),
    }


def page(results: dict[str, Any]) -> str:
    """The tables of ``docs/howto/many_machines.md``."""
    rows, ratio = results["throughput"], results["two_over_one"]
    one, two, here = rows["1"], rows["2"], rows["0"]
    lines = [
        f"{one['samples']:,} digits took {one['seconds']:.0f} s with one worker and "
        f"{two['seconds']:.0f} s with two, on {two['cores']} cores, with their start and, for "
        f"{two['seconds_after_the_last']:.0f} s, the merging of {two['bytes'] / 1e6:,.0f} MB "
        f"({ratio['samples_a_second']:.2f} times as many digits a second). While they worked, two "
        f"did {two['working']:.0f} digits a second and one {one['working']:.0f} "
        f"({ratio['working']:.2f} times as many). One keeps "
        f"{one['processor_seconds'] / one['seconds']:.1f} cores busy over the run, and two "
        f"{two['processor_seconds'] / two['seconds']:.1f}. Each shard starts Lava anew: "
        f"one process without a cluster took {here['seconds']:.0f} s. The load of the machine was "
        f"{one['load_before']:.1f} and {two['load_before']:.1f} when these runs began, with what "
        "the runs before them leave.",
        "",
        "*Workers that reach the folder of the run:*",
        "",
        *_table(results["reach"]["there"], sent=False),
        "",
        "*Workers that do not, so that results come through the scheduler:*",
        "",
        *_table(results["reach"]["sent"], sent=True),
    ]
    return "\n".join(lines)


def _table(found: dict[str, Any], *, sent: bool) -> list[str]:
    costs, rows = found["costs"], found["workers"]
    lines = [
        f"A shard of {costs['samples_of_a_shard']} digits takes a worker "
        f"{costs['shard_seconds']:.1f} s. It takes the scheduler "
        f"{1000 * costs['scheduler_seconds']:.0f} ms and `neuroport run` "
        f"{1000 * costs['run_seconds']:.0f} ms of a processor, to move "
        f"{costs['bytes_of_frames'] / 1e6:.1f} MB of frames and "
        f"{costs['bytes_of_a_result'] / 1e6:.1f} MB of results"
        f"{'' if sent else ', which the worker writes'}. Merging them takes "
        f"{1000 * costs['merge_seconds']:.0f} ms.",
        "",
        "| workers | samples an hour | then, MB of results a second | workers work "
        "| scheduler works | `neuroport run` works | merging, of the time | what binds |",
        "|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for workers, row in rows.items():
        use = " | ".join(f"{100 * row['use'][name]:.0f} %" for name in PARTS)
        binds = BINDS[row["binds"]]
        written = row["shards_a_second"] * costs["bytes_of_a_result"] / 1e6
        lines.append(
            f"| {int(workers):,} | {row['samples_an_hour']:,} | {written:,.0f} | {use} "
            f"| {100 * row['merging']:.0f} % | {binds} |"
        )
    return lines


def write_page(found: dict[str, Any]) -> None:
    """Put the table where the page has its place for it."""
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    write_atomic(PAGE, f"{before}{BEGIN}\n{page(found)}\n{END}{after}".encode())


def reach(results: dict[str, Any], frames: np.ndarray[Any, Any], net: str) -> dict[str, Any]:
    """The measured costs, and what is simulated for each number of workers: ``there`` where they
    write into the run's folder, ``sent`` where they do not reach it."""
    shard = results["throughput"]["1"]
    samples = shard["samples"] // shard["shards"]
    size = shard["bytes"] // shard["shards"]
    seconds = round(samples / shard["working"], 2)
    merging = round(shard["seconds_after_the_last"] / shard["shards"], 3)
    ways = {}
    for way in ("there", "sent"):
        few, graph = np.ascontiguousarray(frames[:, :samples]), Path(net).read_bytes()
        found = costs(few, graph, size, sent=way == "sent")
        found |= {
            "samples_of_a_shard": samples,
            "shard_seconds": seconds,
            "merge_seconds": merging,
        }
        ways[way] = {"costs": found, "workers": extrapolated(found)}
    return ways


def extrapolated(found: dict[str, Any]) -> dict[str, Any]:
    """What the simulation gives with measured costs, by number of workers."""
    rows = {}
    for workers in WORKERS:
        one = simulated(
            workers, found["shard_seconds"], found["scheduler_seconds"], found["run_seconds"]
        )
        shard = 1 / one["shards_a_second"] + found["merge_seconds"]
        hourly = round(3600 / shard * found["samples_of_a_shard"], -2)
        merging = round(found["merge_seconds"] / shard, 3)
        if merging > 0.5:
            one["binds"] = "merging"
        rows[str(workers)] = {"samples_an_hour": int(hourly), "merging": merging, **one}
    return rows
