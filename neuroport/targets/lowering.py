"""Lowering for a chip: the same passes, priced in cores.

:mod:`neuroport.lowering` carries the shortcuts in every way; here each result is checked against
the chip's rules and placed on its cores, and the one with the fewest cores is taken; of those, the
one with the fewest messages between chips at most, then with the shortest step of its slowest core
(:mod:`neuroport.targets.weighing`), then the one that takes least time on Lava's CPU simulator. A
graph that needs more chips than the target has is lowered all the same: ``check`` says what would
make it fit. Not run on hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroport.arguments import is_graph, is_path, takes
from neuroport.errors import IllegalError, TargetError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED
from neuroport.lowering import Bill, cheapest, price
from neuroport.lowering.exponents import convolutions_beyond, split_exponents
from neuroport.lowering.partial import partial_sums, parts_by_source
from neuroport.lowering.rules import RULES
from neuroport.lowering.sharing import share_dendrites, share_messages
from neuroport.lowering.skew import without_lags
from neuroport.targets.changes import changes, shortfall
from neuroport.targets.layers import layers, rounding
from neuroport.targets.resources import Resources, resources
from neuroport.targets.rules import WIDTHS, by_rule, refusals
from neuroport.targets.target import Target, load_target
from neuroport.targets.weighing import weight

MINIMIZE = ("time", "cores")
_OVERHEAD_WORDS = 64  # of a core, for its neurons and the lists of its axons


@dataclass(frozen=True, slots=True)
class ChipBill:
    """One way to lower a graph for a chip; ``resources`` also where the chip's rules refuse it.

    ``broken`` counts the rules that ``refusal`` tells, each with its first node.
    """

    bill: Bill
    resources: Resources | None
    refusal: str
    broken: int = 0

    @property
    def graph(self) -> Graph | None:
        """The lowered graph, None where it is refused."""
        return None if self.refusal else self.bill.graph

    def __str__(self) -> str:
        if self.resources is None:
            return str(self.bill)
        found = self.resources
        fits = "" if found.fits else ", more than there are"
        if found.impossible:
            fits = f", but {found.impossible[0].layer.name} does not fit a core"
        line = f"{self.bill}; {self.resources.cores:,} cores, {self.resources.chips} chips{fits}"
        return f"{line}; {self.refusal}" if self.refusal else line

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = {**self.bill.to_dict(), "refusal": self.refusal}
        if self.resources is not None:
            found |= {"cores": self.resources.cores, "chips": self.resources.chips}
        return found


def is_chip(target: str) -> bool:
    """Whether a target's name means a chip or board, not the simulator."""
    return target not in RULES


def price_on(
    graph: Graph,
    target: Target,
    *,
    carrier: str = "all",
    align: str = "all",
    power_of_two_interval: bool = False,
    minimize: str = "cores",
) -> list[ChipBill]:
    """Ways to carry the shortcuts of ``graph``, each with its cores on ``target`` or its refusal.

    Args: as for :func:`neuroport.lowering.price`; the interval between samples is made a power of
    two wherever the chip's reset asks for it. Where relays carry and align, they may also hold a
    sum once for those who read it (:mod:`neuroport.lowering.sharing`). Of each way it is the bill
    with the least ``cores`` or ``time``, whichever ``minimize`` says.
    """
    rank = _rank(minimize)
    padded = power_of_two_interval or bool(target["power_of_two_reset"])

    def priced(each: Graph, way: str = carrier, how: str = align) -> list[ChipBill]:
        parts = partial_sums(each, _most_axons(target))
        found = price(parts, WIDTHS, carrier=way, align=how, power_of_two_interval=padded)
        for place, bill in enumerate(found):
            if bill.carrier == "stock" and parts is not each:  # a chain has no room for parts
                (found[place],) = price(
                    each, WIDTHS, carrier="stock", align="relays", power_of_two_interval=padded
                )
        return [_on_chip(bill, target) for bill in found]

    whole = split_exponents(without_lags(graph))
    apart = parts_by_source(whole)
    best, base = priced(whole), {}
    for place, bill in enumerate(priced(apart) if apart is not whole else []):
        best[place] = min(best[place], bill, key=rank)
        base[place] = apart if best[place] is bill else whole
    for place, bill in enumerate(best):
        if (bill.bill.carrier, bill.bill.align) == ("relay", "relays"):
            sums = _sums(base.get(place, whole))
            ways = [one for each in sums for one in priced(each, "relay", "relays")]
            best[place] = min([bill, *ways], key=rank)
    return best


def _sums(graph: Graph) -> list[Graph]:
    """The network with sums that relays hold once for those who read them."""
    dendrites, messages = share_dendrites(graph), share_messages(graph)
    both = share_dendrites(messages)
    found: list[Graph] = []
    for way in (dendrites, messages, both):
        if way is not graph and not any(way is other for other in found):
            found.append(way)
    return found


def _most_axons(target: Target) -> int:
    """Messages that a core can take in a step, however few neurons it holds."""
    limits = [target.limit(name) for name in ("axons_in", "synapse_words", "memory_words")]
    return max(1, min((n for n in limits if n is not None), default=1 << 31) - _OVERHEAD_WORDS)


def _rank(minimize: str) -> Callable[[ChipBill], tuple[float, ...]]:
    """Orders bills of one way: those that run and fit first, of the fewest cores or least time."""

    def rank(bill: ChipBill) -> tuple[float, ...]:
        found, cost = bill.resources, bill.bill.cost
        if found is None or cost is None:
            return (1,)
        return (bill.graph is None, *_order(found, cost.step_seconds, minimize))

    return rank


