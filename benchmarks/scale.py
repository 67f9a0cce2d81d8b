"""``python -m benchmarks.scale``: runs on clusters of real processes; Linux. Goes on where it was.

Four parts, written to ``docs/scale.json``:

* ``counting``: 200 digits of MS-ResNet-20 on Lava CPU, fused: every message recorded, counts made
  inside the fused process, and counts by stock processes. Seconds, and the peak of anonymous and
  shared memory of all processes.
* ``throughput``: 1,000 digits of MS-ResNet-20 on Lava CPU, fused, in one process and on clusters of
  1, 2 and 4 local workers, each equal to the one process, position by position. ``seconds`` and
  ``samples_a_second`` are those of the whole run: the cluster's start, the shards, merging them
  into one file. ``processor_seconds`` add up those of all processes. ``working`` is the rate while
  workers work: of N workers, the shards between the Nth one that was finished and the last;
  ``seconds_after_the_last`` are those of merging. Rows tell the load of the machine when they
  began: on a busy one the ratios say little.
* ``kills``: a worker, a child that runs Lava, and the scheduler, each killed (SIGKILL) ten times,
  at a random moment of a run by two workers that joined the scheduler by its loopback address.
  Either the run ends with a trace equal to that of one process; or it is an error, which says what
  is done, and the same command goes on from there with another cluster. Nothing is left running.
* ``reach``: how many workers one scheduler keeps busy (:mod:`benchmarks.scheduler_reach`); also the
  table of ``docs/howto/many_machines.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from benchmarks.scheduler_reach import reach, write_page
from benchmarks.steady import descendants, memory
from neuroport.analysis.joining import compare_stored
from neuroport.errors import BackendError
from neuroport.files import read_json, write_json
from neuroport.runs.trace import versions
from neuroport.runs.trace_file import StoredTrace
from tests.helpers.dask_processes import Running, runs

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "scale.json"
LARGE, SMALL = "ms_resnet20_mnist", "ms_resnet8_mnist"
DIGITS, SHARDS = 1_000, 16
KILLED, TIMES = ("worker", "lava child", "scheduler"), 10
FEW, PARTS = 48, 6  # digits and shards of a run in which something is killed
COUNTED = 200  # digits
FUSED: dict[str, Any] = {"processes": "fused"}


def digits(model: str, count: int) -> np.ndarray[Any, Any]:
    """Frames of a model's folder, over and over."""
    frames = np.load(ROOT / "models" / model / "frames.npy")
    return frames[:, np.arange(count) % frames.shape[1]]


def net(model: str) -> str:
    return str(ROOT / "models" / model / "network.net")


def same(one: Path, other: Path) -> dict[str, Any]:
    """What comparing two traces in files says."""
    with StoredTrace(one) as want, StoredTrace(other) as got:
        found = compare_stored(want, got)
        equal = want.kinds == got.kinds and found.equal
    return {"positions": found.positions, "differing": found.differing, "equal": equal}


def counting(results: dict[str, Any], count: int) -> None:
    """Digits of MS-ResNet-20 on fused Lava: messages, and counts by both kinds of counters."""
    rows = results.setdefault("counting", {})
    ways = {
        "messages": {},
        "counts inside": {"record": "counts"},
        "counts, stock": {"record": "counts", "counters": "stock"},
    }
    for name, options in ways.items():
        if name in rows:
            continue
        told = json.dumps([count, options])
        command = [sys.executable, "-m", "benchmarks.scale", "--here", told]
        rows[name] = json.loads(subprocess.check_output(command, cwd=ROOT))
        print(name, rows[name], file=sys.stderr, flush=True)
        write_json(OUT, results)


def counted_here(count: int, options: dict[str, Any]) -> dict[str, Any]:
    """One run in this process: seconds, and the peak of memory of it and of its children."""
    frames, peak, over = digits(LARGE, count), [0], threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            held = sum(map(memory, (os.getpid(), *descendants(os.getpid()))))
            peak[0] = max(peak[0], held)

    looking = threading.Thread(target=look)
    looking.start()
    load, started = os.getloadavg()[0], time.perf_counter()
    try:
        trace = port.run(net(LARGE), frames, "lava-cpu", deadline=7200.0, **FUSED, **options)
    finally:
        over.set()
        looking.join()
    return {
        "samples": count,
        "seconds": round(time.perf_counter() - started, 1),
        "lava_seconds": trace.provenance["phases"]["run"],
        "peak_bytes": peak[0],
        "load_before": round(load, 2),
    }


