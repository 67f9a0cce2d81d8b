"""Compute NeuroBench's metrics of a run from a graph, its trace and its frames.

Names and definitions are those of the package ``neurobench`` 2.3.0, and the numbers are equal on
the same network (tests/unit/analysis/test_neurobench.py). They differ from the exact counts of
:mod:`neuroport.analysis.operations`:

* A layer's input is *binary* if it contains only -1, 0 and 1. This is decided in every call, for
each step and batch. A graded stream with small values therefore counts as accumulates, and the
split depends on the batch size. ``work`` considers all values that a sender can send.
* Inputs of a synapse are added before they are counted: two simultaneous spikes are one
multiply-accumulate, not two accumulates.
* Pooling and normalisation are separate layers and are not counted, and the output of average
pooling is graded. Here, both were folded into weights when the network was captured: the
convolution after an average of 2x2 takes spikes, with larger kernels.
* Relays and copies of synapses that ``lower`` adds are counted like any synapse. To compare with
other networks, use the graph of ``quantize``, which lacks them.
* The package sums in the type of the weights: float32 sums above 2**24 are rounded.

Borders of convolutions are exact in both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.operations import Sent, messages
from neuroport.analysis.operations_per_core import FanIn, fan_ins, own_fan_in, sources, whole
from neuroport.arguments import as_array, is_graph, is_trace, takes, whole_number
from neuroport.backends.executor import Starts
from neuroport.backends.reference import delayed, output, own, states
from neuroport.errors import CompareError, FramesError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import SPIKES, IntArray, Synapse, is_array, per_neuron
from neuroport.runs.trace import Trace, is_spiking

# Bytes that hold a value on a chip: weights of 8 bits, biases of 13 and 3, thresholds of 17, decays
# and rotations of 12, delays of 6; any other constant takes the width of a state.
BYTES = {"weight": 1, "delay": 1, "bias": 2, "threshold": 4, "sin": 2, "cos": 2}
DECAY_BYTES, STATE_BYTES = 2, 4
MEMBRANE = "v"  # the state whose updates count
_BATCH = 32  # samples whose membranes are computed side by side: memory, never results


@dataclass(frozen=True, slots=True)
class NeuroBench:
    """NeuroBench's complexity metrics; operations and updates are means per sample.

    Attributes:
        footprint: bytes of all weights, including zeros, and of the neurons' constants, as stored
        on a chip (``BYTES``). The package multiplies each parameter and buffer of a torch module
        with its element size, 4 for float32; it also omits states.
        connection_sparsity: share of zero weights; a kernel counts once. The package rounds to four
        decimals.
        activation_sparsity: share of zeros in the outputs of firing neurons, over all steps and
        samples.
        synaptic_operations: ``Effective_ACs`` and ``Effective_MACs``, pairs of nonzero weights and
        nonzero inputs for binary and other inputs, and ``Dense``, the number if no weight or input
        were zero.
        membrane_updates: updates of spiking neurons with a membrane potential: all in a sample's
        first step, later those whose potential changed, after resets.
    """

    footprint: int
    connection_sparsity: float
    activation_sparsity: float
    synaptic_operations: dict[str, float]
    membrane_updates: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@takes(graph=is_graph, trace=is_trace, frames=as_array, batch=whole_number(1, FramesError))
def neurobench(
    graph: Graph, trace: Trace, frames: npt.NDArray[Any], *, batch: int | None = None
) -> NeuroBench:
    """Compute NeuroBench's metrics.

    Args:
        graph: the network of the run.
        trace: messages (T, N, *shape) of all its populations.
        frames: frames (T, N, *shape) of that run.
        batch: number of samples given to the package at once; all by default.

    Raises:
        CompareError: the trace belongs to another network or to other frames, lacks messages, or
        does not match the graph.
        FramesError: the frames do not fit.
    """
    sent = messages(graph, trace, frames)
    samples = frames.shape[1]
    own = (n.own_weight for n in graph.populations)
    weights = [node.packed("weight").nonzero() for node in graph.synapses]
    weights += [weight != 0 for weight in own if weight is not None]
    firing = [trace[n.name] for n in graph.populations if is_spiking(n.kind)]
    outputs = sum(array.size for array in firing)
    return NeuroBench(
        footprint=footprint(graph),
        connection_sparsity=_sparsity(weights),
        activation_sparsity=_sparsity(firing) if outputs else 0.0,
        synaptic_operations=_operations(graph, sent, batch or samples),
        membrane_updates=_membrane_updates(graph, sent, trace) / samples,
    )


def footprint(graph: Graph) -> int:
    """Return the bytes of all arrays of the graph, including zeros."""
    return sum(
        bytes_of(item.name) * node.packed(item.name).size
        for node in graph
        for item in fields(node)
        if is_array(item)
    )


def bytes_of(name: str) -> int:
    """Return the bytes per value of a node's field."""
    return DECAY_BYTES if name.endswith("_decay") else BYTES.get(name, STATE_BYTES)


