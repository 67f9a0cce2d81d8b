"""What a run records of each population: every message, or only their number.

With ``record="counts"`` a run records the number of nonzero messages per sample, int32: per
``neuron`` (N, *shape), per ``channel`` (N, C) or per ``layer`` (N, 1). Readouts record every step,
because they hold the answer. The output of a chip and the memory of a run then do not grow with the
steps of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.errors import BackendError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Shape
from neuroport.runs.trace import Trace, empty_messages, is_readout, is_spiking

Counts: TypeAlias = npt.NDArray[np.int32]

RECORDS = ("messages", "counts")
GRANULARITIES = ("neuron", "channel", "layer")
COUNT_MAX = (1 << 31) - 1  # int32
# A counter on the chip is a LIF that never fires: its threshold has 17 bits, a message adds 1.
LIF_COUNT_MAX = (1 << 17) - 1


@dataclass(frozen=True)
class Recording:
    """A plan of which populations to record, and which to count.

    Attributes:
        kept: populations whose messages (T, N, *shape) the trace holds.
        counted: populations whose nonzero messages are counted.
        granularity: one counter per ``neuron``, ``channel`` or ``layer``.
    """

    kept: tuple[str, ...]
    counted: tuple[str, ...] = ()
    granularity: str = "neuron"


def recording(
    graph: Graph,
    record: str = "messages",
    count: str | Sequence[str] | None = None,
    granularity: str | None = None,
) -> Recording:
    """Return the plan for these options of ``port.run``; invalid ones are refused before any work.

    Args:
        record: ``messages`` or ``counts``.
        count: populations to count; None: all except the readouts. Others are not recorded.
        granularity: ``neuron`` (the default), ``channel`` or ``layer``.

    Raises:
        BackendError: an option is unknown or contradicts another.
    """
    kinds = {node.name: node.kind for node in graph.populations}
    readouts = tuple(name for name, kind in kinds.items() if is_readout(kind))
    if record not in RECORDS:
        raise BackendError(f"record is {record!r}; use {' or '.join(map(repr, RECORDS))}")
    if record == "messages":
        if count is not None or granularity is not None:
            raise BackendError("count and granularity are for record='counts'; leave them out")
        return Recording(tuple(kinds))
    shared = "neuron" if granularity is None else granularity
    if shared not in GRANULARITIES:
        raise BackendError(f"granularity is {granularity!r}; use {', '.join(GRANULARITIES)}")
    countable = tuple(name for name in kinds if name not in readouts)
    if count is None:
        return _checked(graph, Recording(readouts, countable, shared))
    asked = (count,) if isinstance(count, str) else tuple(count)
    for name in asked:
        if name not in countable:
            why = "a readout, which keeps its steps" if name in readouts else "no population"
            known = ", ".join(countable) or "none"
            raise BackendError(f"count names {name!r}: {why}; those that can be counted: {known}")
    if not asked:
        raise BackendError("count names no population; leave it out to count all of them")
    return _checked(graph, Recording(readouts, tuple(n for n in countable if n in asked), shared))


def _checked(graph: Graph, plan: Recording) -> Recording:
    refuse_beyond(graph, plan.counted, plan.granularity, COUNT_MAX)
    return plan


def refuse_beyond(graph: Graph, names: Sequence[str], granularity: str, most: int) -> None:
    """Refuse counters that could exceed their exact range within a sample.

    Raises:
        BackendError: names the population, its worst case and an alternative.
    """
    for name in names:
        shape = graph.facts(name).shape
        neurons = int(np.prod(shape)) // int(np.prod(counters(shape, granularity)))
        if (worst := neurons * graph.steps) > most:
            finer = "run fewer steps" if neurons == 1 else "count per neuron or per channel"
            raise BackendError(
                f"{name}: a counter per {granularity} can reach {worst:,} messages ({neurons:,} "
                f"neurons, {graph.steps} steps), and counts exactly up to {most:,}; {finer}"
            )


def ends(graph: Graph) -> list[str]:
    """Return the populations that no node reads: the outputs of the network."""
    read = {name for node in graph for name in node.inputs}
    return [node.name for node in graph.populations if node.name not in read]


def spiking(graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of ``names`` that send spikes."""
    return tuple(name for name in names if is_spiking(graph[name].kind))


def counters(shape: Shape, granularity: str) -> Shape:
    """Return the shape of a population's counters: its own shape, (C,), or (1,)."""
    return {"neuron": shape, "channel": shape[:1], "layer": (1,)}[granularity]


def pool(counts: npt.NDArray[Any], granularity: str) -> Counts:
    """Sum counts per neuron (N, *shape) over the neurons that share a counter, int32."""
    shape = counters(counts.shape[1:], granularity)
    flat = counts.reshape(len(counts), int(np.prod(shape)), -1).sum(2)
    return np.asarray(flat.reshape(len(counts), *shape), np.int32)


def counted(messages: npt.NDArray[Any], granularity: str) -> Counts:
    """Count the nonzero messages of each sample in (T, N, *shape)."""
    return pool(np.count_nonzero(messages, axis=0), granularity)


class Recorder:
    """Records an engine's messages, some samples at a time, according to a plan."""

    def __init__(self, graph: Graph, samples: int, plan: Recording) -> None:
        self.plan, self.graph = plan, graph
        shapes = {node.name: graph.facts(node.name).shape for node in graph}
        populations = graph.populations
        kept = tuple(node for node in populations if node.name in plan.kept)
        wanted = {*plan.kept, *plan.counted}
        self.messages, _ = empty_messages(kept, shapes, graph.steps, samples)
        self.kinds = {n.name: n.kind for n in populations if n.name in wanted}
        self.counts = {
            name: np.zeros((samples, *counters(shapes[name], plan.granularity)), np.int32)
            for name in plan.counted
        }

    def __contains__(self, name: str) -> bool:
        return name in self.kinds

    def keep(self, name: str, samples: slice, messages: npt.NDArray[Any]) -> None:
        """Record the messages (T, n, *shape) of some samples."""
        if name in self.counts:
            self.counts[name][samples] = counted(messages, self.plan.granularity)
        else:
            self.messages[name][:, samples] = messages

    def trace(self, provenance: dict[str, Any]) -> Trace:
        """Return the trace; ``outputs`` are the populations that no node reads."""
        provenance = {**provenance, "outputs": ends(self.graph)}
        if not self.counts:
            return Trace(self.messages, self.kinds, provenance)
        steps, granularity = self.graph.steps, self.plan.granularity
        return Trace(self.messages, self.kinds, provenance, self.counts, granularity, steps)
