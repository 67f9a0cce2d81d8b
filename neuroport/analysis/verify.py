"""Run two engines on a test set of any size and compare every population, in constant memory."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from neuroport.analysis.compare import Comparison, CountDivergence, Divergence, compare
from neuroport.analysis.neuron_history import Neighbourhood
from neuroport.arguments import as_array, is_network, optional, takes
from neuroport.errors import FramesError
from neuroport.graph.graph import Graph
from neuroport.kernels.allocator import available
from neuroport.runs.frames import Progress

if TYPE_CHECKING:
    from torch import nn

    Network: TypeAlias = Graph | nn.Module | str | os.PathLike[str]

MOST = 64  # samples of a part
HELD = 32  # bytes per position and step, of which two traces of integers are 8


@takes(want=is_network, got=optional(is_network), frames=as_array)
def verify(
    want: Network,
    got: Network | None,
    frames: npt.NDArray[Any],
    *,
    on: tuple[str, str] | None = None,
    together: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two runs part by part, and stop at the first part that differs.

    Args:
        want: the network of the first run: a graph, a file, or a torch module.
        got: that of the second run; ``None``: the same.
        frames: (T, N, *shape), in memory or mapped from a file; read part by part.
        on: the engine of each run; ``None``: ``reference`` and ``fast``, but ``module``, the
            network itself, for a torch module.
        together: samples of a part: the messages of so many are held at once. ``None``: as many as
            fit in memory, 64 at most.
        progress: called with the samples done and N.

    Returns the comparison of all samples; where runs differ, the counts are those of the parts up
    to there, the first divergence counts samples from the first of ``frames``, and it is explained
    where both networks are graphs.

    Raises:
        FramesError: there is no sample, or the frames do not fit.
        BackendError: an engine is missing or failed, or a torch module was given for another.
    """
    from neuroport.engines.running import prepare

    if frames.ndim < 3 or frames.shape[1] < 1 or (together is not None and together < 1):
        raise FramesError(
            f"frames are {frames.shape}, {together} samples at a time; give (T, N, ...) with at "
            "least one sample, and take at least one at a time"
        )
    got = want if got is None else got
    if on is None:
        on = _engine(want, "reference"), _engine(got, "fast")
    want, other = _opened(want, frames), _opened(got, frames)
    if together is None:
        together = min(
            (fitting(graph) for graph in (want, other) if isinstance(graph, Graph)), default=MOST
        )
    known = isinstance(want, Graph) and isinstance(other, Graph)
    total: Comparison | None = None
    samples = frames.shape[1]
    few = frames[:, :1]
    with (
        prepare(want, on[0], frames=few) as first,
        prepare(other, on[1], frames=few) as second,
    ):
        for at in range(0, samples, together):
            part = np.ascontiguousarray(frames[:, at : at + together])
            runs = first.run(part), second.run(part)
            found = (
                compare(*runs, graph=want, other=other, frames=part) if known else compare(*runs)  # type: ignore[arg-type]
            )
            total = found if total is None else _joined(total, found)
            if not found:
                break
            if progress is not None:
                progress(min(at + together, samples), samples)
    assert total is not None
    return total


def fitting(graph: Graph) -> int:
    """Return how many samples, with two runs' messages, fit in the share of memory allowed."""
    positions = sum(math.prod(graph.facts(node.name).shape) for node in graph.populations)
    return max(1, min(MOST, available() // (positions * graph.steps * HELD)))


def _engine(network: Network, graphs: str) -> str:
    """``graphs`` for a graph or a file, ``module`` for a torch module."""
    known = isinstance(network, (Graph, str, os.PathLike))
    return graphs if known else "module"


def _opened(network: Network, frames: npt.NDArray[Any]) -> Network:
    """The graph of a file, read once."""
    from neuroport.netx import read, stock

    if not isinstance(network, (str, os.PathLike)):
        return network
    return read(network, frames=frames if stock.is_stock(network) else None)


def _joined(before: Comparison, part: Comparison) -> Comparison:
    """Sums over both; everything else is the later part's, its samples counted from the first."""
    same = (before.same_predictions, part.same_predictions)
    return replace(
        part,
        samples=before.samples + part.samples,
        positions=before.positions + part.positions,
        counts=before.counts + part.counts,
        spikes=before.spikes + part.spikes,
        first=_later(part.first, before.samples),
        first_count=_later(part.first_count, before.samples),
        neighbourhood=_later(part.neighbourhood, before.samples),
        same_predictions=None if None in same else all(same),
    )


_Found = TypeVar("_Found", Divergence | None, CountDivergence | None, Neighbourhood | None)


def _later(found: _Found, samples: int) -> _Found:
    """``found`` in a part that so many samples come before."""
    return None if found is None else replace(found, sample=found.sample + samples)
