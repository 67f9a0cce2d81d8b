"""The engine ``fast``: the same integers compiled or in torch, batched, on CPU or CUDA."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from neuroport.engines.engine import Engine, device_option, option
from neuroport.engines.reference import WalkOptions
from neuroport.errors import BackendError

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
    device: str = device_option()


class Fast(Engine):
    """Torch engine."""

    name = "fast"
    summary = "exact integers in torch, batched, CPU or CUDA"
    Options: ClassVar[type[FastOptions]] = FastOptions

    def available(self, options: Any = None) -> str | None:
        """Return why the engine is not available (torch is missing), or None."""
        if find_spec("torch") is None:
            return "torch is not installed; pip install '.[train]' in neuroport's folder"
        return None

    def plan(self, graph: Graph, options: FastOptions) -> Run:
        """Compile the graph, or prepare its weights for torch.

        Raises:
            IllegalError: a sum may exceed 2**53.
            BackendError: there is no such device, or a population to be recorded does not exist.
        """
        import torch

        from neuroport.backends.executor import walk
        from neuroport.backends.fast import arithmetic_for
        from neuroport.kernels.devices import device_of, memory_of
        from neuroport.runs.recording import recording

        device = device_of(options.device)
        plan = recording(graph, options.record, options.count, options.granularity)
        arithmetic = arithmetic_for(graph, device, options.time_model)

        def run(frames: npt.NDArray[Any], progress: Progress | None) -> Trace:
            def walked(frames: npt.NDArray[Any], batch: int, told: Progress | None) -> Trace:
                with torch.inference_mode():
                    return walk(
                        arithmetic,
                        graph,
                        frames,
                        progress=told,
                        time_model=options.time_model,
                        batch=batch,
                        plan=plan,
                    )

            def attempt(count: int) -> None:
                walked(frames[:, :count], count, None)

            most = min(options.batch, max(frames.shape[1], 1)) if frames.ndim > 1 else 1
            with memory_of(device, most, 1, attempt, BackendError, "batch"):
                return walked(frames, options.batch, progress)

        return run
