"""Pass: carry shortcuts in graded relays. Effect: exact in ideal time; adds relays.

In chip time every synapse costs one step, so a shortcut arrives before the branch it bypasses.
This pass holds early currents: those that arrive earliest at a dendrite are summed in a
:class:`~neuroport.graph.node.Relay` and sent on through an identity synapse until all inputs that
meet have equal latency. Relays are shared: a membrane stream that passes several blocks becomes one
chain of them. Messages that meet at a synapse are held by relays of their own.

An identity synapse takes one step (``align="relays"``: a chain of relays, two for a block of two
convolutions) or, as a synapse with a lag, as many as are needed (``align="delays"``).
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, count

from neuroport.deprecated import moved
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Node, Population, Shape, Synapse
from neuroport.graph.node_builders import identity, relay

ALIGNMENTS = ("relays", "delays")

__getattr__ = moved(__name__, {"balance_skew": "neuroport.lowering.latency:balance_latency"})


class Schedule:
    """The nodes of a graph during lowering, their latencies, and the messages delayed by relays.

    Args:
        most: largest number of nodes.

    Raises:
        IllegalError: more nodes would be needed.
    """

    def __init__(self, graph: Graph, align: str, most: int | None = None) -> None:
        self.graph = graph
        self.most = most
        self.delays = align == "delays"
        self.nodes: list[Node] = []
        self.latency: dict[str, int] = {}
        self._names = {node.name for node in graph}
        self._held: dict[tuple[str, int], str] = {}

    def fresh(self, name: str) -> str:
        """Return ``name``, or a variant of it that no node has."""
        variants = chain([name], (f"{name}~{k}" for k in count(2)))
        free = next(variant for variant in variants if variant not in self._names)
        self._names.add(free)
        return free

    def add(self, node: Node) -> str:
        """Append a node whose inputs have equal latency."""
        late = max((self.latency[name] for name in node.inputs), default=0)
        if self.most is not None and len(self.nodes) >= self.most:
            raise IllegalError(
                f"takes more than {self.most:,} processes, several times those of another way; "
                "ask for this carrier and alignment by name to have it"
            )
        self.nodes.append(node)
        self.latency[node.name] = late + (1 + node.lag if isinstance(node, Synapse) else 0)
        return node.name

    def hold(self, source: str, until: int, shape: Shape) -> str:
        """Return the name of a node that sends the messages of ``source`` at latency ``until``."""
        late = until - self.latency[source]
        if late == 0:
            return source
        step = late if self.delays else 1
        if (source, step) not in self._held:
            held = self.fresh(f"{source}.held")
            name = self.fresh(f"{held}.identity")
            delivery = self.add(identity(name, source, shape, lag=step - 1))
            self._held[source, step] = self.add(relay(held, (delivery,)))
        return self.hold(self._held[source, step], until, shape)

    def finish(self) -> Graph:
        """Return the lowered graph."""
        return self.graph.derived(self.nodes)


def balance_latency(graph: Graph, align: str = "relays") -> Graph:
    """Insert graded relays until the inputs of every node have equal latency."""
    plan = Schedule(graph, align)
    carried: dict[tuple[tuple[str, ...], int], str] = {}  # currents -> their sum, later
    numbers: Counter[str] = Counter()  # consumer -> relays made for it

    def carry(early: tuple[str, ...], later: int, consumer: str, shape: Shape) -> str:
        """Return the name of a current that equals the sum of ``early``, ``later`` steps later."""
        if (early, later) not in carried:
            carrying = plan.add(relay(plan.fresh(f"{consumer}.carry{numbers[consumer]}"), early))
            numbers[consumer] += 1
            name = plan.fresh(f"{carrying}.identity")
            delivery = identity(name, carrying, shape, lag=later - 1)
            carried[early, later] = plan.add(delivery)
        return carried[early, later]

    for node in graph:
        inputs = node.inputs
        latencies = {plan.latency[name] for name in inputs}
        while len(latencies) > 1:
            first, *following = sorted(latencies)
            early = tuple(name for name in inputs if plan.latency[name] == first)
            rest = tuple(name for name in inputs if plan.latency[name] != first)
            shape = graph.facts(node.inputs[0]).shape
            if isinstance(node, Population):
                later = following[0] - first if plan.delays else 1
                inputs = (carry(early, later, node.name, shape), *rest)
            else:
                inputs = (*(plan.hold(name, max(latencies), shape) for name in early), *rest)
            latencies = {plan.latency[name] for name in inputs}
        plan.add(node if inputs == node.inputs else node.replace(inputs=inputs))
    return plan.finish()


def without_lags(graph: Graph) -> Graph:
    """Remove the extra delays (``lag``), which align branches and have no effect in ideal time."""
    late = [node for node in graph if isinstance(node, Synapse) and node.lag]
    if not late:
        return graph
    nodes = [n.replace(lag=0) if isinstance(n, Synapse) and n.lag else n for n in graph]
    return graph.derived(nodes)
