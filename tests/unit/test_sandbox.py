"""Work in a child: its value arrives, and nothing that it does reaches the parent."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroport import sandbox


def call(work: Callable[[], Any], seconds: float = 1.0, memory: int = 256 << 20) -> Any:
    return sandbox.call(work, seconds=seconds, memory=memory)


def test_plain_values_and_arrays_come_back() -> None:
    arrays = [np.arange(6, dtype="<i2").reshape(2, 3), np.zeros((0, 3), "<i4"), np.array(True)]
    value = {"text": "é\n\udcff", "none": None, "large": 2**80, "list": [1, [True], arrays]}
    got = call(lambda: value)
    assert {name: got[name] for name in ("text", "none", "large")} == {
        name: value[name] for name in ("text", "none", "large")
    }
    assert got["list"][:2] == [1, [True]]
    for mine, theirs in zip(arrays, got["list"][2], strict=True):
        assert theirs.dtype == mine.dtype
        np.testing.assert_array_equal(theirs, mine)


def test_value_larger_than_a_pipe_holds_comes_back() -> None:
    want = np.random.default_rng(0).integers(0, 255, 20_000_000, np.uint8)
    assert np.array_equal(call(lambda: want), want)


@pytest.mark.parametrize(
    "work",
    [
        os.abort,
        lambda: os.kill(os.getpid(), signal.SIGSEGV),
        lambda: os._exit(0),
        lambda: 1 / 0,
        lambda: object(),
        lambda: bytearray(1 << 30),
    ],
    ids=["abort", "segfault", "exit", "exception", "no plain value", "memory"],
)
def test_child_that_ends_without_an_answer_is_lost_silently(
    work: Callable[[], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(sandbox.LostError):
        call(work)
    assert capfd.readouterr() == ("", "")


def test_child_that_never_ends_is_ended_by_its_processor_time() -> None:
    def spin() -> None:
        while True:
            pass

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(sandbox.LostError):
        call(spin, seconds=0.2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert 0.1 < after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_child_that_sleeps_is_ended_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PATIENCE", 1)
    started = time.monotonic()
    with pytest.raises(sandbox.LostError):
        call(lambda: time.sleep(60), seconds=0.1)
    assert time.monotonic() - started < 10


def children() -> set[str]:
    """Of any thread of this process, dead ones that nobody waited for included."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {child for task in tasks for child in task.read_text().split()}


def test_nothing_is_left_behind() -> None:
    files, before = len(os.listdir("/proc/self/fd")), children()
    for work in (lambda: 1, os.abort):
        try:
            call(work)
        except sandbox.LostError:
            continue
    assert len(os.listdir("/proc/self/fd")) == files
    assert children() <= before


def test_pipe_held_open_by_another_process_and_ignored_children_do_not_matter() -> None:
    held: list[int] = []
    fork = os.fork

    def fork_twice() -> int:  # as another thread may, while the pipe is open
        child = fork()
        if child != 0:
            other = fork()
            if other == 0:
                time.sleep(20)
                os._exit(0)
            held.append(other)
        return child

    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.fork = fork_twice
    try:
        started = time.monotonic()
        assert call(lambda: "here") == "here"
        assert time.monotonic() - started < 10
    finally:
        os.fork = fork
        for other in held:
            os.kill(other, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, handler)


def test_parent_keeps_its_own_limits_and_handlers(tmp_path: Path) -> None:
    before = [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE)]
    handlers = [signal.getsignal(kind) for kind in (signal.SIGPROF, signal.SIGALRM)]
    call(lambda: (tmp_path / "done").write_text("x"))
    assert (tmp_path / "done").exists()
    after = [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE)]
    assert after == before
    assert [signal.getsignal(kind) for kind in (signal.SIGPROF, signal.SIGALRM)] == handlers
