"""SLAYER's blocks, one after the other, as nodes.

Source: ``lava/lib/dl/slayer/block`` of lava-dl 0.6.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lava.lib.dl.slayer.block import base
from lava.lib.dl.slayer.block.sigma_delta import Output
from lava.lib.dl.slayer.neuron import sigma_delta
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from neuroport.capture.slayer import neurons, weights
from neuroport.capture.slayer.assembly import INPUT, Assembly
from neuroport.capture.slayer.neurons import refuse
from neuroport.capture.slayer.signals import Term, Value
from neuroport.capture.slayer.weights import Linear, integers_of, whole
from neuroport.errors import CaptureError
from neuroport.graph.node import IntArray, Pair, Relay, Shape

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
    base.AbstractKWTA: "is a winner-take-all layer, whose bias enters the current; use "
    "block.cuba.Recurrent with recurrent weights of -1 between neurons",
    base.AbstractResidual: "is empty in lava-dl; add what blocks send in forward",
}
BLOCKS = (
    *SYNAPTIC,
    *REFUSED,
    base.AbstractInput,
    base.AbstractFlatten,
    base.AbstractAverage,
    base.AbstractAffine,
    base.AbstractRecurrent,
    Output,
)


def blocks_of(net: nn.Module) -> dict[str, nn.Module]:
    """Blocks of SLAYER by name.

    Raises:
        CaptureError: hooks, or a part whose forward pass is not the library's, or not on the CPU.
    """
    found: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        allowed = [h for h in module._forward_pre_hooks.values() if not _is_weight_norm(h)]
        if module._forward_hooks or allowed:
            raise CaptureError(
                f"{name or type(net).__name__!r} has forward hooks, which may change what it "
                "computes and are no part of the graph; remove them first (handle.remove())"
            )
        if isinstance(module, BLOCKS):
            own = name or type(module).__name__.lower()
            found["input_block" if own == INPUT else own] = module
        if _of_slayer(type(module)):
            _as_written(name or type(module).__name__.lower(), module)
    for name, values in (*net.named_parameters(), *net.named_buffers()):
        if values.device.type != "cpu":
            raise CaptureError(
                f"{name!r} is on {values.device}, where SLAYER resets neurons at their threshold "
                "and on a CPU above it; move the network: net.cpu()"
            )
    return found


class Reader:
    """Reads blocks in the order of their calls.

    Args:
        keep_shift: make the step of ``delay_shift`` a delay of the graph.
    """

    def __init__(self, shape: Shape, *, keep_shift: bool) -> None:
        self.assembly = Assembly(shape)
        self.keep_shift = keep_shift
        self.encoder: Any = None  # the Input block that makes currents of frames
        self.hosted = False  # or spikes, on the host
        self.sent: dict[str, tuple[Value, nn.Module]] = {}
        self.reads_frames: list[str] = []

    def read(self, name: str, block: Any, value: Value) -> tuple[Value, bool]:
        """Add the nodes of ``block``, which reads ``value``; what it sends, and with a count."""
        if value.unit == 0:
            refuse(name, "reads what only the host can: an Average or Affine must be the last")
        if value.raw and not isinstance(block, base.AbstractFlatten):
            self.reads_frames.append(name)
            if self.encoder is not None:
                refuse(name, "reads the frames beside an Input block; let it read the Input block")
        for kind, why in REFUSED.items():
            if isinstance(block, kind):
                refuse(name, why)
        if isinstance(block, base.AbstractFlatten):
            if len(value.shape) != 3:
                refuse(name, f"flattens {value.shape}, where SLAYER takes (C, H, W); leave it out")
            sent = replace(value, shape=(value.size,))
        elif isinstance(block, base.AbstractInput):
            sent = self._input(name, block, value)
        elif isinstance(block, base.AbstractAverage):
            sent = self._average(name, block, value)
        elif isinstance(block, (base.AbstractAffine, Output)):
            sent = self._last(name, block, value)
        else:
            sent = self._layer(name, block, value)
        return sent, block.count_log

    def finish(self) -> None:
        """Let delays that no block reads be seen."""
        for name, (value, block) in self.sent.items():
            term = value.terms[0]
            if term.delay is None or not term.delay.any():
                continue
            if term.node not in self.assembly.read:
                self.assembly.relay(f"{name}.delayed", value, block)

    # -- blocks --------------------------------------------------------------------------------

    def _layer(self, name: str, block: Any, value: Value) -> Value:
        neuron = block.neuron
        own = None
        if isinstance(block, base.AbstractRecurrent):
            synapse = block.input_synapse
            if getattr(synapse, "complex", False):
                refuse(name, "is a Recurrent of resonators, which SLAYER cannot run; use cuba")
            weight = integers_of(name, block.recurrent_synapse, neuron.w_scale)
            own = weight.reshape(weight.shape[:2])
        else:
            synapse = block.synapse
        mask = getattr(block, "mask", None)

        def one(part: Any) -> Linear:
            return _linear(name, block, part, integers_of(name, part, neuron.w_scale, mask), value)

        # neurons without an equal are named before their weights are
        flat = self.assembly.is_flat(value)
        neurons.population(
            name, neuron, tuple(neuron.shape or value.shape), flat=flat, unit=value.unit, own=own
        )
        is_complex = getattr(synapse, "complex", False)
        linear = one(synapse.real) if is_complex else one(synapse)
        shape = linear.target
        if tuple(neuron.shape) != shape:
            refuse(name, f"was run with {tuple(neuron.shape)} neurons; these frames give {shape}")
        flat = flat or self.assembly.is_flat(value, linear)
        made = neurons.population(name, neuron, shape, flat=flat, unit=value.unit, own=own)
        if is_complex:
            linear = weights.complex_pair(name, linear, one(synapse.imag))
        value = _awake(value, made)
        currents = self.assembly.connect(name, value, linear, made.exponent)
        sent = self.assembly.populate(name, currents, shape, made, neuron, value.shift)
        return self._axon(name, block, sent)

    def _axon(self, name: str, block: Any, sent: Value) -> Value:
        """The step of ``delay_shift``, and axonal delays, rounded down."""
        if block.delay_shift is True:
            sent = self._shifted(sent)
        delay = getattr(block, "delay", None)
        if delay is not None:
            if not delay.init:
                refuse(name, "was never run with its delays; run it once, then load its weights")
            steps = delay.delay.detach().clamp(0, delay.max_delay).reshape(-1)
            floored = whole(f"block {name!r}: its delays", torch.floor(steps), 1)
            each = np.repeat(floored, sent.size // len(floored))
            (term,) = sent.terms
            before = 0 if term.delay is None else term.delay
            sent = replace(sent, terms=(Term(term.node, before + each),))
        self.sent[name] = sent, block
        return sent

    def _shifted(self, sent: Value) -> Value:
        return sent.later(1) if self.keep_shift else replace(sent, shift=sent.shift + 1)

    def _input(self, name: str, block: Any, value: Value) -> Value:
        if block.neuron is None:
            if block.delay_shift is True:
                refuse(name, "has no neurons, where SLAYER fails to shift; use delay_shift=False")
            return value
        if len(value.terms) != 1 or not value.raw or len(self.reads_frames) > 1:
            refuse(name, "does not read the frames alone; an Input block comes first")
        neuron = block.neuron
        changes = isinstance(neuron, sigma_delta.Neuron)
        fine = changes and block.weight is not None
        hosted = False
        if changes:
            made = neurons.first_delta(name, neuron, fine)
        else:
            made = neurons.population(name, neuron, value.shape, flat=False, unit=1)
            if made.is_complex:
                refuse(name, "is an Input of resonators, which SLAYER cannot run; use block.cuba")
            if block.weight is not None:
                scaled = whole(
                    f"block {name!r}: its weight", block.pre_hook_fx(block.weight), neuron.w_scale
                )
                hosted = bool(scaled[0] * 2 % neuron.w_scale)
        if tuple(neuron.shape) != value.shape:
            refuse(
                name, f"was run with {tuple(neuron.shape)} neurons; the frames are {value.shape}"
            )
        self.encoder, self.hosted = block, hosted
        if hosted:  # its currents are finer than integers: its spikes are the frames
            sent = replace(value, raw=False)
            return self._shifted(sent) if block.delay_shift is True else sent
        current = self.assembly.unity(name, INPUT)
        probe = neuron.delta if changes else neuron
        sent = self.assembly.populate(name, [current], value.shape, made, probe, 0)
        if changes:  # its forward pass shifts and delays nothing
            return sent
        if block.delay_shift is True:
            sent = self._shifted(sent)
        return sent

    def _average(self, name: str, block: Any, value: Value) -> Value:
        """Counts of each group: SLAYER's mean times the size of the group."""
        count = block.num_outputs
        if value.size % count:
            refuse(name, f"makes {count} groups of {value.size} neurons; use a divisor")
        each = value.size // count
        weight = np.repeat(np.eye(count, dtype=np.int64), each, axis=1)
        flat = replace(value, shape=(value.size,))
        currents = self.assembly.connect(name, flat, Linear(weight, flat.shape, (count,)), 0)
        made = neurons.Population(
            lambda node, inputs: Relay(node, inputs), "relay", unit=each * value.unit
        )
        sent = self.assembly.populate(name, currents, (count,), made, block, value.shift)
        return replace(sent, unit=0)

    def _last(self, name: str, block: Any, value: Value) -> Value:
        neuron = block.neuron
        synapse = block.synapse
        mask = getattr(block, "mask", None)
        if isinstance(block, Output):
            made = neurons.sigma(name, neuron, value.unit)
            probe = neuron.sigma
        else:
            if value.unit != 1:
                refuse(name, "reads the changes of a sigma-delta block; use sigma_delta.Output")
            shape = (synapse.out_channels,)
            made = neurons.affine(name, neuron, shape, block.dynamics)
            probe = block
        weight = integers_of(name, synapse, neuron.w_scale, mask)
        linear = weights.dense(name, weight, value.shape)
        if len(linear.target) != 1:
            refuse(name, f"reads feature maps {value.shape}; put a Flatten before it")
        value = _awake(value, made)
        currents = self.assembly.connect(name, value, linear, made.exponent)
        sent = self.assembly.populate(name, currents, linear.target, made, probe, value.shift)
        return replace(sent, unit=0)


