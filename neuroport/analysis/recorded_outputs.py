"""Recover node outputs from a trace of a network, recomputing those that were not recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import Starts, arriving_at
from neuroport.backends.reference import output
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.node import IntArray
from neuroport.runs.recording import counters
from neuroport.runs.trace import Trace


def check_trace(graph: Graph, trace: Trace) -> int:
    """Return the number of samples of a trace, which must be of a run of ``graph``.

    Shapes alone do not show that: networks that differ in their weights have the same ones.

    Raises:
        CompareError: the trace belongs to another network.
    """
    ran = trace.provenance.get("graph", graph.hash)
    if ran != graph.hash:
        raise CompareError(
            f"the trace is of network {str(ran)[:12]}, the graph is {graph.hash[:12]}; "
            "give the graph that was run"
        )
    shared = [
        node.name
        for node in graph.populations
        if node.name in trace.messages or node.name in trace.counts
    ]
    if not shared:
        raise CompareError("the trace has no population of the graph; give the graph that was run")
    samples = trace.samples
    if trace.counts and trace.counted_steps != graph.steps:
        raise CompareError(
            f"the trace counted {trace.counted_steps} steps, the graph has {graph.steps}; "
            "give the graph that was run"
        )
    for name in shared:
        shape = graph.facts(name).shape
        if name in trace.counts:
            held, wanted = trace.counts[name].shape, (samples, *counters(shape, trace.granularity))
        else:
            # beside counts a readout may have been kept after the last step only
            steps = 1 if trace.counts and len(trace[name]) == 1 else graph.steps
            held, wanted = trace[name].shape, (steps, samples, *shape)
        if held != wanted:
            raise CompareError(
                f"{name}: the trace holds {held}, the graph makes it {wanted}; "
                "give the graph that was run"
            )
    return samples


def received(
    graph: Graph, trace: Trace, frames: npt.NDArray[Any], name: str, sample: int
) -> dict[str, IntArray]:
    """Return the output of each input of a node in one sample, (T, 1, *shape), from the trace."""
    part = slice(sample, sample + 1)
    return told(graph, trace, frames, graph[name].inputs, part)


def told(
    graph: Graph,
    trace: Trace,
    frames: npt.NDArray[Any],
    names: Iterable[str],
    samples: slice = slice(None),
) -> dict[str, IntArray]:
    """Return node outputs (T, N, *shape): recorded, or recomputed from recorded predecessors."""
    starts = Starts(0, graph.steps)
    values: dict[str, IntArray] = {}
    wanted = list(names)
    pending = list(wanted)
    while pending:  # depth first, without recursion: networks may be deeper than Python's stack
        node = graph[pending[-1]]
        known = frames if not node.takes else recorded_messages(graph, trace, node.name)
        lacking = [n for n in node.inputs if n not in values] if known is None else []
        if lacking:
            pending += lacking
            continue
        pending.pop()
        if node.name in values:
            continue
        if known is not None:
            values[node.name] = np.asarray(known[:, samples]).astype(np.int64)
        else:
            values[node.name] = output(node, arriving_at(node, values), starts)
    return {n: values[n] for n in wanted}


def recorded_messages(graph: Graph, trace: Trace, name: str) -> npt.NDArray[Any] | None:
    """Return a population's messages if the trace has them for every step, else None."""
    if name not in trace.messages:
        return None
    array = trace[name]
    wanted = (graph.steps, trace.samples, *graph.facts(name).shape)
    return array if array.shape == wanted else None
