"""SLAYER's own forward pass as an engine: every population of the graph recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from lava.lib.dl.slayer.block.base import AbstractKWTA
from lava.lib.dl.slayer.dendrite import Sigma
from lava.lib.dl.slayer.neuron.base import Neuron
from torch import Tensor, nn

from neuroport.capture.slayer.assembly import Probe
from neuroport.capture.slayer.neurons import CHANGE
from neuroport.capture.slayer.reading import Captured, capture
from neuroport.capture.wiring import evaluating
from neuroport.errors import FramesError, RangeError
from neuroport.graph.integers import STATE_MAX
from neuroport.runs.frames import check_frames, frames_hash
from neuroport.runs.trace import DTYPES, Trace, versions

STATES = (
    "current_state",
    "voltage_state",
    "real_state",
    "imag_state",
    "threshold_state",
    "refractory_state",
    "spike_state",
)


def frames(net: nn.Module, x: Tensor) -> npt.NDArray[np.int64]:
    """See :func:`neuroport.capture.slayer.frames`."""
    return _frames(capture(net, np.moveaxis(x.numpy(), -1, 0), keep_shift=False), x)


@torch.no_grad()
def record(net: nn.Module, x: Tensor, *, keep_shift: bool) -> Trace:
    """See :func:`neuroport.capture.slayer.record`."""
    started = time.perf_counter()
    captured = capture(net, np.moveaxis(x.numpy(), -1, 0), keep_shift=keep_shift)
    given = _frames(captured, x)
    check_frames(captured.graph, given)
    more = max(probe.shift for probe in captured.probes)
    heard: dict[str, list[Tensor]] = {probe.name: [] for probe in captured.probes}
    with ExitStack() as stack:
        stack.enter_context(evaluating(net))
        stack.enter_context(_at_rest(net))
        for name, module in net.named_modules():
            if isinstance(module, (Neuron, Sigma)):
                stack.enter_context(_watched(name, module))
        for probe in captured.probes:
            stack.callback(probe.module.register_forward_hook(_recorder(heard[probe.name])).remove)
        net(F.pad(x.float(), (0, more)))
    steps = x.shape[-1]
    messages = {probe.name: _messages(probe, heard[probe.name], steps) for probe in captured.probes}
    for probe in captured.probes:  # as the graph has them
        shape = captured.graph.facts(probe.name).shape
        messages[probe.name] = messages[probe.name].reshape(steps, len(x), *shape)
    provenance = {
        "engine": "slayer",
        "time": "ideal",
        "graph": captured.graph.hash,
        "frames": frames_hash(given),
        "seconds": time.perf_counter() - started,
        "versions": versions("torch", "numpy", "lava-dl"),
    }
    order = [node.name for node in captured.graph.populations]
    kinds = {probe.name: probe.kind for probe in captured.probes}
    return Trace(
        {name: messages[name] for name in order}, {name: kinds[name] for name in order}, provenance
    )


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
    return np.moveaxis(scaled, -1, 0).astype(DTYPES[probe.kind])


def _recorder(parts: list[Tensor]) -> Any:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        parts.append(
            (output[0] if isinstance(output, tuple) else output).clone()
        )  # += may change it

    return hook


@contextmanager
def _at_rest(net: nn.Module) -> Iterator[None]:
    """The network without what earlier calls left in recurrent blocks, which is given back."""
    before = [
        (module, name, value)
        for module in net.modules()
        for name, value in module._buffers.items()
        if name in STATES and value is not None
    ]
    for module, name, value in before:
        rest = module.threshold if name == "threshold_state" else 0
        setattr(module, name, torch.full((1,), rest, dtype=value.dtype))
    # which keep the last step of a call for the next one
    late: list[Any] = [module for module in net.modules() if isinstance(module, AbstractKWTA)]
    last = [getattr(module, "delay_buffer", None) for module in late]
    for block in late:
        block.delay_buffer = None
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        for block, kept in zip(late, last, strict=True):
            block.delay_buffer = kept


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
