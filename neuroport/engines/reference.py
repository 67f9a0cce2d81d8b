"""The engine ``reference``: the network in plain NumPy, simple enough to check by reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neuroport.engines.engine import Engine, Options, option

if TYPE_CHECKING:
    from neuroport.engines.engine import Run
    from neuroport.graph.graph import Graph


@dataclass(frozen=True)
class WalkOptions(Options):
    """Options of neuroport's own engines, which run in ideal or chip time."""

    time_model: str = option(
        "ideal",
        "`ideal`, or `chip`, for which the graph must be balanced.",
        flag="time",
        choices=("ideal", "chip"),
    )
    batch: int = option(
        32, "Samples side by side, in ideal time; changes memory, never results.", low=1
    )


class Reference(Engine):
    """NumPy engine; needs nothing but the core."""

    name = "reference"
    summary = "exact integers in NumPy"
    Options: ClassVar[type[WalkOptions]] = WalkOptions

    def plan(self, graph: Graph, options: WalkOptions) -> Run:
        """Return the function that runs the graph; nothing is planned.

        Raises:
            BackendError: a population to be recorded does not exist.
        """
        from neuroport.backends.executor import walk
        from neuroport.backends.reference import NumpyArithmetic
        from neuroport.runs.recording import recording

        plan = recording(graph, options.record, options.count, options.granularity)
        return lambda frames, progress: walk(
            NumpyArithmetic(),
            graph,
            frames,
            progress=progress,
            time_model=options.time_model,
            batch=options.batch,
            plan=plan,
        )
