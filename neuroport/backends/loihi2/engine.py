"""Run a network on a board through Lava: the engine ``loihi2``. Not run on hardware.

The parent refuses illegal networks, writes a job, and supervises a child, as for the CPU simulator.
Recording and measuring are different runs, because counters take cores, readers take time, and a
logger belongs to one ``run()``.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import chip_stream, cut_window
from neuroport.backends.lava_cpu.supervisor import supervise
from neuroport.backends.loihi2.availability import ready_site
from neuroport.backends.loihi2.axis_order import from_lava, to_lava
from neuroport.backends.loihi2.bias_input import biases
from neuroport.backends.loihi2.legality import refuse
from neuroport.backends.loihi2.loggers import LOGGERS
from neuroport.backends.loihi2.measured import STATUS, measurement
from neuroport.backends.loihi2.site import Site
from neuroport.errors import BackendError, NeuroportError, StorageError
from neuroport.files import read_json, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.integers import STATE_SHIFT
from neuroport.graph.kinds.base import GRADED
from neuroport.graph.store import save
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
from neuroport.runs.trace import Trace, is_readout, versions
from neuroport.targets.target import load_chip

WORKER = "neuroport.backends.loihi2.worker"
LATE = (
    "raise the deadline, run fewer samples or, if the run itself had begun, change "
    "timing.read_delay of the site: the host may wait for a state in the wrong step"
)
NAME = "loihi2"


def plan(
    graph: Graph,
    *,
    site: str | os.PathLike[str] | Site | None,
    deadline: float,
    record: str,
    count: str | Sequence[str] | None,
    granularity: str | None,
    frames_by: str,
    measure: bool,
) -> Callable[[npt.NDArray[Any], Progress | None], Trace]:
    """Check site and ``graph``, and return what runs frames (T, N, *shape) on the board.

    Args:
        site: the site, or its TOML file; by default the one that NEUROPORT_SITE names.
        deadline: seconds for each run, including compilation for a board.
        record: ``counts`` records the spikes per sample of spiking populations, and the potentials
            of readouts after a sample's last step; ``messages`` streams all messages to the host.
        count, granularity: see :func:`neuroport.runs.recording.recording`.
        frames_by: ``messages`` through an adapter, or ``bias`` for one constant frame, without the
            host (:mod:`neuroport.backends.loihi2.bias_input`).
        measure: also measure power, time, activity and memory, each in its own run.

    Raises:
        IllegalError: the chip's rules, or this engine, refuse the graph.
        BackendError: something is missing, or a population cannot be counted.
        TargetError: the site's board is unknown; during a run: a measured number is impossible.
    """
    place = ready_site(site)
    recorded = _plan(graph, record, count, granularity)
    refuse(graph, load_chip(place.board))
    by_bias = frames_by == "bias"

    def run(frames: npt.NDArray[Any], progress: Progress | None) -> Trace:
        check_frames(graph, frames)
        if by_bias:
            biases(graph, frames)
        try:
            return _Job(graph, frames, place, recorded, by_bias, record).trace(
                deadline, measure, progress
            )
        except OSError as error:
            raise StorageError(
                f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}; "
                "a run needs space for temporary files: free some, or set TMPDIR"
            ) from error

    return run


def _plan(
    graph: Graph, record: str, count: str | Sequence[str] | None, granularity: str | None
) -> Recording:
    if record != "counts":
        return recording(graph, record, count, granularity)
    names = [node.name for node in graph.populations]
    graded = {node.name for node in graph.populations if node.emits == GRADED}
    spikes = spiking(graph, [name for name in names if name not in graded])
    asked = (count,) if isinstance(count, str) else count
    for name in asked or ():
        if name in graded:
            raise BackendError(
                f"count names {name!r}, which sends graded messages; a counter on the chip would "
                "add up their values: count spiking populations"
            )
    if asked is None and not spikes:  # only readouts
        return Recording(tuple(names))
    plan = recording(graph, record, spikes if asked is None else asked, granularity)
    refuse_beyond(graph, plan.counted, plan.granularity, LIF_COUNT_MAX)
    return plan


class _Job:
    """The runs for a trace, one child process each."""

    def __init__(
        self,
        graph: Graph,
        frames: npt.NDArray[Any],
        site: Site,
        plan: Recording,
        by_bias: bool,
        record: str,
    ) -> None:
        self.graph, self.frames, self.site, self.plan = graph, frames, site, plan
        self.by_bias, self.every_step = by_bias, record == "messages"
        self.late = 0 if by_bias else site.input_delay

    def trace(self, deadline: float, measure: bool, progress: Progress | None) -> Trace:
        started = time.perf_counter()
        stream = chip_stream(self.graph, self.frames)
        after = self.late + max(self.site.output_delay, self.site.read_delay)
        runs = 1 + (len(LOGGERS) if measure else 0)
        with run_folder("neuroport-loihi2-") as place:
            folder = self._folder(place / "run", stream)
            # one more step for the synapse of the deepest counter
            phases = self._child(folder, "", len(stream) + after + 1, deadline)
            if progress is not None:
                progress(1, runs)
            recorder = self._collect(folder)
            told: dict[str, dict[str, Any]] = {}
            for index, logger in enumerate(LOGGERS if measure else ()):
                folder = self._folder(place / logger, self._again(stream))
                self._child(folder, logger, self._measured_steps(), deadline)
                told[logger] = read_json(folder / "figures.json")
                if progress is not None:
                    progress(2 + index, runs)
        provenance = {
            "engine": NAME,
            "time": "chip",
            "graph": self.graph.hash,
            "frames": frames_hash(self.frames),
            "seconds": time.perf_counter() - started,
            "phases": phases,
            "versions": versions("lava-nc", "numpy", "scipy"),
            "hardware": self._hardware(told),
        }
        return recorder.trace(provenance)

    def _hardware(self, told: dict[str, dict[str, Any]]) -> dict[str, Any]:
        today = date.today().isoformat()
        found: dict[str, Any] = {
            "status": STATUS,
            "site": self.site.to_dict(),
            "date": today,
            "frames_by": "bias" if self.by_bias else "messages",
        }
        if told:
            steps, io = self.graph.interval, not self.by_bias
            found |= {**told, "measured_steps": self._measured_steps()}
            # the runs are done: what they recorded is kept, whatever the loggers say
            try:
                measured = measurement(self.site, told, steps, io, today)
                found["measurement"] = measured.to_dict()
            except NeuroportError as error:
                found["not_measured"] = error.message
            except (LookupError, TypeError, ValueError, ZeroDivisionError) as error:
                found["not_measured"] = f"the loggers' figures lack what a sum needs: {error!r}"
        return found

    def _measured_steps(self) -> int:
        """Return the steps of complete rounds of all samples, at least the site's minimum."""
        round_ = self.graph.interval * self.frames.shape[1]
        return round_ * math.ceil(self.site.measured_steps / round_)

    def _again(self, stream: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return one round of all samples, to be repeated."""
        length = self.graph.interval * self.frames.shape[1]
        found = np.zeros((length, *stream.shape[1:]), stream.dtype)
        found[: len(stream)] = stream[:length]
        return found

    def _folder(self, folder: Path, stream: npt.NDArray[Any]) -> Path:
        """Write a run's folder: the network, and the frames in the layout of the processes."""
        folder.mkdir()
        save(self.graph, folder / "graph.net")
        rows = stream.astype(np.int32)
        np.save(folder / "map.npy", to_lava(rows, self.graph.input.shape))
        np.save(folder / "flat.npy", rows.reshape(len(rows), -1))
        np.save(folder / "frames.npy", self.frames)
        return folder

    def _child(self, folder: Path, logger: str, steps: int, deadline: float) -> Any:
        """Run the child; return the seconds of its phases. A measured run records nothing."""
        plan = Recording(()) if logger else self.plan
        job = {
            "net": str(folder / "graph.net"),
            "graph": self.graph.hash,
            "site": self.site.to_dict(),
            "steps": steps,
            "samples": self.frames.shape[1],
            "late": self.late,
            "by_bias": self.by_bias,
            "every_step": self.every_step,
            "logger": logger,
            **asdict(plan),
        }
        write_json(folder / "job.json", job)
        supervise([folder], deadline, None, WORKER, LATE)
        return read_json(folder / "done.json")["seconds"]

    def _collect(self, folder: Path) -> Recorder:
        recorder = Recorder(self.graph, self.frames.shape[1], self.plan)
        for name, shape, kind, path in self._recorded(folder, recorder):
            rows = np.load(path, mmap_mode="r")
            if name in recorder.counts:  # already in channel-major order
                recorder.counts[name][:] = (rows >> STATE_SHIFT).reshape(
                    recorder.counts[name].shape
                )
                continue
            values = from_lava(rows, shape)
            if is_readout(kind) and not self.every_step:
                recorder.messages[name] = values[None]  # after the last step
                continue
            delay = self.late + (0 if is_readout(kind) else self.site.output_delay)
            latency = self.graph.facts(name).latency + delay
            recorder.messages[name][:] = cut_window(
                self.graph, values, latency, self.frames.shape[1]
            )
        return recorder

    def _recorded(
        self, folder: Path, recorder: Recorder
    ) -> Iterator[tuple[str, tuple[int, ...], str, Path]]:
        for index, node in enumerate(self.graph.populations):
            if node.name in recorder:
                shape = self.graph.facts(node.name).shape
                yield node.name, shape, node.kind, folder / f"{index}.npy"
