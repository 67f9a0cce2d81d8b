"""Random networks whose widths are declared, and what an engine says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from neuroport.backends.executor import evaluate
from neuroport.backends.reference import NumpyArithmetic
from neuroport.errors import RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Synapse
from neuroport.runs.trace import Trace
from tests.properties.networks import Case, network

Outcome = dict[str, np.ndarray] | str


def declared(seed: int, small: bool = False) -> Case:
    """The random network of a number, louder, with a width for every population.

    Synapses of every other network are amplified, so that little of it can be proven. A width is
    the widest that may be declared, what the frames reach exactly, or now and then a bit less.
    """
    case = network(8 * seed if small else seed)  # those of eight are few blocks, for Lava
    rng = np.random.default_rng(seed)
    louder = bool(rng.integers(0, 2))
    nodes = [
        node.replace(exponent=min(16, node.exponent + int(rng.integers(0, 4))))
        if louder and isinstance(node, Synapse)
        else node
        for node in case.graph
    ]
    graph = Graph(nodes, case.graph.steps, case.graph.interval)
    seen = currents(graph, case.frames)
    tight, fails = int(rng.integers(0, 3)), int(rng.integers(0, len(seen)))
    checked = {}
    for number, node in enumerate(n for n in graph.populations if n.declarable):
        limit = node.widest_current
        if tight:
            limit = min(limit, max(1, seen[node.name]))
        if tight == 2 and number >= fails:
            limit = max(1, limit - 1 - int(rng.integers(0, 1 + limit // 8)))
        checked[node.name] = limit
    return replace(case, graph=Graph(nodes, graph.steps, graph.interval, checked))


def currents(graph: Graph, frames: np.ndarray) -> dict[str, int]:
    """The largest absolute value that arrives at each population."""
    values, found = {}, {}
    for node, out in evaluate(NumpyArithmetic(), graph, frames, chip=False):
        values[node.name] = out
        if node in graph.populations:
            arriving = sum((values[name] for name in node.inputs), start=np.int64(0))
            found[node.name] = int(np.abs(arriving).max())
    return found


def outcome(run: Callable[[], Trace], graph: Graph) -> Outcome:
    """The messages of the populations of ``graph``, or the error's text."""
    try:
        trace = run()
    except RangeError as error:
        return error.message
    return {node.name: trace[node.name] for node in graph.populations}


def same(a: Outcome, b: Outcome) -> bool:
    """Whether two engines say the same."""
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return all(np.array_equal(a[name], b[name]) for name in a)
