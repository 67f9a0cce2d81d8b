"""Lowering: an integer graph becomes one that runs in chip time.

A shortcut can be carried in several exact ways (``CARRIERS``); the cheapest is taken unless one is
asked for. Each carrier is a pass, graph -> graph.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neuroport.errors import IllegalError, TargetError
from neuroport.graph.graph import Graph
from neuroport.lowering.chain import chain
from neuroport.lowering.cost import Cost, cost
from neuroport.lowering.interval import pad_interval
from neuroport.lowering.rules import check, rules_of, violations
from neuroport.lowering.skew import ALIGNMENTS, balance_skew
from neuroport.lowering.unroll import unroll

CARRIERS = {
    "relay": "graded relays hold the stream: dense traffic, few synapses",
    "unroll": "every earlier synapse is repeated for every later dendrite: spikes only",
    "stock": "unrolled with spike relays into a chain that unmodified NetX runs",
}

DEARER = 4


@dataclass(frozen=True, slots=True)
class Bill:
    """One way to lower a graph, and what it costs; ``refusal`` says why it is not possible."""

    carrier: str
    align: str
    graph: Graph | None
    cost: Cost | None
    refusal: str

    def __str__(self) -> str:
        way = f"{self.carrier:6} by {self.align}"
        if self.cost is None:
            return f"{way}: {self.refusal}"
        return (
            f"{way}: {self.cost.processes} processes, {self.cost.connections:,} connections, "
            f"{self.cost.neurons:,} neurons, about {1000 * self.cost.step_seconds:.1f} ms a step"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = {"carrier": self.carrier, "align": self.align, "refusal": self.refusal}
        return {**found, **(asdict(self.cost) if self.cost else {})}


def lower(
    graph: Graph,
    target: str = "lava-cpu",
    *,
    carrier: str = "auto",
    align: str = "auto",
    power_of_two_interval: bool = False,
) -> Graph:
    """Lower ``graph`` for ``target`` and check it against the target's rules.

    Args:
        carrier: how shortcuts are carried, a key of ``CARRIERS``, or ``auto``.
        align: what makes early branches late, ``relays``, ``delays`` in the synapses, or ``auto``.
        power_of_two_interval: let samples follow each other every ``2**k`` steps, as Loihi 2's
            reset does.

    Raises:
        TargetError: no such target, carrier or alignment.
        IllegalError: the rules broken, all of them, or why the carrier cannot carry this network.
    """
    return cheapest(
        price(
            graph,
            target,
            carrier=carrier,
            align=align,
            power_of_two_interval=power_of_two_interval,
        )
    )


def cheapest(bills: list[Bill]) -> Graph:
    """The graph of the bill that takes least time.

    Raises:
        IllegalError: all were refused.
    """
    possible = [(bill.cost.step_seconds, bill.graph) for bill in bills if bill.cost and bill.graph]
    if not possible:
        raise IllegalError(bills[0].refusal)
    return min(possible, key=lambda pair: pair[0])[1]


def price(
    graph: Graph,
    target: str = "lava-cpu",
    *,
    carrier: str = "all",
    align: str = "all",
    power_of_two_interval: bool = False,
) -> list[Bill]:
    """Ways to carry the shortcuts of ``graph`` to ``target``, with their costs or refusals.

    Args: as for :func:`lower`; ``auto`` leaves out ``stock``, which costs what ``unroll`` with
    relays does, and gives up a way that takes ``DEARER`` times the processes of one before: in a
    deep network synapses unroll to the square of its depth. ``all`` does neither.

    Raises:
        TargetError: no such target, or no such way.
    """
    rules_of(target)
    for name, value, known in (("carrier", carrier, CARRIERS), ("align", align, ALIGNMENTS)):
        if value not in ("all", "auto", *known):
            raise TargetError(f"unknown {name} {value!r}; use auto, {', '.join(known)}")
    if power_of_two_interval:
        graph = pad_interval(graph)
    ways = [
        (way, how)
        for way in CARRIERS
        for how in ALIGNMENTS
        if (carrier == "all" or carrier == way or (carrier == "auto" and way != "stock"))
        and align in ("all", "auto", how)
        and (way, how) != ("stock", "delays")
    ]
    if not ways:
        raise TargetError(f"carrier {carrier!r} cannot align with {align!r}; leave align out")
    bills: list[Bill] = []
    for way, how in ways:
        found = [bill.cost.processes for bill in bills if bill.cost]
        most = DEARER * min(found) if carrier == "auto" and found else None
        try:
            lowered = _carry(graph, way, how, most)
            check(lowered, target)
        except IllegalError as error:
            bills.append(Bill(way, how, None, None, error.message))
        else:
            bills.append(Bill(way, how, lowered, cost(lowered), ""))
    return bills


def _carry(graph: Graph, carrier: str, align: str, most: int | None) -> Graph:
    if carrier == "relay":
        return balance_skew(graph, align)
    lowered = unroll(graph, align, most)
    if carrier == "stock":
        chain(lowered)
    return lowered


__all__ = ["ALIGNMENTS", "CARRIERS", "Bill", "Cost", "cheapest", "lower", "price", "violations"]
