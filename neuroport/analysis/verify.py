"""Run two engines on a test set of any size and compare every population, in constant memory."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.analysis.compare import (
    Comparison,
    common_populations,
    compare,
    explain,
    shard_of,
    unequal_samples,
)
from neuroport.analysis.joining import joined
from neuroport.arguments import (
    as_array,
    is_engines,
    is_function,
    is_network,
    keyed,
    optional,
    takes,
    whole_number,
)
from neuroport.errors import BackendError, FramesError
from neuroport.graph.graph import Graph
from neuroport.kernels.allocator import available
from neuroport.runs.frames import Progress, frames_hash
from neuroport.runs.shards import Shard, samples_of
from neuroport.runs.trace import Trace

if TYPE_CHECKING:
    from torch import nn

    from neuroport.engines.engine import Prepared

    Network: TypeAlias = Graph | nn.Module | str | os.PathLike[str]

MOST = 64  # samples of a part
HELD = 32  # bytes per position and step, of which two traces of integers are 8


@takes(
    want=is_network,
    got=optional(is_network),
    frames=as_array,
    on=is_engines,
    together=whole_number(1, FramesError),
    options=keyed(BackendError),
    progress=is_function,
)
def verify(
    want: Network,
    got: Network | None,
    frames: npt.NDArray[Any],
    *,
    on: tuple[str, str] | None = None,
    together: int | None = None,
    shard: str | Shard | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two runs part by part, and stop at the first sample that differs.

    Args:
        want: network of the first run: a graph, a file, or a torch module.
        got: network of the second run; ``None``: the same.
        frames: frames (T, N, *shape), in memory or mapped from a file; read part by part.
        on: the engine of each run; ``None``: ``reference`` and ``fast``, but ``module`` (the module
        itself) for a torch module, which is compared with its graph on ``fast`` if ``got`` is
        ``None``.
        together: number of samples of a part, whose messages are in memory together. ``None``: as
        many as fit, at most 64.
        shard: ``"2/4"`` compares only the second of four parts of the samples.
        options: options of the second engine, such as ``{"processes": "fused"}``.
        progress: called with the number of finished samples and N.

    Returns the comparison of all samples or, if runs differ, of the samples up to the first
    difference. Samples are numbered from the first of ``frames``. The first divergence is explained
    if both networks are graphs. With ``shard``, the comparison names its samples; :func:`merge`
    joins the parts.

    Raises:
        FramesError: there are no samples, there is no such shard, or the frames do not fit.
        BackendError: an engine is missing or failed, or does not run torch modules.
    """
    from neuroport.engines.streaming import opened_network

    if frames.ndim < 3:
        raise FramesError(f"frames are {frames.shape}; give (T, N, ...) with at least one sample")
    if on is None:  # a module is not compared with itself
        on = _engine(want, "reference"), "fast" if got is None else _engine(got, "fast")
    got = want if got is None else got
    taken, told = samples_of(shard, frames)
    more, same = dict(options or {}), want is got
    want = opened_network(want, frames, {})
    other = want if same else opened_network(got, frames, more)
    return verify_shard(
        want,
        other,
        frames[:, taken],
        on=on,
        together=together,
        told=told,
        options=more,
        progress=progress,
    )


def verify_shard(
    want: Network,
    other: Network,
    frames: npt.NDArray[Any],
    *,
    on: tuple[str, str],
    together: int | None = None,
    told: dict[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Like :func:`verify`, for loaded networks and the frames of a shard.

    Args:
        told: description of the shard by :meth:`neuroport.runs.shards.Shard.told`; None for all
        samples.
    """
    from neuroport.engines.running import prepare

    if together is None:
        together = min(
            (fitting(graph) for graph in (want, other) if isinstance(graph, Graph)), default=MOST
        )
    few = frames[:, :1]
    with (
        prepare(want, on[0], frames=few) as first,
        prepare(other, on[1], frames=few, **(options or {})) as second,
    ):
        outcome, graphs, compared = _compared(
            first, second, want, other, frames, together, progress
        )
    if told is None:
        return outcome
    return replace(outcome, shard={**shard_of(told, *graphs, compared), "stops": True})


def _compared(
    first: Prepared,
    second: Prepared,
    want: Any,
    other: Any,
    frames: npt.NDArray[Any],
    together: int,
    progress: Progress | None,
) -> tuple[Comparison, tuple[Any, Any], list[str]]:
    """Add the hashes of both graphs and the populations to a comparison."""
    known = isinstance(want, Graph) and isinstance(other, Graph)
    parts: list[Comparison] = []
    samples = frames.shape[1]
    for at in range(0, samples, together):
        part = np.ascontiguousarray(frames[:, at : at + together])
        runs = first.run(part), second.run(part)
        found = compare(*runs)
        if not found:
            # the samples up to the first that differs, however many were run at a time
            unequal = unequal_samples(*runs)
            part = part[:, : int(unequal.argmax()) + 1]
            runs = _first(runs[0], part), _first(runs[1], part)
            found = compare(*runs)
        if known:
            found = explain(found, *runs, want, other, part)
        parts.append(found)
        if not found:
            break
        if progress is not None:
            progress(min(at + together, samples), samples)
    graphs = (runs[0].provenance.get("graph"), runs[1].provenance.get("graph"))
    return joined(parts), graphs, common_populations(*runs)


def _first(run: Trace, frames: npt.NDArray[Any]) -> Trace:
    """Return a run's first samples, for these frames."""
    some = run.part(0, frames.shape[1])
    return replace(some, provenance={**run.provenance, "frames": frames_hash(frames)})


def fitting(graph: Graph) -> int:
    """Return the number of samples whose messages in two runs fit the allowed memory."""
    positions = sum(math.prod(graph.facts(node.name).shape) for node in graph.populations)
    return max(1, min(MOST, available() // (positions * graph.steps * HELD)))


def _engine(network: Network, graphs: str) -> str:
    """Return ``graphs`` for a graph or a file, ``module`` for a torch module."""
    known = isinstance(network, (Graph, str, os.PathLike))
    return graphs if known else "module"
