"""A case in which two runs differ, and the ways to reduce it.

A :class:`Case` has two networks (often the same one) and frames. Both networks are reduced
together, so that the same frames fit both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.cause import ancestors
from neuroport.errors import GraphError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Node, Synapse


@dataclass(frozen=True, eq=False)
class Case:
    """The networks of two runs, and frames (T, N, *shape) for both."""

    graph: Graph
    other: Graph
    frames: npt.NDArray[Any]

    @property
    def one(self) -> bool:
        """Whether both networks are the same."""
        return self.other is self.graph

    def of(self, graph: Graph, other: Graph | None, frames: npt.NDArray[Any]) -> Case:
        return Case(graph, graph if self.one or other is None else other, frames)

    @property
    def size(self) -> tuple[int, int]:
        """Nodes and weights of the larger network."""
        return max(_size(self.graph), _size(self.other))


def _size(graph: Graph) -> tuple[int, int]:
    return len(graph), sum(n.packed("weight").size for n in graph if isinstance(n, Synapse))


def with_samples(case: Case, kept: list[int]) -> Case:
    """Keep only some samples."""
    return replace(case, frames=case.frames[:, kept])


def with_frames(case: Case, frames: npt.NDArray[Any]) -> Case:
    """Replace the frames."""
    return replace(case, frames=frames)


def with_steps(case: Case, kept: list[int]) -> Case:
    """Keep only some steps of every sample, and set the network's number of steps."""
    count = len(kept)

    def cut(graph: Graph) -> Graph:
        return graph.derived(graph, count, graph.interval - graph.steps + count)

    return case.of(cut(case.graph), cut(case.other), case.frames[kept])


def upstream(case: Case, population: str) -> Case:
    """Keep only a population and its predecessors."""

    def cut(graph: Graph) -> Graph:
        kept = ancestors(graph, population)
        return graph.derived([n for n in graph if n.name in kept])

    return case.of(cut(case.graph), cut(case.other), case.frames)


def without_input(case: Case, node: str, name: str, population: str) -> Case:
    """Remove one input of a node before ``population``, and all nodes that only that input needs.

    Raises:
        GraphError: it is the last input, or there is no such input.
    """
    if all(n.name != node or name not in n.inputs for n in case.graph):
        raise GraphError(f"{node}: does not take {name!r}")

    def cut(graph: Graph) -> Graph:
        nodes = [
            n.replace(inputs=tuple(i for i in n.inputs if i != name)) if n.name == node else n
            for n in graph
        ]
        return graph.derived(nodes)

    return upstream(case.of(cut(case.graph), cut(case.other), case.frames), population)


def without_silent_entries(case: Case) -> Case:
    """Remove entries (of a flat input) or channels that no frame uses, and their weights.

    Raises:
        GraphError: a synapse has grouped channels.
    """
    axes = tuple(i for i in range(case.frames.ndim) if i != 2)
    used = np.flatnonzero(case.frames.any(axis=axes))
    used = used if len(used) else np.arange(1)
    each = int(np.prod(case.frames.shape[3:]))
    entry = replace(case.graph.input, shape=(len(used), *case.frames.shape[3:]))

    def cut(graph: Graph) -> Graph:
        nodes: list[Node] = []
        for node in graph:
            if not node.takes:
                node = entry
            elif entry.name in node.inputs:
                if not isinstance(node, Synapse):
                    raise GraphError(f"{node.name}: passes on the input's channels")
                node = node.reading(used, each)
            nodes.append(node)
        return graph.derived(nodes)

    return case.of(cut(case.graph), cut(case.other), case.frames[:, :, used])
