"""Walk a graph over frames, node after node, in ideal or in chip time.

The built-in engines share this walk and differ in their arithmetic. In *ideal* time a synapse
answers at once and samples run side by side. In *chip* time every synapse answers one step late,
and ``lag`` steps more, and samples follow each other through one network, as on Lava and Loihi:
what a node receives of sample n begins at step ``n * interval + skew``. States reset there, and the
answer is read from the T steps that follow.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuroport.backends.base import Progress, check_frames, frames_hash
from neuroport.backends.counting import Recorder, Recording, recording
from neuroport.backends.trace import DTYPES, Trace
from neuroport.errors import BackendError, IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import KIND, Conv, Dense, Input, Node
from neuroport.kernels.memory import keep_freed

TIME_MODELS = ("ideal", "chip")


class Arithmetic(Protocol):
    """Arrays and node functions of an engine; arrays are (T, N, *shape)."""

    name: str

    def load(self, frames: npt.NDArray[Any]) -> Any:
        """Frames as the engine's integers."""

    def total(self, node: Node, values: Sequence[Any]) -> Any:
        """The sum of what the node's inputs gave."""

    def output(self, node: Node, arriving: Any, starts: Starts) -> Any:
        """What the node gives, synapses without their latency."""

    def late(self, out: Any, steps: int) -> Any:
        """The same values ``steps`` later, zeros first."""

    def store(self, out: Any, messages: npt.NDArray[Any]) -> None:
        """Copy the output into an array of its shape."""

    def versions(self) -> dict[str, str]:
        """What to note in the trace."""


class Starts:
    """The steps at which samples begin at a node: ``first + n * interval``."""

    def __init__(self, first: int, interval: int) -> None:
        self.first = first
        self.interval = interval

    def at(self, t: int) -> bool:
        """Whether a sample begins at step t."""
        return (t - self.first) % self.interval == 0

    def reached(self, length: int, delay: int) -> npt.NDArray[np.int64]:
        """Steps in ``range(length)`` that lie ``delay`` or more behind the start of their sample.

        Only there can a message that was sent ``delay`` steps before arrive: it would else be one
        of the sample before.
        """
        steps = np.arange(length)
        kept = ((steps - self.first) % self.interval >= delay) & (steps >= delay)
        return np.flatnonzero(kept)


def walk(
    arithmetic: Arithmetic,
    graph: Graph,
    frames: npt.NDArray[Any],
    *,
    progress: Progress | None,
    time_model: str,
    batch: int,
    plan: Recording | None = None,
) -> Trace:
    """Run ``frames`` (T, N, *shape) through ``graph`` and record what ``plan`` says, or all.

    Raises:
        FramesError: the frames do not fit.
        IllegalError: chip time was asked of a graph whose skews are not balanced.
        BackendError: a batch holds no sample.
    """
    check_frames(graph, frames)
    if batch < 1:
        raise BackendError(f"batch is {batch}; use 1 or more samples at a time")
    if time_model not in TIME_MODELS:
        raise IllegalError(f"time model is {time_model!r}; use {' or '.join(TIME_MODELS)}")
    if time_model == "chip" and not graph.balanced:
        raise IllegalError("inputs with unequal skew meet; lower the graph before chip time")
    keep_freed()
    started = time.perf_counter()
    samples = frames.shape[1]
    recorder = Recorder(graph, samples, plan or recording(graph))
    if time_model == "chip":
        stream = chip_stream(graph, frames)
        for node, out in evaluate(arithmetic, graph, stream[:, None], chip=True):
            if node.name in recorder:
                rows = _stored(arithmetic, node, out)
                skew = graph.facts(node.name).skew
                window = cut_window(graph, rows[:, 0], skew, samples)
                recorder.keep(node.name, slice(samples), window)
    else:
        for first in range(0, samples, batch):
            part = slice(first, first + batch)
            for node, out in evaluate(arithmetic, graph, frames[:, part], chip=False):
                if node.name in recorder.messages:  # without a copy in between
                    arithmetic.store(out, recorder.messages[node.name][:, part])
                elif node.name in recorder:
                    recorder.keep(node.name, part, _stored(arithmetic, node, out))
            if progress is not None:
                progress(min(first + batch, samples), samples)
    provenance = {
        "engine": arithmetic.name,
        "time": time_model,
        "graph": graph.hash,
        "frames": frames_hash(frames),
        "seconds": time.perf_counter() - started,
        "versions": arithmetic.versions(),
    }
    return recorder.trace(provenance)


def _stored(arithmetic: Arithmetic, node: Node, out: Any) -> npt.NDArray[Any]:
    rows = np.empty(tuple(out.shape), DTYPES[KIND[type(node)]])
    arithmetic.store(out, rows)
    return rows


def chip_stream(graph: Graph, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Frames (T, N, *shape) sample after sample on one time axis, one sample per interval.

    The stream ends when the last sample has passed the deepest node.
    """
    steps, samples = frames.shape[:2]
    length = (samples - 1) * graph.interval + steps + graph.depth
    stream = np.zeros((length, *frames.shape[2:]), frames.dtype)
    for n in range(samples):
        stream[n * graph.interval : n * graph.interval + steps] = frames[:, n]
    return stream


def cut_window(graph: Graph, rows: npt.NDArray[Any], skew: int, samples: int) -> npt.NDArray[Any]:
    """The answer (T, N, ...) in what a node gave on a chip stream (steps, ...)."""
    starts = [skew + n * graph.interval for n in range(samples)]
    return np.stack([rows[start : start + graph.steps] for start in starts], axis=1)


def evaluate(
    arithmetic: Arithmetic, graph: Graph, frames: npt.NDArray[Any], *, chip: bool
) -> Iterator[tuple[Node, Any]]:
    """Yield (node, its output over all steps, (T, N, *shape)) in the order of the graph."""
    last_use = {name: node.name for node in graph for name in node.inputs}
    values: dict[str, Any] = {}
    for node in graph:
        if isinstance(node, Input):
            out = arithmetic.load(frames)
        else:
            facts = graph.facts(node.name)
            starts = Starts(facts.skews[0] if chip else 0, graph.interval if chip else graph.steps)
            given = [values[name] for name in node.inputs]
            out = arithmetic.output(node, arithmetic.total(node, given), starts)
            del given  # values are let go after their last use
            if chip and isinstance(node, (Conv, Dense)):
                out = arithmetic.late(out, 1 + node.lag)
        values[node.name] = out
        for name in node.inputs:
            if last_use[name] == node.name:
                values.pop(name, None)
        yield node, out


def arriving_at(node: Node, values: dict[str, Any]) -> Any:
    """The sum of what a node's inputs gave."""
    return plain_sum([values[name] for name in node.inputs])


def plain_sum(values: Sequence[Any]) -> Any:
    """The sum of arrays of one type."""
    first, *others = values
    for other in others:
        first = first + other
    return first
