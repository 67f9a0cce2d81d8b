"""``python -m benchmarks.carriers``: what each carrier costs, in networks of 20 layers on Lava.

MS-ResNet-20 and DS-ResNet-20 (28x28 input, T = 4; random weights, thresholds set so that all
populations fire) are lowered with every carrier, run on Lava and compared, spike for spike, with
the reference engine. A ``stock`` file is run twice: its NetX layers, read without the graph beside
them, on neuroport's Lava engine, and, where the network is narrow, the file in unmodified lava-dl,
whose convolutions loop over pairs of channels in Python: the wide network would take it hours.
Writes ``docs/carriers.json`` and the table ``docs/carriers.md``.
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
from neuroport import netx
from neuroport.backends.executor import cut_window
from neuroport.engines.fast import Fast
from neuroport.files import write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace
from neuroport.targets.lowering import LoweringOption
from neuroport.targets.target import simulator
from tests.helpers.shapes import Shape, ds_resnet, frames_for, ms_resnet

ROOT = Path(__file__).resolve().parents[1]
WIDTHS, NARROW = (16, 32, 64), (2, 4, 8)
STEPS = 4
THIN = "DS-ResNet-20, K = 3, widths 2, 4 and 8"


def networks() -> dict[str, tuple[Graph, np.ndarray]]:
    frames = frames_for((1, 28, 28), STEPS, samples=4)
    engine = Fast()
    few = frames[:, :1]
    return {
        "MS-ResNet-20": (ms_resnet(Shape(frames, engine=engine), 3, WIDTHS), frames),
        "DS-ResNet-20, K = 3": (ds_resnet(Shape(frames, engine=engine), 3, WIDTHS, 3), frames),
        THIN: (ds_resnet(Shape(few, engine=engine), 3, NARROW, 3), few),
    }


def measure(
    option: LoweringOption, want: Trace, frames: np.ndarray, unmodified: bool
) -> list[dict[str, Any]]:
    """Rows of a carrier: sizes, messages, time and what differs."""
    row: dict[str, Any] = {"carrier": option.carrier, "align": option.align}
    if option.graph is None or option.cost is None:
        return [{**row, "refused": option.refusal}]
    ideal = port.run(option.graph, frames, on="fast")
    sent = {name: np.count_nonzero(values) for name, values in ideal.messages.items()}
    sent["frames"] = np.count_nonzero(frames)
    delivered = sum(sent[name] for node in option.graph for name in node.inputs if name in sent)
    row |= {
        "processes": option.cost.processes,
        "synapses": option.cost.connections,
        "messages_per_step": round(delivered / frames.shape[0] / frames.shape[1], 1),
    }
    if option.carrier == "stock":
        with tempfile.TemporaryDirectory() as name:
            path = port.export(option.graph, Path(name) / "stock.net")
            rows = [{**row, **run_layers(path, want, frames)}]
            if unmodified:
                rows.append({**row, **run_stock(option.graph, path, want, frames)})
        return rows
    got = port.run(option.graph, frames, on="lava-cpu", deadline=3000)
    compared = port.compare(want, got)
    found = {"compared": compared.positions, "differing": compared.differing}
    return [{**row, **on_lava(got), **found}]


def on_lava(got: Trace) -> dict[str, Any]:
    samples = got.messages[next(iter(got.messages))].shape[1]
    seconds = got.provenance["phases"]["run"] / samples
    return {"engine": "lava-cpu", "samples": samples, "seconds_per_sample": seconds}


def differing(layers: list[dict[str, Any]], messages: Any, want: Trace) -> dict[str, int]:
    """Compare what layers sent, ``messages(layer, kind)``, by the populations in their channels."""
    positions = differ = 0
    for layer, members in enumerate(layers):
        for population, (start, stop) in members.items():
            if population in want.messages:
                got = messages(layer, want.kinds[population])[:, :, start:stop]
                positions += got.size
                differ += int(np.sum(got != want[population]))
    return {"compared": positions, "differing": differ}


def run_layers(path: Path, want: Trace, frames: np.ndarray) -> dict[str, Any]:
    """The NetX layers of a file, and nothing else of it, on Lava."""
    with h5py.File(path) as file, h5py.File(path.with_name("layers.net"), "w") as other:
        layers = json.loads(file["layer"].attrs["members"])
        file.copy("layer", other)
    graph = netx.read(path.with_name("layers.net"), steps=len(frames))
    got = port.run(graph, frames, on="lava-cpu", deadline=3000)
    names = [node.name for node in graph.populations]
    found = differing(layers, lambda layer, _: got[names[layer]], want)
    return {**on_lava(got), "processes": len(graph), **found}


def run_stock(chip: Graph, path: Path, want: Trace, frames: np.ndarray) -> dict[str, Any]:
    """Run the file in unmodified lava-dl and compare what its layers sent."""
    samples = frames.shape[1]
    np.save(path.with_name("frames.npy"), frames)
    script = ROOT / "deploy" / "lava_cpu" / "run_stock.py"
    paths = [str(path.with_name(name)) for name in (path.name, "frames.npy", "out.npz")]
    subprocess.run([sys.executable, str(script), *paths], check=True, capture_output=True)
    with np.load(path.with_name("out.npz")) as out, h5py.File(path) as file:
        layers = json.loads(file["layer"].attrs["members"])

        def messages(layer: int, kind: str) -> Any:
            key = "potential" if kind == "readout" else f"layer{layer}"
            return cut_window(chip, out[key], layer + 1, samples)

        found = differing(layers, messages, want)
        seconds = float(out["seconds"]) / samples
    return {
        "engine": "lava-dl NetX",
        "processes": 2 * len(layers),
        "samples": samples,
        "seconds_per_sample": seconds,
        **found,
    }


def table(results: dict[str, Any]) -> str:
    lines = [
        "# Cost of each carrier",
        "",
        "These tables compare the [carriers](glossary.md#carrier) of a shortcut on Lava's CPU",
        "simulator. The networks have 20 layers, 28x28 input, T = 4 and random weights. Every row",
        "was compared with the reference engine, spike for spike.",
        "",
        "A `stock` file was run in two ways: on neuroport's Lava engine, with the layers that",
        "NetX would read, and in unmodified lava-dl (`lava-dl NetX`). The second was done for the",
        "narrow network only, because NetX's convolutions loop over pairs of channels in Python.",
        "",
        "`make carriers` makes this page from [carriers.json](carriers.json).",
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
    options = parser.parse_args()
    started = time.perf_counter()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (graph, frames) in networks().items():
        want = port.run(graph, frames, on="fast")
        found[name] = []
        for option in options(graph, simulator()):
            for row in measure(option, want, frames, unmodified=name == THIN):
                print(name, row, flush=True)
                found[name].append(row)
    versions = port.run(graph, frames[:, :1], on="fast").provenance["versions"]
    results = {"networks": found, "seconds": time.perf_counter() - started, "versions": versions}
    write_json(options.out / "carriers.json", results)
    write_atomic(options.out / "carriers.md", table(results).encode())
    return int(any(row.get("differing") for rows in found.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