def throughput(results: dict[str, Any], count: int) -> None:
    """Rows by workers; 0 is one process without a cluster."""
    frames, rows = digits(LARGE, count), results.setdefault("throughput", {})
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole.trace")
        for workers in (0, 1, 2, 4):
            path = Path(place, f"{workers}.trace") if workers else whole
            load, started, spent = os.getloadavg()[0], time.perf_counter(), processor()
            ended: list[tuple[float, int]] = []  # time and samples of each finished shard

            def told(done: int, total: int, ended: list[tuple[float, int]] = ended) -> None:
                ended.append((time.perf_counter(), done))

            more: dict[str, Any] = {}
            if workers:
                more = {"cluster": f"local:{workers}", "shards": SHARDS, "progress": told}
            found = port.record(net(LARGE), frames, path, "lava-cpu", **more, **FUSED)
            seconds = time.perf_counter() - started
            found.close()
            shards = found.provenance.get("shards", [])
            rows[str(workers)] = {
                "samples": count,
                "shards": len(shards),
                "seconds": round(seconds, 1),
                "processor_seconds": round(processor() - spent, 1),
                "samples_a_second": round(count / seconds, 2),
                "seconds_of_a_shard": round(sum(s["seconds"] for s in shards) / len(shards), 2)
                if shards
                else None,
                "working": working(ended, workers) if workers else None,
                "seconds_after_the_last": round(started + seconds - ended[-1][0], 1)
                if workers
                else None,
                "load_before": round(load, 2),
                "cores": os.cpu_count(),
                "bytes": path.stat().st_size,
                **(same(whole, path) if workers else {}),
            }
            print(workers, rows[str(workers)], file=sys.stderr, flush=True)
            write_json(OUT, results)
    one, two = rows["1"], rows["2"]
    results["two_over_one"] = {
        name: round(two[name] / one[name], 3) for name in ("working", "samples_a_second")
    }
    write_json(OUT, results)


def processor() -> float:
    """Seconds of processor of this process, and of all that have ended below it."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def working(ended: list[tuple[float, int]], workers: int) -> float:
    """Samples a second from the ``workers``-th finished shard to the last."""
    (start, before), (end, after) = ended[workers - 1], ended[-1]
    return round((after - before) / (end - start), 2)


def undisturbed(place: Path) -> float:
    """Seconds of a run by two workers that joined, in which nothing is killed."""
    (folder := place / "cluster").mkdir()
    cluster = Running(folder)
    try:
        cluster.join(), cluster.join()
        started = time.perf_counter()
        record(digits(SMALL, FEW), place / "out.trace", cluster.address)
        return time.perf_counter() - started
    finally:
        cluster.close()


def killed(
    what: str, seed: int, attempt: int, within: float, place: Path, whole: Path
) -> dict[str, Any]:
    """One run in which something is killed, and what became of it."""
    rng = random.Random(f"{what} {seed} {attempt}")
    (folder := place / "cluster").mkdir()
    out, frames = place / "out.trace", digits(SMALL, FEW)
    row: dict[str, Any] = {"killed": what, "seed": seed}
    cluster = Running(folder)
    seen: set[int] = set()
    over = threading.Event()

    def kill() -> None:
        """At a random moment after the first shard began."""
        while not over.is_set() and not lava_children(cluster):
            time.sleep(0.02)
        moment = rng.uniform(0, within)
        row["after"] = round(moment, 2)
        if over.wait(moment):
            row["late"] = True
            return
        seen.update(pid for w in cluster.workers for pid in descendants(w.pid))
        if what == "scheduler":
            cluster.scheduler.kill()
        elif what == "worker":
            cluster.workers[rng.randrange(2)].kill()
        else:
            while not over.is_set() and not (found := lava_children(cluster)):
                time.sleep(0.02)
            if not over.is_set():
                os.kill(rng.choice(found), signal.SIGKILL)

    try:
        cluster.join(), cluster.join()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            record(frames, out, cluster.address)
            row["ended"] = "finished"
        except BackendError as error:
            row["ended"] = "error"
            row["said"] = re.sub(r"/\S+/", "", error.message)
            row["nothing_written"] = not out.exists()
        finally:
            over.set()
            killer.join()
        row["left"] = left_of(seen, cluster)
    finally:
        cluster.close()
    if row["ended"] == "error":
        kept = len(list((place / "out.trace.shards").glob("0*")))
        seconds = time.perf_counter()
        record(frames, out, "local:2")
        row |= {"kept": kept, "rerun_seconds": round(time.perf_counter() - seconds, 1)}
    return {**row, **same(whole, out)}


def record(frames: np.ndarray[Any, Any], out: Path, cluster: str) -> None:
    port.record(net(SMALL), frames, out, "lava-cpu", cluster=cluster, shards=PARTS, **FUSED).close()


def lava_children(cluster: Running) -> list[int]:
    """Processes of the workers' shards in which Lava runs."""
    found = []
    for worker in cluster.workers:
        for pid in descendants(worker.pid):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"lava_cpu.worker" in line:
                found.append(pid)
    return found


