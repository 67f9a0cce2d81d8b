"""``python -m tests.carriers``: what each carrier costs, on networks of 20 layers, on real Lava.

MS-ResNet-20 and DS-ResNet-20 (28x28 input, T = 4; random weights, thresholds set so that all
populations fire) are lowered with every carrier, run on Lava and compared, spike for spike, with
the reference engine. ``stock`` files run in unmodified lava-dl. Writes ``docs/carriers.json`` and
the table ``docs/carriers.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import neuroport as port
from neuroport.backends.fast import Fast
from neuroport.backends.trace import Trace
from neuroport.backends.walk import cut_window
from neuroport.files import write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.lowering import Bill, price
from tests.shapes import Shape, ds_resnet, frames_for, ms_resnet

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (16, 32, 64)
STEPS = 4


def networks() -> dict[str, tuple[Graph, np.ndarray]]:
    frames = frames_for((1, 28, 28), STEPS, samples=4)
    engine = Fast()
    return {
        "MS-ResNet-20": (ms_resnet(Shape(frames, engine=engine), 3, WIDTHS), frames),
        "DS-ResNet-20, K = 3": (ds_resnet(Shape(frames, engine=engine), 3, WIDTHS, 3), frames),
    }


def measure(
    graph: Graph, bill: Bill, want: Trace, frames: np.ndarray, stock: int
) -> dict[str, Any]:
    """One row: sizes, messages, time and what differs."""
    row: dict[str, Any] = {"carrier": bill.carrier, "align": bill.align}
    if bill.graph is None or bill.cost is None:
        return {**row, "refused": bill.refusal}
    ideal = port.run(bill.graph, frames, on="fast")
    sent = {name: np.count_nonzero(values) for name, values in ideal.messages.items()}
    sent["frames"] = np.count_nonzero(frames)
    delivered = sum(sent[name] for node in bill.graph for name in node.inputs if name in sent)
    row |= {
        "processes": bill.cost.processes,
        "synapses": bill.cost.connections,
        "messages_per_step": round(delivered / frames.shape[0] / frames.shape[1], 1),
    }
    if bill.carrier != "stock":
        got = port.run(bill.graph, frames, on="lava-cpu", deadline=3000)
        compared = port.compare(want, got)
        row |= {"engine": "lava-cpu", "samples": frames.shape[1]}
        row |= {"seconds_per_sample": got.provenance["phases"]["run"] / frames.shape[1]}
        row |= {"compared": compared.positions, "differing": compared.differing}
    else:
        row |= run_stock(bill.graph, want, frames[:, :stock])
    return row


def run_stock(chip: Graph, want: Trace, frames: np.ndarray) -> dict[str, Any]:
    """Run the exported file in unmodified lava-dl and compare what its layers sent."""
    samples = frames.shape[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port.export(chip, folder / "stock.net")
        np.save(folder / "frames.npy", frames)
        script = ROOT / "deploy" / "lava_cpu" / "run_stock.py"
        paths = [str(folder / part) for part in ("stock.net", "frames.npy", "out.npz")]
        subprocess.run([sys.executable, str(script), *paths], check=True, capture_output=True)
        positions = differing = 0
        with np.load(folder / "out.npz") as out, h5py.File(folder / "stock.net") as file:
            seconds = float(out["seconds"])
            layers = json.loads(file["layer"].attrs["members"])
            for layer, members in enumerate(layers):
                for population, (start, stop) in members.items():
                    if population in want.messages:
                        kind = want.kinds[population]
                        key = "potential" if kind == "readout" else f"layer{layer}"
                        rows = out[key][:, start:stop]
                        got = cut_window(chip, rows, layer + 1, samples)
                        positions += got.size
                        differing += int(np.sum(got != want[population][:, :samples]))
    return {
        "engine": "lava-dl NetX",
        "processes": 2 * len(layers),
        "samples": samples,
        "seconds_per_sample": seconds / samples,
        "compared": positions,
        "differing": differing,
    }


def table(results: dict[str, Any]) -> str:
    lines = [
        "# What carrying a shortcut costs",
        "",
        "Networks of 20 layers, 28x28 input, T = 4, with random weights, on Lava's CPU simulator.",
        "Every row was compared with the reference engine, spike for spike. Remade by",
        "`make carriers`; the numbers are those of [carriers.json](carriers.json).",
    ]
    for name, rows in results["networks"].items():
        lines += ["", f"## {name}", ""]
        lines += ["| carrier | aligned by | engine | processes | synapses | messages per step "]
        lines[-1] += "| s per sample | compared | differ |"
        lines += ["|---|---|---|--:|--:|--:|--:|--:|--:|"]
        refused = []
        for row in rows:
            if "refused" in row:
                refused.append(f"`{row['carrier']}` with {row['align']}: {row['refused']}.")
                continue
            lines.append(
                f"| {row['carrier']} | {row['align']} | {row['engine']} | {row['processes']} "
                f"| {row['synapses']:,} | {row['messages_per_step']:,} "
                f"| {row['seconds_per_sample']:.2f} | {row['compared']:,} | {row['differing']} |"
            )
        lines += ["", *refused] if refused else []
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--stock-samples", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (graph, frames) in networks().items():
        want = port.run(graph, frames, on="fast")
        found[name] = []
        for bill in price(graph):
            row = measure(graph, bill, want, frames, options.stock_samples)
            print(name, row, flush=True)
            found[name].append(row)
    versions = port.run(graph, frames[:, :1], on="fast").provenance["versions"]
    results = {"networks": found, "seconds": time.perf_counter() - started, "versions": versions}
    write_json(options.out / "carriers.json", results)
    write_atomic(options.out / "carriers.md", table(results).encode())
    return int(any(row.get("differing") for rows in found.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
