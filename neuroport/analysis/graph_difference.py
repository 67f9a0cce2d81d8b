"""Find the first difference between two networks: node, field, and value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.node import Node, Synapse
from neuroport.lowering.latency import balance_latency

ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """One field of one node that differs between two networks.

    Attributes:
        node: name of the node; ``graph`` for properties of the graph.
        field: the field, or ``node``, ``kind`` or ``order`` if the nodes themselves differ.
        index: index of the first differing value; None if the field is not an array or the shapes
        differ.
        want, got: the values there.
        count: number of differing values of the field.
    """

    node: str
    field: str
    index: tuple[int, ...] | None
    want: Any
    got: Any
    count: int = 1

    @property
    def place(self) -> str:
        """``node 'conv1', weight[0, 1, 2, 2]``."""
        at = "" if self.index is None else f"[{', '.join(str(i) for i in self.index)}]"
        return f"node {self.node!r}, {self.field}{at}"

    def __str__(self) -> str:
        more = f" ({self.count:,} values differ)" if self.count > 1 else ""
        return f"{self.place}: {_said(self.want)} and {_said(self.got)}{more}"


def _said(value: Any) -> str:
    return "+".join(value) or "nothing" if isinstance(value, tuple) else str(value)


def differences(graph: Graph, other: Graph) -> tuple[Difference, ...]:
    """List all fields in which ``other`` differs from ``graph``, in node order.

    Additions of lowering are not differences; see :func:`alike_lowered`.
    """
    return _differences(*alike_lowered(graph, other)) if graph.hash != other.hash else ()


def alike_lowered(graph: Graph, other: Graph) -> tuple[Graph, Graph]:
    """Return both networks in the same form if only one of them was lowered.

    Either the other network gets relays, too, or both lose the lags that align branches (which have
    no effect in ideal time), whichever leaves fewer differences.
    """
    if graph.balanced == other.balanced:
        return graph, other
    a, b = (g if g.balanced else balance_latency(g) for g in (graph, other))
    return min(((a, b), (_without_lags(graph), _without_lags(other))), key=_unlike)


def _unlike(pair: tuple[Graph, Graph]) -> int:
    return len(_differences(*pair))


def _without_lags(graph: Graph) -> Graph:
    nodes = [n.replace(lag=0) if isinstance(n, Synapse) else n for n in graph]
    return graph.derived(nodes)


def _differences(graph: Graph, other: Graph) -> tuple[Difference, ...]:
    found = [
        Difference("graph", name, None, getattr(graph, name), getattr(other, name))
        for name in ("steps", "interval")
        if getattr(graph, name) != getattr(other, name)
    ]
    theirs = {node.name: node for node in other}
    for node in graph:
        if node.name not in theirs:
            found.append(Difference(node.name, "node", None, node.kind, ABSENT))
        else:
            found += of_nodes(node, theirs[node.name])
    ours = {node.name for node in graph}
    found += [
        Difference(node.name, "node", None, ABSENT, node.kind)
        for node in other
        if node.name not in ours
    ]
    if not found:
        pairs = enumerate(zip(graph, other, strict=True))
        found += [
            Difference(a.name, "order", None, i, i + 1) for i, (a, b) in pairs if a.name != b.name
        ][:1]
    return tuple(found)


def of_nodes(node: Node, other: Node) -> list[Difference]:
    """Return the fields in which two nodes of the same name differ."""
    if type(node) is not type(other):
        return [Difference(node.name, "kind", None, node.kind, other.kind)]
    found = []
    for item in fields(node):
        a, b = getattr(node, item.name), getattr(other, item.name)
        if not isinstance(a, np.ndarray):
            if a != b:
                found.append(Difference(node.name, item.name, None, a, b))
        elif a.shape != b.shape and 1 not in (a.size, b.size):
            found.append(Difference(node.name, item.name, None, str(a.shape), str(b.shape)))
        else:
            a, b = np.broadcast_arrays(a, b)
            places = np.argwhere(a != b)
            if len(places):
                at = tuple(int(i) for i in places[0])
                values = int(a[at]), int(b[at])
                found.append(Difference(node.name, item.name, at, *values, len(places)))
    return found


def with_fields(graph: Graph, other: Graph, chosen: tuple[Difference, ...]) -> Graph:
    """Return ``graph`` with the chosen fields of ``other``.

    Raises:
        GraphError: the result is not a valid graph.
    """
    taken: dict[str, dict[str, Any]] = {}
    for d in chosen:
        taken.setdefault(d.node, {})[d.field] = getattr(other[d.node], d.field)
    nodes = [replace(node, **taken.get(node.name, {})) for node in graph]
    return graph.derived(nodes)
