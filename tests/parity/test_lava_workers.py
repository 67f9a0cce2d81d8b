"""Several children share the samples of a run: what they record is what one child records."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import neuroport as port
from neuroport.backends.lava_cpu.supervisor import SOCKET, SOCKET_PATH
from neuroport.errors import BackendError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Readout, Relay
from neuroport.runs.trace import Trace

pytestmark = pytest.mark.lava


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A relay, neurons that remember and fire by themselves, a readout; pauses between samples."""
    rng = np.random.default_rng(5)

    def even(*shape: int) -> npt.NDArray[Any]:
        return 2 * rng.integers(-20, 21, shape)

    nodes = [
        Input("input", (6,), bits=4),
        Dense("in", ("input",), even(5, 6)),
        Relay("relay", ("in",), shift=2),
        Dense("on", ("relay",), even(7, 5)),
        Lif("neurons", ("on",), 90, current_decay=700, voltage_decay=300, bias=20),
        Dense("out", ("neurons",), even(3, 7)),
        Readout("potential", ("out",)),
    ]
    return Graph(nodes, 4, 6)


@pytest.fixture(scope="module")
def frames() -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, 16, (4, 5, 6))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a shorter name than those of pytest."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def equal(got: Trace, want: Trace) -> None:
    assert got.kinds == want.kinds
    assert (got.messages.keys(), got.counts.keys()) == (want.messages.keys(), want.counts.keys())
    for name in want.messages:
        np.testing.assert_array_equal(got.messages[name], want.messages[name], name)
    for name in want.counts:
        np.testing.assert_array_equal(got.counts[name], want.counts[name], name)


@pytest.mark.parametrize("record", ["messages", "counts"])
def test_two_children_record_what_one_records(
    graph: Graph, frames: npt.NDArray[Any], record: str
) -> None:
    heard: list[tuple[int, int]] = []
    options: dict[str, Any] = {"on": "lava-cpu", "record": record}
    one = port.run(graph, frames, **options)
    two = port.run(
        graph,
        frames,
        workers=2,
        progress=lambda done, total: heard.append((done, total)),
        **options,
    )
    equal(two, one)
    equal(one, port.run(graph, frames, record=record))
    assert (one.provenance["workers"], two.provenance["workers"]) == (1, 2)
    assert 0 < two.sent("neurons") < two.samples * two.steps * 7
    done = [number for number, _ in heard]
    assert done == sorted(done)
    assert {total for _, total in heard} == {done[-1]}


def place(folder: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder for temporary files whose name has that many bytes."""
    room = length - len(os.fsencode(folder)) - 1
    assert room > 0
    folder /= "x" * room
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return str(folder)


def test_the_longest_folder_for_temporary_files_that_is_taken_serves_lava(
    graph: Graph, frames: npt.NDArray[Any], short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(short, SOCKET_PATH - len(SOCKET), monkeypatch)
    equal(port.run(graph, frames, on="lava-cpu"), port.run(graph, frames))


def test_a_longer_folder_for_temporary_files_is_refused_before_lava_starts(
    graph: Graph, frames: npt.NDArray[Any], short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = SOCKET_PATH - len(SOCKET)
    folder = place(short, most + 1, monkeypatch)
    started = time.monotonic()
    with pytest.raises(BackendError) as caught:
        port.run(graph, frames, on="lava-cpu")
    assert time.monotonic() - started < 1
    for part in (folder, f"{most + 1} bytes", "set TMPDIR to a folder", f"at most {most}"):
        assert part in caught.value.message
    assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize(
    ("workers", "says"),
    [
        (0, "workers is 0; use 1 or more"),
        (6, "workers is 6; use 1 to 5"),
        (True, "workers is True; give a whole number"),
        (1.5, "workers is 1.5; give a whole number"),
    ],
)
def test_a_wrong_number_of_workers_is_refused_before_lava_starts(
    graph: Graph, frames: npt.NDArray[Any], workers: Any, says: str
) -> None:
    started = time.monotonic()
    with pytest.raises(BackendError, match=says):
        port.run(graph, frames, on="lava-cpu", workers=workers)
    assert time.monotonic() - started < 1


def test_the_command_line_takes_workers_on_lava_alone(
    entry_point: list[str], graph: Graph, frames: npt.NDArray[Any], tmp_path: Path
) -> None:
    net = port.export(graph, tmp_path / "a.net")
    np.save(tmp_path / "frames.npy", frames)
    command = [*entry_point, "run", str(net), "--frames", str(tmp_path / "frames.npy")]
    trace = tmp_path / "a.trace"
    for more, code, says in (
        (["--on", "lava-cpu", "--workers", "3", "-o", str(trace)], 0, ""),
        (["--on", "lava-cpu", "--workers", "9"], 2, "neuroport: workers is 9; use 1 to 5"),
        (["--workers", "2"], 2, "neuroport: --workers is for lava-cpu; leave it out on 'ref"),
        (["--processes", "fused"], 2, "neuroport: --processes is for lava-cpu; leave it out on "),
    ):
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert says in done.stderr
    equal(Trace.load(trace), port.run(graph, frames))
