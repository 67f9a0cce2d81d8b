"""Walk a graph over frames, node after node, in ideal or in chip time.

The built-in engines share this walk and differ in their arithmetic. In *ideal* time a synapse
takes no step and samples run side by side. In *chip* time every synapse takes one step, and ``lag``
steps more, and samples follow each other through one network, as on Lava and Loihi. Sample n
reaches a node at step ``n * interval + latency``, with the latency of the node. Its states reset
there, and its answer is the T steps that follow.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuroport.errors import BackendError, IllegalError, RangeError
from neuroport.graph.declared_widths import Watch, samples_of_stream
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Loop, Population, Spread
from neuroport.graph.node import Node
from neuroport.kernels.allocator import keep_freed
from neuroport.runs.frames import Hashing, Progress, check_frames, frames_hash
from neuroport.runs.recording import Recorder, Recording, recording
from neuroport.runs.trace import Trace, dtype_of, empty_array, is_spiking

TIME_MODELS = ("ideal", "chip")
HELD = 1 << 31  # messages of a trace are from -HELD to HELD - 1


class Arithmetic(Protocol):
    """Arrays and node functions of an engine; arrays are (T, N, *shape)."""

    name: str

    @property
    def stepping(self) -> tuple[Spread, Loop]:
        """Return how to step populations: constants per neuron, product with own weights."""

    def load(self, frames: npt.NDArray[Any]) -> Any:
        """Convert frames to the engine's integers."""

    def output(self, node: Node, arriving: Any, starts: Starts) -> Any:
        """Compute a node's output; synapses without their latency."""

    def late(self, out: Any, steps: int) -> Any:
        """Return the values delayed by ``steps``, with zeros first."""

    def store(self, out: Any, messages: npt.NDArray[Any]) -> None:
        """Copy the output into an array of its shape."""

    def versions(self) -> dict[str, str]:
        """Return the versions to record in the trace."""


class AtOnce(ABC):
    """An engine that runs samples through all nodes in one call.

    Attributes:
        elsewhere: whether it computes on another device than the CPU. It counts messages there,
            so that they are not copied to be counted.
    """

    name: str
    elsewhere = False

    @abstractmethod
    def fill(
        self,
        frames: npt.NDArray[Any],
        into: Mapping[str, npt.NDArray[Any]],
        counts: Mapping[str, npt.NDArray[Any]] | None = None,
        granularity: str = "neuron",
    ) -> None:
        """Run frames (T, N, *shape); write the messages of populations into the arrays.

        Args:
            counts: arrays (N, *counters) for nonzero messages per sample, if it computes elsewhere.
            granularity: one counter per ``neuron``, ``channel`` or ``layer``.
        """

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions to record in the trace."""


class Starts:
    """The steps at which samples begin at a node: ``first + n * interval``."""

    def __init__(self, first: int, interval: int) -> None:
        self.first = first
        self.interval = interval

    def at(self, t: int) -> bool:
        """Return whether a sample begins at step t."""
        return (t - self.first) % self.interval == 0

    def reached(self, length: int, delay: int) -> npt.NDArray[np.int64]:
        """Return steps in ``range(length)`` at least ``delay`` steps after their sample's start.

        Only at these steps can a message arrive that was sent ``delay`` steps before; at earlier
        steps it would belong to the previous sample.
        """
        steps = np.arange(length)
        kept = ((steps - self.first) % self.interval >= delay) & (steps >= delay)
        return np.flatnonzero(kept)


def walk(
    arithmetic: Arithmetic | AtOnce,
    graph: Graph,
    frames: npt.NDArray[Any],
    *,
    progress: Progress | None,
    time_model: str,
    batch: int,
    plan: Recording | None = None,
) -> Trace:
    """Run ``frames`` (T, N, *shape) through ``graph``; record according to ``plan``, or all.

    Raises:
        FramesError: the frames do not fit.
        IllegalError: chip time was requested for a graph whose latencies are not balanced.
        BackendError: the batch size is less than 1.
        RangeError: a population exceeded its declared widths.
    """
    check_frames(graph, frames)
    if batch < 1:
        raise BackendError(f"batch is {batch}; use 1 or more samples at a time")
    if time_model not in TIME_MODELS:
        raise IllegalError(f"time model is {time_model!r}; use {' or '.join(TIME_MODELS)}")
    if time_model == "chip" and not graph.balanced:
        raise IllegalError("inputs with unequal latency meet; lower the graph before chip time")
    keep_freed()
    started = time.perf_counter()
    samples = frames.shape[1]
    recorder = Recorder(graph, samples, plan or recording(graph))
    # while another device computes, the CPU has nothing else to do
    elsewhere = isinstance(arithmetic, AtOnce) and arithmetic.elsewhere
    hashing = Hashing(frames) if elsewhere else None
    try:
        _record(arithmetic, graph, frames, recorder, progress, time_model, batch)
    except BaseException:
        if hashing is not None:
            hashing.cancel()
        raise
    provenance = {
        "engine": arithmetic.name,
        "time": time_model,
        "graph": graph.hash,
        "frames": hashing.result() if hashing is not None else frames_hash(frames),
        "seconds": time.perf_counter() - started,
        "versions": arithmetic.versions(),
    }
    return recorder.trace(provenance)


def _record(
    arithmetic: Arithmetic | AtOnce,
    graph: Graph,
    frames: npt.NDArray[Any],
    recorder: Recorder,
    progress: Progress | None,
    time_model: str,
    batch: int,
) -> None:
    """Run all samples, one stream or ``batch`` at a time."""
    samples = frames.shape[1]
    if time_model == "chip":
        stream = chip_stream(graph, frames)[:, None]
        for name, rows in _sent(arithmetic, stream, recorder, {}, chip=True):
            latency = graph.facts(name).latency
            recorder.keep(name, slice(samples), cut_window(graph, rows[:, 0], latency, samples))
    else:
        for first in range(0, samples, batch):
            part = slice(first, first + batch)
            into = {name: kept[:, part] for name, kept in recorder.messages.items()}
            try:
                if isinstance(arithmetic, AtOnce) and arithmetic.elsewhere:
                    counts = {name: kept[part] for name, kept in recorder.counts.items()}
                    arithmetic.fill(frames[:, part], into, counts, recorder.plan.granularity)
                else:
                    for name, rows in _sent(arithmetic, frames[:, part], recorder, into):
                        recorder.keep(name, part, rows)
            except RangeError as error:
                raise error.later(first) from None
            if progress is not None:
                progress(min(first + batch, samples), samples)


def _sent(
    arithmetic: Arithmetic | AtOnce,
    frames: npt.NDArray[Any],
    recorder: Recorder,
    into: Mapping[str, npt.NDArray[Any]],
    chip: bool = False,
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield recorded populations and their messages; those in ``into`` are only written."""
    graph = recorder.graph
    fresh = {
        name: empty_array((*frames.shape[:2], *graph.facts(name).shape), dtype_of(kind))
        for name, kind in recorder.kinds.items()
        if name not in into
    }
    if isinstance(arithmetic, AtOnce):
        arithmetic.fill(frames, {**into, **fresh})
        yield from fresh.items()
        return
    for node, out in evaluate(arithmetic, graph, frames, chip=chip):
        if node.name in into or node.name in fresh:
            _check_held(node, out)
        if node.name in into:
            arithmetic.store(out, into[node.name])
        elif node.name in fresh:
            arithmetic.store(out, fresh[node.name])
            yield node.name, fresh.pop(node.name)