def _order(found: Resources, seconds: float, minimize: str) -> tuple[float, ...]:
    """Orders networks: those that fit first, of the fewest cores or least time."""
    weighed = weight(found)
    cores = (found.cores, weighed.between_chips, weighed.slowest_us)
    order = (*cores, seconds) if minimize == "cores" else (seconds, *cores)
    return (len(found.impossible), *order)


def _on_chip(bill: Bill, target: Target) -> ChipBill:
    if bill.graph is None:
        return ChipBill(bill, None, bill.refusal)
    found = resources(bill.graph, target)
    broken = refusals(bill.graph, target)
    reasons = by_rule(broken)
    refusal = f"illegal for {target.name}: {'; '.join(reasons)}" if reasons else ""
    return ChipBill(bill, found, refusal, len(reasons))


def cheapest_on(bills: list[ChipBill], minimize: str = "cores") -> Graph:
    """The graph of the possible bill with the fewest cores, or with the least time.

    One of which a population does not fit a core is taken only where there is no other.

    Raises:
        IllegalError: all were refused; with every rule that the one with the fewest breaks.
    """
    possible = []
    for bill in bills:
        if bill.graph is not None and bill.resources is not None and bill.bill.cost is not None:
            order = _order(bill.resources, bill.bill.cost.step_seconds, minimize)
            possible.append((order, bill.graph))
    if not possible:
        nearest = min(bills, key=lambda bill: (bill.resources is None, bill.broken))
        raise IllegalError(nearest.refusal)
    return min(possible, key=lambda pair: pair[0])[1]


@takes(graph=is_graph, target=is_path)
def lower(
    graph: Graph,
    target: str | Path = "lava-cpu",
    *,
    carrier: str = "auto",
    align: str = "auto",
    power_of_two_interval: bool = False,
    minimize: str = "auto",
) -> Graph:
    """Lower ``graph`` for ``target`` and check it against the target's rules.

    Args:
        target: ``lava-cpu``, a chip or board by name, or a TOML file of one.
        carrier: how shortcuts are carried, a key of ``neuroport.lowering.CARRIERS``, or ``auto``.
        align: what makes early branches late, ``relays``, ``delays`` in the synapses, or ``auto``.
        power_of_two_interval: let samples follow each other every ``2**k`` steps; always so where
            the chip's reset asks for it.
        minimize: ``time`` on Lava's CPU simulator, ``cores`` of a chip, or ``auto``: cores where
            there are some.

    Raises:
        TargetError: no such target, carrier, alignment or thing to minimize.
        IllegalError: the rules broken, or why the carrier cannot carry this network.
    """
    return bills(
        graph,
        target,
        carrier=carrier,
        align=align,
        power_of_two_interval=power_of_two_interval,
        minimize=minimize,
    )[1]


def bills(
    graph: Graph,
    target: str | Path,
    *,
    carrier: str = "auto",
    align: str = "auto",
    power_of_two_interval: bool = False,
    minimize: str = "auto",
) -> tuple[list[Bill] | list[ChipBill], Graph]:
    """Every way that :func:`lower` considers, and the graph that it takes; args as there."""
    if minimize not in ("auto", *MINIMIZE):
        raise TargetError(f"cannot minimize {minimize!r}; use auto, {' or '.join(MINIMIZE)}")
    if is_chip(str(target)):
        chip = load_target(target)
        way = "cores" if minimize == "auto" else minimize
        on_chip = price_on(
            graph,
            chip,
            carrier=carrier,
            align=align,
            power_of_two_interval=power_of_two_interval,
            minimize=way,
        )
        return on_chip, cheapest_on(on_chip, way)
    if minimize == "cores":
        raise TargetError(f"{target} has no cores to minimize; name a chip such as 'loihi2'")
    found = price(
        graph,
        str(target),
        carrier=carrier,
        align=align,
        power_of_two_interval=power_of_two_interval,
    )
    return found, cheapest(found)


def picked(graph: Graph, lowered: Graph, target: Target) -> list[str]:
    """What :func:`lower` chose by itself for ``target``, a line each, and what it cannot mend."""
    lines = []
    if lowered.interval != graph.interval:
        lines.append(
            f"samples every {lowered.interval} steps, {lowered.steps} of them shown: states reset "
            "every 2**k steps"
        )
    relays = [node.name for node in lowered.populations if node.emits == GRADED]
    if rounds := rounding(lowered):
        lines.append(f"{len(rounds)} of {len(relays)} relays round, each as Lava's ProdNeuron")
    elif relays:
        lines.append(f"{len(relays)} relays, none of which rounds")
    parts = {node.name: _parts(lowered, node.name) for node in graph.populations}
    lines += [
        f"{name} adds up {count} partial sums: more messages reach it than a core takes"
        for name, count in parts.items()
        if count
    ]
    split = convolutions_beyond(graph)
    if split:
        lines.append(
            f"{split} convolutions are sums of several kernels: their exponents are in the weights"
        )
    grouped = sum(getattr(node, "groups", 1) > 1 for node in lowered.synapses)
    if grouped:
        lines.append(f"{grouped} grouped kernels, to be written in full on the chip")
    found = resources(lowered, target)
    missing = shortfall(found)
    lines += [f"does not fit: {line}" for line in missing]
    if missing:
        lines += [f"cheapest change: {c}" for c in changes(layers(lowered), found)[:1]]
    return lines


def _parts(lowered: Graph, name: str) -> int:
    """Relays that :func:`neuroport.lowering.partial.partial_sums` made for a population."""
    relays = (node.name for node in lowered.populations if node.emits == GRADED)
    return sum(relay.startswith(f"{name}.part") for relay in relays)
