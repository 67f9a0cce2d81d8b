"""Find synapses whose grid leaves few weight levels, the cause, and the largest loss.

With a stream's LSB, the worst case of all its synapses must fit into 17 bits. The more synapses add
up, the coarser the LSB, and the fewer integers remain for the weights of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import SPIKES
from neuroport.graph.node import Synapse

FEW = 15  # levels of 4 bits, symmetric about 0
NAMED = 4
FINER = 3  # times a bias on a grid twice as fine, with the room that scales leave for training


def levels(largest: int) -> int:
    """Return the number of even integers from ``-largest`` to ``largest``."""
    return largest + 1


def _constant(node: Synapse) -> bool:
    low, high = node.packed("weight").range
    return low == high or (low, high) == (0, 1)


def _largest(node: Synapse) -> int:
    low, high = node.packed("weight").range
    return max(-low, high)


def _zero(node: Synapse) -> bool:
    return node.packed("weight").range == (0, 0)


@dataclass(frozen=True)
class _Stream:
    synapses: frozenset[str]
    readers: frozenset[str]
    reach: int  # range of the summed current at a neuron
    bias: int
    threshold: int
    declared: bool

    @property
    def cause(self) -> str:
        """Return the cause of a coarse LSB, and how to make it finer."""
        if self.declared:  # the reach, which was not seen, binds nothing
            biased = self.bias * FINER > integers.BIAS_MAX
        else:
            biased = self.bias / integers.BIAS_MAX > self.reach / integers.CURRENT_MAX
        if biased:
            return (
                f"a bias of their neurons takes {self.bias} of {integers.BIAS_MAX}: smaller biases "
                "of the norms (weight decay for them) give weights more levels"
            )
        over = self.reach / self.threshold if self.threshold else float("inf")
        if self.declared:
            return (
                f"the {len(self.synapses)} synapses that meet there share a grid of "
                f"{self.threshold} units to a threshold, as fine as frames of the calibration "
                "leave room for (or their lightest synapse needs): smaller weights of the largest "
                "ones (weight decay) give the others more levels"
            )
        return (
            f"the {len(self.synapses)} synapses that meet there can sum to {over:.0f} thresholds, "
            f"{self.reach} of the {integers.CURRENT_MAX} that 17 bits hold: fewer blocks in a "
            "stage, smaller weights of the largest ones (weight decay), or widths that are checked "
            "and not proven (widths='checked'), give weights more levels"
        )


def few_levels(graph: Graph) -> str | None:
    """List the convolutions with fewer than 15 levels, with the cause; None if there are none."""
    # equal weights were not trained: pools, identities, spikes that are passed on
    lost = {  # a stem's were too small for the grid of a later stage
        node.name for node in graph.synapses if graph.input.name in node.inputs and _zero(node)
    }
    convs = [
        node
        for node in graph.synapses
        if node.kernel is not None and (node.name in lost or not _constant(node))
    ]
    largest = {node.name: _largest(node) for node in convs}
    weak = [n for n, most in largest.items() if levels(most) < FEW and (most > 0 or n in lost)]
    if not weak:
        return None
    weak.sort(key=lambda name: largest[name])
    named = ", ".join(f"{name}: {levels(largest[name])}" for name in weak[:NAMED])
    more = f" and {len(weak) - NAMED} more" if len(weak) > NAMED else ""
    stream = next(s for s in _streams(graph) if weak[0] in s.synapses)
    number = f"{len(weak)} of {len(convs)} convolutions have"
    return f"{number} fewer than {FEW} levels of weights ({named}{more}); {stream.cause}"


def limits(
    graph: Graph, names: Iterable[str], options: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return what :func:`largest_loss` needs to know of a graph, for each of its populations.

    ``heard`` are the populations whose differences a population's include, and ``limit`` is what
    limits it and what would help. Both are plain values, so that a shard can hold them.

    Args:
        options: those of quantization that the network does not use, and that help few levels.
    """
    streams = _streams(graph)
    return {
        name: {
            "heard": sorted(_heard(graph, name)),
            "limit": next((_limit(graph, s, options) for s in streams if name in s.readers), ""),
        }
        for name in names
    }


def _limit(graph: Graph, stream: _Stream, options: Sequence[str]) -> str:
    convs = [graph[name] for name in stream.synapses]
    largest = [_largest(node) for node in convs if isinstance(node, Synapse)]
    if levels(min(largest)) < FEW:
        unused = f"; without training, {' and '.join(options)} recover a part" if options else ""
        return f"{stream.cause}{unused}"
    return (
        f"its synapses choose from {levels(min(largest))} levels or more and a threshold "
        f"is {stream.threshold} units: training in the integer phase (quantization.epochs) helps"
    )


def largest_loss(known: Mapping[str, Mapping[str, Any]], shares: Mapping[str, float]) -> str | None:
    """Return the population that adds most differences, what limits it, and what would help.

    A population's differences include those of its source populations, so it adds the part of its
    share beyond the largest of theirs.

    Args:
        known: see :func:`limits`.
        shares: for each population, the share of spikes that only one of the two networks sends.
    """
    added = {
        name: share - max((shares.get(other, 0.0) for other in known[name]["heard"]), default=0.0)
        for name, share in shares.items()
    }
    most = max(added, key=added.__getitem__, default=None)
    if most is None or added[most] <= 0:
        return None
    text = f"{most} adds most: {shares[most]:.1%} of its spikes differ, {added[most]:.1%} by itself"
    limit = known[most]["limit"]
    return f"{text}; {limit}" if limit else text


def _heard(graph: Graph, name: str) -> set[str]:
    """Return spiking populations whose spikes reach a population without another in between."""
    found: set[str] = set()
    todo = list(graph[name].inputs)
    while todo:
        node = graph[todo.pop()]
        if node.emits == SPIKES and node.takes:
            found.add(node.name)
        else:
            todo += node.inputs
    return found


def _streams(graph: Graph) -> list[_Stream]:
    """Return the synapses of a population's stream."""
    joined: list[tuple[set[str], list[str]]] = []
    convs = {node.name for node in graph.synapses if node.kernel is not None}
    for node in graph:
        met = convs.intersection(node.inputs)
        if not met:
            continue
        apart = []
        readers = [node.name]
        for names, others in joined:
            if names.isdisjoint(met):
                apart.append((names, others))
            else:
                met, readers = met | names, others + readers
        joined = [*apart, (met, readers)]
    return [_described(graph, names, readers) for names, readers in joined]


def _described(graph: Graph, names: set[str], readers: list[str]) -> _Stream:
    reach = bias = threshold = 0
    for name in readers:
        facts = graph.facts(name)
        reach = max(reach, int(facts.reach_high.max()), -int(facts.reach_low.min()))
        constants = {field: values for field, _, values in graph[name].constants()}
        if {"bias", "threshold"} <= constants.keys():
            bias = max(bias, int(np.abs(constants["bias"]).max()))
            threshold = max(threshold, int(np.min(constants["threshold"])))
    declared = all(name in graph.checked for name in readers)
    return _Stream(frozenset(names), frozenset(readers), reach, bias, threshold, declared)
