"""SLAYER's own forward pass as an engine: every population of the graph recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from lava.lib.dl.slayer.dendrite import Sigma
from lava.lib.dl.slayer.neuron import sigma_delta
from lava.lib.dl.slayer.neuron.base import Neuron
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from neuroport.capture.forward import called, evaluating, performed, unheard, unwrapped
from neuroport.capture.slayer.graph_builder import Probe
from neuroport.capture.slayer.modules import at_rest
from neuroport.capture.slayer.network import Captured, capture
from neuroport.capture.slayer.neurons import CHANGE
from neuroport.errors import FramesError, RangeError
from neuroport.graph.integers import STATE_MAX
from neuroport.runs.frames import Progress, check_frames, frames_hash
from neuroport.runs.recording import Recorder, recording
from neuroport.runs.trace import Trace, dtype_of, versions


def frames(net: nn.Module, x: Tensor) -> npt.NDArray[np.int64]:
    """See :func:`neuroport.capture.slayer.frames`."""
    return _frames(capture(net, np.moveaxis(x.numpy(), -1, 0), keep_shift=False), x)


def record(net: nn.Module, x: Tensor, *, keep_shift: bool) -> Trace:
    """See :func:`neuroport.capture.slayer.record`."""
    started = time.perf_counter()
    captured = capture(net, np.moveaxis(x.numpy(), -1, 0), keep_shift=keep_shift)
    given = _frames(captured, x)
    check_frames(captured.graph, given)
    recorder = Recorder(captured.graph, len(x), recording(captured.graph))
    _keep(unwrapped(net), captured, x, recorder, slice(len(x)))
    return _trace(captured, recorder, given, started)


def run(
    net: nn.Module,
    frames: npt.NDArray[Any],
    *,
    progress: Progress | None = None,
    batch: int = 50,
    record: str = "messages",
    count: str | Sequence[str] | None = None,
    granularity: str | None = None,
) -> Trace:
    """See :func:`neuroport.capture.slayer.run`."""
    started = time.perf_counter()
    captured = capture(net, frames, keep_shift=False)
    check_frames(captured.graph, frames)
    samples = frames.shape[1]
    recorder = Recorder(
        captured.graph, samples, recording(captured.graph, record, count, granularity)
    )
    for first in range(0, samples, batch):
        part = slice(first, first + batch)
        scaled = np.moveaxis(frames[:, part], 0, -1).astype(np.float32) / captured.unit
        x = torch.from_numpy(np.ascontiguousarray(scaled))
        _keep(unwrapped(net), captured, x, recorder, part, encoded=captured.encoder is not None)
        if progress is not None:
            progress(min(first + batch, samples), samples)
    return _trace(captured, recorder, frames, started)


@torch.no_grad()
def _keep(
    net: nn.Module,
    captured: Captured,
    x: Tensor,
    recorder: Recorder,
    part: slice,
    *,
    encoded: bool = False,
) -> None:
    """Run ``net`` on ``x`` (N, *shape, T) and keep what its populations send.

    Args:
        encoded: ``x`` is what the Input block makes of its frames.
    """
    more = max(probe.shift for probe in captured.probes)
    steps = x.shape[-1]
    x = F.pad(x.float(), (0, more))
    heard: dict[str, list[Tensor]] = {probe.name: [] for probe in captured.probes}
    now = ""  # the call of a block that runs

    def around(name: str, block: nn.Module, own: Any, *args: Any) -> Any:
        nonlocal now
        now = name
        return performed(block, own, *args)

    def hear(probe: Probe) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if now == probe.call:  # += may change what is sent
                sent = output[0] if isinstance(output, tuple) else output
                heard[probe.name].append(sent.clone())

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluating(net))
        stack.enter_context(at_rest(net))
        stack.enter_context(called(captured.forward.blocks, around))
        if encoded:
            stack.callback(_replacing(captured, x).remove)
        for name, module in net.named_modules():
            if isinstance(module, (Neuron, Sigma)):
                stack.enter_context(_watched(name, module))
        for probe in captured.probes:
            stack.callback(probe.module.register_forward_hook(hear(probe)).remove)
        net(x)
    for probe in captured.probes:
        if not heard[probe.name]:
            raise unheard(probe.call)
        if probe.name in recorder:
            messages = _messages(probe, heard[probe.name], steps)
            shape = captured.graph.facts(probe.name).shape  # as the graph has them
            recorder.keep(probe.name, part, messages.reshape(steps, len(x), *shape))


def _replacing(captured: Captured, x: Tensor) -> RemovableHandle:
    """Give the neurons of the Input block ``x`` for its currents, or ``x`` for its spikes."""
    neuron = captured.encoder.neuron
    if captured.hosted:
        return neuron.register_forward_hook(lambda *_: x)  # type: ignore[no-any-return]
    reads = neuron.delta if isinstance(neuron, sigma_delta.Neuron) else neuron
    return reads.register_forward_pre_hook(lambda *_: (x,))  # type: ignore[no-any-return]


def _trace(
    captured: Captured, recorder: Recorder, given: npt.NDArray[Any], started: float
) -> Trace:
    provenance = {
        "engine": "slayer",
        "time": "ideal",
        "graph": captured.graph.hash,
        "frames": frames_hash(given),
        "seconds": time.perf_counter() - started,
        "versions": versions("torch", "numpy", "lava-dl"),
    }
    return recorder.trace(provenance)


def _frames(captured: Captured, x: Tensor) -> npt.NDArray[np.int64]:
    encoder: Any = captured.encoder
    z = x.detach().float()
    if encoder is not None:
        z = encoder.pre_hook_fx(z)
        if encoder.weight is not None:
            z = z * encoder.pre_hook_fx(encoder.weight.detach())
        if encoder.bias is not None:
            z = z + encoder.pre_hook_fx(encoder.bias.detach())
        if captured.hosted:
            with evaluating(encoder), torch.no_grad():
                z = encoder.neuron(z)
    scaled = z.to(torch.float64).numpy() * captured.unit
    found = np.rint(scaled).astype(np.int64)
    if not np.array_equal(found, scaled):
        raise FramesError("frames are finer than the integers of the network; round them first")
    return np.ascontiguousarray(np.moveaxis(found, -1, 0))


def _messages(probe: Probe, outputs: list[Tensor], steps: int) -> npt.NDArray[Any]:
    spikes = torch.cat(outputs, dim=-1)[..., probe.shift : probe.shift + steps]
    scaled = np.rint(spikes.to(torch.float64).numpy() * probe.unit)
    return np.moveaxis(scaled, -1, 0).astype(dtype_of(probe.kind))


def _raised(module: Any, *states: Tensor) -> tuple[Tensor, Tensor]:
    """Rise of an adaptive threshold and refractory state, with what a spike adds to them."""
    *levels, threshold, refractory = states
    fires = torch.maximum(*levels) >= threshold + refractory  # where it might
    rise = threshold - module.threshold + module.threshold_step * fires
    return rise, refractory + 2 * threshold * fires


@contextmanager
def _watched(name: str, module: Any) -> Iterator[None]:
    """``module`` with a check that its states fit the 24 bits of the hardware."""

    def check(scale: int, *states: Tensor) -> None:
        worst = max(float(state.abs().max()) for state in states) * scale
        if worst > STATE_MAX:
            raise RangeError(
                f"{name}: a state of SLAYER reaches {worst:.0f}, more than 24 bits hold: the "
                "hardware wraps or saturates there; use smaller weights or larger decays"
            )

    if isinstance(module, Sigma):
        handle = module.register_forward_hook(lambda _, __, out: check(CHANGE * 64, out))
        try:
            yield
        finally:
            handle.remove()
    elif hasattr(module, "dynamics"):
        dynamics = module.dynamics

        def watched(z: Any) -> Any:
            states = dynamics(z)
            check(module.s_scale, *states)
            if hasattr(module, "threshold_step"):
                check(module.s_scale, *_raised(module, *states))
            return states

        module.dynamics = watched
        try:
            yield
        finally:
            del module.dynamics
    else:
        yield
