"""Hundreds of random NIR networks, a share of them on Lava; writes ``results.json`` beside this."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neuroport.files import read_json, write_json
from neuroport.runs.trace import versions
from tests.nir.probe import Outcome, probe

RESULTS = Path(__file__).with_name("results.json")


def summary(found: list[Outcome], minutes: float) -> dict[str, Any]:
    """Totals, and how often every feature was drawn."""
    features = Counter(name for one in found for name in one.features)
    shares = [share for one in found for share in one.shares if not one.exact]
    return {
        "networks": len(found),
        "of them exact": sum(one.exact for one in found),
        "on lava-cpu": sum(one.lava_positions > 0 for one in found),
        "positions compared": sum(one.positions for one in found),
        "positions compared on lava-cpu": sum(one.lava_positions for one in found),
        "differing": 0,  # the first that differs ends the run
        "populations": sum(one.populations for one in found),
        "silent populations": sum(one.silent for one in found),
        "share of spikes that quantization changed, mean": round(sum(shares) / len(shares), 4),
        "features": dict(sorted(features.items())),
        "minutes": round(minutes, 1),
        "versions": versions("numpy", "lava-nc"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--lava", type=int, default=60, help="how many of them run on Lava")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    every = max(1, args.count // max(1, args.lava))
    started = time.perf_counter()
    part = args.out.with_suffix(".part.json")  # goes on where it was
    found = [Outcome(**one) for one in read_json(part)] if part.exists() else []
    for seed in range(len(found), args.count):
        found.append(probe(seed, lava=args.lava > 0 and seed % every == 0))
        if seed % 20 == 0:
            print(f"{seed} of {args.count}", file=sys.stderr, flush=True)
            write_json(part, [asdict(one) for one in found])
    write_json(args.out, summary(found, (time.perf_counter() - started) / 60))
    part.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
