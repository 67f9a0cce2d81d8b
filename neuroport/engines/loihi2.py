"""The engine ``loihi2``: a board, through Lava's hardware extension. Not run on hardware."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neuroport.engines.engine import Engine, Options, option
from neuroport.engines.lava_cpu import YEAR

if TYPE_CHECKING:
    from neuroport.engines.engine import Run
    from neuroport.graph.graph import Graph


@dataclass(frozen=True)
class BoardOptions(Options):
    """Options of the engine ``loihi2``.

    ``record="counts"`` records the spikes per sample of spiking populations, and the potentials of
    readouts after a sample's last step. ``messages`` streams all messages to the host.
    """

    record: str = option("counts", "messages, or their counts (default).")
    site: str | os.PathLike[str] | None = option(  # noqa: RUF009 - a field
        None, "TOML file of a board's site."
    )
    deadline: float = option(600.0, "Seconds for each run, compiling included.", above=0, high=YEAR)
    frames_by: str = option(
        "messages",
        "messages, or bias for a constant frame, which leaves the host out.",
        choices=("messages", "bias"),
    )
    measure: bool = option(False, "Power, time, activity, memory, too.", minimizing=False)


class Loihi2(Engine):
    """A board that a site file describes."""

    name = "loihi2"
    summary = "Loihi 2 through Lava's hardware extension; not run on hardware"
    Options: ClassVar[type[BoardOptions]] = BoardOptions
    in_parts: ClassVar[bool] = False  # a measurement covers the complete run

    def available(self, options: Any = None) -> str | None:
        """Return the missing piece: Lava, its extension, a site, or access to its board."""
        from neuroport.backends.loihi2.availability import missing

        return missing(options.site if options is not None else None)

    def plan(self, graph: Graph, options: BoardOptions) -> Run:
        """Check the site, and every rule of the chip and of this engine.

        Raises:
            IllegalError: a rule refuses the graph.
            BackendError: something is missing, or a population cannot be counted.
            TargetError: the site's board is unknown.
        """
        from neuroport.backends.loihi2.engine import plan

        return plan(
            graph,
            site=options.site,
            deadline=options.deadline,
            record=options.record,
            count=options.count,
            granularity=options.granularity,
            frames_by=options.frames_by,
            measure=options.measure,
        )
