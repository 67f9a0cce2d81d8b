"""Frames, what a network is run on: read from files, checked against its input, and hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.errors import CompareError, FramesError, StorageError
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace

Progress = Callable[[int, int], None]  # (done, total)


def load_frames(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Frames from a ``.npy`` file (no pickles).

    Raises:
        StorageError: no such file.
        FramesError: it is not a NumPy array of numbers.
    """
    try:
        # mapped first: a header that promises more than the file holds takes no memory
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise StorageError(
            f"{path}: no such file; give frames as a .npy array (T, N, C, H, W)"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise FramesError(
            f"{path}: not a .npy array ({error}); save frames with numpy.save"
        ) from error
    if not isinstance(frames, np.ndarray):
        raise FramesError(f"{path}: an archive, not one array; save frames with numpy.save")
    return np.array(frames)


def check_frames(graph: Graph, frames: npt.NDArray[Any]) -> None:
    """Refuse frames that do not fit the graph's input.

    Raises:
        FramesError: wrong shape, type or range; says what was expected.
    """
    node = graph.input
    expected = (graph.steps, "N", *node.shape)
    if frames.ndim != 2 + len(node.shape) or (frames.shape[0], *frames.shape[2:]) != (
        graph.steps,
        *node.shape,
    ):
        wanted = ", ".join(str(n) for n in expected)
        raise FramesError(f"frames are {frames.shape}, the network takes ({wanted}): steps first")
    if frames.shape[1] < 1:
        raise FramesError("frames hold no sample; give at least one")
    if frames.dtype.kind not in "iub":
        raise FramesError(
            f"frames are {frames.dtype}; the network takes integers: round them first"
        )
    facts = graph.facts(node.name)
    low, high = int(facts.low.min()), int(facts.high.max())
    if int(frames.min()) < low or int(frames.max()) > high:
        raise FramesError(
            f"frames span {frames.min()}..{frames.max()}, the input takes {low}..{high} "
            f"({node.bits} bit)"
        )


def check_frames_of(graph: Graph, trace: Trace, frames: npt.NDArray[Any]) -> None:
    """Refuse frames that are not those of the run that made ``trace``.

    Raises:
        FramesError: they do not fit the graph, or are of another number of samples.
        CompareError: the trace was recorded on others.
    """
    check_frames(graph, frames)
    if frames.shape[1] != trace.samples:
        raise FramesError(
            f"{frames.shape[1]} samples of frames, {trace.samples} in the trace; "
            "give the frames of that run"
        )
    stored = trace.provenance.get("frames")
    if isinstance(stored, str) and stored != frames_hash(frames):
        raise CompareError("the trace was recorded on other frames; give the frames of that run")


def frames_hash(frames: npt.NDArray[Any]) -> str:
    """SHA-256 of shape and values, independent of the integer type they are stored in."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames.astype("<i4")).tobytes())
    return digest.hexdigest()
