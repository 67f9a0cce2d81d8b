"""The verdict on a network for a target: rules, resources and remedies, as text and as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuroport.display import Shown, View
from neuroport.errors import TargetError
from neuroport.graph.graph import Graph
from neuroport.runs.recording import LIF_COUNT_MAX, recording, refuse_beyond, spiking
from neuroport.targets.board_record import PROVEN, BoardRecord, judged
from neuroport.targets.population_demands import PopulationDemand, population_demands
from neuroport.targets.remedies import Change, changes, shortfall
from neuroport.targets.resources import TITLES, Resources, resources
from neuroport.targets.rules import REFUSED, UNPROVEN, Finding, by_rule, findings, rule_names
from neuroport.targets.spike_counters import CounterCost, cost, with_counters
from neuroport.targets.target import Target

CAVEAT = "estimated by formulas fitted to public tables (targets --fit); not run on hardware"


@dataclass(frozen=True, slots=True)
class Verdict(Shown):
    """What keeps a network from a target; ``changes`` is empty if the network fits.

    ``resources`` is None for a simulator, which has no cores. If counters were requested,
    ``resources`` includes them, and ``counters`` is their cost.
    """

    target: Target
    findings: tuple[Finding, ...]
    resources: Resources | None = None
    shortfall: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    counters: CounterCost | None = None

    @property
    def refused(self) -> int:
        """Number of broken rules."""
        return len(self.of(REFUSED))

    def of(self, severity: str) -> list[Finding]:
        """Return the findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def fits(self) -> bool:
        """Whether the network fits on the target; always true for a simulator."""
        return self.resources is None or self.resources.fits

    def __bool__(self) -> bool:
        return self.fits and not self.refused

    def lines(self) -> Iterator[str]:
        """Return lines for a terminal: findings, one line per population, totals, and changes."""
        yield from map(str, self.of(REFUSED))
        yield from by_rule(f for f in self.findings if f.severity != REFUSED)
        if self.resources is None:
            yield (
                f"{'runs' if self else 'does not run'} on {self.target.name}, {self._violations()}"
            )
            return
        yield from _table(self.resources)
        yield str(self.resources)
        if self.counters is not None:
            yield str(self.counters)
        for line in self.shortfall:
            yield f"does not fit: {line}"
        if self.shortfall and not self.changes:
            yield "no change of weight bits, of channels or of the board alone makes it fit"
        for change, name in zip(self.changes, ("cheapest change", *["or"] * 9), strict=False):
            yield f"{name}: {change}"
        proven = f", {len(p)} {PROVEN}" if (p := self.of(PROVEN)) else ""
        yield (
            f"{'fits' if self.fits else 'does not fit'} {self.target.name}, {self._violations()}, "
            f"{len(self.of(UNPROVEN))} unproven on hardware{proven}; {CAVEAT}"
        )

    def _violations(self) -> str:
        return f"{self.refused} violations of {len(rule_names())} rules"

    def view(self) -> View:
        *_, last = self.lines()
        rows = [(f.node, f.severity, f.message, f.rule) for f in self.findings]
        room = [str(self.resources)] if self.resources is not None else []
        lacking = [f"does not fit: {line}" for line in self.shortfall]
        columns = ("node", "", "finding", "rule") if rows else ()
        return View(last, columns, rows, "\n".join([*room, *lacking]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {
            "target": self.target.name,
            "fits": self.fits,
            "rules": rule_names(),
            "violations": [asdict(f) for f in self.of(REFUSED)],
        }
        if self.resources is None:
            return found
        return found | {
            "unproven": [asdict(f) for f in self.of(UNPROVEN)],
            "proven": [asdict(f) for f in self.of(PROVEN)],
            "resources": self.resources.to_dict(),
            "counters": self.counters.to_dict() if self.counters is not None else None,
            "shortfall": list(self.shortfall),
            "changes": [asdict(change) for change in self.changes],
            "caveat": CAVEAT,
        }


def check(
    graph: Graph,
    target: Target,
    granularity: str | None = None,
    qualified: BoardRecord | None = None,
) -> Verdict:
    """Check ``graph`` against the rules of ``target`` and place it on its cores.

    Args:
        granularity: ``neuron``, ``channel`` or ``layer`` adds counters of all spikes.
        qualified: record of a board, on which unproven findings may be proven or refused.

    Raises:
        BackendError: there is no such granularity, or a counter could overflow.
        TargetError: the record is of another board; or counters or a record were given without a
        chip.
    """
    if not target.is_chip:
        for given, what in ((granularity, "counters take cores of"), (qualified, "a record is of")):
            if given is not None:
                raise TargetError(
                    f"{what} a chip, and {target.name} is none; name a board such as "
                    "'kapoho-point' (--target)"
                )
        return Verdict(target, tuple(findings(graph, target)))
    shapes: Sequence[PopulationDemand] = population_demands(graph)
    counted = None
    if granularity is not None:
        plan = recording(graph, "counts", granularity=granularity)
        refuse_beyond(graph, spiking(graph, plan.counted), granularity, LIF_COUNT_MAX)
        alone, shapes = resources(shapes, target), with_counters(shapes, granularity)
        counted = cost(granularity, resources(shapes, target), alone)
    found = resources(shapes, target)
    missing = tuple(shortfall(found))
    tried = tuple(changes(shapes, found)) if missing else ()
    told = findings(graph, target)
    if qualified is not None:
        told = judged(graph, told, qualified, target.name)
    return Verdict(target, tuple(told), found, missing, tried, counted)


def _table(found: Resources) -> Iterator[str]:
    width = max([10, *(len(p.layer.name) for p in found.placed)])
    yield (
        f"{'population':{width}} {'shape':>12} {'tile x,y,c':>12} {'cores':>6} {'neurons':>8} "
        f"{'synapses':>9} {'axons':>7} {'full':>5}  bound by"
    )
    for p in found.placed:
        full = p.tiling.full
        shape = "x".join(map(str, p.layer.shape))
        tile = ",".join(map(str, p.tiling.tile))
        axons = full.axon_map_words + full.axon_memory_words
        yield (
            f"{p.layer.name:{width}} {shape:>12} {tile:>12} {p.cores:>6,} {full.neurons:>8,} "
            f"{full.synapse_words:>9,} {axons:>7,} {p.fraction:>5.0%}  {TITLES[p.binding]}"
        )
