"""Notice at once that one of Lava's processes failed. Imported by the worker only.

Lava waits forever if a process (an *actor*) dies before it has reported that it is built, or during
a step. It also pickles exceptions to pass them between processes, and some cannot be pickled. Every
actor therefore writes its traceback as text. A thread of the worker, started before the first
actor, looks for that text, and for actors that ended without one. The thread takes no locks,
because Lava forks actors while it runs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from neuroport.errors import StorageError
from neuroport.files import write_atomic
from neuroport.processes import die_with_parent

POLL_SECONDS = 0.02
LAST_WORDS_SECONDS = 0.5
STACK_SECONDS = 2.0  # seconds at most; the engine waits for five
MOST_STUCK = 3
TRACEBACK = "traceback.txt"
SERVICE_TRACEBACK = "service.txt"  # Lava's own actor, which fails when it receives a failure


def tell_tracebacks(folder: Path) -> None:
    """Let every actor that Lava starts from now on write its traceback into ``folder``."""
    from lava.magma.compiler.builders.runtimeservice_builder import RuntimeServiceBuilder
    from lava.magma.runtime import runtime

    worker = os.getpid()

    def target(*, builder: Any, exception_q: Any) -> None:
        """In the actor: run Lava's own ``target_fn``, and keep the traceback if it fails."""
        die_with_parent(worker)
        signal.signal(
            signal.SIGTERM, signal.SIG_DFL
        )  # the worker's signal handler does not apply to actors
        with open(folder / f"{os.getpid()}.stack", "w") as stack:
            faulthandler.register(signal.SIGUSR1, file=stack, all_threads=False)
            try:
                actor = builder.build()
                exception_q.put(None)
                actor.start()
            except BaseException:
                service = isinstance(builder, RuntimeServiceBuilder)
                name = SERVICE_TRACEBACK if service else TRACEBACK
                _last_words(folder / name, traceback.format_exc())
                raise
            finally:
                faulthandler.unregister(signal.SIGUSR1)

    runtime.target_fn = target


def _last_words(path: Path, text: str) -> None:
    """Keep the traceback of the first actor that failed; others fail because of it."""
    with contextlib.suppress(OSError, StorageError):
        path.with_suffix(".first").mkdir()  # succeeds once
        write_atomic(path, text)


class Watch(threading.Thread):
    """Calls ``on_failure(summary, traceback)``, once, when an actor of ``runtime()`` failed.

    Args:
        folder: where actors write their tracebacks.
        runtime: Lava's runtime, None before there is one.
        names: the nodes that Lava's processes represent.
    """

    def __init__(
        self,
        folder: Path,
        runtime: Callable[[], Any],
        names: dict[Any, str],
        on_failure: Callable[[str, str], None],
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._folder, self._runtime, self._names = folder, runtime, names
        self._on_failure = on_failure
        self.stopping = False  # from now on actors may end, because their work is done

    def run(self) -> None:
        try:
            summary, text = self._failure()
        except Exception:  # if this thread died, the worker would wait for its deadline
            text = traceback.format_exc()
            summary = last_line(text)
        self._on_failure(summary, text)

    def _failure(self) -> tuple[str, str]:
        """Wait for a failure; return its last line and traceback (none for a killed process)."""
        ended = ""
        while not (text := self._words(TRACEBACK)) and not self._words(SERVICE_TRACEBACK):
            if ended := self._ended():
                break
            time.sleep(POLL_SECONDS)
        # it may have ended because another actor failed, which is still writing its traceback
        given_up = time.monotonic() + LAST_WORDS_SECONDS
        while not (text := text or self._words(TRACEBACK)) and time.monotonic() < given_up:
            time.sleep(POLL_SECONDS)
        text = text or self._words(SERVICE_TRACEBACK)
        return (last_line(text), text) if text else (ended or self._ended(), "")

    def _words(self, name: str) -> str:
        path = self._folder / name
        return path.read_text() if path.exists() else ""

    def _ended(self) -> str:
        """Return the actor that ended too early, and how; the worst one if there are several."""
        codes = [(name, _exit_code(actor)) for name, actor in self._actors()]
        ended = [(n, c) for n, c in codes if c is not None and (c != 0 or not self.stopping)]
        if not ended:
            return ""
        name, code = max(ended, key=lambda one: one[1] != 0)
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return f"Lava process {name} ended with {how}"

    def _actors(self) -> Iterator[tuple[str, Any]]:
        """Yield every actor so far with the name of its process."""
        runtime = self._runtime()
        infrastructure = getattr(runtime, "_messaging_infrastructure", None)
        if infrastructure is None:
            return
        builders = list(runtime._executable.proc_builders.items())  # started in this order
        for index, actor in enumerate(list(infrastructure.actors)):
            if index < len(builders):
                process, builder = builders[index]
                yield f"{self._names.get(process)!r} ({builder.proc_model.__name__})", actor
            else:
                yield "'runtime service'", actor

    def stuck(self) -> str:
        """Return the stacks of the actors that do not wait for another; empty if all wait."""
        asked = {}
        for name, actor in self._actors():
            if _exit_code(actor) is None and actor._popen is not None:
                with contextlib.suppress(OSError):
                    os.kill(actor._popen.pid, signal.SIGUSR1)
                    asked[name] = self._folder / f"{actor._popen.pid}.stack"
        given_up = time.monotonic() + STACK_SECONDS
        while time.monotonic() < given_up and not all(map(_said, asked.values())):
            time.sleep(POLL_SECONDS)
        stacks = {name: path.read_text() for name, path in asked.items() if _said(path)}
        busy = [f"{n} was here:\n{stack}" for n, stack in stacks.items() if not _waits(stack)]
        return "\n".join(busy[:MOST_STUCK])


def _said(stack: Path) -> bool:
    return stack.exists() and stack.stat().st_size > 0


def _waits(stack: str) -> bool:
    """Return whether a stack, innermost call first, is inside one of Lava's channels."""
    return any("pypychannel.py" in line for line in stack.splitlines()[1:5])


def _exit_code(actor: Any) -> int | None:
    """Return an actor's exit code, None while it runs. Does not reap it: Lava may wait for it."""
    popen = actor._popen
    if popen is None or popen.returncode is not None:
        return None if popen is None else int(popen.returncode)
    try:
        status = os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # it was reaped in the meantime
        return None
    if status is None:
        return None
    return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status


def last_line(text: str) -> str:
    """Return the last line of a traceback: the error itself."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "unknown failure"
