"""Run a function in a forked child with time and memory limits; it returns plain data only.

Libraries that parse files can crash, hang or take all memory on a file that was made to do so, and
no check made beforehand can tell. Here they do it in a child that is ended when it exceeds its
bounds. Its value comes back as JSON and raw arrays: nothing that is executed on arrival.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import json
import os
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.lib import format as npy

from neuroport.processes import ENDING, die_with_parent

Plain: TypeAlias = Any  # None, text, numbers, lists, dicts and NumPy arrays, nested

AVAILABLE = hasattr(os, "fork")
LOOK_SECONDS = 0.5
PATIENCE = 20  # a machine under load gives a second of CPU time in so many seconds
_LENGTH = struct.Struct("<Q")


class LostError(Exception):
    """The child ended without an answer: it crashed, or exceeded its bounds."""


def call(work: Callable[[], Plain], *, seconds: float, memory: int) -> Plain:
    """Run ``work()`` in a child and return its result.

    Args:
        seconds: CPU time after which the child is ended.
        memory: bytes that it may take beyond what this process has (enforced on Linux).

    Raises:
        LostError: the child crashed or exceeded its bounds; ``work`` must not raise.
    """
    incoming, outgoing = os.pipe()
    parent = os.getpid()
    with warnings.catch_warnings():
        # the child only does its work and ends: threads of the parent do not matter to it
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _work(work, seconds, memory, outgoing, parent)
    os.close(outgoing)
    try:
        end = time.monotonic() + PATIENCE * (seconds + 0.5)
        (size,) = _LENGTH.unpack(_receive(incoming, _LENGTH.size, end, child))
        return _decode(_receive(incoming, size, end, child))
    finally:
        os.close(incoming)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _receive(incoming: int, size: int, end: float, child: int) -> bytearray:
    """Exactly ``size`` bytes; not up to the end of the pipe, which other children may hold open.

    A child that a signal stopped is continued.
    """
    data = bytearray()
    while len(data) < size:
        left = max(0.0, end - time.monotonic())
        ready, _, _ = select.select([incoming], [], [], min(left, LOOK_SECONDS))
        if not ready and left > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
            continue
        piece = os.read(incoming, min(size - len(data), 1 << 20)) if ready else b""
        if not piece:
            raise LostError
        data += piece
    return data


def _work(
    work: Callable[[], Plain], seconds: float, memory: int, outgoing: int, parent: int
) -> None:
    """In the child: bounds first, then the work, then its value; never returns."""
    try:
        for number in ENDING:  # the handlers are the parent's
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        die_with_parent(parent)
        gc.disable()  # no finalizer of the parent's objects runs here
        faulthandler.disable()
        sys.stdout = sys.stderr = None
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a dying library has nothing to say
        _bound(seconds, memory)
        with os.fdopen(outgoing, "wb") as pipe:
            value = _encode(work())
            pipe.write(_LENGTH.pack(len(value)))
            pipe.write(value)
    finally:
        os._exit(0)


def _bound(seconds: float, memory: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # the kernel ends the process, wherever it is: no handler of ours runs
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # end alone, should the parent be gone by then
    signal.setitimer(signal.ITIMER_REAL, 2 * PATIENCE * (seconds + 0.5))
    taken = Path("/proc/self/statm")
    if taken.exists():
        pages = int(taken.read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _encode(value: Plain) -> bytes:
    """JSON in which arrays are counted, its length before it, the arrays behind it."""
    arrays: list[np.ndarray[Any, Any]] = []

    def count(array: Any) -> dict[str, int]:
        arrays.append(np.asarray(array))
        return {"array": len(arrays) - 1}

    text = json.dumps(value, default=count).encode()
    buffer = io.BytesIO()
    buffer.write(_LENGTH.pack(len(text)) + text)
    for array in arrays:
        npy.write_array(buffer, array, allow_pickle=False)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _decode(data: bytearray) -> Plain:
    buffer = io.BytesIO(data)
    text = buffer.read(*_LENGTH.unpack(buffer.read(_LENGTH.size)))
    arrays: list[np.ndarray[Any, Any]] = []
    while buffer.tell() < len(data):
        arrays.append(npy.read_array(buffer, allow_pickle=False))  # type: ignore[no-untyped-call]
    return json.loads(text, object_hook=lambda d: arrays[d["array"]] if set(d) == {"array"} else d)
