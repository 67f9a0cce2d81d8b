"""SLAYER's blocks, one after the other, as nodes.

Source: ``lava/lib/dl/slayer/block`` of lava-dl 0.6.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lava.lib.dl.slayer.axon import Delay as AxonDelay
from lava.lib.dl.slayer.block import base
from lava.lib.dl.slayer.block.sigma_delta import Output
from lava.lib.dl.slayer.neuron import sigma_delta
from lava.lib.dl.slayer.neuron.base import Neuron
from lava.lib.dl.slayer.synapse import layer
from lava.lib.dl.slayer.synapse.complex import ComplexLayer
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from neuroport.capture.currents import CurrentSum, MessageSum
from neuroport.capture.forward import INPUT
from neuroport.capture.slayer import neurons, weights
from neuroport.capture.slayer.graph_builder import Assembly
from neuroport.capture.slayer.modules import REFUSED, linear_of, silent
from neuroport.capture.slayer.neurons import refuse
from neuroport.capture.slayer.weights import Linear
from neuroport.graph.node import IntArray, Shape
from neuroport.graph.node_builders import relay
from neuroport.nets.slayer.integers import integers_of, whole
from neuroport.nets.slayer.residual import Aside


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
        self.sent: dict[str, tuple[MessageSum, nn.Module]] = {}
        self.reads_frames: list[str] = []
        self._currents: dict[tuple[str, tuple[bytes, ...], int, int, bool], list[str]] = {}

    def read(
        self, name: str, block: Any, value: MessageSum | CurrentSum
    ) -> tuple[MessageSum | CurrentSum, bool]:
        """Add the nodes of ``block``, which reads ``value``; what it sends, and with a count."""
        if isinstance(block, Neuron):
            return self._neurons(name, block, value), False
        if isinstance(block, Aside):
            return self._aside(block.steps, value), False
        if isinstance(value, CurrentSum):
            refuse(name, "reads the current of a synapse; only a neuron does")
        if value.unit == 0:
            refuse(name, "reads what only the host can: an Average or Affine must be the last")
        if value.raw and not isinstance(block, base.AbstractFlatten):
            self.reads_frames.append(name)
            if self.encoder is not None:
                refuse(name, "reads the frames beside an Input block; let it read the Input block")
        if isinstance(block, (layer.GenericLayer, ComplexLayer)):
            return self._synapse(name, block, value), False
        if isinstance(block, AxonDelay):
            late = self._delayed(name, block, value)
            if len(late.terms) == 1 and late.terms[0].part is None:
                self.sent[name] = late, block
            return late, False
        for kind, why in REFUSED.items():
            if isinstance(block, kind):
                refuse(name, why)
        if isinstance(block, base.AbstractFlatten):
            if len(value.shape) != 3:
                refuse(name, f"flattens {value.shape}, where SLAYER takes (C, H, W); leave it out")
            sent = value.flattened()
        elif isinstance(block, base.AbstractInput):
            sent = self._input(name, block, value)
        elif isinstance(block, base.AbstractAverage):
            sent = self._average(name, block, value)
        elif isinstance(block, (base.AbstractAffine, Output)):
            sent = self._last(name, block, value)
        else:
            sent = self._layer(name, block, value)
        return sent, block.count_log is True  # as SLAYER asks

    def finish(self) -> None:
        """Let delays that no block reads be seen."""
        for name, (value, block) in self.sent.items():
            term = value.terms[0]
            if term.delay is None or not term.delay.any():
                continue
            if term.node not in self.assembly.read:
                self.assembly.relay(f"{name}.delayed", value, block)

    # -- blocks --------------------------------------------------------------------------------

    def _layer(self, name: str, block: Any, value: MessageSum) -> MessageSum:
        neuron = block.neuron
        own, drive = None, 0
        recurrent = isinstance(block, base.AbstractRecurrent)
        synapse = block.input_synapse if recurrent else block.synapse
        if recurrent or isinstance(block, base.AbstractKWTA):
            if getattr(synapse, "complex", False):
                kind = type(block).__name__
                refuse(name, f"is a {kind} of resonators, which SLAYER cannot run; use cuba")
            own, drive = _heard(name, block, neuron)
        # SLAYER masks the weights of no other block
        mask = block.mask if isinstance(block, base.AbstractDense) else None

        def one(part: Any) -> Linear:
            return linear_of(name, part, integers_of(name, part, neuron.w_scale, mask), value)

        # neurons without an equal are named before their weights are
        flat = self.assembly.is_flat(value)
        heard: dict[str, Any] = {"unit": value.unit, "own": own, "drive": drive}
        neurons.population(name, neuron, tuple(neuron.shape or value.shape), flat=flat, **heard)
        is_complex = getattr(synapse, "complex", False)
        linear = one(synapse.real) if is_complex else one(synapse)
        shape = linear.target
        if tuple(neuron.shape) != shape:
            refuse(name, f"was run with {tuple(neuron.shape)} neurons; these frames give {shape}")
        flat = flat or self.assembly.is_flat(value, linear)
        made = neurons.population(name, neuron, shape, flat=flat, **heard)
        if is_complex:
            linear = weights.complex_pair(name, linear, one(synapse.imag))
        value = _awake(value, made)
        currents = self.assembly.connect(name, value, linear, made.exponent)
        sent = self.assembly.populate(name, currents, shape, made, neuron, value.shift)
        return self._axon(name, block, sent)

    def _axon(self, name: str, block: Any, sent: MessageSum) -> MessageSum:
        """The step of ``delay_shift``, and axonal delays, rounded down."""
        if block.delay_shift is True:
            sent = self._shifted(sent)
        delay = getattr(block, "delay", None)
        if delay is not None:
            if not isinstance(delay, AxonDelay):
                kind = type(delay).__name__
                refuse(name, f"has the delay {kind}; use slayer.axon.Delay, or None")
            sent = self._delayed(name, delay, sent)
        self.sent[name] = sent, block
        return sent

    def _delayed(self, name: str, delay: Any, sent: MessageSum) -> MessageSum:
        if delay.init is not True:
            refuse(
                name,
                "was never run with its delays; run it once, then load its weights "
                "(load_state_dict)",
            )
        if delay.sampling_time != 1:
            refuse(
                name,
                f"has delays with sampling_time {delay.sampling_time:g}, by which SLAYER divides "
                "them twice on a CPU and once on a GPU; use 1, and delays in steps",
            )
        steps = delay.delay.detach().clamp(0, delay.max_delay).reshape(-1)
        floored = whole(f"block {name!r}: its delays", torch.floor(steps), 1)
        if sent.size % len(floored):
            refuse(name, f"has {len(floored)} delays for {sent.shape} neurons; run it once again")
        each = np.repeat(floored, sent.size // len(floored))
        terms = (
            replace(term, delay=each[sent.rows(term)] + (0 if term.delay is None else term.delay))
            for term in sent.terms
        )
        return replace(sent, terms=tuple(terms))

    # -- parts of blocks, called alone ---------------------------------------------------------

    def _synapse(self, name: str, synapse: Any, value: MessageSum) -> CurrentSum:
        if isinstance(synapse, ComplexLayer):
            refuse(name, "is a complex synapse alone; call the block that it belongs to")
        shape = linear_of(name, synapse, silent(synapse), value).target
        return CurrentSum(((name, synapse, value),), shape)

    def _neurons(self, name: str, neuron: Any, current: MessageSum | CurrentSum) -> MessageSum:
        if not isinstance(current, CurrentSum):
            refuse(name, "reads messages; neurons read what synapses make of them")
        units = {value.unit for _, _, value in current.parts}
        unit = units.pop()
        if units:
            refuse(name, "reads spikes beside the changes of sigma-delta neurons; use like")
        flat = any(
            self.assembly.is_flat(value, linear_of(part, synapse, silent(synapse), value))
            for part, synapse, value in current.parts
        )
        made = neurons.population(name, neuron, current.shape, flat=flat, unit=unit)
        if made.is_complex:
            refuse(name, "are resonators alone; call the block that they belong to")
        if tuple(neuron.shape) != current.shape:
            refuse(name, f"was run with {tuple(neuron.shape)} neurons, not {current.shape}")
        shift = 0 if made.restless else min(value.shift for _, _, value in current.parts)
        inputs: list[str] = []
        for part, synapse, value in current.parts:
            late = value.shift - shift
            read = value.later(late)
            key = (part, read.delays, made.exponent, int(neuron.w_scale), flat)
            if key not in self._currents:
                linear = linear_of(part, synapse, integers_of(part, synapse, neuron.w_scale), value)
                if flat:
                    linear = weights.as_matrix(part, linear)
                own = f"{part}.for.{name}" if any(k[0] == part for k in self._currents) else part
                self._currents[key] = self.assembly.connect(own, read, linear, made.exponent)
            inputs += self._currents[key]
        return self.assembly.populate(name, inputs, current.shape, made, neuron, shift)

    def _shifted(self, sent: MessageSum, steps: int = 1) -> MessageSum:
        return sent.later(steps) if self.keep_shift else replace(sent, shift=sent.shift + steps)

    def _aside(self, steps: int, value: MessageSum | CurrentSum) -> MessageSum | CurrentSum:
        """Delay a value to match parallel blocks' shifts; a current, by delaying its spikes."""
        if isinstance(value, MessageSum):
            return self._shifted(value, steps)
        parts = ((name, part, self._shifted(read, steps)) for name, part, read in value.parts)
        return replace(value, parts=tuple(parts))

    def _input(self, name: str, block: Any, value: MessageSum) -> MessageSum:
        if block.neuron is None:
            if block.delay_shift is True:
                refuse(name, "has no neurons, where SLAYER fails to shift; use delay_shift=False")
            return value
        if [t.part for t in value.terms] != [None] or not value.raw or len(self.reads_frames) > 1:
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
                hosted = bool(np.any(scaled * 2 % neuron.w_scale))
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

    def _average(self, name: str, block: Any, value: MessageSum) -> MessageSum:
        """Counts of each group: SLAYER's mean times the size of the group."""
        count = block.num_outputs
        if value.size % count:
            refuse(name, f"makes {count} groups of {value.size} neurons; use a divisor")
        each = value.size // count
        weight = np.repeat(np.eye(count, dtype=np.int64), each, axis=1)
        flat = value.flattened()
        currents = self.assembly.connect(name, flat, Linear(weight, flat.shape, (count,)), 0)
        made = neurons.NeuronMapping(relay, "relay", unit=each * value.unit)
        sent = self.assembly.populate(name, currents, (count,), made, block, value.shift)
        return replace(sent, unit=0)

    def _last(self, name: str, block: Any, value: MessageSum) -> MessageSum:
        neuron = block.neuron
        synapse = block.synapse
        mask = block.mask if isinstance(block, base.AbstractAffine) else None
        if isinstance(block, Output):
            made = neurons.sigma(name, neuron, value.unit)
            probe = neuron.sigma
        else:
            if value.unit != 1:
                refuse(name, "reads the changes of a sigma-delta block; use sigma_delta.Output")
            shape = (synapse.out_channels,)
            made = neurons.affine(name, neuron, shape, block.dynamics is True)
            probe = block
        weight = integers_of(name, synapse, neuron.w_scale, mask)
        linear = linear_of(name, synapse, weight, value)
        if len(linear.target) != 1:
            refuse(name, f"reads feature maps {value.shape}; put a Flatten before it")
        value = _awake(value, made)
        currents = self.assembly.connect(name, value, linear, made.exponent)
        sent = self.assembly.populate(name, currents, linear.target, made, probe, value.shift)
        return replace(sent, unit=0)


