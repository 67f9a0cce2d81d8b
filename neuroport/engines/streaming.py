"""Runs of any number of samples in constant memory: part by part, streamed to disk."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from neuroport.arguments import as_array, is_engine, is_network, takes, whole_number
from neuroport.engines.running import TIMING, prepare, read_file
from neuroport.engines.table import DEFAULT, MODULE, known

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from neuroport.graph.graph import Graph
    from neuroport.runs.frames import Progress
    from neuroport.runs.shards import Shard
    from neuroport.runs.trace import Trace
    from neuroport.runs.trace_file import StoredTrace

PART_BYTES = 1 << 28  # bytes of the messages of a part, as in a trace
OF_MODULE = 64  # samples of a part, if the size of a sample's messages is unknown


@takes(network=is_network, frames=as_array, on=is_engine)
def record(
    network: Graph | nn.Module | str | os.PathLike[str],
    frames: npt.NDArray[Any],
    path: str | os.PathLike[str],
    on: str | None = None,
    *,
    shard: str | Shard | None = None,
    part: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> StoredTrace:
    """Run a network on any number of frames, and write the trace to a file, in constant memory.

    The file has the same arrays as ``port.run(...).save(path)``. It appears when the run is
    complete; an interrupted run leaves nothing.

    Args:
        network, frames, on, options: see :func:`~neuroport.engines.running.run`; frames may be
            mapped from a file (``np.load(path, mmap_mode="r")``).
        path: the file to write.
        shard: ``"2/4"`` runs only the second of four parts of the samples.
        part: number of samples that run at a time; affects memory, never results. ``None``: as many
            as give a quarter of a gigabyte of messages.

    Raises:
        NeuroportError: see :func:`~neuroport.engines.running.run`.
        FramesError: there is no such shard.
        StorageError: the file cannot be written.
    """
    from neuroport.runs.merging import whole_provenance
    from neuroport.runs.shards import samples_of
    from neuroport.runs.trace_file import StoredTrace, TraceWriter

    samples, told = samples_of(shard, frames)
    with TraceWriter(path, samples.stop - samples.start) as writer:
        done = []
        for trace in in_parts(
            network, frames, on, samples=samples, part=part, progress=progress, **options
        ):
            writer.append(trace)
            done.append(trace.provenance)
        writer.finish(whole_provenance(done, frames[:, samples], told))
    return StoredTrace(path, verified=True)


def in_parts(
    network: Graph | nn.Module | str | os.PathLike[str],
    frames: npt.NDArray[Any],
    on: str | None = None,
    *,
    samples: slice | None = None,
    part: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Iterator[Trace]:
    """Run frames some samples at a time; yields the trace of each part, in order.

    Args:
        network, frames, on, part, progress, options: see :func:`record`.
        samples: samples to run, from ``start`` to ``stop - 1``; None: all. The network is that of
            all frames, which determine the input's range of a stock NetX file.

    Raises:
        NeuroportError: see :func:`~neuroport.engines.running.run`; frames that do not fit the
            network are refused before the first part runs.
    """
    import numpy as np

    from neuroport.errors import BackendError, FramesError, RangeError
    from neuroport.graph.graph import Graph
    from neuroport.runs.frames import check_frames, is_mapped, unchanged

    if progress is not None and not callable(progress):
        raise BackendError(f"progress is {progress!r:.100}; give a function (done, total)")
    if part is not None:
        part = whole_number(1, FramesError)(part, "part")
    if frames.ndim < 2:
        raise FramesError(
            f"frames are {frames.shape}; give (T, N, C, H, W), steps and samples first"
        )
    opened = opened_network(network, frames, options)
    with prepare(opened, on, frames=frames, **options) as prepared:
        if isinstance(opened, Graph):
            check_frames(opened, frames)
        chosen = frames if samples is None else frames[:, samples]
        total = chosen.shape[1]
        default = DEFAULT if isinstance(opened, Graph) else MODULE
        in_parts = known(default if on is None else on).in_parts
        many = min(total, part or fitting(opened)) if in_parts else total
        copied = np.array if is_mapped(chosen) else np.ascontiguousarray
        with unchanged(chosen):
            for first in range(0, total, many):
                some = copied(chosen[:, first : first + many])
                told = progress if many == total else _part(first, many, total, progress)
                try:
                    trace = prepared.run(some, progress=told)
                except RangeError as error:
                    raise error.later(first + (samples.start if samples else 0)) from None
                yield trace


def _part(first: int, many: int, total: int, progress: Progress | None) -> Progress | None:
    """Convert the progress of a part to that of all samples; engines count samples or steps."""
    if progress is None:
        return None
    tell, count = progress, min(many, total - first)
    return lambda done, whole: tell(first + done * count // max(1, whole), total)


def opened_network(network: Any, frames: npt.NDArray[Any], options: dict[str, Any]) -> Any:
    """Read the graph of a file once; return anything else unchanged.

    Removes from ``options`` those for stock NetX files.
    """
    if not isinstance(network, (str, os.PathLike)):
        return network
    return read_file(network, frames, {n: options.pop(n) for n in TIMING if n in options})


def fitting(network: Any) -> int:
    """Return the number of samples of a part."""
    from neuroport.graph.graph import Graph
    from neuroport.runs.trace import dtype_of

    if not isinstance(network, Graph):
        return OF_MODULE
    each = sum(
        math.prod(network.facts(node.name).shape) * dtype_of(node.kind).itemsize
        for node in network.populations
    )
    return max(1, PART_BYTES // (each * network.steps))