def _check_held(node: Node, out: Any) -> None:
    """Refuse messages that a trace cannot hold, of a graph that was not lowered.

    Raises:
        RangeError: one is beyond 32 bits.
    """
    if is_spiking(node.kind):
        return
    low, high = int(out.min()), int(out.max())
    if low < -HELD or high >= HELD:
        raise RangeError(
            f"{node.name}: a message reaches {high if high >= HELD else low}, more than the 32 "
            "bits of a trace hold; shift it further, or lower the graph, which says what fits",
            population=node.name,
        )


def chip_stream(graph: Graph, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lay frames (T, N, *shape) on one time axis, sample after sample, one sample per interval.

    The stream ends when the last sample has passed the deepest node.
    """
    steps, samples = frames.shape[:2]
    length = (samples - 1) * graph.interval + steps + graph.depth
    stream = np.zeros((length, *frames.shape[2:]), frames.dtype)
    for n in range(samples):
        stream[n * graph.interval : n * graph.interval + steps] = frames[:, n]
    return stream


def cut_window(
    graph: Graph, rows: npt.NDArray[Any], latency: int, samples: int
) -> npt.NDArray[Any]:
    """Cut the answer (T, N, ...) out of a node's output on a chip stream (steps, ...)."""
    starts = [latency + n * graph.interval for n in range(samples)]
    return np.stack([rows[start : start + graph.steps] for start in starts], axis=1)


def evaluate(
    arithmetic: Arithmetic, graph: Graph, frames: npt.NDArray[Any], *, chip: bool
) -> Iterator[tuple[Node, Any]]:
    """Yield (node, its output over all steps, (T, N, *shape)) in the order of the graph.

    Raises:
        RangeError: a population exceeded its declared widths; raised after the last node.
    """
    last_use = {name: node.name for node in graph for name in node.inputs}
    values: dict[str, Any] = {}
    watch = Watch(graph, samples_of_stream(graph, len(frames)) if chip else None)
    for node in graph:
        if not node.takes:
            out = arithmetic.load(frames)
        else:
            facts = graph.facts(node.name)
            starts = Starts(
                facts.input_latencies[0] if chip else 0, graph.interval if chip else graph.steps
            )
            arriving = arriving_at(node, values)
            if node.name in graph.checked and isinstance(node, Population):
                watch.look(node, arriving, *arithmetic.stepping)
            out = arithmetic.output(node, arriving, starts)
            del arriving  # which may be what a source gave
            if chip and node.latency:
                out = arithmetic.late(out, node.latency)
        values[node.name] = out
        for name in node.inputs:
            if last_use[name] == node.name:
                values.pop(name, None)
        yield node, out
    watch.end()


def arriving_at(node: Node, values: dict[str, Any]) -> Any:
    """Sum the outputs of a node's inputs."""
    return plain_sum([values[name] for name in node.inputs])


def plain_sum(values: Sequence[Any]) -> Any:
    """Return the sum of arrays of one type."""
    first, *others = values
    for other in others:
        first = first + other
    return first
