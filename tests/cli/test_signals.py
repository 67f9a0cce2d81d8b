"""A run that is ended or killed leaves no process, and the next removes the rest."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport import sandbox
from neuroport.processes import run_folder

pytestmark = [
    pytest.mark.lava,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="/proc tells of processes"),
]


MODEL = Path(__file__).resolve().parents[2] / "models" / "ms_resnet8_mnist"


def started(folder: Path) -> list[int]:
    """Processes whose environment names ``folder``."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(folder) in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def segments(folder: Path) -> list[str]:
    return [n for path in folder.rglob("segments.txt") for n in path.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_on_lava_that_a_signal_ends_leaves_nothing(
    number: signal.Signals,
    entry_point: list[str],
    network: Path,
    frames: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.save(tmp_path / "many.npy", np.tile(np.load(frames), (1, 500, 1, 1, 1)))
    temporary = Path(os.path.realpath("/tmp"), f"neuroport-test-{os.getpid()}")  # a short name
    temporary.mkdir()
    command = [*entry_point, "run", str(network), "--frames", str(tmp_path / "many.npy")]
    process = subprocess.Popen(
        [*command, "--on", "lava-cpu", "-o", str(tmp_path / "out.trace")],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # a shell's nohup would have it ignored
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        while len(segments(temporary)) < 20 and process.poll() is None:
            time.sleep(0.02)
        names = segments(temporary)
        assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == -number  # as if nobody had listened
        assert (b"ended by " + number.name.encode() in said) == (number != signal.SIGKILL)
        given_up = time.monotonic() + 20
        while started(temporary) and time.monotonic() < given_up:
            time.sleep(0.05)
        assert started(temporary) == []
        assert not (tmp_path / "out.trace").exists()
        if number != signal.SIGKILL:
            assert list(temporary.iterdir()) == []
        else:
            assert len(list(temporary.iterdir())) == 1
            monkeypatch.setattr(tempfile, "tempdir", str(temporary))
            with run_folder("neuroport-lava-") as folder:
                assert list(temporary.iterdir()) == [folder]
            assert list(temporary.iterdir()) == []
        assert not [name for name in names if Path("/dev/shm", name).exists()]
    finally:
        for pid in started(temporary):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(temporary)


@pytest.mark.parametrize("which", ["worker", "actor"])
def test_a_child_that_a_signal_stopped_is_continued_and_the_run_says_so(
    which: str, entry_point: list[str], tmp_path: Path
) -> None:
    network, frames = MODEL / "network.net", MODEL / "frames.npy"
    environment = {**os.environ, "NEUROPORT_TEST_MARK": str(tmp_path)}
    command = [*entry_point, "run", str(network), "--frames", str(frames), "--samples", "2"]
    process = subprocess.Popen(
        [*command, "--on", "lava-cpu", "-o", str(tmp_path / "out.trace")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    stopped = None
    while stopped is None and process.poll() is None:
        time.sleep(0.005)
        members = defaultdict(list)  # of a session: those of a worker, and all that it started
        for pid in started(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                members[os.getsid(pid)].append(pid)
        members.pop(os.getsid(0), None)
        for worker, found in members.items():
            if which == "worker":
                stopped = worker
            elif len(found) > 8:  # no helper of the worker's any more
                stopped = max(found)
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said.decode()
    assert f"a signal had stopped Lava's process {stopped}: continued" in said.decode()
    want = port.run(network, np.load(frames)[:, :2], on="reference")
    assert port.compare(want, port.Trace.load(tmp_path / "out.trace"))
    assert started(tmp_path) == []


def test_a_child_that_reads_a_file_goes_on_when_a_signal_stopped_it() -> None:
    def work() -> int:
        os.kill(os.getpid(), signal.SIGSTOP)
        return 7

    begun = time.monotonic()
    assert sandbox.call(work, seconds=20, memory=1 << 28) == 7
    assert time.monotonic() - begun < 20


def test_shared_memory_whose_holder_was_killed_goes_with_the_folder_of_the_run() -> None:
    name = f"psm_{os.getpid():x}{time.time_ns():x}"
    Path("/dev/shm", name).write_bytes(b"held")
    with run_folder("neuroport-test-") as folder:
        (folder / "segments.txt").write_text(f"{name}\n../etc/passwd\n")
        assert Path("/dev/shm", name).exists()
    assert not Path("/dev/shm", name).exists()
    assert not folder.exists()


@pytest.mark.parametrize("at", range(4))
def test_another_ctrl_c_while_a_run_clears_away_leaves_no_less(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ends the run, another comes at one of the removals of what it held."""
    rmtree, calls = shutil.rmtree, 0

    def interrupted(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        rmtree(*args, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    seen: list[Path] = []

    def run() -> None:
        with run_folder("neuroport-test-") as folder:
            seen.append(folder)
            for name in ("0", "1"):
                (folder / name).mkdir()
                (folder / name / "job.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert calls >= at
    assert not seen[0].exists()


def test_what_a_killed_removal_left_is_known_to_be_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = """
import os, shutil
from neuroport.processes import run_folder
with run_folder("neuroport-test-") as folder:
    (folder / "0").mkdir()
    (folder / "graph.net").write_text("")
    whole, shutil.rmtree = shutil.rmtree, lambda path, **_: (
        whole(path) if path != folder else os._exit(1)
    )
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", told], env=environment).returncode == 1
    (left,) = tmp_path.iterdir()
    assert [path.name for path in left.iterdir()] == ["owner.txt"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with run_folder("neuroport-test-") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []
