"""The hash of frames: of their values, in any type and by any number of threads."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import CompareError
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


@pytest.mark.parametrize("threads", [1, 3, 64])
def test_the_number_of_threads_changes_nothing(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = frames_hash(LARGE)
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    assert frames_hash(LARGE) == want


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
