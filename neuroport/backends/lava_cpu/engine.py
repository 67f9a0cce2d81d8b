"""Run a network file on Lava's fixed-point CPU simulator.

The engine hands the network as a *file* to a child process, streams all samples back to back
(states reset every T steps), and cuts each population's window out of its raster. Samples do not
know of each other, so several children may share them. A failure, a hang or a killed child is a
:class:`~neuroport.errors.BackendError`.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.lava_cpu import installing
from neuroport.backends.lava_cpu.groups import PROCESSES, left_to_stock
from neuroport.backends.lava_cpu.supervising import supervise
from neuroport.backends.walk import chip_stream, cut_window
from neuroport.errors import BackendError, StorageError
from neuroport.files import read_json, write_json
from neuroport.graph.foreign import foreign_modules
from neuroport.graph.graph import Graph
from neuroport.graph.store import save
from neuroport.lowering.rules import check
from neuroport.processes import run_folder
from neuroport.runs.frames import Progress, check_frames, frames_hash
from neuroport.runs.recording import (
    LIF_COUNT_MAX,
    Recorder,
    Recording,
    recording,
    refuse_beyond,
    spiking,
)
from neuroport.runs.trace import Trace, versions

INSTALL = f"install it with: {installing.COMMAND}"


class LavaCpu:
    """Lava's CPU simulator, tag ``fixed_pt``."""

    name = "lava-cpu"
    summary = "Lava's fixed-point CPU simulator"

    def available(self) -> str | None:
        reason = installing.unsupported(sys.version_info[:3])
        if reason is not None:
            return reason
        try:
            module = find_spec("lava.magma.core.run_configs")
        except ModuleNotFoundError:
            module = None
        return f"Lava is not installed; {INSTALL}" if module is None else None

    def run(
        self,
        graph: Graph,
        frames: npt.NDArray[Any],
        *,
        progress: Progress | None = None,
        path: str | os.PathLike[str] | None = None,
        deadline: float = 600.0,
        record: str = "messages",
        count: str | Sequence[str] | None = None,
        granularity: str | None = None,
        workers: int = 1,
        processes: str = "stock",
    ) -> Trace:
        """Run ``frames`` (T, N, *shape) through Lava and record every population.

        Args:
            path: the network file that ``graph`` was read from. What the child reads is a file of
                its own, written from ``graph``: the one at ``path`` may change meanwhile.
            deadline: seconds after which the child is ended.
            record, count, granularity: :func:`neuroport.runs.recording.recording`. Counters are
                populations of the process graph; those of spikes are made of stock processes.
            workers: children side by side, each with a share of the samples. One by default: a
                child of stock processes already keeps every core busy with a process per node, and
                each needs seconds and hundreds of megabytes before its first step. A child of
                ``fused`` ones keeps one core busy: as many workers as cores is best.
            processes: ``stock``, Lava's own processes wherever it has them; or ``fused``, one
                process of our own for all that it can hold, which sends the same many times faster.

        Raises:
            FramesError: the frames do not fit.
            IllegalError: the graph breaks a rule of this target.
            BackendError: Lava failed or did not end in time, with Lava's own words; or an option
                does not exist, or a counter could exceed what a LIF's threshold holds.
        """
        if not 0 < deadline < math.inf:
            raise BackendError(f"the deadline is {deadline:g} s; give a positive number of seconds")
        check_frames(graph, frames)
        _check_workers(workers, frames.shape[1])
        if processes not in PROCESSES:
            raise BackendError(
                f"processes is {processes!r}; use {' or '.join(map(repr, PROCESSES))}"
            )
        plan = recording(graph, record, count, granularity)
        spikes = spiking(graph, plan.counted)
        refuse_beyond(graph, spikes, plan.granularity, LIF_COUNT_MAX)
        check(graph, self.name)
        try:
            return self._run(graph, frames, progress, deadline, plan, int(workers), processes)
        except OSError as error:
            raise StorageError(
                f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}; "
                "Lava's rasters need space for temporary files: free some, or set TMPDIR"
            ) from error

    def _run(
        self,
        graph: Graph,
        frames: npt.NDArray[Any],
        progress: Progress | None,
        deadline: float,
        plan: Recording,
        workers: int,
        processes: str,
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
                _write_job(folder, net, graph, frames[:, share], plan, processes)
            supervise(folders, deadline, progress)
            for folder, share in zip(folders, shares, strict=True):
                _collect(graph, folder, recorder, share)
            recorded = sum(file.stat().st_size for f in folders for file in f.glob("[0-9]*.npy"))
            done = [read_json(folder / "done.json") for folder in folders]
        told = [each["seconds"] for each in done]
        phases = {phase: max(seconds[phase] for seconds in told) for phase in told[0]}
        provenance = {
            "engine": self.name,
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
        if processes == "fused" and (left := left_to_stock(graph)):
            provenance["stock_populations"] = sorted(left)
        return recorder.trace(provenance)


def _check_workers(workers: int, samples: int) -> None:
    if type(workers) is bool or not isinstance(workers, (int, np.integer)):
        raise BackendError(f"workers is {workers!r}; give a whole number of child processes")
    if not 1 <= workers <= samples:
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
) -> None:
    """What a worker reads: its share of the frames on one time axis, and what to keep."""
    folder.mkdir()
    stream = chip_stream(graph, frames)
    np.save(folder / "frames.npy", stream.reshape(len(stream), -1).astype(np.int32))
    late = 1 if plan.counted else 0  # the synapse of the deepest counter
    job = {
        "net": str(net),
        "graph": graph.hash,
        "kinds": foreign_modules(graph),
        "processes": processes,
        "steps": len(stream) + late,
        "samples": frames.shape[1],
        "chunk": max(1, 4 * graph.steps),
    }
    write_json(folder / "job.json", {**job, **asdict(plan)})


def _collect(graph: Graph, folder: Path, recorder: Recorder, share: slice) -> None:
    """Take what a worker recorded of its share of the samples."""
    for index, node in enumerate(graph.populations):
        if node.name not in recorder:
            continue
        rows = np.load(folder / f"{index}.npy", mmap_mode="r")
        if node.name in recorder.counts:
            into = recorder.counts[node.name][share]
            into[:] = rows.reshape(into.shape)
            continue
        messages = recorder.messages[node.name][:, share]
        window = cut_window(graph, rows, graph.facts(node.name).skew, messages.shape[1])
        messages[:] = window.reshape(messages.shape)
