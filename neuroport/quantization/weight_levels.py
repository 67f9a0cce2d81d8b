"""Find synapses whose grid leaves few weight levels, and the cause.

A stream's LSB must let the worst case of all its synapses into 17 bits. The more of them sum, the
coarser it is, and the fewer integers are left for the weights of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import Synapse

FEW = 15  # levels of 4 bits, symmetric about 0
NAMED = 4


def levels(largest: int) -> int:
    """Even integers from ``-largest`` to ``largest``: what weights of that size choose from."""
    return largest + 1


def _constant(node: Synapse) -> bool:
    low, high = int(node.weight.min()), int(node.weight.max())
    return low == high or (low, high) == (0, 1)


def _zero(node: Synapse) -> bool:
    return not node.weight.any()


@dataclass(frozen=True)
class _Stream:
    synapses: frozenset[str]
    reach: int  # of the summed current at a neuron
    bias: int
    threshold: int

    @property
    def cause(self) -> str:
        """The cause of a coarse LSB, and how to make it finer."""
        if self.bias / integers.BIAS_MAX > self.reach / integers.CURRENT_MAX:
            return (
                f"a bias of their neurons takes {self.bias} of {integers.BIAS_MAX}: smaller biases "
                "of the norms (weight decay for them) give weights more levels"
            )
        over = self.reach / self.threshold if self.threshold else float("inf")
        return (
            f"the {len(self.synapses)} synapses that meet there can sum to {over:.0f} thresholds, "
            f"{self.reach} of the {integers.CURRENT_MAX} that 17 bits hold: fewer blocks in a "
            "stage, or smaller weights of the largest ones (weight decay), give weights more levels"
        )


def few_levels(graph: Graph) -> str | None:
    """List the convolutions with fewer than 15 levels, with the cause; None if there are none."""
    # weights that are all the same were not trained: pools, identities, spikes that go straight on
    lost = {  # a stem's were too small for the grid of a later stage
        node.name for node in graph.synapses if graph.input.name in node.inputs and _zero(node)
    }
    convs = [
        node
        for node in graph.synapses
        if node.kernel is not None and (node.name in lost or not _constant(node))
    ]
    largest = {node.name: int(np.abs(node.weight).max()) for node in convs}
    weak = [n for n, most in largest.items() if levels(most) < FEW and (most > 0 or n in lost)]
    if not weak:
        return None
    weak.sort(key=lambda name: largest[name])
    named = ", ".join(f"{name}: {levels(largest[name])}" for name in weak[:NAMED])
    more = f" and {len(weak) - NAMED} more" if len(weak) > NAMED else ""
    stream = next(s for s in _streams(graph) if weak[0] in s.synapses)
    number = f"{len(weak)} of {len(convs)} convolutions have"
    return f"{number} fewer than {FEW} levels of weights ({named}{more}); {stream.cause}"


def _streams(graph: Graph) -> list[_Stream]:
    """Synapses that meet at a population, those that meet one of them included."""
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
    return _Stream(frozenset(names), reach, bias, threshold)
