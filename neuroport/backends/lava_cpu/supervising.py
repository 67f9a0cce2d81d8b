"""Child processes in which Lava runs: started, watched, and ended whatever happens.

Lava hangs for ever when a process model fails, so it runs in children (:mod:`.worker`) that are
given a deadline. Each is the first of a process group of its own; nothing of it is left behind.
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
from collections.abc import Sequence
from pathlib import Path

from neuroport.errors import BackendError
from neuroport.files import read_json
from neuroport.runs.frames import Progress

WORKER = "neuroport.backends.lava_cpu.worker"
POLL_SECONDS = 0.02
SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes of the longest path of a socket
SOCKET = "/pymp-01234567/listener-01234567"  # as Python names that of Lava's shared memory


def supervise(
    folders: Sequence[Path],
    deadline: float,
    progress: Progress | None,
    worker: str = WORKER,
    cure: str = "run fewer samples or raise the deadline",
) -> None:
    """Start a worker for the job in each folder and wait for all; leave no process behind.

    The first that fails ends the others. ``progress`` hears of the steps of all jobs together.

    Raises:
        BackendError: one failed, or did not end in time: then ``cure`` is told; or the folder for
            temporary files has too long a name.
    """
    _check_sockets(tempfile.gettempdir())
    given_up = time.monotonic() + deadline
    tally = _Tally(progress, [int(read_json(f / "job.json")["steps"]) for f in folders])
    children: list[_Child] = []
    try:
        for index, folder in enumerate(folders):
            children.append(_Child(folder, worker, tally, index))
        while (
            not any(child.failed for child in children)
            and any(child.code is None for child in children)
            and time.monotonic() < given_up
        ):
            time.sleep(POLL_SECONDS)
        failed = [child for child in children if child.failed]
        late = [child for child in children if child.code is None and not failed]
    finally:
        _end(children)
    told = [child for child in late if (child.folder / "error.json").exists()]
    for child in failed or told:
        raise child.failure()
    if late:
        stuck = [child.folder / "stuck.txt" for child in late]
        detail = "\n".join(path.read_text() for path in stuck if path.exists())
        raise BackendError(f"Lava did not finish within {deadline:g} s; {cure}", detail)


def _check_sockets(folder: str) -> None:
    """Lava's shared memory has a socket in ``folder``; without it Lava ends with an EOFError."""
    length, most = len(os.fsencode(folder)), SOCKET_PATH - len(SOCKET)
    if length > most:
        raise BackendError(
            f"{folder}: the name of the folder for temporary files is {length} bytes long; Lava "
            f"has sockets there, whose paths hold {SOCKET_PATH}: set TMPDIR to a folder whose name "
            f"has at most {most}"
        )


class _Tally:
    """The steps that all children have done, told as one number; they report in any order."""

    def __init__(self, progress: Progress | None, steps: Sequence[int]) -> None:
        self._progress, self._total = progress, sum(steps)
        self._done = [0] * len(steps)
        self._lock = threading.Lock()

    def told(self, index: int, done: int) -> None:
        with self._lock:
            self._done[index] = done
            if self._progress is not None:
                self._progress(sum(self._done), self._total)


class _Child:
    """A worker, what it says on stdout (progress) and on stderr (last words)."""

    def __init__(self, folder: Path, worker: str, tally: _Tally, index: int) -> None:
        self.folder = folder
        self._tally, self._index = tally, index
        self.errors = open(folder / "stderr.txt", "w+b")  # noqa: SIM115 - closed when it ended
        self._said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", worker, str(folder)],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "TMPDIR": tempfile.gettempdir(),
            },
        )
        self._reader = threading.Thread(target=self._report, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    @property
    def failed(self) -> bool:
        """Whether it ended without a result."""
        return self.code is not None and (
            self.code != 0 or not (self.folder / "done.json").exists()
        )

    def failure(self) -> BackendError:
        """What the worker told; what was said on stderr, where nobody lived to tell."""
        if (self.folder / "error.json").exists():
            error = read_json(self.folder / "error.json")
            return BackendError(
                f"Lava failed: {error['summary']}", error["traceback"] or self._said
            )
        code = self.process.returncode
        cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return BackendError(f"Lava's child process ended without a result ({cause})", self._said)

    def ask_to_end(self) -> None:
        """Tell it to end by itself: it then returns its shared memory."""
        if self.code is None:
            self.process.terminate()

    def end(self) -> None:
        """Wait for it to end, then end everything that it started.

        Impatience (another Ctrl-C) makes it less gentle and leaves no less.
        """
        process = self.process
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        finally:
            process.kill()
            process.wait()
            # Whatever is left ends on SIGTERM, but for Python's resource tracker: it ignores the
            # signal, and unlinks the shared memory of the others when they are gone. The reader
            # sees the end of the child's stdout when the last of them has closed it (a signal 0
            # would find zombies, too).
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    self._reader.join(timeout=3)
                finally:
                    os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Keep its last words."""
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


def _end(children: Sequence[_Child]) -> None:
    """End them all, gently and at once; each is ended even if the wait for another is broken."""
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.callback(child.close)
            stack.callback(child.end)
        for child in children:
            child.ask_to_end()
