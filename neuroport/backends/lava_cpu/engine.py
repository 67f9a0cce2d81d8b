"""Run a network file on Lava's fixed-point CPU simulator.

The engine hands the *file* to a child process, streams all samples back to back (states reset every
T steps), and cuts each population's window out of its raster. A failure, a hang or a killed child
becomes a :class:`~neuroport.errors.BackendError`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.base import Progress, check_frames, frames_hash
from neuroport.backends.counting import (
    LIF_COUNT_MAX,
    Recorder,
    Recording,
    recording,
    refuse_beyond,
    spiking,
)
from neuroport.backends.trace import Trace, versions
from neuroport.backends.walk import chip_stream, cut_window
from neuroport.errors import BackendError, StorageError
from neuroport.files import read_json, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.store import save
from neuroport.lowering.rules import check

WORKER = "neuroport.backends.lava_cpu.worker"
INSTALL = (
    "use Python 3.10 and install neuroport with the extra 'lava' (pip install 'neuroport[lava]')"
)


class LavaCpu:
    """Lava's CPU simulator, tag ``fixed_pt``."""

    name = "lava-cpu"
    summary = "Lava's fixed-point CPU simulator"

    def available(self) -> str | None:
        if sys.version_info[:2] != (3, 10):
            return f"Lava 0.10 needs Python 3.10, this is {sys.version.split()[0]}; {INSTALL}"
        if find_spec("lava") is None or find_spec("lava.magma") is None:
            return f"Lava is not installed; {INSTALL}"
        return None

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
    ) -> Trace:
        """Run ``frames`` (T, N, *shape) through Lava and record every population.

        Args:
            path: the network file that ``graph`` was read from; without it the graph is written to
                a temporary file, because the child reads a file and nothing else.
            deadline: seconds after which the child is ended.
            record, count, granularity: :func:`neuroport.backends.counting.recording`. Counters are
                populations of the process graph; those of spikes are made of stock processes.

        Raises:
            FramesError: the frames do not fit.
            IllegalError: the graph breaks a rule of this target.
            BackendError: Lava failed or did not end in time, with Lava's own words; or an option
                does not exist, or a counter could exceed what a LIF's threshold holds.
        """
        if not 0 < deadline < math.inf:
            raise BackendError(f"the deadline is {deadline:g} s; give a positive number of seconds")
        check_frames(graph, frames)
        plan = recording(graph, record, count, granularity)
        spikes = spiking(graph, plan.counted)
        refuse_beyond(graph, spikes, plan.granularity, LIF_COUNT_MAX)
        check(graph, self.name)
        try:
            return self._run(graph, frames, progress, path, deadline, plan)
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
        path: str | os.PathLike[str] | None,
        deadline: float,
        plan: Recording,
    ) -> Trace:
        started = time.perf_counter()
        samples, stream = frames.shape[1], chip_stream(graph, frames)
        with tempfile.TemporaryDirectory(prefix="neuroport-lava-") as name:
            folder = Path(name)
            net = Path(path).resolve() if path is not None else save(graph, folder / "graph.net")
            np.save(folder / "frames.npy", stream.reshape(len(stream), -1).astype(np.int32))
            late = 1 if plan.counted else 0  # the synapse of the deepest counter
            write_json(
                folder / "job.json",
                {
                    "net": str(net),
                    "steps": len(stream) + late,
                    "samples": samples,
                    "chunk": max(1, 4 * graph.steps),
                    **asdict(plan),
                },
            )
            supervise(folder, deadline, progress)
            recorder = Recorder(graph, samples, plan)
            self._collect(graph, folder, recorder)
            recorded = sum(path.stat().st_size for path in folder.glob("[0-9]*.npy"))
            seconds = read_json(folder / "done.json")["seconds"]
        provenance = {
            "engine": self.name,
            "time": "chip",
            "graph": graph.hash,
            "frames": frames_hash(frames),
            "seconds": time.perf_counter() - started,
            "phases": seconds,
            "recorded_bytes": recorded,
            "versions": versions("lava-nc", "numpy", "scipy"),
        }
        return recorder.trace(provenance)

    def _collect(self, graph: Graph, folder: Path, recorder: Recorder) -> None:
        for index, node in enumerate(graph.populations):
            if node.name not in recorder:
                continue
            rows = np.load(folder / f"{index}.npy", mmap_mode="r")
            into = recorder.counts.get(node.name)
            if into is not None:
                into[:] = rows.reshape(into.shape)
                continue
            messages = recorder.messages[node.name]
            window = cut_window(graph, rows, graph.facts(node.name).skew, messages.shape[1])
            messages[:] = window.reshape(messages.shape)


def supervise(
    folder: Path,
    deadline: float,
    progress: Progress | None,
    worker: str = WORKER,
    cure: str = "run fewer samples or raise the deadline",
) -> None:
    """Start the worker and wait for it; whatever happens, leave no process behind.

    Raises:
        BackendError: it failed, or did not end in time: then ``cure`` is told.
    """
    errors = open(folder / "stderr.txt", "w+b")  # noqa: SIM115 - closed below, read on failure
    child = subprocess.Popen(
        [sys.executable, "-m", worker, str(folder)],
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    reader = threading.Thread(target=_report, args=(child, progress), daemon=True)
    reader.start()
    late = False
    try:
        code = child.wait(timeout=deadline)
    except subprocess.TimeoutExpired:
        late, code = True, -1
    finally:
        _end_group(child, reader)
        reader.join(timeout=5)
        errors.seek(0)
        said = errors.read().decode(errors="replace")[-8000:]
        errors.close()
    if late and not (folder / "error.json").exists():
        stuck = folder / "stuck.txt"
        raise BackendError(
            f"Lava did not finish within {deadline:g} s; {cure}",
            stuck.read_text() if stuck.exists() else "",
        )
    if code != 0 or not (folder / "done.json").exists():
        raise _failure(folder, code, said)


def _failure(folder: Path, code: int, said: str) -> BackendError:
    """What the worker told; what was said on stderr, where nobody lived to tell."""
    if (folder / "error.json").exists():
        error = read_json(folder / "error.json")
        return BackendError(f"Lava failed: {error['summary']}", error["traceback"] or said)
    cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return BackendError(f"Lava's child process ended without a result ({cause})", said)


def _report(child: subprocess.Popen[bytes], progress: Progress | None) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        try:
            report = json.loads(line)
        except ValueError:
            continue  # Lava prints to stdout too
        if progress is not None and isinstance(report, dict) and "done" in report:
            progress(int(report["done"]), int(report["steps"]))


def _end_group(child: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """End the child gently (it returns its shared memory), then everything it started.

    Impatience (another Ctrl-C) makes it less gentle and leaves no less.
    """
    try:
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)
    finally:
        child.kill()
        child.wait()
        # Whatever is left ends on SIGTERM, but for Python's resource tracker: it ignores the
        # signal, and unlinks the shared memory of the others when they are gone. The reader sees
        # the end of the child's stdout when the last of them has closed it (a signal 0 would find
        # zombies, too).
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
            try:
                reader.join(timeout=3)
            finally:
                os.killpg(child.pid, signal.SIGKILL)
