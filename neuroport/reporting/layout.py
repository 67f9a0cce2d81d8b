"""Lay out the populations of a network: rows by latency, lanes beside a main branch.

The main branch is the path from an input with the most neurons, then with the most weights;
shortcuts have fewer. Everything else is in as few lanes beside it as possible.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED, POTENTIAL, SPIKES, Synapse


@dataclass(frozen=True, slots=True)
class Edge:
    """One synapse between two populations.

    ``kind`` is ``main`` on the main branch, ``shortcut`` if the edge bypasses neurons (it touches a
    relay, or skips over the main branch), else ``branch``. ``lane`` is its lane.
    """

    source: str
    synapse: str
    target: str
    kind: str
    lane: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of populations and edges.

    Attributes:
        main: names on the main branch, in order.
        lanes: population -> 0 for the main branch, 1, 2, ... beside it.
        bands: latency -> populations of that latency, main branch first.
        edges: all synapses between populations.
    """

    main: tuple[str, ...]
    lanes: dict[str, int]
    bands: dict[int, tuple[str, ...]]
    edges: tuple[Edge, ...]


def layout(graph: Graph) -> Layout:
    """Lay out every population and input of ``graph``."""
    populations = [node.name for node in graph if not isinstance(node, Synapse)]
    links = [
        (source, synapse, name)
        for name in populations
        for synapse in graph[name].inputs
        for source in graph[synapse].inputs
    ]
    main = _main_branch(graph, populations, links)
    spine = set(pairwise(main))
    lanes, edge_lanes = _lanes(graph, populations, links, set(main))
    edges = []
    passed: set[tuple[str, str]] = set()
    for (source, synapse, target), lane in zip(links, edge_lanes, strict=True):
        if (source, target) in spine and (source, target) not in passed:
            passed.add((source, target))
            kind, lane = "main", 0
        else:
            kind = _kind(graph, source, target, set(main))
        edges.append(Edge(source, synapse, target, kind, lane))
    bands: dict[int, list[str]] = defaultdict(list)
    for name in sorted(populations, key=lambda name: lanes[name]):
        bands[graph.facts(name).latency].append(name)
    return Layout(main, lanes, {k: tuple(bands[k]) for k in sorted(bands)}, tuple(edges))


def _main_branch(
    graph: Graph, populations: list[str], links: list[tuple[str, str, str]]
) -> tuple[str, ...]:
    """Return the names on the path with the most neurons, then the most weights."""
    score: dict[str, tuple[int, int]] = {}
    before: dict[str, str] = {}
    incoming: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, synapse, target in links:
        incoming[target].append((source, synapse))
    for name in populations:
        best = (0, 0)
        for source, synapse in incoming[name]:
            node = graph[synapse]
            assert isinstance(node, Synapse)
            neurons, weights = score[source]
            candidate = (neurons, weights + node.packed("weight").size)
            if candidate > best:
                best, before[name] = candidate, source
        score[name] = (best[0] + (graph[name].emits == SPIKES), best[1])
    ends = [n for n in populations if graph[n].gives == POTENTIAL] or populations
    path = [max(ends, key=lambda name: score[name])]
    while path[-1] in before:
        path.append(before[path[-1]])
    return tuple(reversed(path))


def _kind(graph: Graph, source: str, target: str, main: set[str]) -> str:
    off_main = [name for name in (source, target) if name not in main]
    if off_main and all(graph[name].emits != GRADED for name in off_main):
        return "branch"
    return "shortcut"


def _lanes(
    graph: Graph, populations: list[str], links: list[tuple[str, str, str]], main: set[str]
) -> tuple[dict[str, int], list[int]]:
    """Return lanes of populations and of links; a lane has one of them at each latency."""
    latency = {name: graph.facts(name).latency for name in populations}
    taken: dict[int, dict[int, str]] = defaultdict(dict)  # lane -> latency -> who stands there

    def claim(owner: str, first: int, last: int, wanted: int | None = None) -> int:
        """Return the first lane free from ``first`` to ``last``, preferring ``wanted``."""
        span = range(first, last + 1)
        lane = wanted or 1
        if wanted is None or any(s in taken[wanted] for s in span):
            lane = 1
            while any(s in taken[lane] for s in span):
                lane += 1
        taken[lane].update(dict.fromkeys(span, owner))
        return lane

    lanes: dict[str, int] = {}
    for name in populations:
        if name in main:
            lanes[name] = 0
            continue
        # A chain of relays stays in one lane as long as nothing else stands there.
        sources = [s for s, _, target in links if target == name and lanes[s] > 0]
        lanes[name] = claim(
            name, latency[name], latency[name], lanes[sources[0]] if sources else None
        )
    # One synapse that reaches far travels in one lane, however many populations it ends at.
    reach: dict[tuple[str, str], int] = defaultdict(int)
    for source, synapse, target in links:
        reach[source, synapse] = max(reach[source, synapse], latency[target] - 1)
    trunks = {
        (source, synapse): claim(synapse, latency[source] + 1, last, lanes[source] or None)
        for (source, synapse), last in reach.items()
        if last > latency[source]
    }
    return lanes, [
        trunks[source, synapse] if latency[target] > latency[source] + 1 else lanes[target]
        for source, synapse, target in links
    ]
