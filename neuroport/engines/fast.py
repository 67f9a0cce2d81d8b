"""The engine ``fast``: the same integers compiled or in torch, batched, on CPU or CUDA."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from neuroport.engines.engine import Engine, option
from neuroport.engines.reference import WalkOptions

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.engines.engine import Run
    from neuroport.graph.graph import Graph
    from neuroport.runs.frames import Progress
    from neuroport.runs.trace import Trace


@dataclass(frozen=True)
class FastOptions(WalkOptions):
    """Options of the engine ``fast``."""

    batch: int = option(
        64, "Samples side by side, in ideal time; changes memory, never results.", low=1
    )
    device: str = option("cpu", "Where torch computes: cpu, cuda or cuda:1.")


class Fast(Engine):
    """Torch engine."""

    name = "fast"
    summary = "exact integers in torch, batched, CPU or CUDA"
    Options: ClassVar[type[FastOptions]] = FastOptions

    def available(self, options: Any = None) -> str | None:
        """Return why the engine is not available: torch is missing. None if it is there."""
        if find_spec("torch") is None:
            return "torch is not installed; pip install '.[train]' in neuroport's folder"
        return None

    def plan(self, graph: Graph, options: FastOptions) -> Run:
        """Compile the graph, or lay its weights out.

        Raises:
            IllegalError: sums beyond 2**53.
            BackendError: no such device, or what is to be recorded does not exist.
        """
        import torch

        from neuroport.backends.executor import walk
        from neuroport.backends.fast import arithmetic_for, device_of
        from neuroport.runs.recording import recording

        device = device_of(options.device)
        plan = recording(graph, options.record, options.count, options.granularity)
        arithmetic = arithmetic_for(graph, device, options.time_model)

        def run(frames: npt.NDArray[Any], progress: Progress | None) -> Trace:
            with torch.inference_mode():
                return walk(
                    arithmetic,
                    graph,
                    frames,
                    progress=progress,
                    time_model=options.time_model,
                    batch=options.batch,
                    plan=plan,
                )

        return run