def _sparsity(arrays: list[Any]) -> float:
    nonzero = sum(int(np.count_nonzero(array)) for array in arrays)
    return 1 - nonzero / sum(int(array.size) for array in arrays)


def _operations(graph: Graph, sent: Sent, batch: int) -> dict[str, float]:
    found = {"Effective_ACs": 0, "Effective_MACs": 0, "Dense": 0}
    samples = sent[graph.input.name].shape[1]
    for node in graph:
        if isinstance(node, Synapse):
            shape = graph.facts(node.name).shape
            fans = fan_ins(graph, node, shape, whole(shape))
            dense = fan_ins(graph, node, shape, whole(shape), dense=True)
            every = sum(fan.operations(np.ones((1, *fan.shape))).item() for fan in dense)
        elif node.own_weight is not None:
            shape = graph.facts(node.name).shape
            fans, every = [own_fan_in(node.own_weight, shape, whole(shape))], node.own_weight.size
        else:
            continue
        found["Dense"] += int(every) * graph.steps * samples
        for first in range(0, samples, batch):
            part = slice(first, first + batch)
            if node.own_weight is not None:
                heard = sent[node.name][:, part].astype(np.int64)
            else:
                heard = _arriving(graph, sent, node.name, part)
            for fan in fans:
                accumulates, multiplies = _split(fan, heard)
                found["Effective_ACs"] += accumulates
                found["Effective_MACs"] += multiplies
    return {name: count / samples for name, count in found.items()}


def _split(fan: FanIn, heard: IntArray) -> tuple[int, int]:
    """Return accumulates and multiply-accumulates of one batch (T, N, *shape)."""
    heard = delayed(heard, fan.delay, Starts(0, len(heard)))
    binary = (np.abs(heard) <= 1).reshape(len(heard), -1).all(axis=1)
    each = fan.operations(np.count_nonzero(heard, axis=1)).sum(axis=1)
    return int(each[binary].sum()), int(each[~binary].sum())


def _arriving(graph: Graph, sent: Sent, name: str, part: slice) -> IntArray:
    """Return the sum of messages into a node, (T, N, *shape), with delays."""
    starts = Starts(0, graph.steps)
    held = (
        delayed(sent[source][:, part].astype(np.int64), steps, starts)
        for source, steps in sources(graph, name)
    )
    return np.asarray(sum(held))


def _membrane_updates(graph: Graph, sent: Sent, trace: Trace) -> int:
    """Count updates over all samples, with membranes recomputed from the trace."""
    total = 0
    starts = Starts(0, graph.steps)
    for node in graph.populations:
        if node.emits != SPIKES or MEMBRANE not in node.states:
            continue
        for first in range(0, trace.samples, _BATCH):
            part = slice(first, first + _BATCH)
            current = sum(
                output(graph[name], _arriving(graph, sent, name, part), starts)
                for name in node.inputs
            )
            found = states(node, np.asarray(current), starts)
            if not np.array_equal(found["sent"] != 0, trace[node.name][:, part]):
                raise CompareError(
                    f"{node.name}: the trace is not what the graph does on these messages; compare "
                    "it with a run of the reference first"
                )
            before = tuple(found[name] for name in node.states)
            constants = node.setup(tuple(np.shape(current)[2:]), per_neuron, own)
            after = node.settle(constants, before, found["sent"])[node.states.index(MEMBRANE)]
            total += after[0].size + int(np.count_nonzero(after[1:] != after[:-1]))
    return total
