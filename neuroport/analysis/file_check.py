"""Check the network in a file against a target's rules and resources, and against stock NetX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroport.analysis.netx_audit import Report, inspect
from neuroport.backends.lava_cpu.fused_partition import left_to_stock
from neuroport.errors import TargetError
from neuroport.netx import read
from neuroport.netx.stock import is_stock
from neuroport.runs.frames import load_frames
from neuroport.runs.trace import Trace
from neuroport.targets.board_record import load_record
from neuroport.targets.mapping import Mapping, map_network
from neuroport.targets.rules import rule_names
from neuroport.targets.target import load_target
from neuroport.targets.verdict import Verdict, check


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What keeps the network of a file from running on a target, as text and as data.

    Attributes:
        network, target: the file, and the name of the target.
        verdict: the verdict on the network; None if neuroport cannot run it (see ``stock_netx``).
        stock_netx: for a stock NetX file on a simulator, the errors of NetX itself.
        stock_populations: for a simulator, the populations outside fused processes.
        mapping: placement on chips, if requested (``mapped``) and if the network fits.

    It is true also if no error of NetX changes a spike on given frames.
    """

    network: Path
    target: str
    verdict: Verdict | None
    stock_netx: Report | None = None
    stock_populations: dict[str, str] = field(default_factory=dict)
    mapped: bool = False
    mapping: Mapping | None = None

    @property
    def wrong(self) -> int:
        """Errors of NetX that change spikes, or may."""
        report = self.stock_netx
        return sum(finding.changes != 0 for finding in report.findings) if report else 0

    def __bool__(self) -> bool:
        return bool(self.verdict) and not self.wrong

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        if self.stock_netx is not None:
            yield from self._faults(self.stock_netx)
        if self.verdict is not None:
            *findings, last = self.verdict.lines()
            yield from findings
            yield last if self.verdict.resources is not None else f"{self.network}: {last}"
        if self.stock_populations:
            kinds = ", ".join(f"{name} ({kind})" for name, kind in self.stock_populations.items())
            yield f"no fused process holds, so that stock ones do: {kinds}"
        if self.mapped:
            if self.mapping and self.verdict is not None and self.verdict.counters is not None:
                yield "mapped without its counters and the messages to them:"
            yield from self.mapping.lines() if self.mapping else ["not mapped: it does not fit"]

    def _faults(self, report: Report) -> Iterator[str]:
        yield from map(str, report.findings)
        counted = f", of {report.positions:,} positions" if report.positions else ""
        if without := len(report.findings) - self.wrong:
            counted += f"; {without} more would change nothing on these frames"
        things = "1 thing" if self.wrong == 1 else f"{self.wrong} things"
        yield f"{self.network}: stock NetX would do {things} wrong{counted}"
        if report.doubt:
            yield f"{self.network}: {report.doubt}"
        if report.graph is None:
            yield f"neuroport cannot run it, either: {report.refusal}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {"target": self.target, "rules": rule_names(), "violations": []}
        found |= self.verdict.to_dict() if self.verdict is not None else {}
        if report := self.stock_netx:
            found |= {
                "netx": [finding.to_dict() for finding in report.findings],
                "positions": report.positions,
                "refusal": report.refusal,
                "doubt": report.doubt,
            }
        elif self.verdict is not None and self.verdict.resources is None:
            found["stock_populations"] = self.stock_populations
        if self.mapped:
            found["mapping"] = self.mapping.to_dict() if self.mapping else None
        return found


def check_file(
    network: Path,
    target: str = "lava-cpu",
    steps: int | None = None,
    delay_shift: bool | None = None,
    *,
    frames: Path | None = None,
    trace: Path | None = None,
    counters: str | None = None,
    qualified: Path | None = None,
) -> CheckedFile:
    """Check the network in a file against a target.

    Args:
        target: ``lava-cpu``, a chip or board by name, or its TOML file.
        steps, delay_shift: for a stock NetX file (:func:`neuroport.netx.read`).
        frames: frames of the run of ``trace``. For a stock NetX file, they also determine its input
        and, on a simulator, count the spikes that NetX would change.
        trace: trace of a run, to map the network to chips with few messages between them.
        counters: ``neuron``, ``channel`` or ``layer`` adds counters of all spikes.
        qualified: record of a board.

    Raises:
        TargetError: there is no such target; or a trace, counters or a record were given without a
        chip.
        NeuroportError: the file cannot be read, or counters could overflow; or frames were given
        that nothing reads.
    """
    board = load_target(target)
    if trace is not None and not board.is_chip:
        raise TargetError(
            f"a network is mapped (--map) onto chips, and {board.name} has none; name a board such "
            "as 'kapoho-point' (--target)"
        )
    record = load_record(qualified) if qualified is not None else None
    stock = is_stock(network)
    given = load_frames(frames) if frames is not None else None
    if stock and not board.is_chip:
        report = inspect(network, steps=steps, frames=given, delay_shift=delay_shift)
        verdict = check(report.graph, board) if report.graph is not None else None
        return CheckedFile(network, board.name, verdict, report)
    timing = {} if delay_shift is None else {"delay_shift": delay_shift}
    of_trace = trace is not None and not stock
    graph = read(network, steps=steps, frames=None if of_trace else given, **timing)
    verdict = check(graph, board, counters, record)
    if verdict.resources is None:
        return CheckedFile(network, board.name, verdict, stock_populations=left_to_stock(graph))
    mapping = None
    if trace is not None and verdict.fits:
        mapping = map_network(graph, board, Trace.load(trace), given)
    return CheckedFile(network, board.name, verdict, mapped=trace is not None, mapping=mapping)
