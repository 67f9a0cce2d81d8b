"""The weights and delays of a synapse into one neuron, and the arriving messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.recorded_outputs import told
from neuroport.errors import GraphError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, IntArray, Shape, Synapse
from neuroport.runs.trace import Trace

Place = tuple[str, int]  # population, position when flat


@dataclass(frozen=True)
class Row:
    """Weights and delays of one output of a synapse, by the position of the sender."""

    weight: dict[Place, int]
    delay: dict[Place, int]
    exponent: int


def synapse_row(graph: Graph, name: str, neuron: tuple[int, ...]) -> Row:
    """Return the weights and delays of a synapse into one neuron.

    Raises:
        GraphError: the kind of synapse has no such row, or a delay has several values.
    """
    synapse = graph[name]
    assert isinstance(synapse, Synapse)
    shape = graph.facts(synapse.inputs[0]).shape
    delays = None
    match synapse:
        case Conv():
            taps = _taps(synapse, shape, neuron)
        case Dense():
            weights = synapse.weight
            taps = dict(enumerate(weights[neuron[0]].tolist()))
            delays = np.broadcast_to(synapse.delay, weights.shape)[neuron[0]].tolist()
        case _:
            raise GraphError(f"{name}: no row of a {synapse.kind} can be taken alone")
    weight: dict[Place, int] = {}
    delay: dict[Place, int] = {}
    for source in synapse.inputs:
        if len(behind := list(graph.past_delays(source))) > 1:
            raise GraphError(f"{source}: a delay of several inputs")
        ((sender, late),) = behind
        source = sender.name
        for i, value in taps.items():
            if value:
                steps = late + (delays[i] if delays else 0)
                if delay.get((source, i), steps) != steps:
                    raise GraphError(f"{name}: takes {source} with two delays")
                weight[source, i] = weight.get((source, i), 0) + value
                delay[source, i] = steps
    return Row(weight, delay, synapse.exponent)


def _taps(node: Conv, source: Shape, neuron: tuple[int, ...]) -> dict[int, int]:
    """Return flat input position -> weight, for one output (channel, y, x) of a convolution."""
    channel, y, x = neuron
    outputs, each = node.packed("weight").shape[:2]
    first = channel // (outputs // node.groups) * each
    found = {}
    for (c, ky, kx), value in np.ndenumerate(node.weight[channel]):
        row = y * node.stride[0] - node.padding[0] + ky * node.dilation[0]
        column = x * node.stride[1] - node.padding[1] + kx * node.dilation[1]
        if 0 <= row < source[1] and 0 <= column < source[2]:
            found[((first + c) * source[1] + row) * source[2] + column] = int(value)
    return found


@dataclass(frozen=True)
class Arrival:
    """Input of a neuron at one step from one sender, through one synapse, in two runs.

    Pairs are of ``want`` and ``got``; None if that network has no such weight.

    Attributes:
        neuron: position of the sender in the population ``source``.
        delay: number of steps since the message was sent.
        weight, message: in both runs.
        current: their product, shifted by the synapse's exponent.
    """

    synapse: str
    source: str
    neuron: tuple[int, ...]
    delay: int
    weight: tuple[int | None, int | None]
    message: tuple[int | None, int | None]
    current: tuple[int, int]

    @property
    def unlike_weights(self) -> bool:
        """Whether its weights differ between the networks."""
        return self.weight[0] != self.weight[1]


@dataclass(frozen=True)
class Arrivals:
    """Input of a neuron at ``step`` from every neuron with a weight to it.

    Unequal weights come first, then unequal currents, then the largest currents.
    """

    step: int
    arrivals: tuple[Arrival, ...]


def arrivals(
    want: Trace,
    got: Trace,
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any],
    population: str,
    neuron: tuple[int, ...],
    sample: int,
    step: int,
) -> Arrivals:
    """Return the input of one neuron at the first step at which its sum differs.

    Args:
        graph, other: the networks of ``want`` and ``got``.
        step: the last step to consider; it is returned if no sum differs.

    Raises:
        GraphError: a synapse into it has a kind without rows, or a delay has several values.
    """
    sides = [
        _arriving(network, trace, frames, population, neuron, sample)
        for network, trace in ((graph, want), (other, got))
    ]
    steps = range(step + 1)
    sums = [[sum(int(c.current[t]) for c in side.values()) for t in steps] for side in sides]
    at = next((t for t in steps if sums[0][t] != sums[1][t]), step)
    found = []
    for key in dict.fromkeys((*sides[0], *sides[1])):
        synapse, source, flat, delay = key
        shape = (graph if key in sides[0] else other).facts(source).shape
        one, two = (side.get(key) for side in sides)
        found.append(
            Arrival(
                synapse,
                source,
                tuple(int(i) for i in np.unravel_index(flat, shape)),
                delay,
                (None if one is None else one.weight, None if two is None else two.weight),
                (one.message(at) if one else None, two.message(at) if two else None),
                (int(one.current[at]) if one else 0, int(two.current[at]) if two else 0),
            )
        )
    found.sort(
        key=lambda a: (
            not a.unlike_weights,
            a.current[0] == a.current[1],
            -max(map(abs, a.current)),
        )
    )
    return Arrivals(at, tuple(found))


@dataclass(frozen=True)
class _Connection:
    """One weight, with the ``messages`` and ``current`` through it, (T,)."""

    weight: int
    messages: IntArray
    current: IntArray

    def message(self, step: int) -> int:
        """Return what arrived at a step."""
        return int(self.messages[step])


def _arriving(
    graph: Graph,
    trace: Trace,
    frames: npt.NDArray[Any],
    population: str,
    neuron: tuple[int, ...],
    sample: int,
) -> dict[tuple[str, str, int, int], _Connection]:
    """Return every connection, by synapse, source, flat position in it, and delay."""
    found: dict[tuple[str, str, int, int], _Connection] = {}
    for name in dict.fromkeys(graph[population].inputs):
        row = synapse_row(graph, name, neuron)
        sources = {source for source, _ in row.weight}
        sent = told(graph, trace, frames, sources, slice(sample, sample + 1))
        for (source, flat), weight in row.weight.items():
            delay = row.delay[source, flat]
            messages = np.zeros(graph.steps, np.int64)
            messages[delay:] = sent[source].reshape(graph.steps, -1)[
                : max(0, graph.steps - delay), flat
            ]
            current = (messages * weight) << row.exponent
            found[name, source, flat, delay] = _Connection(weight, messages, current)
    return found
