"""The cost of a run: exact counts, and labelled estimates of energy and time.

See :mod:`neuroport.analysis.operations` for counts, :mod:`neuroport.analysis.core_work` for counts
per core, and :mod:`neuroport.analysis.cost_models` for the estimates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from neuroport.analysis.core_work import CoreWork, core_work
from neuroport.analysis.cost_models import UNPLACED, Estimate, Routes, estimates
from neuroport.analysis.operations import Work, messages, work
from neuroport.arguments import as_array, instance, is_graph, is_trace, takes
from neuroport.display import Shown, View
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.runs.measurement import Measurement
from neuroport.runs.trace import Trace
from neuroport.targets.target import Target, load_chip, require_chip


@dataclass(frozen=True, slots=True)
class Energy(Shown):
    """Counts and estimates for one sample: means over the samples of a run.

    ``cores`` is None without a target, ``routes`` without a placement. Names of ``estimates``
    contain the unit: ``arithmetic_45nm_nj``, ``arithmetic_45nm_without_shortcuts_nj``,
    ``loihi1_nj``, ``step_time_us``, ``loihi2_uj``.
    """

    work: Work
    cores: CoreWork | None
    routes: Routes | None
    measurement: Measurement | None
    estimates: dict[str, Estimate]

    def counts(self) -> Iterator[tuple[str, str, str]]:
        """Return name, number and remark of every count, for tables."""
        w, c = self.work, self.cores
        yield "accumulates", _whole(w.accumulates), "of binary messages"
        yield "multiply-accumulates of frames", _whole(w.frame_multiplies), "graded frames"
        yield (
            "multiply-accumulates of membrane shortcuts",
            _whole(w.shortcut_multiplies),
            "what graded relays send, roundings included; published estimates leave them out",
        )
        yield (
            "other multiply-accumulates",
            _whole(w.other_multiplies),
            "graded messages of sigma-delta neurons",
        )
        yield (
            "synaptic operations on a chip",
            _whole(w.chip_operations),
            "each population has its own copy of its synapses",
        )
        inactive = f"{_whole(w.active)} active, {_whole(w.inactive)} inactive"
        yield "neuron updates", _whole(w.updates), f"all neurons, {w.steps} steps; {inactive}"
        yield "spikes", _whole(w.spikes), f"and {_whole(w.frames)} nonzero values of the frames"
        yield "graded messages", _whole(w.graded), ""
        if c is not None:
            chips = "1 chip" if c.chips == 1 else f"{c.chips:,} chips"
            fits = "" if c.fits else "; does not fit, and these are a lower bound"
            yield f"cores on {c.target}", f"{c.cores:,}", f"on {chips}{fits}"
            yield (
                "operations of one core in one step",
                f"{c.most_operations:,}",
                f"at most, in {c.busiest}; counted per core on this run, not spread evenly",
            )
            yield "neurons of one core", f"{c.most_neurons:,}", "at most; updated at every step"
            yield "messages between cores", _whole(c.between), "one per core that is reached"
            yield "messages inside cores", _whole(c.inside), "recurrent populations"
            yield "messages from the frames to cores", _whole(c.outside), ""
        if self.routes is None:
            yield "messages between chips", "", UNPLACED
        else:
            yield "messages between chips", _whole(self.routes.inter_chip), ""

    def view(self) -> View:
        first, *_ = self.lines()
        note = "\n".join(map(str, self.estimates.values()))
        return View(first, ("count", "number", "remark"), list(self.counts()), note, (1,))

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        samples = "1 sample" if self.work.samples == 1 else f"the mean of {self.work.samples:,}"
        yield f"Work of one sample ({samples}), counted on this run"
        rows = list(self.counts())
        name, number = (max(len(row[k]) for row in rows) for k in (0, 1))
        for row in rows:
            yield f"  {row[0]:{name}}  {row[1]:>{number}}  {row[2]}".rstrip()
        how = "nothing was run on hardware" if self.measurement is None else "the last was measured"
        yield f"Estimates for one sample; {how}"
        for estimate in self.estimates.values():
            yield f"  {estimate}"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "work": asdict(self.work),
            "cores": None if self.cores is None else self.cores.to_dict(),
            "routes": None if self.routes is None else asdict(self.routes),
            "measurement": None if self.measurement is None else self.measurement.to_dict(),
            "estimates": {name: asdict(found) for name, found in self.estimates.items()},
        }


@takes(
    graph=is_graph,
    trace=is_trace,
    frames=as_array,
    routes=instance(Routes, CompareError),
    measurement=instance(Measurement, CompareError),
)
def energy(
    graph: Graph,
    trace: Trace,
    frames: npt.NDArray[Any],
    *,
    target: Target | str | Path | None = None,
    routes: Routes | None = None,
    measurement: Measurement | None = None,
) -> Energy:
    """Count the work of a run and estimate energy and time of one sample.

    Args:
        graph: the network of the run; for a chip, the lowered network.
        trace: messages (T, N, *shape) of all its populations.
        frames: frames (T, N, *shape) of that run.
        target: a chip or a board, by name or as a TOML file, for cores and times.
        routes: costs of a placement; without it, hops and messages between chips are not counted.
        measurement: a measurement of this network on hardware; without it, there is no energy on
        Loihi 2.

    Raises:
        CompareError: the trace belongs to another network or to other frames, lacks a population,
            or holds counts instead of messages.
        FramesError: the frames do not fit.
        TargetError: there is no such target, or it has no cores, or no time of a step or an
            operation.
    """
    board = None if target is None else _chip(target)
    sent = messages(graph, trace, frames)
    counted = work(graph, sent)
    cores = None if board is None else core_work(graph, sent, board)
    found = estimates(counted, cores, routes, measurement)
    return Energy(counted, cores, routes, measurement, found)


def energy_or_why(
    graph: Graph,
    trace: Trace,
    frames: npt.NDArray[Any] | None,
    target: Target,
    routes: Routes | None = None,
) -> Energy | str:
    """Return :func:`energy` for a report, or a sentence that says why it is impossible.

    Raises:
        FramesError, TargetError: see :func:`energy`.
    """
    if frames is None:
        return "the frames of the run are needed to count its work; give them (--frames)"
    try:
        return energy(graph, trace, frames, target=target, routes=routes)
    except CompareError as error:
        return error.message


def _chip(target: Target | str | Path) -> Target:
    return require_chip(target) if isinstance(target, Target) else load_chip(target)


def _whole(number: float) -> str:
    return f"{number:,.0f}"
