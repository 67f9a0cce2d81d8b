"""Replace constant frames by biases, so that a network runs without input from the host.

A synapse turns a constant frame into a constant current. A neuron whose current decays completely
in a step (``current_decay`` 4096) adds it to its voltage exactly as it adds its bias, so the bias
can include the current, and the synapse can be removed. The bias is always on; the reset at the
start of a sample clears what it accumulated before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import Starts
from neuroport.backends.reference import output
from neuroport.errors import FramesError, IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.integers import BIAS_MAX, DECAY_UNITY
from neuroport.graph.kinds.base import IntArray, Node, per_neuron


def biases(graph: Graph, frames: npt.NDArray[Any]) -> dict[str, IntArray]:
    """Return the bias per neuron, (*shape), of every population that reads the frames.

    Raises:
        FramesError: frames (T, N, *shape) change between steps or samples.
        IllegalError: the current of a population does not decay fully, a bias exceeds 13 bits, or a
            synapse also reads other messages.
    """
    if np.any(frames != frames[:1, :1]):
        raise FramesError(
            "frames change between steps or samples; as biases (frames_by='bias') they must be "
            "one frame, shown at every step of every sample"
        )
    source = graph.input.name
    found: dict[str, IntArray] = {}
    for node in graph.populations:
        fed = [name for name in node.inputs if source in graph[name].inputs]
        if not fed:
            continue
        total = _bias(graph, node)
        for name in fed:
            synapse = graph[name]
            if synapse.inputs != (source,):
                raise IllegalError(f"{name}: takes more than the frames; stream them instead")
            frame = frames[:1, :1].astype(np.int64)
            total = total + output(synapse, frame, Starts(0, 1))[0, 0]
        if np.abs(total).max() > BIAS_MAX:
            raise IllegalError(
                f"{node.name}: the frames as biases reach {np.abs(total).max()}, more than "
                f"{BIAS_MAX}; stream them instead (frames_by='messages')"
            )
        found[node.name] = total
    return found


def _bias(graph: Graph, node: Node) -> IntArray:
    """Return a population's bias without frames."""
    constants = {name: np.atleast_1d(values) for name, _, values in node.constants()}
    kept = int(constants.get("current_decay", np.full(1, DECAY_UNITY)).min()) < DECAY_UNITY
    if kept or "bias" not in constants:
        why = "keeps its current for later steps" if kept else "has no bias"
        raise IllegalError(f"{node.name}: {why}; stream the frames instead (frames_by='messages')")
    return np.array(per_neuron(constants["bias"], graph.facts(node.name).shape), np.int64)
