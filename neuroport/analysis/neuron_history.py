"""The inputs and states of one neuron around the step at which two runs first differ.

For each run, the neuron is recomputed from the messages that *this run recorded* for earlier
populations. If the neuron's output is not the recomputed one, the neuron itself is at fault.
Otherwise its inputs differ between the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuroport.analysis.recorded_outputs import received
from neuroport.backends.executor import Starts, arriving_at
from neuroport.backends.reference import states
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Population
from neuroport.graph.node import per_neuron
from neuroport.runs.trace import Trace

STEPS_BEFORE = 2


class DivergencePoint(Protocol):
    """The point at which two runs diverge; see :class:`neuroport.analysis.compare.Divergence`."""

    @property
    def population(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def sample(self) -> int: ...
    @property
    def neuron(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Moment:
    """One neuron at one step of one run.

    Attributes:
        inputs: current from each input of the population; ``current`` is their sum.
        u, v: states before the reset; None for a relay (``u`` also for a readout).
        limit: the voltage to exceed, ``threshold << 6``; a relay's threshold; None for a readout.
        should: recomputed output; ``recorded``: output in the run's trace.
    """

    step: int
    inputs: dict[str, int]
    current: int
    u: int | None
    v: int | None
    limit: int | None
    bias: int | None
    should: int
    recorded: int


@dataclass(frozen=True)
class Neighbourhood:
    """The neuron in both runs, from two steps before the divergence to its step.

    ``fault`` is ``want`` or ``got`` if the neuron of that run does not match its own inputs
    (``both`` if neither does), ``inputs`` if the inputs differ, else ``constants``.
    """

    population: str
    kind: str
    sample: int
    neuron: tuple[int, ...]
    want: tuple[Moment, ...]
    got: tuple[Moment, ...]
    fault: str

    @property
    def verdict(self) -> str:
        """Return one sentence that says which run is at fault."""
        a, b = self.want[-1], self.got[-1]
        if self.fault == "inputs":
            for earlier, later in zip(self.want, self.got, strict=True):
                if earlier.current == later.current:
                    continue
                names = dict.fromkeys((*earlier.inputs, *later.inputs))
                unlike = [n for n in names if earlier.inputs.get(n) != later.inputs.get(n)]
                told = "; ".join(
                    f"{n} gives {_or_dash(earlier.inputs.get(n))} in want, "
                    f"{_or_dash(later.inputs.get(n))} in got"
                    for n in unlike
                )
                return (
                    "each neuron did what followed from its inputs; what arrived differs at step "
                    f"{earlier.step}: {told}"
                )
            return "each neuron did what followed from its inputs; what arrived earlier differs"
        if self.fault == "constants":
            return (
                "each neuron did what followed from its inputs, and the same arrived: the neuron's "
                "own constants differ between the networks"
            )
        sides = {"want": [("want", a)], "got": [("got", b)]}.get(
            self.fault, [("want", a), ("got", b)]
        )
        said = "; ".join(
            f"given what arrived, the neuron of {side} should have given {m.should} and gave "
            f"{m.recorded}"
            for side, m in sides
        )
        return f"{said}: the neuron is at fault, not its inputs"

    def __str__(self) -> str:
        """An aligned table with two rows per step, and the verdict."""
        limit = "threshold" if self.kind == "relay" else "threshold<<6"
        head = ("step", "run", "current", "u", "v", limit, "bias", "should", "gave")
        rows: list[tuple[str, ...]] = [head]
        for pair in zip(self.want, self.got, strict=True):
            for side, m in zip(("want", "got"), pair, strict=True):
                values = (m.current, m.u, m.v, m.limit, m.bias, m.should, m.recorded)
                rows.append((str(m.step), side, *(_or_dash(v) for v in values)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join((*(f"  {line}" for line in lines), f"  {self.verdict}"))


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def neighbourhood(
    want: Trace,
    got: Trace,
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any],
    first: DivergencePoint,
) -> Neighbourhood | None:
    """Recompute the neuron at which two runs diverge, from its recorded inputs in each run.

    Args:
        graph, other: the networks of ``want`` and ``got``.

    Returns:
        None if a network lacks the population, or if the runs have only counts.

    Raises:
        CompareError: the shape of a network differs from that of its run.
    """
    sides = []
    for trace, network in ((want, graph), (got, other)):
        if first.population not in {node.name for node in network.populations}:
            return None
        moments = _moments(network, trace, frames, first)
        if moments is None:
            return None
        sides.append(moments)
    ours, theirs = sides
    wrong = tuple(side[-1].should != side[-1].recorded for side in sides)
    if any(wrong):
        fault = "both" if all(wrong) else "want" if wrong[0] else "got"
    else:
        same = all(a.current == b.current for a, b in zip(ours, theirs, strict=True))
        fault = "constants" if same else "inputs"
    kind = want.kinds[first.population]
    before = slice(max(0, first.step - STEPS_BEFORE), first.step + 1)
    return Neighbourhood(
        first.population,
        kind,
        first.sample,
        first.neuron,
        tuple(ours[before]),
        tuple(theirs[before]),
        fault,
    )


def _moments(
    graph: Graph, trace: Trace, frames: npt.NDArray[Any], first: DivergencePoint
) -> list[Moment] | None:
    """Yield the neuron at every step up to the divergence."""
    name, shape = first.population, graph.facts(first.population).shape
    recorded = trace[name]
    if recorded.ndim == len(shape) + 2 and recorded.shape[2:] != shape:
        raise CompareError(
            f"population {name!r} is {shape} in the network and {recorded.shape[2:]} in its run; "
            "give the network that was run"
        )
    if recorded.shape != (graph.steps, trace.samples, *shape):
        return None
    node, starts = graph[name], Starts(0, graph.steps)
    currents = received(graph, trace, frames, name, first.sample)
    total = arriving_at(node, currents)
    assert isinstance(node, Population)
    found = states(node, total, starts)
    u, v, given = found.get("u"), found.get("v"), found["sent"]
    constants = {
        item: int(per_neuron(np.atleast_1d(values), shape)[first.neuron])
        for item, _, values in node.constants()
    }
    bias, limit = constants.get("bias"), None
    if node.threshold_shift is not None:
        limit = constants["threshold"] << node.threshold_shift
    return [
        Moment(
            t,
            {n: int(currents[n][t, 0][first.neuron]) for n in node.inputs},
            int(total[t, 0][first.neuron]),
            None if u is None else int(u[t, 0][first.neuron]),
            None if v is None else int(v[t, 0][first.neuron]),
            limit,
            bias,
            int(given[t, 0][first.neuron]),
            int(recorded[t, first.sample][first.neuron]),
        )
        for t in range(first.step + 1)
    ]
