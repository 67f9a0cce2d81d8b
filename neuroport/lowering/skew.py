"""Pass: make inputs that meet equally late. Effect: exact in ideal time; adds relays.

In chip time every synapse costs one step, so a shortcut arrives before the branch it bypasses.
This pass holds what is early in graded relays: the currents that arrive earliest at a dendrite are
summed in a :class:`~neuroport.graph.node.Relay` and sent on through an identity synapse, one step
later, until everything that meets is equally late. Relays are shared: a membrane stream that passes
several blocks becomes one chain of relays, two for a block of two convolutions.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Node, Relay, Shape, is_synapse


def balance_skew(graph: Graph) -> Graph:
    """Insert graded relays until the inputs of every node have equal skew."""
    nodes: list[Node] = []
    skew: dict[str, int] = {}
    carried: dict[tuple[str, ...], str] = {}  # currents -> their sum, one step later
    held: dict[str, str] = {}  # messages -> the same, one step later
    names = {node.name for node in graph}

    def fresh(name: str) -> str:
        variants = chain([name], (f"{name}~{k}" for k in count(2)))
        free = next(variant for variant in variants if variant not in names)
        names.add(free)
        return free

    def add(node: Node, late: int) -> str:
        nodes.append(node)
        skew[node.name] = late
        return node.name

    def carry(early: tuple[str, ...], consumer: str, shape: Shape) -> str:
        """Name of a current equal to the sum of ``early``, one step later."""
        if early not in carried:
            number = sum(name.startswith(f"{consumer}.carry") for name in carried.values())
            relay = add(Relay(fresh(f"{consumer}.carry{number}"), early), skew[early[0]])
            delivery = identity(fresh(f"{relay}.identity"), relay, shape)
            carried[early] = add(delivery, skew[relay] + 1)
        return carried[early]

    def hold(source: str, shape: Shape) -> str:
        """Name of messages equal to those of ``source``, one step later."""
        if source not in held:
            relay = fresh(f"{source}.held")
            delivery = add(identity(fresh(f"{relay}.identity"), source, shape), skew[source] + 1)
            held[source] = add(Relay(relay, (delivery,)), skew[source] + 1)
        return held[source]

    for node in graph:
        inputs = node.inputs
        while len({skew[name] for name in inputs}) > 1:
            first = min(skew[name] for name in inputs)
            early = tuple(name for name in inputs if skew[name] == first)
            rest = tuple(name for name in inputs if skew[name] != first)
            shape = graph.facts(node.inputs[0]).shape
            if is_synapse(node):
                inputs = (*(hold(name, shape) for name in early), *rest)
            else:
                inputs = (carry(early, node.name, shape), *rest)
        late = max((skew[name] for name in inputs), default=0) + is_synapse(node)
        add(node if inputs == node.inputs else replace(node, inputs=inputs), late)
    return Graph(nodes, graph.steps, graph.interval)


def identity(name: str, source: str, shape: Shape) -> Conv | Dense:
    """Synapse that delivers each message unchanged (weight 1, one per neuron)."""
    if len(shape) == 3:
        return Conv(name, (source,), np.ones((shape[0], 1, 1, 1), np.int64), groups=shape[0])
    size = int(np.prod(shape))
    return Dense(name, (source,), np.eye(size, dtype=np.int64))
