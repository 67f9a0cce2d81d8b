"""Pass: make inputs that meet equally late. Effect: exact in ideal time; adds relays.

In chip time every synapse costs one step, so a shortcut arrives before the branch it bypasses.
This pass holds what is early in graded relays: the currents that arrive earliest at a dendrite are
summed in a :class:`~neuroport.graph.node.Relay` and sent on through an identity synapse, one step
later, until everything that meets is equally late. Relays are shared: a membrane stream that passes
several blocks becomes one chain of relays, two for a block of two convolutions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Node, Relay, Shape, is_synapse


def balance_skew(graph: Graph) -> Graph:
    """Insert graded relays until the inputs of every node have equal skew."""
    nodes: list[Node] = []
    skew: dict[str, int] = {}
    carried: dict[tuple[str, ...], str] = {}

    def carry(early: tuple[str, ...], consumer: str, shape: Shape) -> str:
        """Name of a current equal to the sum of ``early``, one step later."""
        if early not in carried:
            relay = (
                f"{consumer}.carry{sum(n.name.startswith(f'{consumer}.carry') for n in nodes) // 2}"
            )
            nodes.append(Relay(relay, early))
            nodes.append(identity(f"{relay}.identity", relay, shape))
            carried[early] = nodes[-1].name
            skew[relay] = skew[early[0]]
            skew[nodes[-1].name] = skew[relay] + 1
        return carried[early]

    for node in graph:
        inputs = node.inputs
        while len({skew[name] for name in inputs}) > 1:
            first = min(skew[name] for name in inputs)
            early = tuple(name for name in inputs if skew[name] == first)
            rest = tuple(name for name in inputs if skew[name] != first)
            shape = graph.facts(node.inputs[0]).shape
            if is_synapse(node):  # messages: deliver to a relay of their own, once per source
                held = tuple(_hold(name, shape, nodes, skew) for name in early)
                inputs = (*held, *rest)
            else:
                inputs = (carry(early, node.name, shape), *rest)
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
        skew[node.name] = max((skew[name] for name in inputs), default=0) + is_synapse(node)
    return Graph(nodes, graph.steps)


def _hold(source: str, shape: Shape, nodes: list[Node], skew: dict[str, int]) -> str:
    """Name of messages equal to those of ``source``, one step later."""
    relay = f"{source}.held"
    if relay not in skew:
        nodes.append(identity(f"{relay}.identity", source, shape))
        nodes.append(Relay(relay, (nodes[-1].name,)))
        skew[nodes[-2].name] = skew[relay] = skew[source] + 1
    return relay


def identity(name: str, source: str, shape: Shape) -> Conv | Dense:
    """Synapse that delivers each message unchanged (weight 1, one per neuron)."""
    if len(shape) == 3:
        return Conv(name, (source,), np.ones((shape[0], 1, 1, 1), np.int64), groups=shape[0])
    size = int(np.prod(shape))
    return Dense(name, (source,), np.eye(size, dtype=np.int64))
