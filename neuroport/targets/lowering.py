"""Lower a graph for a target: list the options for its shortcuts, and choose the cheapest.

:mod:`neuroport.lowering` carries shortcuts in several ways. Each result is checked against the
target's rules. For Lava's CPU simulator, the fastest option is chosen. For a chip, each option is
placed on cores, and the one with the fewest cores is chosen. Ties are broken by the largest number
of messages between chips, then by the slowest step (:mod:`neuroport.targets.tie_breaks`), then by
the time on Lava's CPU simulator. A graph that needs more chips than the target has is lowered, too:
``check`` says what would make it fit. Nothing was run on hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuroport.arguments import is_flag, is_graph, is_path, takes
from neuroport.deprecated import moved
from neuroport.errors import IllegalError, TargetError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED
from neuroport.lowering.carriers import CARRIERS, carry
from neuroport.lowering.cost import Cost, cost
from neuroport.lowering.exponents import convolutions_beyond, split_exponents
from neuroport.lowering.latency import ALIGNMENTS, without_lags
from neuroport.lowering.partial_sums import partial_sums, parts_by_source
from neuroport.lowering.reset_interval import pad_interval
from neuroport.lowering.shared_sums import share_dendrites, share_messages
from neuroport.lowering.zero_synapses import without_zeros, zero_synapses
from neuroport.targets.population_demands import population_demands, rounding
from neuroport.targets.remedies import changes, shortfall
from neuroport.targets.resources import Resources, resources
from neuroport.targets.rules import by_rule, refusals, require_none, too_wide
from neuroport.targets.target import Target, load_target
from neuroport.targets.tie_breaks import weight

MINIMIZE = ("time", "cores")
DEARER = 4
_OVERHEAD_WORDS = 64  # of a core, for its neurons and the lists of its axons


@dataclass(frozen=True, slots=True)
class LoweringOption:
    """One way to lower a graph for a target, and what it costs.

    Attributes:
        carrier, align: how shortcuts are carried, and what delays early branches.
        lowered: the graph in chip time, even if rules of the chip refuse it; None if the carrier
        cannot carry it, or if it breaks a rule that holds on every target.
        cost: cost of ``lowered`` on any target.
        resources: resources that it needs on a chip.
        refusal: why it is impossible; empty if it is possible.
        broken: rules that ``refusal`` names, with the first node of each.
    """

    carrier: str
    align: str
    lowered: Graph | None = None
    cost: Cost | None = None
    resources: Resources | None = None
    refusal: str = ""
    broken: int = 0

    @property
    def graph(self) -> Graph | None:
        """The lowered graph; None if it is refused."""
        return None if self.refusal else self.lowered

    def __str__(self) -> str:
        way = f"{self.carrier:6} by {self.align}"
        if self.cost is None:
            return f"{way}: {self.refusal}"
        line = (
            f"{way}: {self.cost.processes} processes, {self.cost.connections:,} connections, "
            f"{self.cost.neurons:,} neurons, about {1000 * self.cost.step_seconds:.1f} ms a step"
        )
        if found := self.resources:
            fits = "" if found.fits else ", more than there are"
            if found.impossible:
                fits = f", but {found.impossible[0].layer.name} does not fit a core"
            line += f"; {found.cores:,} cores, {found.chips} chips{fits}"
        return f"{line}; {self.refusal}" if self.refusal else line

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {
            "carrier": self.carrier,
            "align": self.align,
            "refusal": self.refusal,
        }
        found |= asdict(self.cost) if self.cost else {}
        if self.resources is not None:
            found |= {"cores": self.resources.cores, "chips": self.resources.chips}
        return found


@takes(graph=is_graph, target=is_path, power_of_two_interval=is_flag)
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
        align: what delays early branches: ``relays``, ``delays`` in the synapses, or ``auto``.
        power_of_two_interval: start samples every ``2**k`` steps; always if the chip's reset
        requires it.
        minimize: ``time`` on Lava's CPU simulator, ``cores`` of a chip, or ``auto``: cores if the
        target has any.

    Raises:
        TargetError: the target, carrier, alignment or quantity to minimize is unknown.
        IllegalError: names the broken rules, or says why the carrier cannot carry this network.
    """
    board = load_target(target)
    found = options(
        graph,
        board,
        carrier=carrier,
        align=align,
        power_of_two_interval=power_of_two_interval,
        minimize=minimize,
    )
    return best(found, minimize)


def best(found: list[LoweringOption], minimize: str = "auto") -> Graph:
    """Return the graph of the legal option with the lowest cost.

    An option with a population that does not fit a core is chosen only if there is no other.

    Raises:
        IllegalError: all were refused; names all rules that the option with the fewest breaks.
    """
    possible = [
        (_order(one, minimize), one.graph)
        for one in found
        if one.graph is not None and one.cost is not None
    ]
    if not possible:
        nearest = min(found, key=lambda one: (one.lowered is None, one.broken))
        raise IllegalError(nearest.refusal)
    return min(possible, key=lambda pair: pair[0])[1]