def _heard(name: str, block: Any, neuron: Any) -> tuple[IntArray, int]:
    """Weights of a population onto itself, and what is added to every current."""
    if isinstance(block, base.AbstractRecurrent):
        weight = integers_of(name, block.recurrent_synapse, neuron.w_scale)
        _refuse_unapplied_norm(name, block.recurrent_synapse)
        return weight.reshape(weight.shape[:2]), 0
    if block.spike_state.any():
        refuse(
            name,
            "begins with spikes of its own (spike_state), and samples begin at rest here; clear "
            "them (block.spike_state.zero_()) and evaluate the network again",
        )
    count = block.num_neurons
    own = (1 + block.self_excitation.detach().clamp(0, 1)) * torch.eye(count) - 1
    share = neuron.threshold * (count - 2 * block.num_winners) / count / neuron.w_scale
    bias = torch.FloatTensor([share])
    weight, drive = (
        whole(f"block {name!r}: its {what}", neuron.quantize_8bit(values), neuron.w_scale)
        for what, values in (("self-excitation", own), ("bias", bias))
    )
    return weight, int(drive[0])


def _refuse_unapplied_norm(name: str, synapse: Any) -> None:
    """Refuse weight norm that SLAYER does not compute again.

    It uses a recurrent synapse's weight without calling the synapse, and so without its hooks.
    """
    for hook in synapse._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and not torch.equal(
            hook.compute_weight(synapse), synapse.weight
        ):
            refuse(
                name,
                "has a weight norm on its recurrent synapse, which SLAYER does not apply after its "
                "parameters changed; remove it (block.recurrent_synapse.disable_weight_norm()) and "
                "evaluate the network again",
            )


def _awake(value: MessageSum, made: neurons.NeuronMapping) -> MessageSum:
    """Return a population's input; one that acts without input must start when SLAYER's does."""
    if not made.restless or value.shift == 0:
        return value
    return replace(value.later(value.shift), shift=0)
