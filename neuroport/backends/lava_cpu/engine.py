"""Run a network file on Lava's fixed-point CPU simulator.

The engine hands the network as a *file* to a child process, streams all samples back to back
(states reset every T steps), and cuts each population's window out of its raster. Samples are
independent, so several children may share them. A failure, a hang or a killed child is a
:class:`~neuroport.errors.BackendError`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import chip_stream, cut_window
from neuroport.backends.lava_cpu.fused_partition import held, left_to_stock
from neuroport.backends.lava_cpu.supervisor import supervise
from neuroport.backends.reference import find_departure
from neuroport.errors import BackendError, RangeError, StorageError
from neuroport.files import read_json, write_json
from neuroport.graph.foreign_kinds import foreign_modules
from neuroport.graph.graph import Graph
from neuroport.graph.store import save
from neuroport.processes import run_folder
from neuroport.runs.frames import Progress, check_frames, frames_hash
from neuroport.runs.recording import (
    LIF_COUNT_MAX,
    Recorder,
    Recording,
    refuse_beyond,
    spiking,
)
from neuroport.runs.trace import Trace, versions
from neuroport.targets.rules import require_legal
from neuroport.targets.target import simulator

NAME = "lava-cpu"  # name of the engine, and of the target whose rules apply


def plan(
    graph: Graph,
    recorded: Recording,
    *,
    deadline: float,
    workers: int,
    processes: str,
    counters: str | None = None,
) -> Callable[[npt.NDArray[Any], Progress | None], Trace]:
    """Check ``graph`` against every rule, and return what runs frames (T, N, *shape).

    Args:
        recorded: the plan of what to record.
        deadline: seconds after which a child is ended.
        workers: number of parallel children, each with a part of the samples.
        processes: ``stock``: Lava's own processes wherever they exist; ``fused``: one process of
            neuroport for all nodes that it supports, with the same messages many times faster.
        counters: ``stock``: counters are populations of the process graph, those of spikes made of
            Lava's own processes, as on a chip; ``inside``: the fused process counts its own
            populations. None: ``inside`` if ``processes`` is ``fused``.

    Raises:
        IllegalError: the graph breaks a rule of this target.
        BackendError: a counter could exceed the range of a LIF's threshold, or there is no fused
            process to count inside. During a run: Lava failed or did not end in time; the error
            shows Lava's own output.
        RangeError: during a run, and before Lava starts: a sum of changes leaves 24 bits, or a
            declared width is left.
    """
    if counters == "inside" and processes != "fused":
        raise BackendError(
            "counters='inside' counts in the fused process, and processes is 'stock': give "
            "processes='fused' (--processes fused), or leave counters out"
        )
    if counters is not None and not recorded.counted:
        raise BackendError("counters is for record='counts'; leave it out")
    inside = processes == "fused" and counters != "stock"
    held_inside = set(held(graph).populations) if inside else set[str]()
    outside = [name for name in recorded.counted if name not in held_inside]
    refuse_beyond(graph, spiking(graph, outside), recorded.granularity, LIF_COUNT_MAX)
    require_legal(graph, simulator())
    watched = any(node.checked_states for node in graph.populations)

    def run(frames: npt.NDArray[Any], progress: Progress | None) -> Trace:
        check_frames(graph, frames)
        _check_workers(workers, frames.shape[1])
        if watched:  # Lava's synapses wrap at 32 bits, and only states of its neurons are checked
            find_departure(graph, frames)
        try:
            return _run(graph, frames, progress, deadline, recorded, workers, processes, inside)
        except BackendError as error:
            if graph.checked and RangeError.__name__ in error.message:
                find_departure(graph, frames)
            raise
        except OSError as error:
            raise StorageError(
                f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}; "
                "Lava's rasters need space for temporary files: free some, or set TMPDIR"
            ) from error

    return run


def _run(
    graph: Graph,
    frames: npt.NDArray[Any],
    progress: Progress | None,
    deadline: float,
    plan: Recording,
    workers: int,
    processes: str,
    inside: bool,
) -> Trace:
    started = time.perf_counter()
    samples = frames.shape[1]
    recorder = Recorder(graph, samples, plan)
    bounds = [number * samples // workers for number in range(workers + 1)]
    shares = [slice(a, b) for a, b in pairwise(bounds)]
    with run_folder("neuroport-lava-") as place:
        net = save(graph, place / "graph.net")
        folders = [place / str(number) for number in range(workers)]
        for folder, share in zip(folders, shares, strict=True):
            _write_job(folder, net, graph, frames[:, share], plan, processes, inside)
        supervise(folders, deadline, progress)
        for folder, share in zip(folders, shares, strict=True):
            _collect(graph, folder, recorder, share)
        recorded = sum(file.stat().st_size for f in folders for file in f.glob("[0-9]*.npy"))
        done = [read_json(folder / "done.json") for folder in folders]
    told = [each["seconds"] for each in done]
    phases = {phase: max(seconds[phase] for seconds in told) for phase in told[0]}
    provenance = {
        "engine": NAME,
        "time": "chip",
        "graph": graph.hash,
        "frames": frames_hash(frames),
        "seconds": time.perf_counter() - started,
        "processes": processes,
        "workers": workers,
        "phases": phases,
        "built": done[0]["built"],
        "recorded_bytes": recorded,
        "versions": versions("lava-nc", "numpy", "scipy"),
    }
    if plan.counted:
        provenance["counters"] = "inside" if inside else "stock"
    if processes == "fused" and (left := left_to_stock(graph)):
        provenance["stock_populations"] = sorted(left)
    return recorder.trace(provenance)


def _check_workers(workers: int, samples: int) -> None:
    if workers > samples:
        raise BackendError(
            f"workers is {workers}; use 1 to {samples}, since each needs a sample of its own"
        )


def _write_job(
    folder: Path,
    net: Path,
    graph: Graph,
    frames: npt.NDArray[Any],
    plan: Recording,
    processes: str,
    inside: bool,
) -> None:
    """Write a worker's job: its part of the frames on one time axis, and what to record."""
    folder.mkdir()
    stream = chip_stream(graph, frames)
    np.save(folder / "frames.npy", stream.reshape(len(stream), -1).astype(np.int32))
    late = 1 if plan.counted else 0  # the synapse of the deepest counter
    job = {
        "net": str(net),
        "graph": graph.hash,
        "kinds": foreign_modules(graph),
        "processes": processes,
        "inside": inside,
        "steps": len(stream) + late,
        "samples": frames.shape[1],
        "chunk": max(1, 4 * graph.steps),
    }
    write_json(folder / "job.json", {**job, **asdict(plan)})


def _collect(graph: Graph, folder: Path, recorder: Recorder, share: slice) -> None:
    """Read what a worker recorded for its part of the samples."""
    for index, node in enumerate(graph.populations):
        if node.name not in recorder:
            continue
        rows = np.load(folder / f"{index}.npy", mmap_mode="r")
        if node.name in recorder.counts:
            into = recorder.counts[node.name][share]
            into[:] = rows.reshape(into.shape)
            continue
        messages = recorder.messages[node.name][:, share]
        window = cut_window(graph, rows, graph.facts(node.name).latency, messages.shape[1])
        messages[:] = window.reshape(messages.shape)
