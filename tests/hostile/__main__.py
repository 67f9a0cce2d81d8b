"""Read mutated files by the thousand and write ``results.json`` and ``others.json`` beside this."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import neuroport
from neuroport import hdf5
from neuroport.files import write_json
from tests.hostile.bombs import bomb
from tests.hostile.mutations import Mutation, bombs, mutation, other_mutation, stock_mutation
from tests.hostile.others import prepare
from tests.hostile.probe import probe
from tests.hostile.samples import image

GOOD = ("equal", "refused", "hash", "read")  # the last: stock files, which have no hash
MEGABYTES = 200.0
CLI_EVERY = 20
OTHERS_OUT = "others.json"
CHUNK = 50
COSTS = {
    "wall": "slowest, wall seconds",
    "cpu": "slowest, CPU seconds",
    "memory": "largest, MB above the process",
}


def bound(size: int) -> float:
    """CPU seconds that reading a file of ``size`` bytes may take, refused or not."""
    base, each = hdf5.SECONDS
    return base + each * size + 0.5  # the last: what the reader's own process does with it


@dataclass
class Tally:
    """What became of files, by kind of mutation; what failed; what cost most."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: list[dict[str, Any]] = field(default_factory=list)
    worst: dict[str, dict[str, Any]] = field(default_factory=dict)
    verbs: int = 0

    def note(self, case: Mutation, found: dict[str, Any]) -> None:
        outcome = found["outcome"]
        sealed = ", sealed again" if case.resealed and not case.kind.startswith("bomb") else ""
        good = outcome if outcome in GOOD else "failed"
        self.counts[f"{case.what}: {case.kind}{sealed}"][good] += 1
        self.verbs += found.get("cli", False)
        size = len(case.content)
        about = {"seed": case.seed, "kind": case.kind, "outcome": outcome, "bytes": size}
        late = found["cpu"] > bound(size)
        over = outcome != "equal" and (late or found["memory"] > MEGABYTES)
        if good == "failed" or over:
            self.failures.append({**found, **about})
        self._most({key: {"value": round(found[key], 3), **about} for key in COSTS})

    def add(self, other: Tally) -> None:
        for kind, found in other.counts.items():
            self.counts[kind] += found
        self.failures += other.failures
        self.verbs += other.verbs
        self._most(other.worst)

    def _most(self, found: dict[str, dict[str, Any]]) -> None:
        for key, most in found.items():
            if key not in self.worst or most["value"] > self.worst[key]["value"]:
                self.worst[key] = most


def run(seeds: range, make: Callable[[int], Mutation] = mutation) -> Tally:
    """Read the files of these seeds, one after the other."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what in ("graph", "trace"):  # what links into other files lead to
            (folder / f"good.{what}").write_bytes(image(what))
        (folder / "other.graph").write_bytes(image("graph"))
        (folder / "other.raw").write_bytes(b"\1\0" * (1 << 15))
        for seed in seeds:
            case = make(seed)
            tally.note(case, probe(case, folder, cli=seed % CLI_EVERY == 0))
    return tally


def summary(tallies: list[Tally], seeds: range, seconds: float) -> dict[str, Any]:
    """The tallies as JSON, with the versions that they hold for; ``seeds`` are of the first."""
    tally, *foreign = tallies
    total: Counter[str] = sum(tally.counts.values(), Counter())
    stock: Counter[str] = sum((c for t in foreign for c in t.counts.values()), Counter())
    return {
        "files": len(seeds),
        "seeds": [seeds.start, seeds.stop - 1],
        "read equal": total["equal"],
        "read as it was changed, without a hash": total["read"],
        "refused": total["refused"] + total["hash"],
        "of these by their hash": total["hash"],
        "stock files": {name: stock[name] for name in ("read", "refused")},
        "failures": [failure for each in tallies for failure in each.failures],
        "also through the command line": tally.verbs,
        "seconds": round(seconds, 1),
        **{name: tally.worst[key] for key, name in COSTS.items()},
        "versions": {
            "neuroport": neuroport.__version__,
            "h5py": h5py.__version__,
            "HDF5": h5py.version.hdf5_version,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "system": platform.system(),
        },
        "kinds": {
            kind: dict(sorted(found.items()))
            for each in tallies
            for kind, found in sorted(each.counts.items())
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--stock", type=int, default=1000, help="files of lava-dl besides")
    parser.add_argument("--others", type=int, default=5000, help="files of every other kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    arguments = parser.parse_args()
    failures = 0
    if arguments.count:
        seeds, started = range(arguments.count), time.perf_counter()
        print("making the largest files", file=sys.stderr, flush=True)
        for name in bombs(seeds):  # once: the workers inherit them
            bomb(name)
        with get_context("fork").Pool(arguments.jobs) as pool:
            tallies = [
                share(pool, seeds, mutation),
                share(pool, range(arguments.stock), stock_mutation),
            ]
        failures += write(arguments.out, tallies, seeds, started)
    if arguments.others:
        seeds, started = range(arguments.others), time.perf_counter()
        prepare()  # after the networks: forks of a large process take longer
        with get_context("fork").Pool(arguments.jobs) as pool:
            tallies = [share(pool, seeds, other_mutation)]
        failures += write(arguments.out.with_name(OTHERS_OUT), tallies, seeds, started)
    return 1 if failures else 0


def write(out: Path, tallies: list[Tally], seeds: range, started: float) -> int:
    """Write the results, tell them, and return the number of failures."""
    results = summary(tallies, seeds, time.perf_counter() - started)
    write_json(out, results)
    for failure in results["failures"][:20]:
        print(failure)
    read = results["read as it was changed, without a hash"]
    print(
        f"{results['files']:,} files: {results['read equal']:,} read equal, {read:,} read as "
        f"changed, {results['refused']:,} refused; {len(results['failures'])} failures; {out}"
    )
    return len(results["failures"])


def share(pool: Any, seeds: range, make: Callable[[int], Mutation]) -> Tally:
    """Let the processes of ``pool`` read the files of these seeds; tells how far they are."""
    tally, done = Tally(), 0
    parts = [seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK)]
    for part in pool.imap(partial(run, make=make), parts):
        tally.add(part)
        for failure in part.failures:
            print(failure, file=sys.stderr)
        done = min(done + CHUNK, len(seeds))
        line = f"{done:,} of {len(seeds):,} files, {len(tally.failures)} failures"
        print(line, file=sys.stderr, end="\r" if sys.stderr.isatty() else "\n", flush=True)
    return tally


if __name__ == "__main__":
    sys.exit(main())
