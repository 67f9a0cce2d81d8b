"""Whether the network in a file runs on a target: its rules, its room, and what stock NetX does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from neuroport.analysis.stock_road import Report, inspect
from neuroport.backends.lava_cpu.groups import left_to_stock
from neuroport.lowering.rules import Violation, rules_of, violations
from neuroport.netx import read
from neuroport.netx.stock import is_stock
from neuroport.runs.frames import load_frames
from neuroport.runs.trace import Trace
from neuroport.targets.checking import Verdict as ChipVerdict
from neuroport.targets.checking import check
from neuroport.targets.mapping import Mapping, map_network
from neuroport.targets.qualified import load_record
from neuroport.targets.target import load_target


class Verdict(Protocol):
    """True where the network runs, with the reasons in words and as data."""

    def __bool__(self) -> bool: ...

    def lines(self) -> Iterator[str]:
        """For a terminal."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""


@dataclass(frozen=True, slots=True)
class OnChip:
    """On a chip or board; ``mapping`` where one was asked for and the network fits."""

    verdict: ChipVerdict
    mapped: bool = False
    mapping: Mapping | None = None

    def __bool__(self) -> bool:
        return bool(self.verdict)

    def lines(self) -> Iterator[str]:
        yield from self.verdict.lines()
        if self.mapped:
            yield from self.mapping.lines() if self.mapping else ["not mapped: it does not fit"]

    def to_dict(self) -> dict[str, Any]:
        found = self.verdict.to_dict()
        if self.mapped:
            found["mapping"] = self.mapping.to_dict() if self.mapping else None
        return found


@dataclass(frozen=True, slots=True)
class OnLava:
    """On Lava's simulator; ``stock`` are populations that no fused process holds."""

    network: Path
    target: str
    rules: list[str]
    violations: list[Violation]
    stock: dict[str, str]

    def __bool__(self) -> bool:
        return not self.violations

    def lines(self) -> Iterator[str]:
        yield from map(str, self.violations)
        yield _counted(self.network, self.target, self.rules, self.violations)
        if self.stock:
            kinds = ", ".join(f"{name} ({kind})" for name, kind in self.stock.items())
            yield f"no fused process holds, so that stock ones do: {kinds}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "rules": self.rules,
            "violations": [asdict(violation) for violation in self.violations],
            "stock_populations": self.stock,
        }


@dataclass(frozen=True, slots=True)
class OnStockNetX:
    """A stock NetX file: the rules that its network breaks, and what NetX would do wrong with it.

    True also where frames were given and no fault changes a spike on them.
    """

    network: Path
    target: str
    rules: list[str]
    report: Report
    violations: list[Violation]

    @property
    def wrong(self) -> int:
        """Faults that change spikes, or may."""
        return sum(finding.changes != 0 for finding in self.report.findings)

    def __bool__(self) -> bool:
        return not (self.violations or self.wrong or self.report.graph is None)

    def lines(self) -> Iterator[str]:
        report = self.report
        yield from map(str, report.findings)
        counted = f", of {report.positions:,} positions" if report.positions else ""
        if without := len(report.findings) - self.wrong:
            counted += f"; {without} more would change nothing on these frames"
        things = "1 thing" if self.wrong == 1 else f"{self.wrong} things"
        yield f"{self.network}: stock NetX would do {things} wrong{counted}"
        if report.doubt:
            yield f"{self.network}: {report.doubt}"
        yield from map(str, self.violations)
        if report.graph is None:
            yield f"neuroport cannot run it, either: {report.refusal}"
        else:
            yield _counted(self.network, self.target, self.rules, self.violations)

    def to_dict(self) -> dict[str, Any]:
        report = self.report
        return {
            "target": self.target,
            "rules": self.rules,
            "violations": [asdict(violation) for violation in self.violations],
            "netx": [finding.to_dict() for finding in report.findings],
            "positions": report.positions,
            "refusal": report.refusal,
            "doubt": report.doubt,
        }


def check_on_chip(
    network: Path,
    target: str,
    steps: int | None = None,
    delay_shift: bool | None = None,
    *,
    trace: Path | None = None,
    frames: Path | None = None,
    counters: str | None = None,
    qualified: Path | None = None,
) -> OnChip:
    """Check the network in a file against a chip or board.

    Args:
        target: name of the chip or board, or its TOML file.
        steps, delay_shift: of a stock NetX file (:func:`neuroport.netx.read`).
        trace: a run, to map the network onto chips with few messages between them.
        frames: those of the run; they also say what a stock NetX file takes.
        counters: ``neuron``, ``channel`` or ``layer``: with counters of all spikes.
        qualified: record of what a board was seen to do.

    Raises:
        NeuroportError: a file that cannot be read, an unknown target, counters that cannot hold.
    """
    board = load_target(target)
    given = load_frames(frames) if frames is not None and is_stock(network) else None
    graph = read(network, steps=steps, frames=given, **_timing(delay_shift))
    record = load_record(qualified) if qualified is not None else None
    verdict = check(graph, board, counters, record)
    mapping = None
    if trace is not None and verdict.resources.fits:
        data = load_frames(frames) if frames is not None else None
        mapping = map_network(graph, board, Trace.load(trace), data)
    return OnChip(verdict, trace is not None, mapping)


def check_on_lava(
    network: Path,
    target: str = "lava-cpu",
    steps: int | None = None,
    delay_shift: bool | None = None,
    frames: Path | None = None,
) -> OnLava | OnStockNetX:
    """Check the network in a file against the rules of Lava's simulator.

    Args:
        steps, delay_shift: of a stock NetX file (:func:`neuroport.netx.read`).
        frames: of a stock NetX file, to count the spikes that NetX would change.

    Raises:
        NeuroportError: a file that cannot be read, or an unknown target.
    """
    names = [rule.__name__ for rule in rules_of(target)]
    if is_stock(network):
        data = load_frames(frames) if frames is not None else None
        report = inspect(network, steps=steps, frames=data, delay_shift=delay_shift)
        broken = list(violations(report.graph, target)) if report.graph is not None else []
        return OnStockNetX(network, target, names, report, broken)
    graph = read(network, steps=steps, frames=None, **_timing(delay_shift))
    broken = list(violations(graph, target))
    return OnLava(network, target, names, broken, left_to_stock(graph))


def _timing(delay_shift: bool | None) -> dict[str, bool]:
    return {} if delay_shift is None else {"delay_shift": delay_shift}


def _counted(network: Path, target: str, rules: list[str], broken: list[Violation]) -> str:
    return f"{network}: {len(broken)} violations of {len(rules)} rules for {target}"
