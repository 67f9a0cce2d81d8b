"""The trained torch module as an engine: its own forward pass, every population recorded."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from neuroport.backends.reference import own
from neuroport.capture.connectivity import evaluating, heard, unwrapped
from neuroport.capture.native_network import integer_graph
from neuroport.errors import BackendError, CaptureError, FramesError, RangeError
from neuroport.graph.declared_widths import Watch
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Population, per_neuron
from neuroport.kernels.allocator import keep_freed
from neuroport.kernels.devices import memory_of
from neuroport.nets.held_numbers import held
from neuroport.nets.neuron import Lif
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Integrator, Relay
from neuroport.quantization.scales import is_integer
from neuroport.runs.frames import Progress, check_frames, frames_hash
from neuroport.runs.recording import Recorder, recording
from neuroport.runs.trace import Trace, dtype_of, versions

_POPULATIONS = (Lif, Relay, Integrator)


@torch.no_grad()
def captured(net: nn.Module, frames: npt.NDArray[Any]) -> Graph:
    """The graph that an integer network is, for frames (T, N, C, H, W).

    Raises:
        CaptureError: the network is still real-valued; its spikes are not comparable.
        FramesError: the network cannot take the frames.
    """
    net = unwrapped(net)
    if not is_integer(net):
        raise CaptureError("the network is still real-valued; quantize it before running it")
    if frames.ndim != 5:
        raise FramesError(f"frames are {frames.shape}; the network takes (T, N, C, H, W)")
    try:
        return integer_graph(net, torch.from_numpy(frames[:, :1].astype(np.float32)))
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise FramesError(
            f"frames are {frames.shape} (T, N, C, H, W); the network cannot take them ({said})"
        ) from error


@torch.no_grad()
def run_module(
    net: nn.Module,
    frames: npt.NDArray[Any],
    *,
    progress: Progress | None = None,
    batch: int = 50,
    record: str = "messages",
    count: str | Sequence[str] | None = None,
    granularity: str | None = None,
    device: torch.device | None = None,
) -> Trace:
    """Evaluate an integer network on ``frames`` (T, N, C, H, W) and record every population.

    Args:
        batch: samples evaluated side by side; changes memory, never results.
        record, count, granularity: :func:`neuroport.runs.recording.recording`.
        device: where a copy of the network runs; ``None``: the CPU.

    Raises:
        BackendError: an option that does not exist, or memory that ran out.
        CaptureError: the network is still real-valued; its spikes are not comparable.
        FramesError: the frames do not fit.
        RangeError: a population left the widths that are declared of it.
    """
    net = unwrapped(net)
    started = time.perf_counter()
    graph = captured(net, frames)
    keep_freed()
    device = device or torch.device("cpu")
    if device.type != "cpu":  # its graph was made where it was
        net = copy.deepcopy(net).to(device)
    check_frames(graph, frames)
    samples = frames.shape[1]
    recorder = Recorder(graph, samples, recording(graph, record, count, granularity))
    now = slice(0, 0)  # the samples that the network is given
    watch = Watch(graph)

    def keep(name: str, _: nn.Module, given: Sequence[Any], output: torch.Tensor) -> None:
        if name in recorder:
            messages = output.cpu().numpy().astype(dtype_of(recorder.kinds[name]))
            recorder.keep(name, now, messages)
        if name in graph.checked:
            arriving = given[0].value if isinstance(given[0], Stream) else given[0]
            node = graph[name]
            assert isinstance(node, Population)
            watch.look(node, arriving.cpu().numpy().astype(np.int64), per_neuron, own)

    populations = [item for item in net.named_modules() if isinstance(item[1], _POPULATIONS)]

    def run(part: slice) -> None:
        net(torch.from_numpy(frames[:, part].astype(np.float32)).to(device))

    def attempt(count: int) -> None:
        with evaluating(net):
            run(slice(count))

    with (
        memory_of(device, min(batch, samples), 1, attempt, BackendError, "batch"),
        evaluating(net),
        held(net),
        heard(net, populations, keep, [node.name for node in graph.populations]),
    ):
        for first in range(0, samples, batch):
            now = slice(first, first + batch)
            watch = Watch(graph)
            run(now)
            try:
                watch.end()
            except RangeError as error:
                raise error.later(first) from None
            if progress is not None:
                progress(min(first + batch, samples), samples)
    provenance = {
        "engine": "module",
        "time": "ideal",
        "graph": graph.hash,
        "frames": frames_hash(frames),
        "seconds": time.perf_counter() - started,
        "versions": versions("torch", "numpy"),
    }
    return recorder.trace(provenance)
