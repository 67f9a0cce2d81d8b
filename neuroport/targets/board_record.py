"""The record of ``neuroport qualify``: the observed behaviour of a board, for use by ``check``.

A result counts only if its network is bit for bit that of the running version: the record of
another version of neuroport says nothing about constructs that have changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from neuroport.errors import FormatError, TargetError
from neuroport.files import read_json, write_json
from neuroport.graph.graph import Graph
from neuroport.targets.qualification_networks import CONSTRUCTS, Construct
from neuroport.targets.rules import REFUSED, Finding

FORMAT, VERSION = "neuroport qualification", 1
EQUAL, DIFFERS, NOT_RUN = "equal", "differs", "did not run"
RESULTS = (EQUAL, DIFFERS, NOT_RUN)
PROVEN = "proven on this board"
RULE = "board_agrees"  # of what differs and no other rule names
TIMINGS = ("input_delay", "output_delay", "read_delay")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one construct on a board; ``network`` is the hash of the network that ran."""

    result: str
    network: str
    where: str = ""
    compared: int = 0
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return self.result == EQUAL


@dataclass(frozen=True, slots=True)
class BoardRecord:
    """The results of one board.

    Attributes:
        board: the target whose rules applied to the run.
        where: the board in words; ``generation`` is that of its chips.
        date: date of the run, ISO.
        versions: versions of neuroport, Lava and other packages.
        timing: measured steps, as in a site's ``[timing]``.
        constructs: the result of each construct, in the order of the run.
    """

    board: str
    where: str
    generation: str
    date: str
    versions: dict[str, str]
    timing: dict[str, int]
    constructs: dict[str, Result]

    def proves(self, name: str) -> bool:
        """Return whether the board gave equal results for a construct in its current version."""
        found = self.constructs.get(name)
        return bool(found) and found is not None and _is_today(name, found)

    def differs(self, name: str) -> Result | None:
        """Return the result of a construct that differed in its current version, else None."""
        found = self.constructs.get(name)
        if found is None or found.result != DIFFERS or not _is_today(name, found):
            return None
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record as JSON, atomically."""
        return write_json(path, {"format": FORMAT, "version": VERSION, **asdict(self)})

    def lines(self) -> Iterator[str]:
        """Return lines for a terminal: one for each construct, and the totals."""
        width = max(map(len, self.constructs), default=0)
        for name, found in self.constructs.items():
            told = f": {found.where}" if found.where else f", {found.compared:,} values"
            yield f"{name:{width}}  {found.result}{told}"
            if found.result == DIFFERS and CONSTRUCTS[name].look:
                yield f"{'':{width}}  look at: {CONSTRUCTS[name].look}"
        number = {each: sum(r.result == each for r in self.constructs.values()) for each in RESULTS}
        yield f"{self.where}: " + ", ".join(f"{count} {each}" for each, count in number.items())
        yield "timing: " + ", ".join(f"{key} = {steps}" for key, steps in self.timing.items())


def _is_today(name: str, found: Result) -> bool:
    return name in CONSTRUCTS and CONSTRUCTS[name].network()[0].hash == found.network


def load_record(path: str | os.PathLike[str]) -> BoardRecord:
    """Read a record.

    Raises:
        StorageError: the file is missing or unreadable.
        FormatError: it is not a record, or its version is unknown.
    """
    title, told = os.fspath(path), read_json(path)
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise FormatError(f"{title}: not a record; neuroport qualify writes one")
    if told.get("version") != VERSION:
        raise FormatError(
            f"{title}: version {told.get('version')!r} of a record; this neuroport reads {VERSION}"
        )
    try:
        texts = {key: _of(told[key], str) for key in ("board", "where", "generation", "date")}
        return BoardRecord(
            **texts,
            versions={_of(k, str): _of(v, str) for k, v in _of(told["versions"], dict).items()},
            timing={key: _of(told["timing"][key], int) for key in TIMINGS},
            constructs={
                _of(name, str): _result(found)
                for name, found in _of(told["constructs"], dict).items()
            },
        )
    except (KeyError, TypeError) as error:
        raise FormatError(
            f"{title}: a record with a wrong or missing {error}; qualify again"
        ) from (error)


def _result(told: Any) -> Result:
    given = _of(told, dict)
    if given["result"] not in RESULTS:
        raise KeyError("result")
    return Result(
        given["result"],
        _of(given["network"], str),
        _of(given["where"], str),
        _of(given["compared"], int),
        _seconds(given["seconds"]),
    )


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise TypeError(f"number of seconds: {value!r:.80}")
    return float(value)


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__}: {value!r:.80}")
    return value


def judged(
    graph: Graph, found: Iterable[Finding], record: BoardRecord, target: str
) -> Iterator[Finding]:
    """Return findings for the board of a record: proven there, different there, or unproven.

    A construct that differs there is refused if the network needs it.

    Raises:
        TargetError: the record is of another board.
    """
    if os.path.abspath(record.board) != os.path.abspath(target):  # a name, or a file's path
        raise TargetError(
            f"the record is of a {record.board}, and the target is {target}; check for that board, "
            "or qualify this one"
        )
    for finding in found:
        yield _judged(finding, record) if finding.severity != REFUSED else finding
    for construct in CONSTRUCTS.values():
        other = record.differs(construct.name)
        if other is not None and construct.used is not None and construct.used(graph):
            yield Finding(RULE, graph.input.name, _told(construct, other), REFUSED, construct.name)


def _judged(finding: Finding, record: BoardRecord) -> Finding:
    construct = CONSTRUCTS.get(finding.construct)
    if construct is None:
        return finding
    if (other := record.differs(construct.name)) is not None:
        return replace(finding, message=_told(construct, other), severity=REFUSED)
    if not record.proves(construct.name):
        return finding
    if construct.leaves:
        return replace(finding, message=f"{finding.message} ({PROVEN}: {construct.leaves})")
    message = f"{construct.what}, equal to the reference ({construct.name}, {record.date})"
    return replace(finding, message=message, severity=PROVEN)


def _told(construct: Construct, other: Result) -> str:
    return (
        f"this board differs from the reference in {construct.what} ({construct.name}): "
        f"{other.where}; fix that first"
    )
