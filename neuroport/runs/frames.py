"""Frames, the input of a network: read from files, checked, and hashed."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.errors import CompareError, FormatError, FramesError
from neuroport.files import read_array
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace

PIECE = 1 << 18  # values that are hashed at once; another number gives other hashes
PIECES = "2:"
KINDS = ("|u1", "<i2", "<i4", "<i8")
HASHERS = 8  # threads

Progress = Callable[[int, int], None]  # (done, total)


def load_frames(
    path: str | os.PathLike[str], samples: int | None = None, *, mapped: bool = False
) -> npt.NDArray[Any]:
    """Load frames from a ``.npy`` file (no pickles), or only the first ``samples`` of them.

    With ``mapped`` they stay in the file and are read when they are used.

    Raises:
        StorageError: there is no such file.
        FramesError: it is not a NumPy array of numbers, or has fewer samples.
    """
    try:
        frames = read_array(path, "frames", "(T, N, C, H, W)")
    except FormatError as error:
        raise FramesError(error.message) from error
    if samples is not None:
        if frames.ndim < 2 or not 1 <= samples <= frames.shape[1]:
            raise FramesError(f"samples is {samples}; {path} holds {frames.shape[1:2]} samples")
        frames = frames[:, :samples]  # slices the map, so that other samples are never read
    return frames if mapped else np.array(frames)


def is_mapped(frames: Any) -> bool:
    """Whether numbers are read from a file when they are used."""
    while frames is not None:
        if isinstance(frames, np.memmap):
            return True
        frames = getattr(frames, "base", None)
    return False


@contextmanager
def unchanged(frames: npt.NDArray[Any]) -> Iterator[None]:
    """Context in which frames in a file are used, by and by.

    Raises:
        FramesError: at its end, if the file has changed.
    """
    before = frames_hash(frames) if is_mapped(frames) else ""
    yield
    if before and frames_hash(frames) != before:
        raise FramesError(
            "the file of the frames has changed while they ran; nothing was written: run again"
        )


def check_frames(graph: Graph, frames: npt.NDArray[Any]) -> None:
    """Refuse frames that do not fit the graph's input.

    Raises:
        FramesError: shape, type or range is wrong; the error states what was expected.
    """
    node = graph.input
    expected = (graph.steps, "N", *node.shape)
    if frames.ndim != 2 + len(node.shape) or (frames.shape[0], *frames.shape[2:]) != (
        graph.steps,
        *node.shape,
    ):
        wanted = ", ".join(str(n) for n in expected)
        cure = _rearranged(frames.shape, graph.steps, node.shape)
        raise FramesError(
            f"frames are {frames.shape}, the network takes ({wanted}): steps first{cure}"
        )
    if frames.shape[1] < 1:
        raise FramesError("frames hold no sample; give at least one")
    facts = graph.facts(node.name)
    low, high = int(facts.low.min()), int(facts.high.max())
    if frames.dtype.kind not in "iub":
        raise FramesError(
            f"frames are {frames.dtype}; the network takes whole numbers, {low}..{high}: "
            + _as_integers(frames, high)
        )
    if int(frames.min()) < low or int(frames.max()) > high:
        raise FramesError(
            f"frames span {frames.min()}..{frames.max()}, the input takes {low}..{high} "
            f"({node.bits} bit)"
        )


def _rearranged(has: tuple[int, ...], steps: int, shape: tuple[int, ...]) -> str:
    """Suggest how to reorder frames to (T, N, *shape); empty if no suggestion fits."""
    if len(has) == 2 + len(shape):
        if (has[1], *has[2:]) == (steps, *shape):
            return "; samples and steps are exchanged: give frames.swapaxes(0, 1)"
        if len(shape) == 3 and (has[0], *has[2:]) == (steps, *shape[1:], shape[0]):
            return "; channels are last: give np.moveaxis(frames, -1, 2)"
    if has == (steps, *shape):
        return "; the steps of one sample: give frames[:, None]"
    if has[1:] == shape:
        return f"; one frame per sample: to show it at every step give np.stack([frames] * {steps})"
    return ""


def _as_integers(frames: npt.NDArray[Any], high: int) -> str:
    """Suggest how to convert real numbers to integers up to ``high``."""
    if frames.dtype.kind != "f":
        return "give an integer array"
    low, most = float(frames.min()), float(frames.max())
    if not np.isfinite(frames).all():
        return "these hold NaN or infinity; correct the code that made them"
    if (frames == np.rint(frames)).all() and (most > 1 or high == 1):
        return "these are already whole numbers: give frames.astype(np.int32)"
    if low >= 0 and most <= 1:
        return (
            f"these lie in 0..1, where rounding leaves black and white: give them times {high}, "
            f"np.rint(frames * {high}).astype(np.int32), as the network was trained on"
        )
    if low < 0 and most <= 16:
        return (
            "these look normalized by a mean and a deviation: give what they were before, on the "
            "scale that the network was trained on"
        )
    return "give np.rint(frames).astype(np.int32), if they have the scale it was trained on"


def check_frames_of(graph: Graph, trace: Trace, frames: npt.NDArray[Any]) -> None:
    """Refuse frames that differ from those of the trace's run.

    Raises:
        FramesError: they do not fit the graph, or have another number of samples.
        CompareError: the trace was recorded on other frames.
    """
    check_frames(graph, frames)
    if frames.shape[1] != trace.samples:
        raise FramesError(
            f"{frames.shape[1]} samples of frames, {trace.samples} in the trace; "
            "give the frames of that run"
        )
    stored = trace.provenance.get("frames")
    if isinstance(stored, str) and not is_hash_of(stored, frames):
        raise CompareError("the trace was recorded on other frames; give the frames of that run")


def frames_hash(frames: npt.NDArray[Any]) -> str:
    """Return ``2:`` and the SHA-256 of shape and values, independent of the integer type.

    Pieces of some samples of a step are hashed by threads, each in the narrowest type that holds
    its values, and the hashes are hashed in their order.
    """
    return Hashing(frames).result()


class Hashing:
    """:func:`frames_hash`, begun in other threads; :meth:`result` waits for it."""

    def __init__(self, frames: npt.NDArray[Any]) -> None:
        self._shape, self._cancelled = frames.shape, False
        array = np.atleast_2d(frames)  # may be mapped from a file
        many = max(1, PIECE // max(1, math.prod(array.shape[2:])))
        pieces = [
            (step, slice(first, first + many))
            for step in range(len(array))
            for first in range(0, array.shape[1], many)
        ]
        threads = min(os.cpu_count() or 1, HASHERS, len(pieces))
        if array.size < 2 * PIECE:  # hashed sooner than a thread wakes
            threads = 1
        each = -(-len(pieces) // max(threads, 1))
        works = [
            partial(self._hashed, array, pieces[first : first + each])
            for first in range(0, len(pieces), max(each, 1))
        ]
        self._found: list[Callable[[], bytes]] = list(works)
        if threads > 1:
            # as Python ends, no thread begins
            with suppress(RuntimeError):
                self._found = [_hashers().submit(work).result for work in works]

    def result(self) -> str:
        """Return the hash."""
        digests = b"".join([repr(self._shape).encode(), *(found() for found in self._found)])
        return PIECES + hashlib.sha256(digests).hexdigest()

    def cancel(self) -> None:
        """End soon what is not hashed yet; the result is wanted no more."""
        self._cancelled = True

    def _hashed(self, frames: npt.NDArray[Any], pieces: list[tuple[int, slice]]) -> bytes:
        found = (_piece_hash(frames[piece]) for piece in pieces)
        return b"".join(takewhile(lambda _: not self._cancelled, found))


@cache
def _hashers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(os.cpu_count() or 1, HASHERS), "frames")


os.register_at_fork(after_in_child=_hashers.cache_clear)  # a child has no threads


def _piece_hash(values: npt.NDArray[Any]) -> bytes:
    kind = np.dtype(np.uint8)
    if values.dtype.kind == "f":  # is refused elsewhere, by a better error than of a conversion
        kind = values.dtype.newbyteorder("<")
    elif values.dtype not in (np.uint8, np.bool_) and values.size:
        low, high = int(values.min()), int(values.max())
        kind = np.dtype(next((each for each in KINDS if _holds(each, low, high)), "<u8"))
    digest = hashlib.sha256(kind.str.encode())
    digest.update(np.ascontiguousarray(values, kind).data)
    return digest.digest()


def _holds(kind: str, low: int, high: int) -> bool:
    held = np.iinfo(kind)
    return bool(held.min <= low and high <= held.max)


def is_hash_of(stored: object, frames: npt.NDArray[Any]) -> bool:
    """Whether a trace that holds this hash was recorded on ``frames``."""
    return stored == (frames_hash if str(stored).startswith(PIECES) else _first_hash)(frames)


def _first_hash(frames: npt.NDArray[Any]) -> str:
    """The hash of traces of neuroport 0.1 before its ``2:``, one thread over 32-bit values."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    many = max(1, (1 << 20) // max(1, math.prod(frames.shape[2:])))
    for step in np.atleast_2d(frames):
        for first in range(0, len(step), many):
            digest.update(np.ascontiguousarray(step[first : first + many], "<i4").tobytes())
    return digest.hexdigest()
