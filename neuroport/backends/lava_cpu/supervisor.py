"""Start, monitor and end the child processes in which Lava runs.

Lava hangs forever when a process model fails, so it runs in children (:mod:`.worker`) with a
deadline. Each child leads its own process group, and no process of the group is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from neuroport.errors import BackendError, NeuroportWarning
from neuroport.files import read_json
from neuroport.processes import go_on
from neuroport.runs.frames import Progress

PACKAGE = str(Path(__file__).resolve().parents[2])
# What a child runs: this very package, found by its place. The working directory, which Python
# puts on the path of all that it starts (trackers of shared memory, too), is the job's own folder.
START = """\
import importlib.util, runpy, sys
package, worker = sys.argv[1:3]
sys.path[:] = [place for place in sys.path if place]
del sys.argv[1:3]
spec = importlib.util.spec_from_file_location(
    "neuroport", package + "/__init__.py", submodule_search_locations=[package])
sys.modules["neuroport"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
runpy.run_module(worker, run_name="__main__", alter_sys=True)
"""
WORKER = "neuroport.backends.lava_cpu.worker"
POLL_SECONDS, LOOK_SECONDS = 0.02, 1.0
PATIENCE, HURRY = 5.0, 1.0  # seconds that a child has to end by itself
SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes of the longest path of a socket
# Python's name of the socket for Lava's shared memory, in the folder of a job
SOCKET = "/neuroport-loihi2-01234567/01234567/pymp-01234567/listener-01234567"


def supervise(
    folders: Sequence[Path],
    deadline: float,
    progress: Progress | None,
    worker: str = WORKER,
    cure: str = "run fewer samples or raise the deadline",
) -> None:
    """Start a worker for the job in each folder and wait for all; leave no process behind.

    The first one that fails ends the others. One that a signal stopped is continued, with a
    warning. ``progress`` is called with the steps of all jobs together; if it raises, all jobs end,
    and the exception is raised here.

    Raises:
        BackendError: a worker failed, or did not end in time (then the error shows ``cure``); or
            the path of the folder for temporary files is too long.
    """
    _check_sockets(tempfile.gettempdir())
    given_up = time.monotonic() + deadline
    tally = _Tally(progress, [int(read_json(f / "job.json")["steps"]) for f in folders])
    children: list[_Child] = []
    look = time.monotonic() + LOOK_SECONDS
    patience = HURRY  # when this process is asked to end
    try:
        for index, folder in enumerate(folders):
            children.append(_Child(folder, worker, tally, index))
        while (
            not any(child.failed for child in children)
            and any(child.code is None for child in children)
            and tally.raised is None
            and time.monotonic() < given_up
        ):
            time.sleep(POLL_SECONDS)
            if time.monotonic() > look:
                look = time.monotonic() + LOOK_SECONDS
                _go_on(children)
        patience = PATIENCE
        failed = [child for child in children if child.failed]
        late = [child for child in children if child.code is None and not failed]
    finally:
        _end(children, patience)
    if tally.raised is not None:
        raise tally.raised
    told = [child for child in late if (child.folder / "error.json").exists()]
    for child in failed or told:
        raise child.failure()
    if late:
        stuck = [child.folder / "stuck.txt" for child in late]
        detail = "\n".join(path.read_text() for path in stuck if path.exists())
        raise BackendError(f"Lava did not finish within {deadline:g} s; {cure}", detail)


def surroundings() -> dict[str, str]:
    """Return this process's environment, without the working directory in PYTHONPATH."""
    found = dict(os.environ)
    places = [p for p in found.pop("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(p)]
    return {**found, "PYTHONPATH": os.pathsep.join(places)} if places else found


def _without_tracker_warnings(environment: dict[str, str]) -> dict[str, str]:
    """Silence Python's resource tracker, which warns of each segment that is removed already.

    After a crash its lines would push the reason out of the last words that are kept.
    """
    filters = [environment.get("PYTHONWARNINGS", ""), "ignore:resource_tracker:UserWarning"]
    return {**environment, "PYTHONWARNINGS": ",".join(filter(None, filters))}


def _check_sockets(folder: str) -> None:
    """Check the path of the socket of Lava's shared memory; if it is too long, Lava fails."""
    length, most = len(os.fsencode(folder)), SOCKET_PATH - len(SOCKET)
    if length > most:
        raise BackendError(
            f"{folder}: the name of the folder for temporary files is {length} bytes long; Lava "
            f"has sockets there, whose paths hold {SOCKET_PATH}: set TMPDIR to a folder whose name "
            f"has at most {most}"
        )


class _Tally:
    """Adds up the finished steps of all children, which report in any order."""

    def __init__(self, progress: Progress | None, steps: Sequence[int]) -> None:
        self._progress, self._total = progress, sum(steps)
        self._done = [0] * len(steps)
        self._lock = threading.Lock()
        self.raised: BaseException | None = None  # raised by ``progress``, for the waiting thread

    def told(self, index: int, done: int) -> None:
        with self._lock:
            self._done[index] = done
            if self._progress is None or self.raised is not None:
                return
            try:
                self._progress(sum(self._done), self._total)
            except (
                BaseException
            ) as error:  # this thread must continue to read, or the child would block
                self.raised = error


class _Child:
    """A worker, its stdout (progress) and its stderr (reason of a failure)."""

    def __init__(self, folder: Path, worker: str, tally: _Tally, index: int) -> None:
        self.folder = folder
        self._tally, self._index = tally, index
        self.errors = open(folder / "stderr.txt", "w+b")  # noqa: SIM115 - closed when it ended
        self._said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, PACKAGE, worker, str(folder), str(os.getpid())],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
            env={
                **_without_tracker_warnings(surroundings()),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "TMPDIR": str(folder),  # so that all its files are in this folder
            },
        )
        self._reader = threading.Thread(target=self._report, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self.process.poll()

    @property
    def failed(self) -> bool:
        """Whether it ended without a result."""
        return self.code is not None and (
            self.code != 0 or not (self.folder / "done.json").exists()
        )

    def failure(self) -> BackendError:
        """The worker's reported error, or the end of its stderr if it died without a report."""
        if (self.folder / "error.json").exists():
            error = read_json(self.folder / "error.json")
            return BackendError(
                f"Lava failed: {error['summary']}", error["traceback"] or self._said
            )
        code = self.process.returncode
        cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return BackendError(f"Lava's child process ended without a result ({cause})", self._said)

    def ask_to_end(self) -> None:
        """Ask it to end by itself, so that it releases its shared memory."""
        if self.code is None:
            self.process.terminate()
            self.go_on()

    def go_on(self) -> list[int]:
        """Continue it and its child processes, if a signal stopped them."""
        return go_on(self.process.pid)

    def end(self, patience: float) -> None:
        """Wait for it to end, then end all of its child processes.

        Another Ctrl-C skips the waiting, but not the ending.
        """
        process = self.process
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=patience)
        finally:
            process.kill()
            process.wait()
            # All remaining processes end on SIGTERM, except Python's resource tracker. It ignores
            # the signal, and unlinks the shared memory of the others when they have ended. The
            # reader sees the end of the child's stdout when the last process has closed it. (A
            # signal 0 would also find zombies.)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
                os.killpg(
                    process.pid, signal.SIGCONT
                )  # a stopped process does not react to other signals
                try:
                    self._reader.join(timeout=3)
                finally:
                    os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Keep the end of its output."""
        self._reader.join(timeout=5)
        self.errors.seek(0)
        self._said = self.errors.read().decode(errors="replace")[-8000:]
        self.errors.close()

    def _report(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                report = json.loads(line)
            except ValueError:
                continue  # Lava prints to stdout too
            if isinstance(report, dict) and "done" in report:
                self._tally.told(self._index, int(report["done"]))


def _go_on(children: Sequence[_Child]) -> None:
    """Continue stopped processes; otherwise Lava would wait for them until the deadline."""
    for child in children:
        if numbers := child.go_on():
            which = ", ".join(map(str, numbers))
            warnings.warn(
                f"a signal had stopped Lava's process {which}: continued; to pause a run, stop the "
                f"process that waits for it ({os.getpid()})",
                NeuroportWarning,
                stacklevel=2,
            )


def _end(children: Sequence[_Child], patience: float) -> None:
    """Ask all children to end, then end them; each is ended even if waiting for another fails."""
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.callback(child.close)
            stack.callback(child.end, patience)
        for child in children:
            child.ask_to_end()
