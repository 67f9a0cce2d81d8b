"""The door through which every engine is asked: a graph and frames in, a trace out."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from typing import Any, Protocol, get_type_hints, runtime_checkable

import numpy as np
import numpy.typing as npt

from neuroport.backends.trace import Trace
from neuroport.errors import BackendError, CompareError, FormatError, FramesError
from neuroport.files import read_array
from neuroport.graph.graph import Graph

Progress = Callable[[int, int], None]  # (done, total)


class Backend(Protocol):
    """An engine. ``available`` returns why it cannot run here, with the way to mend it, or None."""

    name: str
    summary: str

    def available(self) -> str | None: ...

    @property
    def run(self) -> Callable[..., Trace]:
        """``run(graph, frames, *, progress=None, **options)``; options differ by engine."""


@runtime_checkable
class AtSite(Protocol):
    """An engine that also needs to know where its board is."""

    sited: bool

    def available(self, site: str | os.PathLike[str] | None = None) -> str | None: ...


def backends() -> dict[str, Backend]:
    """All engines that run graphs, by the name ``on=`` takes. Importing them imports no Lava."""
    from neuroport.backends.fast import Fast
    from neuroport.backends.lava_cpu import LavaCpu
    from neuroport.backends.loihi2 import Loihi2
    from neuroport.backends.reference import Reference

    engines: tuple[Backend, ...] = (Reference(), Fast(), LavaCpu(), Loihi2())
    return {engine.name: engine for engine in engines}


def backend(name: str, site: str | os.PathLike[str] | None = None) -> Backend:
    """An engine by name, ready to run; ``site`` is the file of a board's site, for ``loihi2``.

    Raises:
        BackendError: no such engine, or it is not installed.
    """
    engines = backends()
    if not isinstance(name, str) or name not in engines:
        raise BackendError(f"unknown engine {name!r}; the engines are {', '.join(engines)}")
    engine = engines[name]
    if isinstance(engine, AtSite):
        reason = engine.available(site)
    elif site is not None:
        raise BackendError(f"engine {name!r} needs no site; leave it out, or run on 'loihi2'")
    else:
        reason = engine.available()
    if reason is not None:
        raise BackendError(f"engine {name!r} is not available: {reason}")
    return engine


def check_options(run: Callable[..., Trace], name: str, options: dict[str, Any]) -> None:
    """Refuse options that an engine does not have, or whose values are of another type.

    Args:
        run: the engine's; what it takes after the frames are its options.
        name: of the engine, for the message.

    Raises:
        BackendError: names the option and what it takes.
    """
    known = {
        key: item
        for key, item in inspect.signature(run).parameters.items()
        if item.kind is inspect.Parameter.KEYWORD_ONLY
    }
    hints = get_type_hints(run)
    for key, value in options.items():
        if key not in known:
            raise BackendError(
                f"engine {name!r} has no option {key!r}; it takes {', '.join(known)}"
            )
        taken, words = _TYPES.get(hints[key], (object, ""))
        is_truth = isinstance(value, (bool, np.bool_))
        if key == "progress":
            if value is not None and not callable(value):
                raise BackendError(f"progress is {value!r:.100}; give a function (done, total)")
        elif not isinstance(value, taken) or (is_truth and hints[key] in (int, float)):
            raise BackendError(f"{key} is {value!r:.100}; give {words}")


_TYPES: dict[Any, tuple[Any, str]] = {
    int: ((int, np.integer), "a whole number"),
    float: ((int, float, np.integer, np.floating), "a number"),
    str: (str, "a text"),
    bool: ((bool, np.bool_), "True or False"),
}


def load_frames(path: str | os.PathLike[str], samples: int | None = None) -> npt.NDArray[Any]:
    """Frames from a ``.npy`` file (no pickles), or the first so many samples of them.

    Raises:
        StorageError: no such file.
        FramesError: it is not a NumPy array of numbers, or has fewer samples.
    """
    try:
        frames = read_array(path, "frames", "(T, N, C, H, W)")
    except FormatError as error:
        raise FramesError(error.message) from error
    if samples is not None:
        if frames.ndim < 2 or not 1 <= samples <= frames.shape[1]:
            raise FramesError(f"samples is {samples}; {path} holds {frames.shape[1:2]} samples")
        frames = frames[:, :samples]  # of the map: the others are never read
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
    """How frames of another order become (T, N, *shape), empty where nothing suggests itself."""
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
    """How real numbers become the frames of a network that takes integers up to ``high``."""
    if frames.dtype.kind != "f":
        return "give an integer array"
    low, most = float(frames.min()), float(frames.max())
    if not np.isfinite(frames).all():
        return "these hold NaN or infinity; mend what made them"
    if (frames == np.rint(frames)).all() and (most > 1 or high == 1):
        return "these are whole already: give frames.astype(np.int32)"
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
