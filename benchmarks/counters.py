"""``python -m benchmarks.counters``: counters against full rasters on Lava, and their cost.

Each network of the zoo runs its held-out samples twice on Lava's CPU simulator: every message of
every population recorded, and counters in the process graph. Every count is compared with the
raster and must be equal. One network runs again at two numbers of steps, because what counters
record must not depend on it, but for the readout's steps. Writes ``docs/counters.json``; *recorded*
bytes are the files that Lava's processes write, *trace* bytes what the run returns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from neuroport.files import write_json
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace, versions

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
NETWORKS = ("ms_resnet20_mnist", "danet20_spike_stage_mnist")
SAMPLES = 20
STEPS_OF, STEPS, STEPS_SAMPLES = "ms_resnet8_mnist", (4, 64), 2


def cost(trace: Trace) -> dict[str, float]:
    """Seconds that Lava ran, and bytes."""
    arrays = (*trace.messages.values(), *trace.counts.values())
    return {
        "seconds": trace.provenance["phases"]["run"],
        "seconds_in_all": round(trace.provenance["seconds"], 2),
        "recorded_bytes": trace.provenance["recorded_bytes"],
        "trace_bytes": sum(array.nbytes for array in arrays),
    }


def ratios(counts: dict[str, float], messages: dict[str, float]) -> dict[str, float]:
    """Counters over rasters."""
    return {what: round(counts[what] / messages[what], 4) for what in counts}


def measure(network: Graph | str, frames: np.ndarray, deadline: float) -> dict[str, Any]:
    """Run both ways and compare; the row of a network."""
    options = {"on": "lava-cpu", "deadline": deadline}
    full = port.run(network, frames, **options)
    counts = port.run(network, frames, record="counts", **options)
    outcome = port.compare(full, counts)
    both = {"counts": cost(counts), "messages": cost(full)}
    return {
        "samples": full.samples,
        "steps": full.steps,
        "populations": len(full.kinds),
        "counted": len(counts.counts),
        "messages_counted": sum(counts.sent(name) for name in counts.counts),
        "counts_compared": outcome.counts,
        "counts_differing": outcome.differing,
        "most_at_a_counter": max(int(array.max()) for array in counts.counts.values()),
        **both,
        "counts_over_messages": ratios(**both),
    }


def by_steps(deadline: float) -> dict[str, Any]:
    """One network, its frames shown over and over, at two numbers of steps."""
    graph = port.read(MODELS / STEPS_OF / "network.net")
    frames = np.load(MODELS / STEPS_OF / "frames.npy")[:, :STEPS_SAMPLES]
    rows = {}
    for steps in STEPS:
        repeated = frames[np.arange(steps) % len(frames)]
        rows[str(steps)] = measure(Graph(graph.nodes, steps), repeated, deadline)
        print(f"  T = {steps}: {rows[str(steps)]['counts_over_messages']}", file=sys.stderr)
    short, long = (rows[str(steps)] for steps in STEPS)
    grows = {
        way: {what: round(long[way][what] / short[way][what], 3) for what in short[way]}
        for way in ("counts", "messages")
    }
    return {"network": STEPS_OF, "by_steps": rows, "longest_over_shortest": grows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=f"folders of models; {', '.join(NETWORKS)}")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--deadline", type=float, default=3600.0, help="seconds for each run")
    parser.add_argument("--no-steps", action="store_true", help="leave out the numbers of steps")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "counters.json")
    options = parser.parse_args()
    found = versions("lava-nc", "numpy", "scipy")
    results: dict[str, Any] = {"versions": found, "networks": {}}
    for name in options.networks or NETWORKS:
        print(name, file=sys.stderr, flush=True)
        frames = np.load(MODELS / name / "frames.npy")[:, : options.samples]
        row = measure(str(MODELS / name / "network.net"), frames, options.deadline)
        results["networks"][name] = row
        write_json(options.out, results)
        print(f"  {row['counts_over_messages']}", file=sys.stderr, flush=True)
    if not options.no_steps:
        results["steps"] = by_steps(options.deadline)
        write_json(options.out, results)
    rows = [*results["networks"].values(), *results.get("steps", {}).get("by_steps", {}).values()]
    differing = sum(row["counts_differing"] for row in rows)
    compared = sum(row["counts_compared"] for row in rows)
    print(f"{compared:,} counts compared, {differing:,} differ")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
