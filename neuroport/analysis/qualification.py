"""Test every construct on a board, smallest first, and record the results.

Each construct is a small network (:mod:`neuroport.targets.qualification_networks`), run by the
engine ``loihi2`` and compared with the integer reference, position by position. Nothing was run on
hardware. The steps of adapters and readers (a site's ``[timing]``) are measured:

* ``input_delay``, ``output_delay``: a network that is silent after its frames runs without assumed
delays. The delay of its potentials (read by a probe, without adapter) and of its spikes is
measured;
* ``read_delay``: the readout runs alone with each value, until one run ends and is equal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.analysis.compare import compare
from neuroport.arguments import as_results, is_function, is_path, positive, takes
from neuroport.backends.loihi2.availability import ready_site
from neuroport.backends.loihi2.engine import plan
from neuroport.backends.loihi2.site import Site
from neuroport.engines.loihi2 import Loihi2
from neuroport.engines.reference import Reference
from neuroport.errors import BackendError, FormatError, NeuroportError, StorageError, TargetError
from neuroport.files import check_file
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace, is_readout, versions
from neuroport.targets.board_record import (
    DIFFERS,
    EQUAL,
    NOT_RUN,
    TIMINGS,
    BoardRecord,
    Result,
    load_record,
)
from neuroport.targets.qualification_networks import (
    CONSTRUCTS,
    COUNTS,
    QUIET,
    STEPS,
    Construct,
    Frames,
)
from neuroport.targets.target import load_chip

LATEST = QUIET - STEPS - 4  # steps by which a message may be late; four go through the network
READS = 4  # delays of a reader that are tried
MOST = 600  # characters of what a failed run said
Told = Callable[[str, Result], None]


def _are_names(value: Any, name: str) -> list[Any]:
    """The names of constructs: one, or several."""
    return [value] if isinstance(value, str) else as_results(value, name)


@takes(
    site=is_path, out=is_path, only=_are_names, deadline=positive(BackendError), told=is_function
)
def qualify(
    site: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    only: str | Sequence[str] | None = None,
    deadline: float = 600.0,
    told: Told | None = None,
) -> BoardRecord:
    """Run every construct on the board of a site, and return the record.

    Args:
        site: TOML file of the site; by default the file in NEUROPORT_SITE.
        out: file of the record, written after each construct. A record there must not hold
        constructs that are not asked for.
        only: names of constructs; None: all. Delays are measured by ``spikes`` and ``readout``;
        without these, the site's delays are used.
        deadline: seconds for each run; a reader that waits in a wrong step uses all of
        them.
        told: called with the name and result of each construct.

    Raises:
        BackendError: the board cannot be reached, or the deadline is invalid.
        TargetError: there is no such construct.
        StorageError: the record cannot be written, or would replace results of other constructs.
    """
    asked = CONSTRUCTS if only is None else tuple(only)
    for name in asked:
        if name not in CONSTRUCTS:
            raise TargetError(f"no construct {name!r}; the constructs are {', '.join(CONSTRUCTS)}")
    if out is not None:
        _keep_others(check_file(out), asked)
    board = _Board(ready_site(site), deadline)
    found: dict[str, Result] = {}
    for construct in CONSTRUCTS.values():
        if construct.name not in asked:
            continue
        started = time.perf_counter()
        result = board.ask(construct)
        result = replace(result, seconds=round(time.perf_counter() - started, 1))
        found[construct.name] = result
        record = board.record(found)
        if out is not None:
            record.save(out)
        if told is not None:
            told(construct.name, result)
    return board.record(found)


def _keep_others(out: Path, asked: Collection[str]) -> None:
    """Refuse to replace the results of constructs that are not asked for."""
    try:
        held = load_record(out).constructs if out.exists() else {}
    except (StorageError, FormatError):  # no record
        return
    if lost := [name for name in held if name not in asked]:
        raise StorageError(
            f"{out}: is a record with results of {len(lost)} other constructs ({lost[0]}, ...), "
            "which would be lost; write to another file"
        )


class _Board:
    """A board, with its measured delays."""

    def __init__(self, site: Site, deadline: float) -> None:
        self.site, self.deadline = site, deadline

    def record(self, found: dict[str, Result]) -> BoardRecord:
        return BoardRecord(
            board=load_chip(self.site.board).name,
            where=replace(self.site, address="over Ethernet").where,  # records are sent around
            generation=self.site.generation,
            date=date.today().isoformat(),
            versions=versions("lava-nc", "lava-loihi", "lava-dl", "numpy", "scipy"),
            timing={key: getattr(self.site, key) for key in TIMINGS},
            constructs=dict(found),
        )

    def ask(self, construct: Construct) -> Result:
        """Test one construct; the first ones measure the delays."""
        graph, frames = construct.network()
        want = Reference().run(graph, frames)
        sites: Iterator[Site] = iter((self.site,))
        if construct.name == "spikes":
            sites = self._by_delays(construct, want)
        elif construct.name == "readout":
            sites = self._by_reading()
        first: Result | None = None
        for site in sites:
            result = self._compared(construct, graph, frames, want, site)
            if result:
                self.site = site
                return result
            first = first or result
        assert first is not None
        return first

    def _compared(
        self, construct: Construct, graph: Graph, frames: Frames, want: Trace, site: Site
    ) -> Result:
        try:
            got = self._run(construct, site)
        except StorageError:
            raise
        except NeuroportError as error:
            said = f"{error.message} {_last(error.detail)}".strip()[:MOST]
            return Result(NOT_RUN, graph.hash, said)
        if construct.options == COUNTS and not got.counts:  # readouts alone, after the last step
            last = {name: want[name][-1:] for name in want.messages}
            want = Trace(last, want.kinds, want.provenance)
        outcome = compare(want, got)
        compared = outcome.positions + outcome.counts
        if outcome.equal and compared:
            return Result(EQUAL, graph.hash, "", compared)
        where = outcome.first_count or outcome.first
        lost = f"not recorded: {', '.join(outcome.missing)}" if outcome.missing else "nothing"
        return Result(DIFFERS, graph.hash, str(where or lost), compared)

    def _run(self, construct: Construct, site: Site) -> Trace:
        graph, frames = construct.network()
        options: dict[str, Any] = {"deadline": self.deadline, **construct.options}
        # a site with other delays than its file's
        values = {**vars(Loihi2.Options(**options)), "site": site}
        return plan(graph, **values)(frames, None)

    def _by_delays(self, construct: Construct, want: Trace) -> Iterator[Site]:
        """Return the site with delays measured by a run without any; unchanged if none fit."""
        still = replace(self.site, input_delay=0, output_delay=0)
        try:
            got = self._run(construct, still)
        except BackendError:
            yield self.site
            return
        readouts = [name for name, kind in want.kinds.items() if is_readout(kind)]
        others = [name for name in want.messages if name not in readouts]
        late, seen = _late(want, got, readouts), _late(want, got, others)
        if seen is not None:
            # if the probe shows anything else, the input's delay has to be tried
            inputs = [late] if late is not None and late <= seen else range(seen + 1)
            for delay in inputs:
                yield replace(self.site, input_delay=delay, output_delay=seen - delay)
        else:
            yield self.site

    def _by_reading(self) -> Iterator[Site]:
        usual = self.site.read_delay
        for delay in (usual, *(d for d in range(READS) if d != usual)):
            yield replace(self.site, read_delay=delay)


def _late(want: Trace, got: Trace, names: Sequence[str]) -> int | None:
    """Return the common delay of these populations in steps; None if they differ otherwise."""
    for late in range(LATEST + 1):
        if all(
            name in got.messages
            and not got[name][:late].any()
            and np.array_equal(got[name][late:], want[name][: len(want[name]) - late])
            for name in names
        ):
            return late
    return None


def _last(detail: str) -> str:
    """Return the last line of Lava's output."""
    lines = detail.strip().splitlines()
    return f"({lines[-1].strip()})" if lines else ""