def left_of(seen: set[int], cluster: Running) -> int:
    """How many processes of killed workers and cancelled shards still run, after some seconds."""
    until = time.monotonic() + 15
    alive = {worker.pid for worker in cluster.workers}
    while time.monotonic() < until:
        left = [pid for pid in seen - alive if runs(pid)]
        if not left:
            return 0
        time.sleep(0.1)
    return len(left)


def kills(results: dict[str, Any], times: int) -> None:
    rows = results.setdefault("kills", [])
    done = {(row["killed"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole.trace")
        port.record(net(SMALL), digits(SMALL, FEW), whole, "lava-cpu", **FUSED).close()
        (place := Path(folder, "undisturbed")).mkdir()
        within = undisturbed(place)
        for seed in range(times):
            for what in KILLED:
                if (what, seed) in done:
                    continue
                for attempt in itertools.count():
                    with tempfile.TemporaryDirectory() as place:
                        row = killed(what, seed, attempt, within, Path(place), whole)
                    if not row.get("late"):  # the run had ended before
                        break
                rows.append(row)
                print(rows[-1], file=sys.stderr, flush=True)
                write_json(OUT, results)


def broken(results: dict[str, Any]) -> list[str]:
    """What is not as it should be, in words."""
    said = []
    for row in results.get("kills", []):
        where = f"{row['killed']} {row['seed']}"
        if not row["equal"] or row["differing"]:
            said.append(f"{where}: the trace is not that of one process")
        if row["left"]:
            said.append(f"{where}: {row['left']} processes are left")
        if row["ended"] == "error" and not re.search(
            rf"\d of {PARTS} shards are done and kept", row["said"]
        ):
            said.append(f"{where}: the error does not say what is done")
    said += [
        f"{workers} workers: the trace is not that of one process"
        for workers, row in results.get("throughput", {}).items()
        if workers != "0" and not row["equal"]
    ]
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="counting, throughput, kills, reach; all if none")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--digits", type=int, default=DIGITS)
    parser.add_argument("--times", type=int, default=TIMES)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(counted_here(*json.loads(options.here))))
        return 0
    results = read_json(OUT) if OUT.exists() else {}
    results["versions"] = versions("lava-nc", "numpy", "distributed")
    if not options.parts or "counting" in options.parts:
        counting(results, COUNTED)
    if not options.parts or "throughput" in options.parts:
        throughput(results, options.digits)
    if not options.parts or "kills" in options.parts:
        kills(results, options.times)
    if not options.parts or "reach" in options.parts:
        results["reach"] = reach(results, digits(LARGE, options.digits), net(LARGE))
        write_page(results)
    write_json(OUT, results)
    said = broken(results)
    print("\n".join(said) or "every run is that of one process, and nothing is left")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