def options(
    graph: Graph,
    target: Target,
    *,
    carrier: str = "all",
    align: str = "all",
    power_of_two_interval: bool = False,
    minimize: str = "auto",
) -> list[LoweringOption]:
    """List the options for the shortcuts of ``graph`` on ``target``, with cost or refusal.

    The arguments are those of :func:`lower`. ``auto`` omits ``stock``, which costs as much as
    ``unroll`` with relays, and abandons an option that needs ``DEARER`` times the processes of an
    earlier one: unrolled synapses grow with the square of the depth. ``all`` does neither. On a
    chip, relays that carry and align may also hold a sum once for several readers
    (:mod:`neuroport.lowering.shared_sums`). For each way, the option that is best by ``minimize``
    is listed.

    Raises:
        TargetError: the carrier, alignment or quantity to minimize is unknown.
    """
    if minimize not in ("auto", *MINIMIZE):
        raise TargetError(f"cannot minimize {minimize!r}; use auto, {' or '.join(MINIMIZE)}")
    if minimize == "cores" and not target.is_chip:
        raise TargetError(f"{target.name} has no cores to minimize; name a chip such as 'loihi2'")
    ways = _ways(carrier, align)
    graph = without_zeros(graph)
    padded = power_of_two_interval or bool(target["power_of_two_reset"])
    graph = pad_interval(graph) if padded else graph
    if not target.is_chip:
        return _carried(graph, target, ways, carrier == "auto")
    return _on_chip(graph, target, ways, carrier == "auto", minimize)


def _ways(carrier: str, align: str) -> list[tuple[str, str]]:
    for name, value, known in (("carrier", carrier, CARRIERS), ("align", align, ALIGNMENTS)):
        if value not in ("all", "auto", *known):
            raise TargetError(f"unknown {name} {value!r}; use auto, {', '.join(known)}")
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
    return ways


def _carried(
    graph: Graph, target: Target, ways: list[tuple[str, str]], give_up: bool
) -> list[LoweringOption]:
    """Yield an option for each way; with ``give_up``, none much dearer than an earlier one."""
    found: list[LoweringOption] = []
    for way, how in ways:
        processes = [one.cost.processes for one in found if one.cost]
        most = DEARER * min(processes) if give_up and processes else None
        try:
            lowered = carry(graph, way, how, most)
            require_none(list(too_wide(lowered)), target.name)
        except IllegalError as error:
            found.append(LoweringOption(way, how, refusal=error.message))
            continue
        reasons = by_rule(refusals(lowered, target))
        refusal = f"illegal for {target.name}: {'; '.join(reasons)}" if reasons else ""
        room = resources(lowered, target) if target.is_chip else None
        found.append(LoweringOption(way, how, lowered, cost(lowered), room, refusal, len(reasons)))
    return found


def _on_chip(
    graph: Graph, target: Target, ways: list[tuple[str, str]], give_up: bool, minimize: str
) -> list[LoweringOption]:
    def carried(each: Graph, asked: list[tuple[str, str]]) -> list[LoweringOption]:
        parts = partial_sums(each, _most_axons(target))
        found = _carried(parts, target, asked, give_up)
        for place, one in enumerate(found):
            if one.carrier == "stock" and parts is not each:  # a chain has no room for parts
                (found[place],) = _carried(each, target, [("stock", "relays")], False)
        return found

    rank = _rank(minimize)
    whole = split_exponents(without_lags(graph))
    apart = parts_by_source(whole)
    least, base = carried(whole, ways), {}
    for place, one in enumerate(carried(apart, ways) if apart is not whole else []):
        least[place] = min(least[place], one, key=rank)
        base[place] = apart if least[place] is one else whole
    for place, one in enumerate(least):
        if (one.carrier, one.align) == ("relay", "relays"):
            sums = _sums(base.get(place, whole))
            others = [other for each in sums for other in carried(each, [("relay", "relays")])]
            least[place] = min([one, *others], key=rank)
    return least


def _sums(graph: Graph) -> list[Graph]:
    """Return the network with relays that hold sums once for several readers."""
    dendrites, messages = share_dendrites(graph), share_messages(graph)
    both = share_dendrites(messages)
    found: list[Graph] = []
    for way in (dendrites, messages, both):
        if way is not graph and not any(way is other for other in found):
            found.append(way)
    return found


def _most_axons(target: Target) -> int:
    """Return the number of messages that a core can receive in a step, even with few neurons."""
    limits = [target.limit(name) for name in ("axons_in", "synapse_words", "memory_words")]
    return max(1, min((n for n in limits if n is not None), default=1 << 31) - _OVERHEAD_WORDS)


def _rank(minimize: str) -> Callable[[LoweringOption], tuple[float, ...]]:
    """Sort key for options of one way: first those that run and fit."""

    def rank(one: LoweringOption) -> tuple[float, ...]:
        return (one.graph is None, *_order(one, minimize)) if one.lowered is not None else (2,)

    return rank


def _order(one: LoweringOption, minimize: str) -> tuple[float, ...]:
    """Sort key for networks: first those that fit, then by the minimized quantity."""
    assert one.cost is not None
    seconds, room = one.cost.step_seconds, one.resources
    if room is None:
        return (seconds,)
    weighed = weight(room)
    cores = (room.cores, weighed.between_chips, weighed.slowest_us)
    order = (seconds, *cores) if minimize == "time" else (*cores, seconds)
    return (len(room.impossible), *order)


def picked(graph: Graph, lowered: Graph, target: Target) -> list[str]:
    """Describe the choices of :func:`lower` for a chip, and what it cannot remedy."""
    lines: list[str] = []
    if not target.is_chip:
        return lines
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
    if zero := sorted(zero_synapses(graph)):
        more = f" and {len(zero) - 3} more" if len(zero) > 3 else ""
        lines.append(f"left out, since every weight is 0: {', '.join(zero[:3])}{more}")
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
        lines += [f"cheapest change: {c}" for c in changes(population_demands(lowered), found)[:1]]
    return lines


def _parts(lowered: Graph, name: str) -> int:
    """Return the relays that :func:`neuroport.lowering.partial_sums.partial_sums` added."""
    relays = (node.name for node in lowered.populations if node.emits == GRADED)
    return sum(relay.startswith(f"{name}.part") for relay in relays)


__getattr__ = moved(
    __name__,
    {
        "ChipBill": f"{__name__}:LoweringOption",
        "cheapest_on": f"{__name__}:best",
        "price_on": f"{__name__}:options",
    },
)
