"""``python -m benchmarks.energy``: work, energy and time of the trained networks on their frames.

Every folder of ``models`` that holds a network and frames is run by the reference engine, counted
and estimated for Loihi 2; nothing is run on hardware. Writes ``energy.json`` in docs and the tables
of ``energy.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neuroport as port
from neuroport.files import read_json, write_atomic, write_json
from neuroport.runs.frames import load_frames

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TARGET = "loihi2"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"


def models() -> list[Path]:
    """Folders with a network and the frames of some samples."""
    found = sorted((ROOT / "models").glob("*/network.net"))
    return [path.parent for path in found if (path.parent / "frames.npy").is_file()]


def measure(folder: Path) -> dict[str, Any]:
    """Counts, estimates and NeuroBench's metrics of one network."""
    graph, frames = port.read(folder / "network.net"), load_frames(folder / "frames.npy")
    trace = port.run(graph, frames)
    return {
        "network": graph.hash,
        "samples": frames.shape[1],
        "energy": port.energy(graph, trace, frames, target=TARGET).to_dict(),
        "neurobench": port.neurobench(graph, trace, frames).to_dict(),
    }


def tables(results: dict[str, Any]) -> str:
    """What stands between the marks of the page."""
    networks = results["networks"]
    names = list(networks)
    lines = [f"| one sample, mean | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    columns = [list(_rows(networks[name])) for name in names]
    lines += [_line(row) for row in zip(*columns, strict=True)]
    columns = [list(_metrics(networks[name]["neurobench"])) for name in names]
    lines += ["", f"| NeuroBench's metric | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    lines += [_line(row) for row in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


def page(results: dict[str, Any], text: str) -> str:
    """The page with its tables made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + tables(results) + END + rest.split(END)[1]


def _line(row: tuple[tuple[str, str], ...]) -> str:
    return f"| {row[0][0]} | {' | '.join(value for _, value in row)} |"


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    work, cores, estimates = (found["energy"][key] for key in ("work", "cores", "estimates"))
    yield "samples", f"{found['samples']}"
    yield "accumulates", _whole(work["accumulates"])
    yield "multiply-accumulates of frames", _whole(work["frame_multiplies"])
    yield "multiply-accumulates of membrane shortcuts", _whole(work["shortcut_multiplies"])
    yield "synaptic operations on a chip", _whole(work["chip_operations"])
    yield "neuron updates", _whole(work["updates"])
    yield "of which active", _whole(work["active"])
    yield "spikes", _whole(work["spikes"])
    yield "graded messages", _whole(work["graded"])
    yield f"cores on {TARGET}", f"{cores['cores']}" + ("" if cores["fits"] else ", does not fit")
    yield "operations of one core in one step, at most", _whole(cores["most_operations"])
    yield "messages between cores", _whole(cores["between"])
    titles = {
        "arithmetic_45nm_nj": "45 nm arithmetic only; not Loihi, nJ",
        "arithmetic_45nm_without_shortcuts_nj": "the same without membrane shortcuts, nJ",
        "loihi1_nj": "Loihi 1, pre-silicon, dynamic, lower bound without hops, nJ",
        "step_time_us": "bound of the time alone, unpublished-grade constants, us",
        "loihi2_uj": "Loihi 2 energy, uJ",
    }
    for key, title in titles.items():
        value = estimates[key]["value"]
        yield title, "not available" if value is None else _whole(value)


def _metrics(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "`footprint`, bytes", _whole(found["footprint"])
    yield "`connection_sparsity`", f"{found['connection_sparsity']:.4f}"
    yield "`activation_sparsity`", f"{found['activation_sparsity']:.4f}"
    for name, value in found["synaptic_operations"].items():
        yield f"`synaptic_operations`: `{name}`", _whole(value)
    yield "`membrane_updates`", _whole(found["membrane_updates"])


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def main() -> int:
    """Measure every network and write both files."""
    networks = {}
    for folder in models():
        networks[folder.name] = measure(folder)
        print(folder.name, flush=True)
    results = {"target": TARGET, "networks": networks}
    write_json(DOCS / "energy.json", results)
    stored = read_json(DOCS / "energy.json")
    write_atomic(DOCS / "energy.md", page(stored, (DOCS / "energy.md").read_text()).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
