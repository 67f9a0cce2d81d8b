"""End processes cleanly, with their children and their temporary files.

Three ways out are covered: a signal asks this process to end (:func:`ending_on_signals`), this
process is killed and its children end with it (:func:`die_with_parent`), and what neither could
clear away is removed by the next run (:func:`run_folder`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE = 4.0  # seconds that the work of ending may take
OWNER = "owner.txt"
SEGMENTS = "segments.txt"  # in a folder of a run: names of shared memory, one a line
SEGMENT = re.compile(r"psm_[0-9a-f]+")  # as Python names them
OTHER_FILES = 64  # that libraries open besides
UNOWNED_SECONDS = 60.0  # a folder without an owner is being made, or its maker was killed
# How OpenMP's threads wait for work, read when torch is imported. A training step is a chain of
# hundreds of short loops: threads that sleep at once wake too late for each; threads that spin for
# milliseconds, the default, take the cores from whatever else runs on them. GNU's library goes by
# the number of turns, which end soon; the others know only the policy. docs/performance.md,
# "How threads wait", has what both cost.
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
_PR_SET_PDEATHSIG = 1


class Ended(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise :class:`Ended`, so that the code that waits can clean up.

    A main thread inside C code sees no signal, and cleaning up may hang: after ``PATIENCE`` seconds
    (from the second SIGINT, too) the process ends as it is. Signals that are ignored stay ignored.
    """
    heard = [n for n in ENDING if signal.getsignal(n) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        yield
        return

    def end(number: int, _: Any) -> None:
        for other in heard:  # once is enough
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_patience, args=(reading, set(heard)), daemon=True).start()
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(before)
        os.close(writing)  # ends the thread


def end_by(number: int) -> None:
    """End this process by a signal, as if it had no handler; its parent sees which signal."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)


def _patience(reading: int, heard: set[int]) -> None:
    interrupted = 0
    with open(reading, "rb", buffering=0) as pipe:
        while told := pipe.read(1):
            interrupted += told[0] == signal.SIGINT
            if told[0] in heard or interrupted > 1:
                time.sleep(PATIENCE)
                os._exit(128 + told[0])


def allow_files(count: int) -> int | None:
    """Let this process open ``count`` more files; if that is not permitted, return the limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/dev/fd")) + count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return hard
    return None


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when the *thread* that started it ends (Linux).

    Args:
        parent: the process that started this one; if it is gone by now, this one ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def ended_by_parent() -> None:
    """In a process of a pool: leave a terminal's Ctrl-C, which reaches all, to the parent.

    The parent ends it by SIGTERM, which is an exception here, so that what it started ends, too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def go_on(session: int) -> list[int]:
    """Continue the processes of a session that a signal stopped (Linux), and return them.

    Whoever waits for them would wait until its deadline. Those that a debugger holds stay there.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it ended
            state, _, _, own = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            if state == "T" and int(own) == session:
                os.kill(int(place.name), signal.SIGCONT)
                found.append(int(place.name))
    return found


@contextlib.contextmanager
def run_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder marked with its owner, and remove folders left by killed runs."""
    _remove_left_behind(prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        (folder / OWNER).write_text(f"{_place()}\n{os.getpid()}\n{_start(os.getpid())}\n")
        yield folder
    finally:
        try:
            _remove(folder)
        except BaseException:  # another Ctrl-C leaves no less
            _remove(folder)
            raise


def _remove(folder: Path) -> None:
    """Remove the folder of a run, and the shared memory whose holder was killed.

    Who owned it goes last: what is left of a removal that was killed is known to be left behind.
    """
    _unlink_segments(folder)
    with contextlib.suppress(OSError):  # another run removes it, too
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != OWNER:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _unlink_segments(folder: Path) -> None:
    """Remove the shared memory that a run's folder lists."""
    with contextlib.suppress(OSError, ValueError):
        for listed in folder.rglob(SEGMENTS):
            for name in listed.read_text().split():
                if SEGMENT.fullmatch(name):
                    Path("/dev/shm", name).unlink(missing_ok=True)


def _remove_left_behind(prefix: str) -> None:
    """Remove folders, and the shared memory that they list, of runs whose process is gone."""
    if os.name != "posix":
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError, ValueError):
            about = folder.lstat()
            if folder.is_symlink() or not folder.is_dir() or about.st_uid != os.getuid():
                continue
            try:
                place, pid, start = (folder / OWNER).read_text().splitlines()
            except FileNotFoundError:
                if time.time() - about.st_mtime < UNOWNED_SECONDS:
                    continue
            else:
                if place != _place() or _start(int(pid)) == start:
                    continue
            _remove(folder)


def _place() -> str:
    """Return the namespace of process IDs: containers number their own processes."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{platform.node()}/{space}"


def _start(pid: int) -> str:
    """When a process began; empty where it does not live. Numbers of processes are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "lives"
