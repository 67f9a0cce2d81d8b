"""The engine ``lava-cpu``: Lava's fixed-point CPU simulator, in child processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neuroport.engines.engine import Engine, Options, option

if TYPE_CHECKING:
    from neuroport.engines.engine import Run
    from neuroport.graph.graph import Graph

YEAR = 365 * 24 * 3600  # s


@dataclass(frozen=True)
class LavaOptions(Options):
    """Options of the engine ``lava-cpu``.

    With Lava's own processes, one child keeps every core busy with one process per node, and needs
    seconds and hundreds of megabytes before its first step. One worker is therefore the default.
    With ``fused`` processes a child keeps one core busy, so use as many workers as cores.
    """

    deadline: float = option(600.0, "Seconds for Lava.", above=0, high=YEAR)
    workers: int = option(1, "Child processes that share the samples.", low=1, minimizing=False)
    processes: str = option(
        "stock",
        "Lava's own, stock, or fused ones, which are faster.",
        choices=("stock", "fused"),
    )
    counters: str | None = option(
        None,
        "Count inside the fused process (default there), or in stock ones as on a chip.",
        choices=("inside", "stock"),
    )


class LavaCpu(Engine):
    """Lava's CPU simulator, tag ``fixed_pt``."""

    name = "lava-cpu"
    summary = "Lava's fixed-point CPU simulator"
    Options: ClassVar[type[LavaOptions]] = LavaOptions

    def available(self, options: Any = None) -> str | None:
        """Return why Lava cannot run here: it is missing, or its Python version is unsupported."""
        from neuroport.backends.lava_cpu.installation import missing

        return missing()

    def plan(self, graph: Graph, options: LavaOptions) -> Run:
        """Check every rule of the simulator.

        Raises:
            IllegalError: the graph breaks one.
            BackendError: a counter could exceed the range of a LIF's threshold, or an option
                contradicts another.
        """
        from neuroport.backends.lava_cpu.engine import plan
        from neuroport.runs.recording import recording

        recorded = recording(graph, options.record, options.count, options.granularity)
        return plan(
            graph,
            recorded,
            deadline=options.deadline,
            workers=int(options.workers),
            processes=options.processes,
            counters=options.counters,
        )
