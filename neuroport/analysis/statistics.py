"""Count spikes, synaptic operations and neuron updates of a run from its trace.

A synaptic operation is one nonzero message through one nonzero weight that reaches a neuron before
the sample ends, as in :mod:`neuroport.analysis.operations`. Their number is exact, including
borders, but needs no convolution: a neuron's fan-out does not depend on time, so

::

    operations(synapse) = sum over neurons of  messages(neuron) * fan_out(neuron)

If a synapse or a ``Delay`` sums several inputs, the messages of each count. The weights of a
recurrent population are a synapse, too, which takes a step. An unknown quantity is ``None`` and
named, never 0. A trace of counts gives the same numbers, except where messages take longer than to
the same step (how many arrive within the sample depends on their steps) and, if neurons share a
counter, for synapses with unequal fan-outs of these neurons.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.recorded_outputs import check_trace
from neuroport.arguments import as_array, is_graph, is_trace, takes
from neuroport.display import Shown, View
from neuroport.graph.fan_out import fan_out
from neuroport.graph.graph import Graph
from neuroport.graph.node import IntArray, Node, Shape, Synapse
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
        name: the node's name; a recurrent population has the name of its own weights, too.
        kind: the node's: ``conv``, ``dense`` or ``recurrent``.
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
        not_counted: synapses that are not in ``operations``, because a source is not recorded, or
        not in sufficient detail.
        populations: one entry per population, in the order of the graph.
        synapses: one entry per synapse and per population with recurrent weights, in the order of
        the graph.
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
    sent = _Sent(trace)
    populations = tuple(
        _population(graph, node.name, sent.after(node.name, 0), samples)
        for node in graph.populations
    )
    if frames is not None:
        check_frames_of(graph, trace, frames)
        sent.messages[graph.input.name] = frames
    synapses = tuple(
        _synapse(graph, node, sent, samples)
        for node in graph
        if isinstance(node, Synapse) or node.own_weight is not None
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


class _Sent:
    """The messages of a run, each population's number per neuron or per counter."""

    def __init__(self, trace: Trace) -> None:
        self.messages: dict[str, npt.NDArray[Any]] = dict(trace.messages)
        self._counts, self._steps = trace.counts, trace.steps
        self._found: dict[tuple[str, int], npt.NDArray[Any]] = {}  # counted once for all readers

    def after(self, name: str, late: int) -> npt.NDArray[Any] | None:
        """Return how many messages arrive in a sample, ``late`` steps after they are sent.

        None if they are not recorded, or only counted, which does not tell their steps.
        """
        if name in self.messages:
            if (name, late) not in self._found:
                early = self.messages[name][: max(0, self._steps - late)]
                self._found[name, late] = np.asarray(np.count_nonzero(early, axis=(0, 1)))
            return self._found[name, late]
        if late == 0 and name in self._counts:
            return np.asarray(self._counts[name].sum(axis=0, dtype=np.int64))
        return None


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


def _synapse(graph: Graph, node: Node, sent: _Sent, samples: int) -> SynapseStatistics:
    fans = _fans(graph, node)
    connections = sum(int(fan.sum()) for _, fan in fans)
    inputs = node.inputs if isinstance(node, Synapse) else (node.name,)
    missing: list[str] = []
    total = ceiling = 0
    for name in inputs:
        for source, delay in graph.past_delays(name):
            for steps, fan in fans:
                late = delay + steps
                ceiling += int(fan.sum()) * max(0, graph.steps - late)
                arriving = sent.after(source.name, late)
                found = None if arriving is None else _operations(arriving, fan)
                if found is None:
                    missing.append(name)
                total += found or 0
    return SynapseStatistics(
        name=node.name,
        kind=node.kind,
        sources=inputs,
        graded=any(graph.facts(name).graded for name in inputs),
        connections=connections,
        ceiling=ceiling,
        operations=None if missing else total / samples,
        missing=tuple(dict.fromkeys(missing)),
    )


def _fans(graph: Graph, node: Node) -> list[tuple[int, IntArray]]:
    """Return the fan-outs of the weights with each delay in steps, recurrent ones included."""
    shape = graph.facts(node.name).shape
    if not isinstance(node, Synapse):
        assert node.own_weight is not None
        return [(1, np.count_nonzero(node.own_weight, axis=0).reshape(shape))]
    if node.longest_delay == node.lag:  # a lag is of chip time, no message is late by it
        return [(0, fan_out(graph, node.name))]
    source = graph.facts(node.inputs[0]).shape
    return [
        (delay, node.replace(weight=weight).fan_out(source, shape))
        for delay, weight in node.by_delay()
    ]


def _operations(sent: npt.NDArray[Any], fan: IntArray) -> int | None:
    """Return messages times fan-outs; None if neurons with unequal fan-outs share a counter."""
    pools = fan.reshape(sent.size, -1)
    if (pools != pools[:, :1]).any():
        return None
    return int((sent.reshape(-1) * pools[:, 0]).sum())
