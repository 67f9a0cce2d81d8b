"""The trained torch module as an engine: its own forward pass, every population recorded."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from neuroport.backends.base import Progress, check_frames, frames_hash
from neuroport.backends.trace import DTYPES, Trace, versions
from neuroport.capture.native import integer_graph
from neuroport.capture.wiring import evaluating
from neuroport.errors import CaptureError, FramesError
from neuroport.kernels.memory import keep_freed
from neuroport.nets.neuron import Lif
from neuroport.nets.synapse import Integrator, Relay
from neuroport.quantization.scales import is_integer

_KINDS: dict[type[nn.Module], str] = {Lif: "lif", Relay: "relay", Integrator: "readout"}


@torch.no_grad()
def run_module(
    net: nn.Module,
    frames: npt.NDArray[Any],
    *,
    progress: Progress | None = None,
    batch: int = 50,
) -> Trace:
    """Evaluate an integer network on ``frames`` (T, N, C, H, W) and record every population.

    Raises:
        CaptureError: the network is still real-valued; its spikes are not comparable.
        FramesError: the frames do not fit.
    """
    if not is_integer(net):
        raise CaptureError("the network is still real-valued; quantize it before running it")
    keep_freed()
    started = time.perf_counter()
    if frames.ndim != 5:
        raise FramesError(f"frames are {frames.shape}; the network takes (T, N, C, H, W)")
    try:
        graph = integer_graph(net, torch.zeros(frames.shape[0], 1, *frames.shape[2:]))
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise FramesError(
            f"frames are {frames.shape} (T, N, C, H, W); the network cannot take them ({said})"
        ) from error
    check_frames(graph, frames)
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    kinds: dict[str, str] = {}
    handles = []
    for name, module in net.named_modules():
        kind = next((kind for base, kind in _KINDS.items() if isinstance(module, base)), None)
        if kind is not None:
            kinds[name], parts[name] = kind, []
            handles.append(module.register_forward_hook(_recorder(parts[name], DTYPES[kind])))
    try:
        samples = frames.shape[1]
        with evaluating(net):
            for first in range(0, samples, batch):
                net(torch.from_numpy(frames[:, first : first + batch].astype(np.float32)))
                if progress is not None:
                    progress(min(first + batch, samples), samples)
    finally:
        for handle in handles:
            handle.remove()
    # in the order of the graph, which is the order in which data flows
    order = [node.name for node in graph.populations]
    provenance = {
        "engine": "module",
        "time": "ideal",
        "graph": graph.hash,
        "frames": frames_hash(frames),
        "seconds": time.perf_counter() - started,
        "versions": versions("torch", "numpy"),
    }
    messages = {name: np.concatenate(parts[name], axis=1) for name in order}
    return Trace(messages, {name: kinds[name] for name in order}, provenance)


def _recorder(parts: list[npt.NDArray[Any]], dtype: np.dtype[Any]) -> Any:
    def hook(_: nn.Module, __: Any, output: torch.Tensor) -> None:
        parts.append(output.cpu().numpy().astype(dtype))

    return hook
