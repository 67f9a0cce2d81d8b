"""Run a network like an engine with one particular fault.

Latencies are removed from the time axis: sample n of *every* node begins at step ``lead-in + n *
interval``. With ``stream``, the samples follow each other as on a chip, with steps before the first
sample (s steps for a node of latency s) and some after the last. Without it, they are independent,
as in the reference's ideal time. Without a fault, both give the reference's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import Starts
from neuroport.backends.reference import output
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    IntArray,
    Lif,
    Node,
    Population,
    Readout,
    Relay,
    per_neuron,
)
from neuroport.runs.trace import Trace

_NEVER = 1 << 60
_SAMPLES = 32  # samples side by side: memory, never results
_ROWS = 128  # frames that a convolution takes at a time: memory, never results


def fires(v: Any, limit: Any) -> Any:
    """Return the network's rule: fire strictly above the threshold."""
    return v > limit


@dataclass(frozen=True)
class Rules:
    """The arithmetic of a population; the defaults are those of the network."""

    fires: Callable[[Any, Any], Any] = fires
    decay: Callable[[Any, Any], Any] = integers.decay
    wrap: Callable[[Any], Any] = integers.wrap24
    clip: Callable[[Any], Any] = integers.saturate24
    round: Callable[[Any, int], Any] = integers.round_shift
    sums: Callable[[Any], Any] | None = None  # what a synapse makes of its sums


RIGHT = Rules()


@dataclass(frozen=True)
class Plan:
    """The deviations of a faulty engine from the network.

    Attributes:
        rules: arithmetic of the populations in ``at`` (None: of all).
        stream: whether samples follow each other; needed for effects of one sample on the next.
        resets: when the populations of ``at`` are reset: before ``each`` sample, before the
        ``first``, or ``never``.
        lead: name -> steps by which a population starts early: its reset comes so many steps before
        the sample (stream), or so many steps with bias only precede it (independent).
        late: (input, node) -> steps by which this input is late; negative: early.
        gated: whether no late messages of the previous sample arrive.
        window: name -> steps by which the recording starts late; negative: early.
    """

    rules: Rules = RIGHT
    at: frozenset[str] | None = None
    stream: bool = False
    resets: str = "each"
    lead: Mapping[str, int] = field(default_factory=dict)
    late: Mapping[tuple[str, str], int] = field(default_factory=dict)
    gated: bool = False
    window: Mapping[str, int] = field(default_factory=dict)


def rerun(graph: Graph, frames: npt.NDArray[Any], plan: Plan) -> Iterator[tuple[str, IntArray]]:
    """Yield (population, messages (T, N, *shape)) in graph order."""
    samples = frames.shape[1]
    axis = _axis(graph, samples, plan)
    values: dict[str, IntArray] = {}
    last_use = {name: node.name for node in graph for name in node.inputs}
    for node in graph:
        if not node.takes:
            out = axis.spread(frames)
        else:
            arriving = _arriving(node, values, plan, axis)
            out = _output(graph, node, arriving, plan, axis)
        values[node.name] = out
        for name in node.inputs:
            if last_use[name] == node.name:
                values.pop(name, None)
        if isinstance(node, Population):
            yield node.name, axis.cut(out, plan.window.get(node.name, 0))


