"""Capture random forward passes by the thousand and write ``results.json`` beside this file."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from neuroport.files import write_json
from neuroport.runs.trace import versions
from tests.forwards.probe import FAMILIES, GOOD, NO_NETWORK, Found, probe

CHUNK = 10


def run(family: str, wanted: int, workers: int = 1) -> list[Found]:
    """The first ``wanted`` networks of a family; what is no network is drawn anew."""
    found: list[Found] = []
    work = partial(_probe, family)
    with get_context("spawn").Pool(workers) as pool:
        for one in pool.imap(work, range(2 * wanted), CHUNK):
            found.append(one)
            if sum(f.outcome != NO_NETWORK for f in found) == wanted:
                pool.terminate()
                break
            if len(found) % 100 == 0:
                print(f"{family}: {len(found)}", file=sys.stderr, flush=True)
    return found


def _probe(family: str, seed: int) -> Found:
    torch.set_num_threads(1)
    return probe(family, seed)


def summary(found: list[Found]) -> dict[str, Any]:
    """Counts of outcomes, and of what was drawn by what became of it."""
    good = [f for f in found if f.outcome != NO_NETWORK]
    drawn: dict[str, dict[str, Counter[str]]] = {
        "pranks": defaultdict(Counter),
        "ways": defaultdict(Counter),
    }
    for one in good:
        for what in one.pranks or ["none"]:
            drawn["pranks"][what][one.outcome] += 1
        for what in one.ways:
            drawn["ways"][what][one.outcome] += 1
    return {
        "networks": len(good),
        "outcomes": dict(sorted(Counter(f.outcome for f in good).items())),
        "no network": len(found) - len(good),
        "populations": sum(f.populations for f in good),
        "positions": sum(f.positions for f in good),
        "failures": [vars(f) for f in good if f.outcome not in GOOD],
        **{
            kind: {name: dict(sorted(count.items())) for name, count in sorted(each.items())}
            for kind, each in drawn.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    args = parser.parse_args()
    started = time.perf_counter()
    families = {}
    for family in FAMILIES:
        families[family] = summary(run(family, args.count // len(FAMILIES), args.workers))
        print(family, families[family]["outcomes"], flush=True)
    results = {
        "networks": sum(one["networks"] for one in families.values()),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "versions": versions("torch", "numpy", "lava-dl"),
        "families": families,
    }
    write_json(args.out, results)
    return int(any(one["failures"] for one in families.values()))


if __name__ == "__main__":
    sys.exit(main())
