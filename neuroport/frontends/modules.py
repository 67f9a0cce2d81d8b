"""The front ends for torch modules: neuroport's own layers, and those of libraries."""

from __future__ import annotations

import time
from typing import Any

import numpy.typing as npt

from neuroport.capture.frontend import FrontEnd
from neuroport.errors import CaptureError
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace


def made_of(network: Any, *packages: str) -> bool:
    """Whether a module contains a module of a package, or of a class derived from one."""
    modules = getattr(network, "modules", None)
    if not callable(modules):
        return False
    return any(
        kind.__module__.startswith(packages)
        for module in modules()
        for kind in type(module).__mro__
    )


def refuse_others(
    front_end: FrontEnd, options: dict[str, Any], known: tuple[str, ...] = ()
) -> None:
    """Refuse options that networks of the front end do not have."""
    unknown = [name for name in options if name not in known]
    if unknown:
        raise CaptureError(
            f"{', '.join(unknown)}: no option of networks of {front_end.name}; "
            + (f"use {', '.join(known)}" if known else "leave out")
        )


GRID_OPTIONS = ("widths", "equalize", "correct_bias")  # of networks of neuroport's layers


class Native(FrontEnd):
    """Networks of neuroport's own layers."""

    name = "neuroport"
    summary = "a torch module of neuroport's layers"

    def takes(self, network: Any) -> bool:
        return made_of(network, "neuroport.nets.")

    def quantize(self, network: Any, frames: Any, **options: Any) -> Graph:
        from neuroport.quantization.native import integers_of

        own = {name: options.pop(name) for name in GRID_OPTIONS if name in options}
        refuse_others(self, options, GRID_OPTIONS)
        return integers_of(network, frames, **own)

    def graph(self, network: Any, frames: npt.NDArray[Any]) -> Graph:
        from neuroport.backends.module import captured

        return captured(network, frames)

    def run(self, network: Any, frames: npt.NDArray[Any], **options: Any) -> Trace:
        from neuroport.backends.module import run_module

        return run_module(network, frames, **options)


class Slayer(FrontEnd):
    """Networks of lava-dl SLAYER's blocks."""

    name = "slayer"
    summary = "a torch module of lava-dl SLAYER's blocks"

    def takes(self, network: Any) -> bool:
        return made_of(network, "lava.lib.dl.slayer.")

    def quantize(self, network: Any, frames: Any, **options: Any) -> Graph:
        refuse_others(self, options)
        return self.graph(network, frames)

    def graph(self, network: Any, frames: npt.NDArray[Any]) -> Graph:
        from neuroport.capture import slayer

        return slayer.integer_graph(network, frames)

    def run(self, network: Any, frames: npt.NDArray[Any], **options: Any) -> Trace:
        from neuroport.capture import slayer

        return slayer.run(network, frames, **options)


OPTIONS = ("scale", "one_unit", "batch_first")  # of neuroport.import_torch


def _imported(front_end: FrontEnd, network: Any, frames: Any, options: dict[str, Any]) -> Graph:
    from neuroport.frontends.torch import import_torch

    refuse_others(front_end, options, OPTIONS)
    return import_torch(network, frames, measure=False, **options).graph


class SnnTorch(FrontEnd):
    """Networks of snnTorch's neurons."""

    name = "snntorch"
    summary = "a torch module with snnTorch's neurons"

    def takes(self, network: Any) -> bool:
        return made_of(network, "snntorch.")

    def quantize(self, network: Any, frames: Any, **options: Any) -> Graph:
        return _imported(self, network, frames, options)


class SpikingJelly(FrontEnd):
    """Networks of SpikingJelly's ``activation_based`` modules."""

    name = "spikingjelly"
    summary = "a torch module with SpikingJelly's neurons"

    def takes(self, network: Any) -> bool:
        return made_of(network, "spikingjelly.activation_based.")

    def quantize(self, network: Any, frames: Any, **options: Any) -> Graph:
        return _imported(self, network, frames, options)


class TrainableGraph(FrontEnd):
    """Graphs that are trained further, :class:`neuroport.training.trainable.Trainable`."""

    name = "trainable"
    summary = "a graph of integers as a torch module"

    def takes(self, network: Any) -> bool:
        return made_of(network, "neuroport.training.trainable")

    def quantize(self, network: Any, frames: Any, **options: Any) -> Graph:
        refuse_others(self, options)
        return self.graph(network, frames)

    def graph(self, network: Any, frames: npt.NDArray[Any]) -> Graph:
        found: Graph = network.graph()
        return found

    def run(  # type: ignore[override]
        self,
        network: Any,
        frames: npt.NDArray[Any],
        *,
        progress: Any = None,
        batch: int = 50,
        record: str = "messages",
        count: Any = None,
        granularity: str | None = None,
    ) -> Trace:
        import torch

        from neuroport.runs.frames import check_frames, frames_hash
        from neuroport.runs.recording import Recorder, recording
        from neuroport.runs.trace import dtype_of, versions

        graph = network.graph()
        check_frames(graph, frames)
        started = time.perf_counter()
        samples = frames.shape[1]
        recorder = Recorder(graph, samples, recording(graph, record, count, granularity))
        with torch.no_grad():
            for first in range(0, samples, batch):
                now = slice(first, min(first + batch, samples))
                for name, sent in network.messages(torch.tensor(frames[:, now])).items():
                    if name in recorder:
                        recorder.keep(
                            name, now, sent.cpu().numpy().astype(dtype_of(recorder.kinds[name]))
                        )
                if progress is not None:
                    progress(now.stop, samples)
        provenance = {
            "engine": "module",
            "time": "ideal",
            "graph": graph.hash,
            "frames": frames_hash(frames),
            "seconds": time.perf_counter() - started,
            "versions": versions("torch", "numpy"),
        }
        return recorder.trace(provenance)
