"""Extract one neuron, one layer or the end of a network, with its recorded inputs.

Messages of the rest of the network become the frames of the
:class:`~neuroport.analysis.differing_case.Case`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from neuroport.analysis.cause import ancestors
from neuroport.analysis.differing_case import Case
from neuroport.analysis.recorded_outputs import told
from neuroport.analysis.synapse_rows import Row, synapse_row
from neuroport.errors import GraphError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import MESSAGES, Population
from neuroport.graph.linear_bounds import ungrouped
from neuroport.graph.node import (
    Conv,
    Dense,
    Input,
    IntArray,
    Node,
    Shape,
    Synapse,
    per_neuron,
)
from neuroport.graph.node_builders import input_for
from neuroport.runs.trace import Trace

REST = "replayed"  # the synapse that delivers recorded currents


def replayed_from(case: Case, want: Trace, got: Trace, source: str) -> Case:
    """Replace a population and its predecessors by an input that replays its messages as frames.

    Raises:
        GraphError: other populations also feed the rest, or the runs recorded different messages of
        it.
    """
    sent = _sent(case, want, got, [source])[source]
    entry = _entry(source, sent)

    def cut(graph: Graph) -> Graph:
        nodes = [entry if n.name == source else n for n in graph]
        last = graph.nodes[-1].name
        kept = ancestors(graph.derived(nodes), last)
        return graph.derived([n for n in nodes if n.name in kept])

    result = case.of(cut(case.graph), cut(case.other), sent)
    _ = (result.graph.input, result.other.input)
    return result


def one_neuron(
    case: Case,
    want: Trace,
    got: Trace,
    population: str,
    neuron: tuple[int, ...],
    kept: tuple[str, ...],
) -> Case:
    """Extract one neuron, with its recorded inputs: messages through the synapses ``kept``.

    The currents of all other synapses are summed and replayed through one synapse of weight 1. The
    kept synapses become ``Dense`` with one row, and include the delays before them.

    Raises:
        GraphError: the runs recorded different messages, so they have no common frames.
    """
    graphs = (case.graph,) if case.one else (case.graph, case.other)
    traces = (want, got)
    rows: list[dict[str, Row]] = []
    rest: list[IntArray] = []
    for graph, trace in zip(graphs, traces, strict=False):
        inputs = graph[population].inputs
        rows.append({n: synapse_row(graph, n, neuron) for n in dict.fromkeys(inputs) if n in kept})
        others = [n for n in inputs if n not in kept]
        currents = told(graph, trace, case.frames, others)
        total = np.zeros(case.frames.shape[:2], np.int64)
        for name in others:
            at = int(np.ravel_multi_index(neuron, currents[name].shape[2:]))
            total = total + currents[name].reshape(*total.shape, -1)[:, :, at]
        rest.append(total)
    if not np.array_equal(rest[0], rest[-1]):
        raise GraphError("the currents to replay differ between the runs")
    places = sorted({place for side in rows for row in side.values() for place in row.weight})
    sent = _sent(case, want, got, {source for source, _ in places})
    columns = [sent[source].reshape(*case.frames.shape[:2], -1)[:, :, i] for source, i in places]
    silent = not rest[0].any() and bool(columns)
    if not silent:
        columns.append(rest[0])
    messages = np.stack(columns, axis=2)
    entry = _entry(case.graph.input.name, messages)
    result = []
    for graph, side in zip(graphs, rows, strict=True):
        nodes: list[Node] = [entry]
        for name, row in side.items():
            weight = [row.weight.get(place, 0) for place in places] + [0] * (not silent)
            delay = [row.delay.get(place, 0) for place in places] + [0] * (not silent)
            nodes.append(
                Dense(name, (entry.name,), np.array([weight]), row.exponent, _tidy_delay(delay))
            )
        inputs = tuple(n for n in graph[population].inputs if n in side)
        if not silent or not inputs:
            weight = [0] * (len(columns) - 1) + [1]
            free = REST if REST not in (*side, entry.name, population) else f"{REST}~"
            nodes.append(Dense(free, (entry.name,), np.array([weight])))
            inputs = (*inputs, free)
        shape = graph.facts(population).shape
        node = graph[population]
        assert isinstance(node, Population)
        nodes.append(_single(node, neuron, shape, inputs))
        result.append(graph.derived(nodes))
    return case.of(result[0], result[-1], messages)


def one_layer(case: Case, want: Trace, got: Trace, population: str) -> Case:
    """Extract one population with its synapses, driven by the recorded messages of its sources.

    Several sources become one input with concatenated channels.

    Raises:
        GraphError: their shapes do not fit, or the runs recorded different messages.
    """
    graphs = (case.graph,) if case.one else (case.graph, case.other)
    sources: dict[str, int] = {}  # source -> first channel
    shapes = []
    for graph in graphs:
        for name in dict.fromkeys(graph[population].inputs):
            for source in graph[name].inputs:
                if graph[source].takes == MESSAGES:
                    raise GraphError(f"{source}: a delay stands before the layer")
                if source not in sources:
                    shapes.append(graph.facts(source).shape)
                    sources[source] = sum(shape[0] for shape in shapes[:-1])
    if len({shape[1:] for shape in shapes}) != 1:
        raise GraphError("the sources of the layer have different sizes")
    sent = _sent(case, want, got, sources)
    messages = np.concatenate([sent[source] for source in sources], axis=2)
    entry = _entry(case.graph.input.name, messages)
    channels = messages.shape[2]
    result = []
    for graph in graphs:
        nodes: list[Node] = [entry]
        for name in dict.fromkeys(graph[population].inputs):
            synapse = graph[name]
            assert isinstance(synapse, Synapse)
            if len(sources) > 1:
                synapse = _widened(graph, synapse, sources, channels)
            nodes.append(synapse.replace(inputs=(entry.name,), lag=0))
        nodes.append(graph[population])
        result.append(graph.derived(nodes))
    return case.of(result[0], result[-1], messages)


# -- parts -------------------------------------------------------------------------------------


def _tidy_delay(delay: list[int]) -> IntArray:
    return np.array([delay]) if any(delay) else np.zeros(1, np.int64)


def _single(
    node: Population, neuron: tuple[int, ...], shape: Shape, inputs: tuple[str, ...]
) -> Node:
    """Return a population of one neuron, with that neuron's constants.

    Raises:
        GraphError: its neurons are recurrently connected, or take two currents.
    """
    if node.own_weight is not None or node.currents_per_neuron > 1:
        raise GraphError(f"{node.name}: no neuron of it stands alone")
    values: dict[str, Any] = {
        item.name: per_neuron(getattr(node, item.name), shape)[neuron].reshape(1)
        for item in fields(node)
        if isinstance(getattr(node, item.name), np.ndarray)
    }
    return node.replace(inputs=inputs, **values)


def _widened(graph: Graph, synapse: Synapse, sources: dict[str, int], channels: int) -> Synapse:
    """Return a synapse that selects its sources from concatenated channels."""
    shape = graph.facts(synapse.inputs[0]).shape
    if isinstance(synapse, Conv):
        kernel = ungrouped(synapse.weight, synapse.groups)
        weight = np.zeros((len(synapse.weight), channels, *synapse.weight.shape[2:]), np.int64)
        for source in synapse.inputs:
            weight[:, sources[source] : sources[source] + shape[0]] += kernel
        return replace(synapse, weight=weight, groups=1)
    if synapse.delays:
        raise GraphError(f"{synapse.name}: has delays")
    each = int(np.prod(shape[1:]))
    weight = np.zeros((len(synapse.weight), channels * each), np.int64)
    for source in synapse.inputs:
        first = sources[source] * each
        weight[:, first : first + shape[0] * each] += synapse.weight
    return synapse.replace(weight=weight)


def _sent(case: Case, want: Trace, got: Trace, sources: Iterable[str]) -> dict[str, IntArray]:
    """Return the messages of populations, which must be equal in both runs."""
    found: dict[str, IntArray] = {}
    for graph, trace in ((case.graph, want), (case.other, got)):
        there = [n for n in sources if any(node.name == n for node in graph)]
        for name, sent in told(graph, trace, case.frames, there).items():
            if name in found and not np.array_equal(found[name], sent):
                raise GraphError(f"{name}: sent different messages in the two runs")
            found[name] = sent
    return found


def _entry(name: str, messages: IntArray) -> Input:
    """Return an input wide enough for the messages."""
    return input_for(name, messages.shape[2:], int(messages.min()), int(messages.max()))
