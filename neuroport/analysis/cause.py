"""Find the cause of a difference between two runs.

A cause is reported only if a rerun with that cause gives the other run exactly.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.delta_debugging import ddmin
from neuroport.analysis.fault_models import hypotheses
from neuroport.analysis.fault_simulation import Plan, reproduces, unlike
from neuroport.analysis.graph_difference import (
    ABSENT,
    Difference,
    alike_lowered,
    differences,
    with_fields,
)
from neuroport.errors import GraphError
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace

_SECONDS = 120.0  # hypotheses are tried for so long
_SCALE = ("weight", "exponent", "bias", "threshold", "shift", "current_decay", "voltage_decay")
_TIME = ("steps", "delay", "lag", "interval")


@dataclass(frozen=True)
class Cause:
    """The cause of a difference between two runs.

    Attributes:
        kind: ``missing edge``, ``delay``, ``reset``, ``bias gating``, ``rounding``, ``saturation``,
            ``scale``, ``structure``, ``threshold equality`` or ``unknown``.
        side: the run that does not match its network, ``want`` or ``got``; ``networks`` if both
        match and the networks differ; None if unknown.
        sentence: description of the fault, with node and field if known.
        also: other causes that give exactly the same run, which these runs cannot distinguish.
    """

    kind: str
    side: str | None
    sentence: str
    node: str | None = None
    field: str | None = None
    index: tuple[int, ...] | None = None
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        also = "".join(f"; or {other}" for other in self.also)
        return f"{self.kind}: {self.sentence}{also}"


def cause(
    want: Trace,
    got: Trace,
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any],
    population: str,
    *,
    seconds: float = _SECONDS,
) -> Cause:
    """Find the cause of the difference between two runs.

    The networks are compared first. If a run does not match its network, the faults of
    :mod:`neuroport.analysis.fault_models` are tried.

    Args:
        graph, other: the networks of ``want`` and ``got``.
        population: population at which the runs first differ.
        seconds: time limit for trying faults.
    """
    deadline = time.monotonic() + seconds
    departures = {
        "got": _departure(other, frames, got),
        "want": _departure(graph, frames, want),
    }
    if departures["got"] is departures["want"] is None:
        return _of_networks(got, graph, other, frames, population, deadline)
    tried, complete = 0, True
    for side, trace, network in (("got", got, other), ("want", want, graph)):
        departure = departures[side]
        if departure is None:
            continue
        found: dict[str, Cause] = {}
        for h in hypotheses(network, departure.population, first_sample_equal=departure.sample > 0):
            if time.monotonic() > deadline:
                complete = False
                break
            if h.kind in found:
                continue
            tried += 1
            few = departure.sample + 1
            if reproduces(h.graph, frames, h.plan, trace, few) and reproduces(
                h.graph, frames, h.plan, trace, trace.samples
            ):
                found[h.kind] = Cause(h.kind, side, f"in {side}, {h.sentence}", h.node, h.field)
        if found:
            first, *others = found.values()
            also = tuple(f"{c.kind}: {c.sentence}" for c in others)
            return Cause(first.kind, side, first.sentence, first.node, first.field, None, also)
    departed = [side for side in ("got", "want") if departures[side] is not None]
    who = " and ".join(departed)
    more = "" if complete else f" in {seconds:g} s; more could be tried"
    for side, trace, network in (("got", got, other), ("want", want, graph)):
        made_by = str(trace.provenance.get("graph", network.hash))
        if side in departed and made_by != network.hash:
            more += f"; {side} was made by another network ({made_by[:12]}), give that"
    return Cause(
        "unknown",
        departed[0] if len(departed) == 1 else None,
        f"{who} {'is' if len(departed) == 1 else 'are'} not what the network says, and none of "
        f"{tried} faults that were tried gives it{more}",
    )


@dataclass(frozen=True)
class _Departure:
    """The first population and sample at which a run does not match its network."""

    population: str
    sample: int


def _departure(graph: Graph, frames: npt.NDArray[Any], trace: Trace) -> _Departure | None:
    """Find where a trace first differs from the reference; None if they are equal."""
    order = {node.name: i for i, node in enumerate(graph.populations)}
    best: tuple[int, int, str] | None = None
    first = trace.samples
    for name, start, differs in unlike(graph, frames, Plan(), trace, trace.samples):
        if differs.ndim < 3 or not differs.any():
            continue
        axes = tuple(range(2, differs.ndim))
        steps, samples = np.nonzero(differs.any(axis=axes))
        first = min(first, start + int(samples.min()))
        here = int(steps.min()), order[name], name
        best = here if best is None else min(best, here)
    return None if best is None else _Departure(best[2], first)


def _of_networks(
    got: Trace,
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any],
    population: str,
    deadline: float,
) -> Cause:
    """Find the fewest fields that explain the difference, if each run matches its network."""
    graph, other = alike_lowered(graph, other)
    found = differences(graph, other)
    near = [d for d in found if d.node in ancestors(graph, population)] or list(found)
    if not found:
        return Cause("unknown", "networks", "the networks are equal, and so are their reruns")

    def gives(chosen: list[Difference]) -> bool:
        if time.monotonic() > deadline:
            return False  # report the fields found so far
        try:
            variant = with_fields(graph, other, tuple(chosen))
            return reproduces(variant, frames, Plan(), got, got.samples)
        except (GraphError, KeyError, AttributeError):
            return False  # a field that needs another field, or a node that is not there

    same_nodes = [d for d in found if d.node != "graph" and d.field not in ("node", "kind")]
    needed = _fewest(same_nodes, near, gives) if same_nodes else None
    d = needed[0] if needed else near[0]
    more = len(needed or found) - 1
    others = f", and {more} other field{'s' * (more > 1)}" if more else ""
    return Cause(_kind(d), "networks", _said(d) + others, d.node, d.field, d.index)


def _fewest(
    found: list[Difference],
    near: list[Difference],
    gives: Callable[[list[Difference]], bool],
) -> list[Difference] | None:
    for start in ([d for d in found if d in near], found):
        if start and gives(start):
            return ddmin(start, gives)
    return None


def _kind(d: Difference) -> str:
    if d.field == "inputs":
        few, many = sorted((Counter(d.want), Counter(d.got)), key=lambda c: sum(c.values()))
        return "missing edge" if not few - many else "structure"
    if d.field in _TIME:
        return "delay"
    return "scale" if d.field in _SCALE else "structure"


def _said(d: Difference) -> str:
    if d.field == "inputs":
        ours, theirs = Counter(d.want), Counter(d.got)
        lacks = [("got", n) for n in ours - theirs] + [("want", n) for n in theirs - ours]
        told = "; ".join(f"{d.node!r} does not receive {name!r} in {side}" for side, name in lacks)
        return told or f"{d.place}: the order of inputs differs"
    if d.field == "node":
        side, kind = ("want", d.got) if d.want == ABSENT else ("got", d.want)
        return f"{kind} {d.node!r} is absent in {side}"
    values = f" ({d.count:,} values differ)" if d.count > 1 else ""
    return f"{d.place} is {d.want} in want and {d.got} in got{values}"


def ancestors(graph: Graph, name: str) -> set[str]:
    """Return a node and all nodes before it on any path."""
    found = {name}
    for node in reversed(graph.nodes):
        if node.name in found:
            found.update(node.inputs)
    return found
