"""A graph of integer nodes; shapes, ranges and latencies are computed once, when it is built.

*Ideal time*: synapses take no time; this defines the network's answer. *Chip time*: each synapse
takes one step. The *latency* of a node in chip time is the longest path to it, counted in synapses.

*Declared widths*: the bound of the current into a population is either proven from the weights or
declared. A declared bound is an assumption that every engine checks at every step
(:mod:`neuroport.graph.declared_widths`). The bounds of later layers assume that it holds, so each
of them is proven as long as the earlier checks succeed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from neuroport.display import Shown, View
from neuroport.errors import GraphError
from neuroport.graph.kinds.base import (
    MESSAGES,
    Facts,
    Node,
    Population,
    Shape,
    Synapse,
    is_array,
)
from neuroport.graph.kinds.delay import Delay
from neuroport.graph.kinds.input import Input
from neuroport.graph.linear_bounds import Box, Budget, LinearMap, Sum, reach

N = TypeVar("N", bound=Node)
FIXED = ("nodes", "steps", "interval", "checked")  # what a graph says of itself


class Graph(Shown):
    """Nodes in topological order, checked and annotated; it never changes afterwards.

    Args:
        nodes: the nodes, each after its inputs.
        steps: number of steps T of a sample; states are reset between samples.
        interval: steps between the starts of two samples in chip time, at least T.
        checked: populations whose widths are declared: name -> the largest ``|current|``. Their
            states are declared to stay within 24 bits.

    Raises:
        GraphError: names the node, the field and a remedy.
    """

    __slots__ = (
        "_checked",
        "_checked_sums",
        "_facts",
        "_hash",
        "_named",
        "interval",
        "nodes",
        "steps",
    )

    def __init__(
        self,
        nodes: Iterable[Node],
        steps: int,
        interval: int | None = None,
        checked: Mapping[str, int] | None = None,
    ) -> None:
        self.nodes: tuple[Node, ...] = tuple(nodes)
        if not isinstance(steps, (int, np.integer)) or not 1 <= steps < 1 << 31:
            raise GraphError(
                f"steps is {steps!r:.100}; a sample lasts a whole number of steps, 1 or more"
            )
        self.steps = int(steps)
        period = self.steps if interval is None else interval
        if type(period) is bool or not isinstance(period, (int, np.integer)) or period < steps:
            raise GraphError(
                f"interval is {interval!r}; samples follow each other every so many whole steps, "
                f"{steps} or more"
            )
        self.interval = int(period)
        self._checked: dict[str, int] = dict(checked or {})
        self._facts: dict[str, Facts] = {}
        self._hash: str | None = None
        linear = _Linear()
        for node in self.nodes:
            if not isinstance(node, Node) or not hasattr(node, "kind"):
                raise GraphError(
                    f"{node!r} is not a node; create one of a kind such as Conv or Lif"
                )
            node.check_types()
            if not node.name or node.name in self._facts:
                raise GraphError(f"node name {node.name!r} is empty or used twice; rename one")
            self._facts[node.name] = linear.narrowed(node, self._derive(node))
        self._named = {node.name: node for node in self.nodes}
        if not self.of(Input):
            raise GraphError("the graph has no input; add an Input node")
        for name, limit in self.checked.items():
            self._check_declared(name, limit)
        alone = {n for node in self.nodes if node.name not in self.checked for n in node.inputs}
        self._checked_sums = {n for name in self.checked for n in self[name].inputs} - alone

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and hasattr(self, name):
            raise GraphError(
                f"{name} of a graph cannot be changed, because its checks and its hash are of what "
                "it was; make another, such as Graph(nodes, steps, interval, checked)"
            )
        super().__setattr__(name, value)

    @property
    def checked(self) -> Mapping[str, int]:
        """Populations whose widths are declared: name -> the largest ``|current|``."""
        return MappingProxyType(self._checked)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        if name not in self._named:
            raise GraphError(f"the graph has no node {name!r:.100}; print it to see its nodes")
        return self._named[name]

    def __str__(self) -> str:
        """One line per node, in a stable form, so that graphs can be compared with diff."""
        interval = f" interval={self.interval}" if self.interval != self.steps else ""
        checked = f" checked={len(self.checked)}, not proven" if self.checked else ""
        lines = [
            f"graph {self.hash[:12]} steps={self.steps}{interval} nodes={len(self)} "
            f"depth={self.depth}{checked}"
        ]
        width = max(len(node.name) for node in self)
        kinds = max(8, *(len(node.kind) + 1 for node in self))
        for node in self:
            facts = self.facts(node.name)
            shape = "x".join(str(n) for n in facts.shape)
            source = f" <- {' + '.join(node.inputs)}" if node.inputs else ""
            lines.append(
                f"{node.kind:{kinds}}{node.name:{width}}  {shape:10} @{facts.latency:<3} "
                f"{node.text()}{source}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<{self._headline()}>"

    def _headline(self) -> str:
        return (
            f"Graph {self.hash[:12]}: {len(self)} nodes, samples of {self.steps} steps, depth "
            f"{self.depth}" + (f"; {self.widths}" if self.checked else "")
        )

    @property
    def widths(self) -> str:
        """Describe why currents and states stay within their widths."""
        if not self.checked:
            return "widths proven"
        return (
            f"widths of {len(self.checked)} of {len(self.populations)} populations checked, not "
            "proven"
        )

    def is_declared(self, name: str) -> bool:
        """Whether a population's widths are declared, or a node sends only to such populations."""
        return name in self.checked or name in self._checked_sums

    def derived(
        self, nodes: Iterable[Node], steps: int | None = None, interval: int | None = None
    ) -> Graph:
        """Return a graph of nodes derived from this graph's nodes; declarations are kept.

        The width of an added relay is declared if its sum cannot be proven to fit 24 bits.
        """
        nodes = tuple(nodes)
        steps = self.steps if steps is None else steps
        interval = self.interval if interval is None else interval
        names = {node.name for node in nodes}
        kept = {name: limit for name, limit in self.checked.items() if name in names}
        while True:
            graph = Graph(nodes, steps, interval, kept)
            if not self.checked:
                return graph
            more = {
                node.name: node.widest_current
                for node in graph.populations
                if node.name not in self._named
                and node.name not in kept
                and node.declarable
                and not node.proves_current
                and graph.facts(node.name).worst > node.widest_current
            }
            if not more:
                return graph
            kept |= more

    def view(self) -> View:
        columns = ("node", "kind", "shape", "at step", "what", "reads")
        rows = [
            (
                node.name,
                node.kind,
                "x".join(map(str, self.facts(node.name).shape)),
                str(self.facts(node.name).latency),
                node.text(),
                " + ".join(node.inputs),
            )
            for node in self
        ]
        return View(self._headline(), columns, rows)

    def expect(self, name: str, kind: type[N]) -> N:
        """Return the node ``name`` of a required kind.

        Raises:
            GraphError: the node has another kind.
        """
        node = self._named[name]
        if not isinstance(node, kind):
            raise GraphError(f"{name}: is a {node.kind}, where a {kind.kind} is expected")
        return node

    def facts(self, name: str) -> Facts:
        """Return a node's shape, signal (``wire``), latency and value interval."""
        return self._facts[name]

    @property
    def input(self) -> Input:
        """The one input of the graph."""
        inputs = self.of(Input)
        if len(inputs) != 1:
            raise GraphError(f"{len(inputs)} inputs; neuroport runs graphs with exactly one")
        return inputs[0]

    def of(self, kind: type[N]) -> tuple[N, ...]:
        """Return the nodes of a kind or of a base class such as Synapse, in order."""
        return tuple(node for node in self.nodes if isinstance(node, kind))

    @property
    def populations(self) -> tuple[Population, ...]:
        """Every node that a trace records: neurons, relays and readouts."""
        return self.of(Population)

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """Every node that delivers a current."""
        return self.of(Synapse)

    def synapses_into(self, name: str) -> tuple[Synapse, ...]:
        """Return the synapses whose currents a population sums."""
        return tuple(node for n in self[name].inputs if isinstance(node := self[n], Synapse))

    def past_delays(self, name: str, steps: int = 0) -> Iterator[tuple[Node, int]]:
        """Return the populations and inputs whose messages a node forwards, with their delays.

        Any node but a delay forwards only its own messages, without delay.
        """
        node = self[name]
        if not isinstance(node, Delay):
            yield node, steps
            return
        for source in node.inputs:
            yield from self.past_delays(source, steps + node.steps)

    @property
    def depth(self) -> int:
        """The largest latency: steps in chip time from the first frame to the last output."""
        return max(facts.latency for facts in self._facts.values())

    @property
    def balanced(self) -> bool:
        """Whether the inputs of each node have equal latency, as needed in chip time."""
        return all(len(set(facts.input_latencies)) <= 1 for facts in self._facts.values())

    @property
    def hash(self) -> str:
        """SHA-256 over every node, field and weight: equal hashes mean the same network."""
        if self._hash is None:
            digest = hashlib.sha256(f"steps={self.steps}|interval={self.interval}".encode())
            for name in sorted(self.checked):
                digest.update(f"|checked {name!r}={self.checked[name]}".encode())
            for node in self.nodes:
                digest.update(f"|{node.kind}".encode())
                for item in fields(node):
                    if is_array(item):
                        array = node.packed(item.name)
                        digest.update(f"|{item.name}={array.shape}".encode())
                        for _, rows in array.rows():  # as integers of 64 bits, however held
                            digest.update(np.ascontiguousarray(rows, "<i8").data)
                    else:
                        digest.update(f"|{item.name}={getattr(node, item.name)!r}".encode())
            self._hash = digest.hexdigest()
        return self._hash

    # -- derivation ------------------------------------------------------------------------

    def _derive(self, node: Node) -> Facts:
        if not node.takes:
            none = np.zeros(0, np.int64)
            shape, low, high = node.infer((), none, none)
            return Facts(shape, node.gives, 0, (), low, high, low, high)
        sources = [self._source(node, name) for name in node.inputs]
        if not sources:
            raise GraphError(f"{node.name}: inputs is empty; name at least one node")
        for name, source in zip(node.inputs, sources, strict=True):
            if source.wire != node.takes:
                raise GraphError(
                    f"{node.name}: takes {node.takes}, but input {name!r} gives {source.wire}; put "
                    f"a {'relay or neuron' if node.takes == MESSAGES else 'synapse'} between them"
                )
            if source.shape != sources[0].shape:
                raise GraphError(
                    f"{node.name}: inputs are summed but {node.inputs[0]!r} is "
                    f"{sources[0].shape} and {name!r} is {source.shape}; make the shapes equal"
                )
        reach_low = reduce(np.add, [s.low for s in sources])  # of one source its own array
        reach_high = reduce(np.add, [s.high for s in sources])
        latencies = tuple(s.latency for s in sources)
        limit = self.checked.get(node.name)
        if limit is None:
            shape, low, high = node.infer(sources[0].shape, reach_low, reach_high)
        else:
            within = np.maximum(reach_low, -limit), np.minimum(reach_high, limit)
            shape, low, high = node.infer(sources[0].shape, *within)
        latency = max(latencies) + node.latency
        return Facts(shape, node.gives, latency, latencies, low, high, reach_low, reach_high)

    def _check_declared(self, name: str, limit: object) -> None:
        """Refuse a declaration that engines cannot check.

        Raises:
            GraphError: names the population.
        """
        node = self._named.get(name)
        if not isinstance(node, Population) or not node.declarable:
            kind = "no population of the graph" if node is None else f"a {node.kind}"
            raise GraphError(f"{name}: is {kind}, whose widths cannot be declared; leave it out")
        if type(limit) is not int or not 1 <= limit <= node.widest_current:
            raise GraphError(
                f"{name}: its current is declared to stay within {limit!r}; use 1 to "
                f"{node.widest_current}"
            )

    def _source(self, node: Node, name: str) -> Facts:
        if name not in self._facts:
            raise GraphError(
                f"{node.name}: input {name!r} is not a node before it; "
                "order nodes so that inputs come first, and do not form cycles"
            )
        return self._facts[name]


