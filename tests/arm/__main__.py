"""Run the compiled kernels for 64-bit ARM under emulation; write ``results.json`` beside this file.

    python -m tests.arm

Random networks run on each path of ``network.c``; the kernels of training compute drawn
numbers. Instructions are counted on one layer: an estimate of speed, no measurement of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.files import write_json
from tests.arm.emulated import COMPILER, EMULATOR, PATHS, Emulated, missing
from tests.arm.probe import cases, compare, instructions_per_product, training, training_here

RESULTS = Path(__file__).with_name("results.json")
COUNTED = "instructions per product, by width of messages"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=100, help="networks of a few layers")
    parser.add_argument("--networks", type=int, default=10, help="random residual networks")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if (reason := missing()) is not None:
        parser.exit(2, f"{reason}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = run(range(args.layers), range(args.networks), folder)
    write_json(args.out, found)
    parts = [*found["paths"].values(), found["training"]]
    print(page(found))
    return int(any(part["differing"] for part in parts))


def run(of_layers: range, of_networks: range, folder: Path) -> dict[str, Any]:
    """Compare all paths on networks of these numbers."""
    libraries = [Emulated(path, folder) for path in PATHS]
    counts: dict[str, Counter[str]] = {library.name: Counter() for library in libraries}
    networks = 0
    for graph, frames in cases(of_layers, of_networks):
        networks += 1
        for name, found in compare(libraries, graph, frames).items():
            counts[name] += found
        if networks % 20 == 0:
            print(f"{networks} networks, {counts}", file=sys.stderr, flush=True)
    synapses = {library.name: dict(sorted(library.synapses.items())) for library in libraries}
    return {
        "run": "under user-mode emulation, never on an ARM processor",
        "versions": [_version(COMPILER), _version(EMULATOR)],
        "networks": networks,
        "paths": {
            library.name: {
                "emulated processor": library.cpu,
                **{what: counts[library.name][what] for what in ("compared", "differing")},
                "synapses by width of products": synapses[library.name],
                COUNTED: instructions_per_product(library),
            }
            for library in libraries
        },
        "training": _training(folder),
    }


def page(results: dict[str, Any]) -> str:
    """The table of ``docs/performance.md``."""
    bits = list(results["paths"]["plain"][COUNTED])
    lines = [
        "| code | emulated processor | positions | differ | " + " | ".join(bits) + " |",
        "|---|---|--:|--:|" + "--:|" * len(bits),
    ]
    for name, found in results["paths"].items():
        numbers = f"{found['compared']:,} | {found['differing']:,}"
        counted = " | ".join(f"{found[COUNTED][width]:.2f}" for width in bits)
        lines.append(f"| {name} | {found['emulated processor']} | {numbers} | {counted} |")
    return "\n".join(lines) + "\n"


def _training(folder: Path) -> dict[str, Any]:
    """What the kernels of training computed, at the lowest and the best level and here."""
    want = np.frombuffer(training_here(folder), np.uint32)
    count: Counter[str] = Counter()
    for path in (PATHS[1], PATHS[-1]):
        got = np.frombuffer(training(path, folder), np.uint32)
        count["compared"] += want.size
        count["differing"] += int(np.count_nonzero(got != want))
    return {"compared": count["compared"], "differing": count["differing"]}


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
