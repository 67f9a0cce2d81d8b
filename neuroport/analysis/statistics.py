"""Count spikes, synaptic operations and neuron updates of a run from its trace.

A synaptic operation is one nonzero message through one nonzero weight. Their number is exact,
including borders, but needs no convolution: a neuron's fan-out does not depend on time, so

::

    operations(synapse) = sum over neurons of  messages(neuron) * fan_out(neuron)

If a synapse sums several inputs, the messages of each count. An unknown quantity is ``None`` and
named, never 0. A trace of counts gives the same numbers, except after a ``Delay`` (the number of
messages that it forwards within the sample depends on their steps) and, if neurons share a counter,
for synapses with unequal fan-outs of these neurons.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.recorded_outputs import check_trace
from neuroport.arguments import as_array, is_graph, is_trace, takes
from neuroport.backends.executor import Starts
from neuroport.backends.reference import delayed
from neuroport.display import Shown, View
from neuroport.graph.fan_out import fan_out
from neuroport.graph.graph import Graph
from neuroport.graph.node import IntArray, Shape, Synapse
from neuroport.runs.frames import check_frames_of
from neuroport.runs.trace import Trace, is_readout, is_spiking


@dataclass(frozen=True, slots=True)
class PopulationStatistics:
    """Activity of one population.

    Attributes:
        name: the node's name.
        kind: ``lif``, ``relay`` or ``readout``.
        shape: one sample and step, (C, H, W) or (C,).
        neurons: product of ``shape``.
        spikes: number of nonzero messages over all samples and steps: spikes of a Lif, graded
        messages of a relay, 0 for a readout, which sends none. None if the trace lacks the
        population.
        spikes_per_neuron: mean per neuron and sample.
        rate: mean per neuron and step, 0..1.
    """

    name: str
    kind: str
    shape: Shape
    neurons: int
    spikes: int | None
    spikes_per_neuron: float | None
    rate: float | None


@dataclass(frozen=True, slots=True)
class SynapseStatistics:
    """Work of one synapse.

    Attributes:
        name: the node's name.
        kind: ``conv`` or ``dense``.
        sources: the nodes whose messages it reads.
        graded: whether it reads graded messages (with one multiplication each), not only spikes.
        connections: number of pairs of neurons connected by a nonzero weight (every use of a kernel
        counts).
        ceiling: operations per sample if all messages were nonzero.
        operations: mean synaptic operations per sample; None if a source is ``missing``.
        missing: sources that are not recorded, or not in sufficient detail.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    graded: bool
    connections: int
    ceiling: int
    operations: float | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statistics(Shown):
    """Activity and work of a network on the samples of one trace.

    Attributes:
        samples: number of samples N.
        steps: steps per sample T.
        spikes_per_neuron: mean over all neurons of recorded Lif populations, per sample, or None.
        operations: synaptic operations per sample of all counted synapses.
        ceiling: largest possible number of operations per sample of these synapses.
        updates: neuron updates per sample: all neurons, relays and readouts, in each step.
        not_recorded: populations that the trace lacks.
        not_counted: synapses that are not in ``operations``, because a source is not recorded.
        populations: one entry per population, in the order of the graph.
        synapses: one entry per synapse, in the order of the graph.
    """

    samples: int
    steps: int
    spikes_per_neuron: float | None
    operations: float
    ceiling: int
    updates: int
    not_recorded: tuple[str, ...]
    not_counted: tuple[str, ...]
    populations: tuple[PopulationStatistics, ...]
    synapses: tuple[SynapseStatistics, ...]

    def view(self) -> View:
        rows = []
        for p in self.populations:
            values = ("not recorded", "", "")
            if p.spikes is not None and p.spikes_per_neuron is not None and p.rate is not None:
                values = (f"{p.spikes:,}", f"{p.spikes_per_neuron:.3f}", f"{p.rate:.2%}")
            rows.append((p.name, p.kind, f"{p.neurons:,}", *values))
        fired = (
            ""
            if self.spikes_per_neuron is None
            else (f"{self.spikes_per_neuron:.3f} spikes per neuron and sample; ")
        )
        left = f"; not counted: {', '.join(self.not_counted)}" if self.not_counted else ""
        note = (
            f"{fired}{self.operations:,.0f} synaptic operations a sample, at most "
            f"{self.ceiling:,}; {self.updates:,} neuron updates{left}"
        )
        columns = ("population", "kind", "neurons", "spikes", "per neuron", "rate")
        return View(f"Statistics of {self.samples} samples", columns, rows, note, range(2, 6))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, tuples, numbers and names, for ``json.dumps``."""
        return asdict(self)


@takes(graph=is_graph, trace=is_trace, frames=as_array)
def statistics(graph: Graph, trace: Trace, frames: npt.NDArray[Any] | None = None) -> Statistics:
    """Count spikes, synaptic operations and neuron updates.

    Args:
        graph: the network; other populations of the trace are ignored.
        trace: messages (T, N, *shape) or counts of some or all of its populations.
        frames: frames (T, N, *shape) of that run. Without them, the synapses after the input are
        not counted.

    Raises:
        CompareError: the trace belongs to another network, or to other frames.
        FramesError: the frames do not fit the graph.
    """
    samples = check_trace(graph, trace)
    sent = {
        node.name: np.count_nonzero(trace[node.name], axis=(0, 1))
        for node in graph.populations
        if node.name in trace.messages
    }
    for name, counts in trace.counts.items():
        sent[name] = counts.sum(axis=0, dtype=np.int64)
    populations = tuple(
        _population(graph, node.name, sent.get(node.name), samples) for node in graph.populations
    )
    if frames is not None:
        check_frames_of(graph, trace, frames)
        sent[graph.input.name] = np.count_nonzero(frames, axis=(0, 1))
    _count_delayed(graph, trace, frames, sent)
    synapses = tuple(
        _synapse(graph, node, sent, samples) for node in graph if isinstance(node, Synapse)
    )
    lifs = [p for p in populations if is_spiking(p.kind) and p.spikes is not None]
    neurons = sum(p.neurons for p in lifs)
    counted = [s for s in synapses if s.operations is not None]
    return Statistics(
        samples=samples,
        steps=graph.steps,
        spikes_per_neuron=sum(p.spikes or 0 for p in lifs) / (neurons * samples) if lifs else None,
        operations=sum(s.operations or 0.0 for s in counted),
        ceiling=sum(s.ceiling for s in counted),
        updates=sum(p.neurons for p in populations) * graph.steps,
        not_recorded=tuple(p.name for p in populations if p.spikes is None),
        not_counted=tuple(s.name for s in synapses if s.operations is None),
        populations=populations,
        synapses=synapses,
    )


def _count_delayed(
    graph: Graph,
    trace: Trace,
    frames: npt.NDArray[Any] | None,
    sent: dict[str, npt.NDArray[Any]],
) -> None:
    """Add the messages that delays forward before the sample ends."""
    passed: dict[str, npt.NDArray[Any]] = dict(trace.messages)
    if frames is not None:
        passed[graph.input.name] = frames
    for node in graph:
        passes = node.takes == node.gives
        if passes and all(name in passed for name in node.inputs):
            arriving = sum(passed[name].astype(np.int64) for name in node.inputs)
            late = delayed(np.asarray(arriving), node.longest_delay, Starts(0, graph.steps))
            passed[node.name] = late
            sent[node.name] = np.count_nonzero(passed[node.name], axis=(0, 1))


def _population(
    graph: Graph, name: str, sent: npt.NDArray[Any] | None, samples: int
) -> PopulationStatistics:
    kind, shape = graph[name].kind, graph.facts(name).shape
    neurons = int(np.prod(shape))
    if sent is None:
        return PopulationStatistics(name, kind, shape, neurons, None, None, None)
    spikes = 0 if is_readout(kind) else int(sent.sum())
    each = spikes / (neurons * samples)
    return PopulationStatistics(name, kind, shape, neurons, spikes, each, each / graph.steps)


def _synapse(
    graph: Graph, node: Synapse, sent: dict[str, npt.NDArray[Any]], samples: int
) -> SynapseStatistics:
    fan = fan_out(graph, node.name)
    connections = int(fan.sum())
    found = {name: _operations(sent[name], fan) for name in node.inputs if name in sent}
    missing = tuple(name for name in node.inputs if found.get(name) is None)
    total = sum(found[name] or 0 for name in node.inputs if name in found)
    return SynapseStatistics(
        name=node.name,
        kind=node.kind,
        sources=node.inputs,
        graded=any(graph.facts(name).graded for name in node.inputs),
        connections=connections,
        ceiling=connections * graph.steps * len(node.inputs),
        operations=None if missing else total / samples,
        missing=missing,
    )


def _operations(sent: npt.NDArray[Any], fan: IntArray) -> int | None:
    """Return messages times fan-outs; None if neurons with unequal fan-outs share a counter."""
    pools = fan.reshape(sent.size, -1)
    if (pools != pools[:, :1]).any():
        return None
    return int((sent.reshape(-1) * pools[:, 0]).sum())
