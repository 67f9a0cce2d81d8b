"""Find the SLAYER modules of a network, and check that their code is SLAYER's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lava.lib.dl.slayer.axon import Delay
from lava.lib.dl.slayer.block import base
from lava.lib.dl.slayer.block.sigma_delta import Output
from lava.lib.dl.slayer.neuron.base import Neuron
from lava.lib.dl.slayer.synapse import layer
from lava.lib.dl.slayer.synapse.complex import ComplexLayer
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from neuroport.capture.currents import MessageSum
from neuroport.capture.forward import CALLED, INPUT, refuse_hooks
from neuroport.capture.slayer import weights
from neuroport.capture.slayer.contents import refuse_contents
from neuroport.capture.slayer.neurons import STATES
from neuroport.capture.slayer.weights import Linear
from neuroport.capture.source_lines import function_place
from neuroport.errors import CaptureError
from neuroport.graph.node import IntArray, Pair
from neuroport.nets.slayer.residual import Aside

LIBRARY = "lava.lib.dl.slayer."
SYNAPTIC = (
    base.AbstractDense,
    base.AbstractConv,
    base.AbstractPool,
    base.AbstractConvT,
    base.AbstractUnpool,
)
REFUSED: dict[type[nn.Module], str] = {
    base.AbstractTimeDecimation: "averages over steps, and the graph keeps one time; average on "
    "the host, or give fewer steps",
}
SYNAPSES = (layer.Dense, layer.Conv, layer.Pool, layer.ConvTranspose, layer.Unpool)
PARTS = (layer.GenericLayer, ComplexLayer, Neuron, Delay, Aside)  # of blocks, also called alone
BLOCKS = (
    *SYNAPTIC,
    *REFUSED,
    base.AbstractInput,
    base.AbstractFlatten,
    base.AbstractAverage,
    base.AbstractAffine,
    base.AbstractRecurrent,
    base.AbstractKWTA,
    Output,
    *PARTS,
)
METHODS = (*CALLED, "dynamics", "spike", "quantize_8bit", "clamp")


def blocks_of(net: nn.Module) -> dict[str, nn.Module]:
    """Blocks of SLAYER by name.

    Raises:
        CaptureError: hooks, or a part whose forward pass is not the library's, which holds what
            the library's does not, or which is not on the CPU.
    """
    found: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        refuse_hooks(name or type(net).__name__, module, _is_weight_norm)
        if isinstance(module, BLOCKS):
            own = name or type(module).__name__.lower()
            found["input_block" if own == INPUT else own] = module
        # a residual container has the forward that its class gives it, which is followed
        if _of_slayer(type(module)) and not isinstance(module, base.AbstractResidual):
            _as_written(name or type(module).__name__.lower(), module)
            refuse_contents(name or type(module).__name__.lower(), module)
    for name, values in (*net.named_parameters(), *net.named_buffers()):
        if values.device.type != "cpu":
            raise CaptureError(
                f"{name!r} is on {values.device}, where SLAYER resets neurons at their threshold "
                "and on a CPU above it; move the network: net.cpu()"
            )
        if values.is_floating_point() and values.dtype != torch.float32:
            raise CaptureError(
                f"{name!r} is {values.dtype}, and SLAYER compares its states in float32 here; "
                "convert the network: net.float()"
            )
    return found


def linear_of(name: str, synapse: Any, weight: IntArray, value: MessageSum) -> Linear:
    """Return a synapse's linear map of ``value``, with ``weight`` in place of its own.

    Raises:
        CaptureError: the synapse is none of SLAYER's, or connects different steps.
    """
    if not isinstance(synapse, SYNAPSES):
        kind = type(synapse).__name__
        raise CaptureError(f"block {name!r} has the synapse {kind}; use one of slayer.synapse")
    _within_a_step(name, synapse)
    if isinstance(synapse, layer.Dense):
        return weights.dense(name, weight, value.shape)
    stride, padding, dilation = (
        _pair(getattr(synapse, item)) for item in ("stride", "padding", "dilation")
    )
    if isinstance(synapse, layer.Pool):
        return weights.pool(name, weight, value.shape, stride, padding, dilation)
    if isinstance(synapse, layer.Unpool):
        return weights.unpool(name, weight, value.shape, stride, padding, dilation)
    geometry = (stride, padding, dilation, int(synapse.groups))
    if isinstance(synapse, layer.ConvTranspose):
        return weights.transposed(name, weight, value.shape, *geometry)
    return weights.conv(name, weight, value.shape, *geometry)


def _within_a_step(name: str, synapse: Any) -> None:
    """Refuse a kernel that sees, or moves along, the last axis, the steps."""
    shape = tuple(synapse.weight.shape)
    if len(shape) != 5 or shape[-1] != 1:
        raise CaptureError(
            f"block {name!r}: its weight {shape} has more than one entry along the steps, the last "
            "axis, and a synapse of the graph sees one step; give it (..., height, width, 1)"
        )
    for item, rest in (("stride", 1), ("padding", 0), ("dilation", 1)):
        found = getattr(synapse, item)
        if isinstance(found, str) or np.shape(found) != (3,) or found[2] != rest:
            raise CaptureError(
                f"block {name!r}: its {item} is {found!r}, and a synapse of the graph sees one "
                f"step; set (height, width, {rest})"
            )


def silent(synapse: Any) -> IntArray:
    """Weights of its shape: its scale is that of the neurons which it feeds."""
    return np.zeros(synapse.weight.shape[:-1], np.int64)


def _pair(values: Any) -> Pair:
    return int(values[0]), int(values[1])


def _of_slayer(kind: type) -> bool:
    return any(base.__module__.startswith(LIBRARY) for base in kind.__mro__)


def _is_weight_norm(hook: Any) -> bool:
    return isinstance(hook, WeightNorm)


def _as_written(name: str, module: nn.Module) -> None:
    """Refuse a part whose forward pass is not SLAYER's: the graph would hold another one."""
    for method in METHODS:
        found = next((kind for kind in type(module).__mro__ if method in vars(kind)), None)
        if method in vars(module) or (
            found is not None and not found.__module__.startswith((LIBRARY, "torch."))
        ):
            # ``dynamics`` of an Affine is an option
            if method in vars(module) and not callable(vars(module)[method]):
                continue
            raise CaptureError(
                f"{name!r} ({type(module).__name__}) has its own {method!r} "
                f"({function_place(getattr(module, method))}), which the graph cannot hold; use "
                "SLAYER's as it is"
            )


@contextmanager
def at_rest(net: nn.Module) -> Iterator[None]:
    """The network without what earlier calls left in recurrent blocks, which is given back.

    Other neurons are refused where a state is left: SLAYER would begin its next call with it.
    """
    before: list[tuple[Any, str, Tensor]] = [
        (module, name, value)
        for module in net.modules()
        if isinstance(module, (Neuron, base.AbstractRecurrent, base.AbstractKWTA))
        for name, value in module._buffers.items()
        if name in (*STATES, "spike_state") and value is not None
    ]
    for module, name, value in before:
        if module.persistent_state and name in STATES:
            rest = module.threshold if name == "threshold_state" else 0
            setattr(module, name, torch.full((1,), rest, dtype=value.dtype))
    # which keep the last step of a call for the next one
    late: list[Any] = [module for module in net.modules() if isinstance(module, base.AbstractKWTA)]
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
