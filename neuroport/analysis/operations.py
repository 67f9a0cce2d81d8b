"""Count the operations of a run from a graph, its trace and its frames.

A synaptic operation is one nonzero message through one nonzero weight that reaches a neuron before
the sample ends. It is an *accumulate* if the sender can only send 0 and 1, and a
*multiply-accumulate* if its messages are graded. Published estimates for residual spiking networks
omit the multiply-accumulates of membrane shortcuts. Here they have a count of their own: messages
of graded relays through identities and projections, including relays that only round a stream.

All counts are exact; none is scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.operations_per_core import FanIn, fan_ins, own_fan_in, sources, whole
from neuroport.analysis.recorded_outputs import check_trace
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED, Synapse
from neuroport.runs.frames import check_frames_of
from neuroport.runs.trace import Trace, is_readout
from neuroport.targets.population_demands import CONSTANTS, rounding

Sent = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Work:
    """Counts for one sample: means over ``samples``.

    Attributes:
        samples, steps, depth: N and T of the run, and the latency of the last node in steps.
        accumulates: operations of binary messages.
        frame_multiplies: operations of graded frames.
        shortcut_multiplies: operations of messages of graded relays: membrane shortcuts and rounded
        streams.
        other_multiplies: operations of other graded messages, of sigma-delta neurons.
        chip_operations: operations on a chip, where every population has its own copy of its
        synapses: a shared current is computed for each population, twice for one that takes it
        twice, and rounding relays take two constants at every step.
        updates: neuron updates: all neurons times all steps.
        active: updates with a message; the others are ``inactive``.
        spikes, graded: binary and graded messages of populations.
        frames: nonzero values of the frames.
    """

    samples: int
    steps: int
    depth: int
    accumulates: float
    frame_multiplies: float
    shortcut_multiplies: float
    other_multiplies: float
    chip_operations: float
    updates: int
    active: float
    spikes: float
    graded: float
    frames: float

    @property
    def multiplies(self) -> float:
        """All multiply-accumulates."""
        return self.frame_multiplies + self.shortcut_multiplies + self.other_multiplies

    @property
    def inactive(self) -> float:
        """Updates without a message."""
        return self.updates - self.active


def work(graph: Graph, sent: Sent) -> Work:
    """Count the operations of the messages ``sent``, from :func:`messages`, in ``graph``."""
    samples = next(iter(sent.values())).shape[1]
    total = {"accumulates": 0, "frame": 0, "shortcut": 0, "other": 0, "chip": 0}
    for node in graph:
        if isinstance(node, Synapse):
            shape = graph.facts(node.name).shape
            fans = fan_ins(graph, node, shape, whole(shape))
            copies = sum(reader.inputs.count(node.name) for reader in graph.populations)
            for source, delay in sources(graph, node.name):
                found = sum(_total(fan, sent[source], delay) for fan in fans)
                total[_sort(graph, source)] += found
                total["chip"] += found * copies
        elif node.own_weight is not None:
            shape = graph.facts(node.name).shape
            found = _total(own_fan_in(node.own_weight, shape, whole(shape)), sent[node.name], 0)
            total["accumulates"] += found
            total["chip"] += found
    rounds = sum(int(np.prod(graph.facts(name).shape)) for name in rounding(graph))
    total["chip"] += CONSTANTS * rounds * graph.steps * samples
    counts = {name: int(np.count_nonzero(sent[name])) for name in sent}
    binary = {name: n for name, n in counts.items() if not graph.facts(name).graded}
    spikes = sum(n for name, n in binary.items() if name != graph.input.name)
    every = sum(n for name, n in counts.items() if name != graph.input.name)
    neurons = sum(int(np.prod(graph.facts(node.name).shape)) for node in graph.populations)
    return Work(
        samples=samples,
        steps=graph.steps,
        depth=graph.depth,
        accumulates=total["accumulates"] / samples,
        frame_multiplies=total["frame"] / samples,
        shortcut_multiplies=total["shortcut"] / samples,
        other_multiplies=total["other"] / samples,
        chip_operations=total["chip"] / samples,
        updates=neurons * graph.steps,
        active=every / samples,
        spikes=spikes / samples,
        graded=(every - spikes) / samples,
        frames=counts[graph.input.name] / samples,
    )


def messages(graph: Graph, trace: Trace, frames: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the messages of the input and of every population but readouts, (T, N, *shape).

    Raises:
        CompareError: the trace belongs to another network or to other frames, lacks a population,
        or has no messages for each step.
        FramesError: the frames do not fit the graph or the trace.
    """
    check_trace(graph, trace)
    check_frames_of(graph, trace, frames)
    sent = {graph.input.name: frames}
    for node in graph.populations:
        if is_readout(node.kind):
            continue
        if node.name not in trace.messages:
            raise CompareError(
                f"{node.name}: the trace does not hold its messages step by step, so the work "
                "cannot be counted; run the graph again and record the messages of every population"
            )
        found = trace[node.name]
        wanted = (graph.steps, trace.samples, *graph.facts(node.name).shape)
        if found.shape != wanted:
            raise CompareError(
                f"{node.name}: the trace holds {found.shape}, the graph makes it {wanted}; "
                "give the graph that was run"
            )
        sent[node.name] = found
    return sent


def _sort(graph: Graph, source: str) -> str:
    if not graph.facts(source).graded:
        return "accumulates"
    node = graph[source]
    if not node.takes:
        return "frame"
    return "shortcut" if node.emits == GRADED else "other"


def _total(fan: FanIn, sent: npt.NDArray[Any], delay: int) -> int:
    """Return operations over all samples; messages after the end of a sample do not count."""
    heard = sent[: max(0, len(sent) - delay - fan.delay)]
    return int(fan.operations(np.count_nonzero(heard, axis=(0, 1))[None]).sum())