class _Linear:
    """The nodes of a graph as linear maps, for deriving bounds."""

    def __init__(self) -> None:
        self.currents: dict[str, LinearMap] = {}
        self.messages: dict[str, Box] = {}
        self.shapes: dict[str, Shape] = {}
        self.budget = Budget()

    def narrowed(self, node: Node, facts: Facts) -> Facts:
        """Return the facts with the narrower range that follows from the linear map to the node."""
        self.shapes[node.name] = facts.shape
        if facts.wire == MESSAGES:
            self.messages[node.name] = self._sent(node, facts)
        if not isinstance(node, Synapse):
            return facts
        messages = tuple(self.messages[name] for name in node.inputs)
        current = node.as_current(messages, self.shapes[node.inputs[0]])
        if current is None:
            return facts
        self.currents[node.name] = current
        self.budget.earn(node.packed("weight").size)
        if current.groups > 1 or not any(isinstance(message, Sum) for message in messages):
            return facts
        low, high = reach(current, self.budget)  # currents are whole numbers within
        low, high = np.maximum(np.ceil(low), facts.low), np.minimum(np.floor(high), facts.high)
        return replace(facts, low=low.astype(np.int64), high=high.astype(np.int64))

    def _sent(self, node: Node, facts: Facts) -> Box:
        if isinstance(node, Population) and all(name in self.currents for name in node.inputs):
            currents = tuple(self.currents[name] for name in node.inputs)
            if any(current.mixes for current in currents):
                return node.as_sum(currents, facts.low, facts.high)
        return Box(facts.low, facts.high)