def _awake(value: Value, made: neurons.Population) -> Value:
    """What a population reads; one that acts without input begins when SLAYER's does."""
    if not made.restless or value.shift == 0:
        return value
    return replace(value.later(value.shift), shift=0)


def _linear(name: str, block: Any, synapse: Any, weight: IntArray, value: Value) -> Linear:
    if isinstance(block, (base.AbstractDense, base.AbstractRecurrent)):
        return weights.dense(name, weight, value.shape)
    stride, padding, dilation = (
        _pair(getattr(synapse, item)) for item in ("stride", "padding", "dilation")
    )
    if isinstance(block, base.AbstractPool):
        return weights.pool(name, weight, value.shape, stride, padding, dilation)
    if isinstance(block, base.AbstractUnpool):
        return weights.unpool(name, weight, value.shape, stride, padding, dilation)
    geometry = (stride, padding, dilation, int(synapse.groups))
    if isinstance(block, base.AbstractConvT):
        return weights.transposed(name, weight, value.shape, *geometry)
    return weights.conv(name, weight, value.shape, *geometry)


def _pair(values: Any) -> Pair:
    return int(values[0]), int(values[1])


def _of_slayer(kind: type) -> bool:
    return any(base.__module__.startswith(LIBRARY) for base in kind.__mro__)


def _is_weight_norm(hook: Any) -> bool:
    return isinstance(hook, WeightNorm)


def _as_written(name: str, module: nn.Module) -> None:
    """Refuse a part whose forward pass is not SLAYER's: the graph would hold another one."""
    for method in ("forward", "dynamics", "spike", "quantize_8bit"):
        found = next((kind for kind in type(module).__mro__ if method in vars(kind)), None)
        if method in vars(module) or (
            found is not None and not found.__module__.startswith((LIBRARY, "torch."))
        ):
            # ``dynamics`` of an Affine is an option
            if isinstance(vars(module).get(method), bool):
                continue
            raise CaptureError(
                f"{name!r} ({type(module).__name__}) has its own {method!r}, which the graph "
                "cannot hold; use SLAYER's as it is"
            )
