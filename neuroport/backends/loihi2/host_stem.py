"""Compute the stem on the host: the network on the chip begins after the stem's rounding relay.

Networks that read pixels begin with a convolution of graded frames and a relay that rounds its
output. On a chip the relay is Lava's ``ProdNeuron``, whose widths are not published. Neither has a
state, so the host can compute both exactly as the reference does, and send the relay's messages as
graded frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import evaluate
from neuroport.backends.reference import NumpyArithmetic
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED, Node, Synapse
from neuroport.graph.node_builders import input_for
from neuroport.runs.frames import check_frames


def hosted(graph: Graph, frames: npt.NDArray[Any]) -> tuple[Graph, npt.NDArray[np.int32]]:
    """Return the network after its first relay, and its frames: the relay's messages.

    Args:
        graph: the graph before lowering, so that the stem takes no steps.
        frames: (T, N, *shape) for the complete network.

    Returns:
        A graph whose input has the relay's name, and its frames (T, N, *relay's shape). All its
        populations send the same messages as in ``graph``.

    Raises:
        IllegalError: there is no relay through which all other nodes read the frames, or its
            messages exceed the range of the chip's inputs.
        FramesError: the frames do not fit.
    """
    relay = _stem(graph)
    check_frames(graph, frames)
    given = evaluate(NumpyArithmetic(), graph, frames, chip=False)
    sent = next(out for node, out in given if node.name == relay.name).astype(np.int32)
    facts = graph.facts(relay.name)
    kept = list(graph)[list(graph).index(relay) + 1 :]
    source = input_for(relay.name, facts.shape, int(facts.low.min()), int(facts.high.max()))
    return graph.derived([source, *kept]), sent


def _stem(graph: Graph) -> Node:
    """Return the relay after which no node reads anything before it."""
    before: set[str] = set()
    for index, node in enumerate(graph):
        if node.emits == GRADED and node.takes:
            others = list(graph)[index + 1 :]
            if not any(before.intersection(other.inputs) for other in others):
                return node
        elif node.takes and not isinstance(node, Synapse):
            break
        before.add(node.name)
    raise IllegalError(
        "no relay stands between the frames and all neurons, so that the host cannot compute "
        "the stem; run the complete network"
    )
