"""``python -m benchmarks.reports``: the size of the report of every trained network.

Each network of ``models`` runs on its 20 samples beside the same network with one weight changed,
as ``neuroport compare --report`` shows them. Writes ``docs/reports.json``, the table of
``docs/report.md`` and, with headless Chromium, its pictures.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from examples.make_figures import photograph
from neuroport.files import write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BEGIN, END = "<!-- sizes: begin -->\n", "<!-- sizes: end -->\n"
LIMIT = 5 << 20  # bytes
SHOWN = "ms_resnet8_mnist"  # whose report the pictures are of
MODELS = sorted(path.parent.name for path in ROOT.glob("models/*/network.net"))


def faulty(graph: Graph, frames: Any, want: port.Trace) -> tuple[Graph, port.Trace]:
    """The network with a weight in its middle changed by 2, the first one that alters a message."""
    convolutions = [node for node in graph if isinstance(node, Conv) and node.weight.size > 1000]
    middle = len(convolutions) // 2
    for node in (*convolutions[middle:], *convolutions[:middle]):
        for channel in range(len(node.weight)):
            weight = node.weight.copy()
            tap = (channel, 0, *(size // 2 for size in weight.shape[2:]))
            weight[tap] += 2 if weight[tap] < 254 else -2
            changed = replace(node, weight=weight)
            other = Graph(
                [changed if n.name == node.name else n for n in graph], graph.steps, graph.interval
            )
            got = port.run(other, frames, on="fast")
            if not port.compare(want, got):
                return other, got
    raise ValueError("no weight alters a message")


def write_report(name: str, page: Path) -> dict[str, Any]:
    """Write the report of a network beside its faulty twin; returns what it holds."""
    folder = ROOT / "models" / name
    graph, frames = port.read(folder / "network.net"), np.load(folder / "frames.npy")
    want = port.run(graph, frames, on="fast")
    other, got = faulty(graph, frames, want)
    port.report(
        graph,
        want,
        page,
        frames=frames,
        got=got,
        other=other,
        labels=np.load(folder / "labels.npy"),
        title=f"{name} and the same with one other weight",
    )
    (text,) = re.findall(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    data = json.loads(text)
    thin = [p for p in data["populations"] if len(p["channels"]) < p["shape"][0]]
    return {
        "bytes": page.stat().st_size,
        "samples": len(data["samples"]),
        "of_samples": want.samples,
        "populations": len(data["populations"]),
        "thinned": len(thin),
    }


def table(results: dict[str, Any]) -> str:
    """The sizes, a row for each network."""
    rows = [
        f"| {name} | {r['bytes'] / 1e6:.1f} MB | {r['samples']} of {r['of_samples']} "
        f"| {r['populations']} | {r['thinned']} |"
        for name, r in results.items()
    ]
    head = "| network | page | samples in it | populations | with some channels only |"
    return "\n".join([head, "|---|--:|--:|--:|--:|", *rows]) + "\n"


def page_with(results: dict[str, Any], text: str) -> str:
    """The documentation page, with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table(results) + END + rest.partition(END)[2]


def main() -> None:
    """Measure every network, and write what the documentation shows."""
    results = {}
    with tempfile.TemporaryDirectory() as name:
        for model in MODELS:
            page = Path(name) / f"{model}.html"
            results[model] = write_report(model, page)
            print(model, results[model], flush=True)
            if model == SHOWN:
                photograph(page, DOCS / "report_maps.png", "look")
                photograph(page, DOCS / "report_divergence.png", "divergence", height=560)
    write_json(DOCS / "reports.json", results)
    text = (DOCS / "report.md").read_text()
    write_atomic(DOCS / "report.md", page_with(results, text))


if __name__ == "__main__":
    main()
