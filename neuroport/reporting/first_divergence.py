"""The input of the neuron at which two runs first differ, as rows of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from neuroport.analysis.compare import Comparison
from neuroport.analysis.synapse_rows import Arrival, arrivals
from neuroport.errors import GraphError
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace

ROWS = 24  # of a table


@dataclass(frozen=True)
class Received:
    """Rows with the messages that arrived at ``step``.

    Attributes:
        rows: rows with unequal weights first, then those with unequal currents, then the largest
        currents.
        left: number of omitted weights, with a current of 0 or a small one.
        why_not: reason why there are no rows.
    """

    step: int
    rows: tuple[Arrival, ...]
    left: int
    why_not: str = ""


def received(
    want: Trace,
    got: Trace,
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any] | None,
    found: Comparison,
) -> Received | None:
    """Return the input of the neuron of the first divergence; None without an explanation."""
    first = found.first
    if first is None or frames is None or found.neighbourhood is None:
        return None
    try:
        all_of = arrivals(
            want,
            got,
            graph,
            other,
            frames,
            first.population,
            first.neuron,
            first.sample,
            first.step,
        )
    except GraphError as error:
        return Received(first.step, (), 0, error.message)
    telling = [a for a in all_of.arrivals if a.unlike_weights or any(a.current)]
    rows = tuple(telling[:ROWS])
    return Received(all_of.step, rows, len(all_of.arrivals) - len(rows))
