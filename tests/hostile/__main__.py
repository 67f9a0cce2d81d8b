"""Read mutated files by the thousand and write ``results.json`` beside this file."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import neuroport
from neuroport.files import write_json
from tests.hostile.mutations import mutation
from tests.hostile.probe import probe
from tests.hostile.samples import image

GOOD = ("equal", "refused", "hash")
SECONDS, MEGABYTES = 1.0, 200.0
CLI_EVERY = 20


def run(seeds: range, progress: bool = False) -> dict[str, Any]:
    """Counts per kind, the slowest and the largest, and every failure."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    failures: list[dict[str, Any]] = []
    worst = {key: {"value": 0.0} for key in ("wall", "cpu", "memory")}
    started, verbs = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what in ("graph", "trace"):  # what links into other files lead to
            (folder / f"good.{what}").write_bytes(image(what))
        (folder / "other.graph").write_bytes(image("graph"))
        (folder / "other.raw").write_bytes(b"\1\0" * (1 << 15))
        for done, seed in enumerate(seeds):
            case = mutation(seed)
            found = probe(case, folder, cli=seed % CLI_EVERY == 0)
            verbs += found.get("cli", False)
            outcome = found["outcome"]
            sealed = ", sealed again" if case.resealed and not case.kind.startswith("bomb") else ""
            counts[f"{case.what}: {case.kind}{sealed}"][
                outcome if outcome in GOOD else "failed"
            ] += 1
            about = {"seed": seed, "what": case.what, "kind": case.kind, "resealed": case.resealed}
            over = outcome != "equal" and (found["cpu"] > SECONDS or found["memory"] > MEGABYTES)
            if outcome not in GOOD or over:
                failures.append({**about, **found})
            for key, most in worst.items():
                if found[key] > most["value"]:
                    worst[key] = {"value": round(found[key], 3), **about, "outcome": outcome}
            if progress and (sys.stderr.isatty() or done % 250 == 249):
                end = "\r" if sys.stderr.isatty() else "\n"
                line = f"{done + 1:,} of {len(seeds):,} files, {len(failures)} failures"
                print(line, file=sys.stderr, end=end, flush=True)
    total: Counter[str] = sum(counts.values(), Counter())
    return {
        "files": len(seeds),
        "seeds": [seeds.start, seeds.stop - 1],
        "read equal": total["equal"],
        "refused": total["refused"] + total["hash"],
        "of these by their hash": total["hash"],
        "failures": failures,
        "also through the command line": verbs,
        "seconds": round(time.perf_counter() - started, 1),
        "slowest, wall seconds": worst["wall"],
        "slowest, CPU seconds": worst["cpu"],
        "largest, MB above the process": worst["memory"],
        "versions": {
            "neuroport": neuroport.__version__,
            "h5py": h5py.__version__,
            "HDF5": h5py.version.hdf5_version,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "kinds": {kind: dict(sorted(counts[kind].items())) for kind in sorted(counts)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    arguments = parser.parse_args()
    results = run(range(arguments.first, arguments.first + arguments.count), progress=True)
    write_json(arguments.out, results)
    for failure in results["failures"][:20]:
        print(failure)
    print(
        f"{results['files']:,} files: {results['read equal']:,} read equal, "
        f"{results['refused']:,} refused, {len(results['failures'])} failures; {arguments.out}"
    )
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