def unlike(
    graph: Graph, frames: npt.NDArray[Any], plan: Plan, trace: Trace, samples: int
) -> Iterator[tuple[str, int, npt.NDArray[np.bool_]]]:
    """Compare the plan's messages with those of a trace, in the first ``samples`` samples.

    Yields (population, first sample, whether they differ (T, N, *shape)) for every population of
    the trace, some samples at a time if they are independent.
    """
    if plan.stream:
        # what arrives early comes from the samples behind
        parts = [slice(0, samples + 1 + 2 * graph.depth // graph.interval)]
    else:
        parts = [slice(n, min(n + _SAMPLES, samples)) for n in range(0, samples, _SAMPLES)]
    for part in parts:
        for name, messages in rerun(graph, frames[:, part], plan):
            if name in trace.messages and trace[name].shape[0] == graph.steps:
                recorded = trace[name][:, part][:, : samples - part.start]
                messages = messages[:, : samples - part.start]
                same = messages.shape == recorded.shape
                yield name, part.start, messages != recorded if same else np.ones(1, bool)


def reproduces(
    graph: Graph, frames: npt.NDArray[Any], plan: Plan, trace: Trace, samples: int
) -> bool:
    """Return whether the plan gives a trace's first ``samples`` samples exactly."""
    compared = False
    for _, _, differs in unlike(graph, frames, plan, trace, samples):
        if differs.any():
            return False
        compared = True
    return compared


@dataclass(frozen=True)
class _Axis:
    """Time axis without latencies; the first sample begins at step ``before``."""

    before: int
    interval: int
    steps: int
    samples: int
    after: int
    stream: bool

    @property
    def length(self) -> int:
        return self.before + self.samples * self.interval + self.after

    @property
    def starts(self) -> Starts:
        return Starts(self.before, self.interval)

    def spread(self, frames: npt.NDArray[Any]) -> IntArray:
        if not self.stream:
            return frames.astype(np.int64)
        out = np.zeros((self.length, 1, *frames.shape[2:]), np.int64)
        for n in range(self.samples):
            first = self.before + n * self.interval
            out[first : first + self.steps, 0] = frames[:, n]
        return out

    def cut(self, out: IntArray, late: int) -> IntArray:
        if not self.stream:
            return out
        firsts = [self.before + n * self.interval + late for n in range(self.samples)]
        return np.stack([out[first : first + self.steps, 0] for first in firsts], axis=1)


def _axis(graph: Graph, samples: int, plan: Plan) -> _Axis:
    if not plan.stream:
        return _Axis(0, graph.steps, graph.steps, samples, 0, False)
    moved = [0, *(abs(k) for k in (*plan.late.values(), *plan.window.values()))]
    before = graph.depth + max(moved)
    # what is early here may be early again further on
    return _Axis(before, graph.interval, graph.steps, samples, before, True)


def _arriving(node: Node, values: Mapping[str, IntArray], plan: Plan, axis: _Axis) -> IntArray:
    total: IntArray | None = None
    for name in node.inputs:
        part = values[name]
        k = plan.late.get((name, node.name), 0)
        if k:
            part = _moved(part, k)
            if plan.gated and k > 0:
                reached = (np.arange(len(part)) - axis.before) % axis.interval >= k
                part = part * reached.reshape(-1, *[1] * (part.ndim - 1))
        total = part if total is None else total + part
    assert total is not None
    return total


def _moved(part: IntArray, k: int) -> IntArray:
    """Return ``part`` k steps later (earlier if k is negative), filled with zeros."""
    out = np.zeros_like(part)
    if abs(k) < len(part):
        if k > 0:
            out[k:] = part[:-k]
        else:
            out[:k] = part[-k:]
    return out


def _output(graph: Graph, node: Node, arriving: IntArray, plan: Plan, axis: _Axis) -> IntArray:
    chosen = plan.at is None or node.name in plan.at
    rules = plan.rules if chosen else RIGHT
    match node:
        case Relay():
            message = rules.round(arriving, node.shift)
            return np.asarray(message * rules.fires(abs(message), node.threshold))
        case Lif() | Readout():
            resets = plan.resets if chosen else "each"
            return _states(graph, node, arriving, plan, rules, resets, axis)
        case Population():
            return output(node, arriving, axis.starts)
    if isinstance(node, Conv):  # its windows take much memory
        rows = arriving.reshape(-1, 1, *arriving.shape[2:])
        parts = [output(node, rows[i : i + _ROWS], axis.starts) for i in range(0, len(rows), _ROWS)]
        out = np.concatenate(parts)
        out = out.reshape(*arriving.shape[:2], *out.shape[2:])
    else:
        out = output(node, arriving, axis.starts)
    return out if rules.sums is None else np.asarray(rules.sums(out))


def _states(
    graph: Graph,
    node: Lif | Readout,
    arriving: IntArray,
    plan: Plan,
    rules: Rules,
    resets: str,
    axis: _Axis,
) -> IntArray:
    shape = arriving.shape[2:]
    lead = plan.lead.get(node.name, 0)
    if not axis.stream and lead:  # so many steps of bias alone
        quiet = np.zeros((lead, *arriving.shape[1:]), np.int64)
        arriving = np.concatenate([quiet, arriving])
        born, starts = 0, Starts(0, len(arriving))
    else:
        # before the stream the chip does not exist: a node of latency s has s steps before a sample
        born = axis.before - graph.facts(node.name).latency if axis.stream else 0
        interval = axis.interval if resets == "each" else _NEVER
        starts = Starts(born if resets == "never" else axis.before - lead, interval)
    bias = per_neuron(node.bias, shape) << integers.STATE_SHIFT
    out = np.zeros_like(arriving)
    u, v = np.zeros_like(arriving[0]), np.zeros_like(arriving[0])
    if isinstance(node, Lif):
        leak = per_neuron(node.current_decay, shape), per_neuron(node.voltage_decay, shape)
        limit = per_neuron(node.threshold, shape) << integers.STATE_SHIFT
    for t in range(born, len(arriving)):
        if starts.at(t):
            u, v = np.zeros_like(arriving[0]), np.zeros_like(arriving[0])
        current = arriving[t] << integers.STATE_SHIFT
        if isinstance(node, Readout):
            out[t] = v = rules.clip(v + rules.wrap(current) + bias)
            continue
        u = rules.wrap(rules.decay(u, leak[0]) + current)
        v = rules.clip(rules.decay(v, leak[1]) + u + bias)
        out[t] = spikes = rules.fires(v, limit)
        v = integers.reset(v, spikes)
    return out[lead:] if not axis.stream and lead else out
