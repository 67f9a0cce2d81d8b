"""The hash of frames: of their values, in any type and by any number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import CompareError, FramesError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Input, Readout
from neuroport.runs import frames as module
from neuroport.runs.frames import frames_hash, is_hash_of

RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (3, 5, 2, 4, 4))
LARGE = RNG.integers(0, 256, (2, 90, 3, 32, 32))  # four pieces


def by_hand(frames: np.ndarray, kind: str) -> str:
    """The hash of frames of one piece a step, all of them of one kind."""
    pieces = [hashlib.sha256(kind.encode() + step.astype(kind).tobytes()) for step in frames]
    digests = b"".join(piece.digest() for piece in pieces)
    return "2:" + hashlib.sha256(repr(frames.shape).encode() + digests).hexdigest()


@pytest.mark.parametrize(
    ("frames", "kind"),
    [(SMALL, "|u1"), (SMALL - 1, "<i2"), (SMALL << 9, "<i4"), (SMALL << 40, "<i8")],
)
def test_each_piece_is_hashed_in_the_narrowest_type(frames: np.ndarray, kind: str) -> None:
    frames[:, 0, 0, 0, 0] = frames.max(), frames.max(), frames.max()
    frames[:, 0, 0, 0, 1] = frames.min(), frames.min(), frames.min()
    assert frames_hash(frames) == by_hand(frames, kind)


@pytest.mark.parametrize("kind", ["u1", "i2", ">i2", "u4", "i8"])
@pytest.mark.parametrize("frames", [SMALL, LARGE])
def test_the_type_and_the_order_in_memory_change_nothing(frames: np.ndarray, kind: str) -> None:
    given = np.asfortranarray(frames.astype(kind))
    assert frames_hash(given) == frames_hash(frames)
    assert frames_hash(frames > 200) == frames_hash((frames > 200).astype(kind))


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_the_number_of_threads_changes_nothing(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = frames_hash(LARGE)
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    assert frames_hash(LARGE) == want


def test_numbers_of_64_bits_without_a_sign_have_one_hash() -> None:
    large = SMALL.astype(np.uint64) << np.uint64(56)
    assert large.max() >= 1 << 63
    assert frames_hash(large) == frames_hash(large.astype(">u8"))
    assert frames_hash(large) != frames_hash(large.astype(np.int64))


LATE = """
import sys, threading, time, atexit
import numpy as np
from neuroport.runs.frames import frames_hash
frames = np.arange(2 * 90 * 3 * 32 * 32).reshape(2, 90, 3, 32, 32) % 251
want = frames_hash(frames) if sys.argv[1] == "warm" else None
def late():
    threading.main_thread().join()
    print(frames_hash(frames))
threading.Thread(target=late).start()
atexit.register(lambda: print(frames_hash(frames)))
"""


@pytest.mark.parametrize("pool", ["warm", "cold"])
def test_a_thread_that_outlives_the_main_one_hashes_still(pool: str) -> None:
    done = subprocess.run([sys.executable, "-c", LATE, pool], capture_output=True, text=True)
    frames = np.arange(2 * 90 * 3 * 32 * 32).reshape(2, 90, 3, 32, 32) % 251
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [frames_hash(frames)] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    want = frames_hash(LARGE)
    child = os.fork()
    if child == 0:
        os._exit(0 if frames_hash(LARGE) == want else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_cancelled_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    first = threading.Event()

    def slow(values: np.ndarray) -> bytes:
        seen.append(values.size)
        first.wait(10)
        return b""

    monkeypatch.setattr(module, "_piece_hash", slow)
    hashing = module.Hashing(np.zeros((400, 1, 3, 256, 256), np.uint8))
    hashing.cancel()
    first.set()
    hashing.result()
    assert len(seen) <= module.HASHERS  # of 400


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_frames_that_are_no_numbers_are_refused_by_name_in_shards_too(value: float) -> None:
    graph = Graph(
        [
            Input("frames", (2, 4, 4)),
            Conv("sum", ("frames",), np.full((1, 2, 4, 4), 2)),
            Readout("answer", ("sum",)),
        ],
        3,
    )
    frames = SMALL.astype(float)
    frames[0, 0, 0, 0, 0] = value
    with pytest.raises(FramesError, match="these hold NaN or infinity"):
        port.run(graph, frames, shard="1/2")


@pytest.mark.parametrize("at", [(0, 0, 0, 0, 0), (1, 89, 2, 31, 31), (0, 85, 1, 0, 3)])
def test_every_value_counts(at: tuple[int, ...]) -> None:
    other = LARGE.copy()
    other[at] ^= 1
    assert frames_hash(other) != frames_hash(LARGE)
    assert frames_hash(LARGE.reshape(2, 90, 3, 64, 16)) != frames_hash(LARGE)


def first(frames: np.ndarray) -> str:
    """The hash of frames that traces of earlier versions hold."""
    shape = repr(frames.shape).encode()
    return hashlib.sha256(shape + frames.astype("<i4").tobytes()).hexdigest()


def test_the_hash_of_an_earlier_version_is_known() -> None:
    assert is_hash_of(first(SMALL), SMALL.astype(np.uint8))
    assert is_hash_of(first(LARGE), LARGE)
    assert not is_hash_of(first(SMALL), SMALL + 1)
    assert is_hash_of(frames_hash(SMALL), SMALL)
    assert not is_hash_of(frames_hash(SMALL), SMALL[:, 1:])


def test_a_trace_of_an_earlier_version_is_used_with_its_frames(tmp_path: Path) -> None:
    graph = Graph(
        [
            Input("frames", (2, 4, 4)),
            Conv("sum", ("frames",), np.full((1, 2, 4, 4), 2)),
            Readout("answer", ("sum",)),
        ],
        3,
    )
    trace = port.run(graph, SMALL)
    old: dict[str, Any] = {**trace.provenance, "frames": first(SMALL)}
    earlier = port.Trace(trace.messages, trace.kinds, old)
    module.check_frames_of(graph, earlier, SMALL)
    with pytest.raises(CompareError, match="the trace was recorded on other frames"):
        module.check_frames_of(graph, earlier, SMALL[:, ::-1])
    assert port.compare(earlier, earlier)
    with pytest.raises(CompareError, match=r"recorded by an earlier version.*record it again"):
        port.compare(earlier, trace)
