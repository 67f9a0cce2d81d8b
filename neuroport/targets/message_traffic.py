"""Count the messages between the cores of a network exactly, for a run.

A message of a neuron goes to every core with a neuron to which it has a nonzero weight, through any
synapse. Neurons of a core that reach the same cores form one *flow*; all counts of a placement
follow from the flows. A delayed message is sent once, like any other. A trace holds messages within
samples. If the interval is longer than a sample, messages between samples are in no trace and are
not counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.node import IntArray, Population, Synapse
from neuroport.runs.frames import check_frames_of
from neuroport.runs.trace import Trace
from neuroport.targets.core_tiles import Tile, box, tiles
from neuroport.targets.population_demands import CONSTANT, rounding
from neuroport.targets.receptive_field import Bools, reaching
from neuroport.targets.resources import Resources

HOST = -1  # where the frames come from: no core
# a synapse and the population behind it
Reader: TypeAlias = tuple[Synapse | Population, str]


@dataclass(frozen=True, slots=True)
class Flow:
    """The ``messages`` of one core over all samples, each sent to every core of ``targets``.

    Cores are numbers of tiles. ``targets`` may contain the source, if its neurons reach each other.
    """

    source: int
    targets: tuple[int, ...]
    messages: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """All messages of a run; ``frames`` are those from the host, None if not given."""

    tiles: tuple[Tile, ...]
    flows: tuple[Flow, ...]
    frames: tuple[Flow, ...] | None
    samples: int


def measure(
    graph: Graph, found: Resources, trace: Trace, frames: npt.NDArray[Any] | None = None
) -> Traffic:
    """Count the messages between the cores of ``found`` on the samples of ``trace``.

    Args:
        found: the placement of ``graph`` on cores.
        trace: messages (T, N, *shape) of every population that has readers.
        frames: frames (T, N, *shape) of that run, to count messages from the host.

    Raises:
        CompareError: the trace belongs to another network or to other frames, or lacks a
            population that sends messages.
        FramesError: the frames do not fit the graph.
    """
    senders = [name for name in _readers(graph) if name != graph.input.name]
    _check(graph, trace, senders)
    sent = {name: trace[name] for name in senders}
    if frames is not None:
        check_frames_of(graph, trace, frames)
        sent[graph.input.name] = frames
    return count(graph, found, sent)


def count(graph: Graph, found: Resources, run: Mapping[str, npt.NDArray[Any]]) -> Traffic:
    """Like :func:`measure`, given the messages (T, N, *shape) of all senders."""
    readers, placed = _readers(graph), tiles(found)
    on: dict[str, list[int]] = defaultdict(list)
    for number, tile in enumerate(placed):
        on[tile.population].append(number)

    def flows_of(name: str) -> tuple[Flow, ...]:
        shape = box(graph.facts(name).shape)
        sent = np.count_nonzero(run[name], axis=(0, 1)).reshape(shape)
        home = np.full(shape, HOST, np.int64)
        for number in on[name]:
            home[placed[number].slices] = number
        reached = []
        for synapse, reader in readers[name]:
            parts = _parts(graph, reader)
            for number in on[reader]:
                where, which = reaching(synapse, shape, placed[number], parts)
                reached.append((number, where, which))
        return tuple(_flows(sent, home, reached))

    steps, samples = next(iter(run.values())).shape[:2]
    inner = tuple(flow for name in readers if name in on for flow in flows_of(name))
    inner += tuple(_constants(graph, found, on, steps * samples))
    outer = flows_of(graph.input.name) if graph.input.name in run else None
    return Traffic(placed, inner, outer, samples)


def _constants(
    graph: Graph, found: Resources, on: Mapping[str, Sequence[int]], steps: int
) -> Iterator[Flow]:
    """Yield the flows from the constant neuron, which fires at every step, to rounding relays."""
    for placed in found.placed:
        if placed.layer.kind == CONSTANT:
            (source,) = on[placed.layer.name]
            targets = sorted(number for name in rounding(graph) for number in on[name])
            yield Flow(source, tuple(targets), steps)


def _readers(graph: Graph) -> dict[str, list[Reader]]:
    """Return the readers of each population and of the input, in the order of the graph."""
    found: dict[str, list[Reader]] = {}
    for node in graph.populations:
        for synapse in graph.synapses_into(node.name):
            for name in synapse.inputs:
                for source, _ in graph.past_delays(name):
                    found.setdefault(source.name, []).append((synapse, node.name))
        if node.own_weight is not None:
            found.setdefault(node.name, []).append((node, node.name))
    order = {node.name: place for place, node in enumerate(graph)}
    return dict(sorted(found.items(), key=lambda item: order[item[0]]))


def _parts(graph: Graph, name: str) -> tuple[int, ...]:
    node, channels = graph[name], box(graph.facts(name).shape)[0]
    currents = node.currents_per_neuron if isinstance(node, Population) else 1
    return tuple(channels * part for part in range(currents))


def _flows(
    sent: IntArray,
    home: IntArray,
    reached: Iterable[tuple[int, tuple[slice, slice, slice], Bools]],
) -> list[Flow]:
    """Group the neurons of one population by their core and the cores that they reach.

    Every neuron starts in the group of its core. Each tile splits the groups into neurons that
    reach it and neurons that do not.
    """
    cores, inverse = np.unique(home, return_inverse=True)
    group = inverse.reshape(home.shape)
    meaning: list[tuple[int, frozenset[int]]] = [(int(core), frozenset()) for core in cores]
    for number, where, which in reached:
        view = group[where]
        old, inverse = np.unique(view[which], return_inverse=True)
        view[which] = len(meaning) + inverse.ravel()
        meaning += [(meaning[one][0], meaning[one][1] | {number}) for one in old]
    counts = np.zeros(len(meaning), np.int64)
    np.add.at(counts, group.ravel(), sent.ravel())
    total: dict[tuple[int, tuple[int, ...]], int] = defaultdict(int)
    for (source, targets), count in zip(meaning, counts.tolist(), strict=True):
        if count and targets:
            total[source, tuple(sorted(targets))] += count
    return [Flow(*key, count) for key, count in sorted(total.items())]


def _check(graph: Graph, trace: Trace, senders: Sequence[str]) -> None:
    """Refuse a trace of another graph, or without a population of ``senders``."""
    made_by = trace.provenance.get("graph", graph.hash)
    if made_by != graph.hash:
        raise CompareError(
            f"the trace is of network {str(made_by)[:12]}, not of {graph.hash[:12]}, which is to "
            "be mapped; run this one (neuroport run) and give its trace"
        )
    for name in senders:
        wanted = (graph.steps, trace.samples, *graph.facts(name).shape)
        if name not in trace.messages:
            raise CompareError(
                f"{name}: the trace lacks it, so its messages cannot be counted; give a trace "
                "of every population (neuroport run NET --frames FRAMES -o TRACE)"
            )
        if trace[name].shape != wanted:
            raise CompareError(
                f"{name}: the trace holds {trace[name].shape}, the graph makes it {wanted}; "
                "give a trace of the network that is to be mapped"
            )
