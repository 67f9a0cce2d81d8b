"""The task of a cluster's worker: run one shard in a child process and monitor it.

The worker's own process only waits. The worker survives whatever happens to the child. The child
ends with its worker, and when its task is cancelled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.lava_cpu.supervisor import PACKAGE, START, surroundings
from neuroport.files import read_json, write_json
from neuroport.processes import run_folder
from neuroport.scale.child import ERROR, FRAMES, GRAPHS, JOB, RESULT, THERE
from neuroport.version import __version__

CHILD = "neuroport.scale.child"
# It stays in the worker's directory, where paths of a recipe begin, but imports nothing from there.
SAFE = "import sys\nsys.path[:] = [place for place in sys.path if place]\n"
POLL_SECONDS = 0.05
PATIENCE = 6.0  # seconds in which a child may end its own child processes
LAST_WORDS = 4000  # characters


def held(content: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The graphs, which every shard needs: sent once, then exchanged between workers."""
    return content


def run_shard(
    job: dict[str, Any], graphs: tuple[bytes, ...], frames: npt.NDArray[Any]
) -> dict[str, Any]:
    """Return the content of a shard's result file as ``result``, or ``error`` with the reason.

    ``result`` is None if the shard was written into the folder of its run.
    """
    told: dict[str, Any] = {"worker": _worker(), "version": __version__}
    if job["version"] != __version__:
        said = f"has neuroport {__version__}, and this is {job['version']}; install the same there"
        return {**told, "error": {"kind": "BackendError", "message": said, "final": True}}
    with run_folder("neuroport-shard-") as folder:
        for name, content in zip(GRAPHS, graphs, strict=False):
            (folder / name).write_bytes(content)
        np.save(folder / FRAMES, frames)
        write_json(folder / JOB, {**job, "graphs": len(graphs)})
        code, said = _supervised(folder, _unwanted())
        if code == 0 and (folder / RESULT).exists():
            return {**told, "result": (folder / RESULT).read_bytes()}
        if code == 0 and (folder / THERE).exists():
            return {**told, "result": None}
        if (folder / ERROR).exists():
            error = read_json(folder / ERROR)
            error["final"] = error["kind"] not in ("BackendError", "StorageError")
            return {**told, "error": error}
    cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    message = f"the process of the shard ended without a result ({cause})"
    return {
        **told,
        "error": {"kind": "BackendError", "message": message, "detail": said, "final": False},
    }


def _supervised(folder: Path, unwanted: Callable[[], bool]) -> tuple[int, str]:
    """Run the child to its end; return its exit code and the end of its output."""
    environment = {**surroundings(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # dask sets it for its workers; with it, every large array of a shard is made of new pages
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    with open(folder / "stderr.txt", "w+b") as errors:
        child = subprocess.Popen(
            [sys.executable, "-c", SAFE + START, PACKAGE, CHILD, str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,  # a terminal's Ctrl-C is for the run's main process
            env=environment,
        )
        try:
            while child.poll() is None and not unwanted():
                time.sleep(POLL_SECONDS)
        finally:
            if child.poll() is None:
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(PATIENCE)
                child.kill()
                child.wait()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
        errors.seek(0)
        return child.returncode, errors.read().decode(errors="replace")[-LAST_WORDS:]


def _worker() -> str:
    """Return the address of this worker, or this process if it is not a worker."""
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return f"process {os.getpid()}"


def _unwanted() -> Callable[[], bool]:
    """Whether the task was cancelled, or its client has disappeared."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return lambda: False
    key = worker.get_current_task()

    def look() -> bool:
        state = worker.state.tasks.get(key)
        return state is None or state.state in ("cancelled", "released", "forgotten")

    return look
