"""``python -m benchmarks.chips``: the networks of ``models/``, run as lowered for a board.

Each network is lowered for the board and checked; its cores, its messages between cores and the
least time of its slowest step are counted. Then the lowered network runs

* on Lava's CPU simulator, of stock processes alone: the classes of all Lava processes are told, and
  of neuroport's own there may be those that bring frames in and write rasters down;
* as on the board, with stand-ins for Lava's closed modules (``tests/standins``) and spike counters.

Every population is compared with the network as quantized, in ideal time. **Nothing is run on
hardware.** A row is written to ``docs/chips.json`` as soon as it is there; what is there already
for the same lowered network, and as many samples, is not run again. ``docs/resources.md`` shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import neuroport as port
from neuroport.analysis.core_work import TIMES, core_work
from neuroport.analysis.operations import messages
from neuroport.files import write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.node import Relay
from neuroport.graph.store import load, save
from neuroport.runs.recording import counted
from neuroport.runs.trace import Trace
from neuroport.targets.population_demands import rounding
from neuroport.targets.rules import REFUSED
from neuroport.targets.target import load_target
from neuroport.targets.verdict import check

ROOT = Path(__file__).resolve().parents[1]
STANDINS = ROOT / "tests" / "standins"
RESULT = ROOT / "docs" / "chips.json"
BOARD = "kapoho-point"
SAMPLES = 20
DEADLINE = 4 * 3600.0
# processes of neuroport's own that are no part of the network
HOST = {
    f"neuroport.backends.lava_cpu.processes.fixed_pt.{name}"
    for name in ("FrameSource", "RasterSink")
}
SITE = 'chips = 8\n[slurm]\npartition = "kp"\n[timing]\nread_delay = 1\n'


def networks() -> dict[str, Path]:
    """The folders of ``models/``, by name."""
    return {path.parent.name: path.parent for path in sorted(ROOT.glob("models/*/network.net"))}


def quantized(folder: Path) -> Graph:
    """The network as quantized; the file's, where no checkpoint is shipped."""
    if not (folder / "checkpoint.safetensors").exists():
        return load(folder / "network.net")
    return port.quantize(port.load(folder), np.load(folder / "frames.npy"))


def measured(lowered: Graph, trace: Trace, frames: npt.NDArray[Any]) -> dict[str, Any]:
    """What the rules say of a lowered network, and what it takes of the board."""
    target = load_target(BOARD)
    verdict = check(lowered, target)
    found = core_work(lowered, messages(lowered, trace, frames), target)
    time_ = found.time
    assert time_ is not None
    unproven = Counter(f.rule for f in verdict.findings if f.severity != REFUSED)
    return {
        "broken": verdict.refused,
        "fits": verdict.resources.fits,
        "nodes": len(lowered),
        "relays": sum(isinstance(node, Relay) for node in lowered),
        "rounding": len(rounding(lowered)),
        "cores": verdict.resources.cores,
        "chips": verdict.resources.chips,
        "neurons": verdict.resources.neurons,
        "between_cores": round(found.between, 1),
        "busiest": found.busiest,
        "slowest_step_us": round(slowest(found.most_operations, found.most_neurons), 1),
        "latency_us": round(time_.latency_us, 1),
        "steps": time_.steps,
        "unproven": dict(sorted(unproven.items())),
    }


def slowest(operations: int, neurons: int) -> float:
    """Least time of the slowest step, in us, of the busiest and the fullest core."""
    target = load_target(BOARD)
    synop, neuron, least = (target.cost(name) or 0.0 for name in TIMES)
    return max(operations * synop / 1e3, neurons * neuron / 1e3, least)


def on_lava(lowered: Graph, frames: npt.NDArray[Any], want: Trace) -> dict[str, Any]:
    """The lowered network on Lava's CPU simulator, of stock processes."""
    got = port.run(lowered, frames, on="lava-cpu", deadline=DEADLINE)
    outcome = port.compare(want, got)
    built = got.provenance["built"]
    own = {name: n for name, n in built.items() if name.startswith("neuroport")}
    return {
        **compared(outcome),
        "processes": {name: n for name, n in built.items() if name not in own},
        "own": {name: n for name, n in own.items() if name not in HOST},
        "seconds": round(got.provenance["seconds"], 1),
    }


def on_standins(lowered: Graph, frames: npt.NDArray[Any], want: Trace) -> dict[str, Any]:
    """Counts and potentials of the lowered network through the whole engine ``loihi2``."""
    from neuroport.engines.loihi2 import Loihi2

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chips-") as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        sinfo = folder / "bin" / "sinfo"
        sinfo.write_text("#!/bin/sh\necho 'PARTITION AVAIL'\necho 'kp up'\n")
        sinfo.chmod(0o755)
        (folder / "site.toml").write_text(SITE)
        save(lowered, folder / "n.net")
        np.save(folder / "f.npy", frames)
        paths = [STANDINS, ROOT]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "NEUROPORT_STANDIN": json.dumps({"products": True}),
        }
        command = [
            *(sys.executable, "-m", "neuroport", "run", folder / "n.net", "--on", Loihi2.name),
            *("--site", folder / "site.toml", "--frames", folder / "f.npy"),
            *("-o", folder / "t.trace", "--record", "counts", "--deadline", str(DEADLINE)),
        ]
        _run(list(map(str, command)), environment)
        got = Trace.load(folder / "t.trace")
    for name, counts in got.counts.items():
        np.testing.assert_array_equal(counts, counted(want[name], got.granularity), name)
    outcome = port.compare(want, got)
    seconds = round(time.perf_counter() - started, 1)
    return {**compared(outcome), "counted": len(got.counts), "seconds": seconds}


def _run(command: list[str], environment: dict[str, str]) -> None:
    """A command that must succeed."""
    import subprocess

    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def compared(outcome: Any) -> dict[str, Any]:
    """What a comparison told."""
    return {
        "populations": outcome.populations,
        "compared": outcome.positions + outcome.counts,
        "differ": outcome.differing,
        "equal": outcome.equal,
    }


def same(row: dict[str, Any] | None, lowered: Graph, samples: int) -> bool:
    return bool(row and row.get("lowered") == lowered.hash and row.get("samples") == samples)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--only", help="networks whose name holds this")
    parser.add_argument("--skip", action="append", default=[], help="lava or standins")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name, folder in networks().items():
        if options.only and options.only not in name:
            continue
        graph = quantized(folder)
        lowered = port.lower(graph, BOARD)
        frames = np.load(folder / "frames.npy")[:, : options.samples]
        row = found.get(name)
        if not same(row, lowered, frames.shape[1]):
            row = {"lowered": lowered.hash, "samples": frames.shape[1]}
        whole = port.run(lowered, frames)
        want = port.run(graph, frames)
        assert port.compare(want, whole)
        row["board"] = measured(lowered, whole, frames)
        for way, runs in (("lava", on_lava), ("standins", on_standins)):
            if way not in row and way not in options.skip:
                row[way] = runs(lowered, frames, whole)
            found = {**(json.loads(options.out.read_text()) if options.out.exists() else {})}
            found[name] = row
            write_json(options.out, dict(sorted(found.items())))
        print(name, json.dumps(row), flush=True)
    if options.out == RESULT:
        from benchmarks.resources import page

        write_atomic(ROOT / "docs" / "resources.md", page().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
