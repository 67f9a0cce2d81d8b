"""Choose the integer grid of a network: one LSB per membrane stream, proven to fit.

Synapses that meet at a dendrite add up, so they share one LSB; a *stream* is a set of synapses
connected by such meetings (all branches of a stage, its stem or projection included). Its LSB is

* a power of two below the threshold where several synapses meet, so that branches may differ by a
  power of two (the synapse's exponent) and thresholds are exact;
* threshold / integer where one synapse feeds one neuron.

The LSB is as fine as the weights need (the branch with the smallest weights still uses 7 of the 8
bits) but coarse enough that the *worst case* of every current, not only the observed one, stays
below 2**17, every sum below 2**23 and every bias below 4096, with room for weights that still move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.capture.wiring import Layer, unwrapped, wiring
from neuroport.errors import CaptureError, IllegalError
from neuroport.graph import integers
from neuroport.graph.linear import Box, Budget, Current, Sum, reach
from neuroport.nets.neuron import Lif
from neuroport.nets.normed import NormLif
from neuroport.nets.synapse import Conv, GradedConv, Readout

COARSEST = 4  # smallest integer threshold; heavier weights use the synapse's exponent instead
FINEST = 8  # smallest integer threshold of a channel whose norm is part of its neuron
TALLEST = 64  # largest threshold of a stream in units of what its thresholds have in common
MARGIN = 1.5  # room left for weights that still change in quantization-aware training


@dataclass
class _Interval:
    low: Tensor
    high: Tensor

    def __add__(self, other: _Interval) -> _Interval:
        return _Interval(self.low + other.low, self.high + other.high)

    @property
    def worst(self) -> float:
        return max(float(self.high.max()), -float(self.low.min()))


@dataclass
class _Stream:
    """Synapses that share an LSB, and what reads them: populations and projections."""

    synapses: list[Layer] = field(default_factory=list)
    neurons: list[Layer] = field(default_factory=list)
    projections: list[Layer] = field(default_factory=list)
    reach: float = 0.0  # worst |current| at any reader, real units
    bias: float = 0.0  # worst |bias| at any neuron, real units
    lsb: float = 0.0


def is_integer(net: nn.Module) -> bool:
    """Whether the network computes with integers."""
    return any(isinstance(m, (Conv, Readout)) and float(m.lsb) > 0 for m in net.modules())


@torch.no_grad()
def freeze_scales(net: nn.Module, frames: Tensor) -> None:
    """Put ``net`` into its integer phase.

    What neurons have learned is snapped onto the grid and stays there.

    Args:
        frames: (T, N, C, H, W); T and the image size enter the readout's range.

    Raises:
        IllegalError: a stream whose worst case cannot be brought into range.
    """
    net = unwrapped(net)
    layers = wiring(net, frames.shape)
    streams = _streams(layers)
    intervals, biases = _propagate(layers)
    for stream in _unique(streams):
        _choose_lsb(stream, intervals, biases)
    for layer in layers:
        module = layer.module
        if isinstance(module, Lif):
            module.lsb.fill_(streams[layer.inputs[0]].lsb)
            module.fix()
        elif isinstance(module, GradedConv):
            source = None if module.pixels else streams[layer.inputs[0]].lsb
            worst = max(intervals[n.name].worst for n in layers if n.module is module)
            _choose_shifts(module, streams[layer.name].lsb, source, worst)
        elif isinstance(module, Conv):
            lsb = streams[layer.name].lsb
            largest = float(module.folded()[0].abs().max())
            ratio = largest / (integers.WEIGHT_MAX * lsb)
            module.lsb.fill_(lsb)
            module.exponent.fill_(max(0, math.ceil(math.log2(ratio))) if ratio > 0 else 0)
    _freeze_readouts([n for n in layers if isinstance(n.module, Readout)], len(frames))


def _streams(layers: list[Layer]) -> dict[str, _Stream]:
    """The stream of every synapse layer, by name: all that meet, or enter a layer called again."""
    streams: dict[str, _Stream] = {}
    for layer in layers:
        if isinstance(layer.module, Conv):
            streams[layer.name] = _Stream([layer])

    def merge(names: list[str]) -> _Stream:
        merged = streams[names[0]]
        for name in names[1:]:
            other = streams[name]
            if other is not merged:
                merged.synapses += other.synapses
                merged.neurons += other.neurons
                merged.projections += other.projections
                for synapse in other.synapses:
                    streams[synapse.name] = merged
        return merged

    for layer in layers:
        read = [n for n in layer.inputs if n in streams]
        if not read:
            continue
        merged = merge(read)
        readers = merged.neurons if isinstance(layer.module, Lif) else merged.projections
        readers.append(layer)
    for layer in layers:  # a layer that is called again has one LSB for what it reads and sends
        again = [other for other in layers if other.module is layer.module]
        for ends in ([n for other in again for n in other.inputs], [n.name for n in again]):
            if streams.keys() >= set(ends):
                merge(ends)
    order = {layer.name: index for index, layer in enumerate(layers)}
    for stream in _unique(streams):
        stream.synapses.sort(key=lambda layer: order[layer.name])
    return streams


def _unique(streams: dict[str, _Stream]) -> list[_Stream]:
    return list({id(stream): stream for stream in streams.values()}.values())


def _propagate(layers: list[Layer]) -> tuple[dict[str, _Interval], dict[str, Tensor]]:
    """Worst-case interval and bias of every synapse's current, per channel, real units.

    A projection is bounded as the linear map that leads to it, :mod:`neuroport.graph.linear`; what
    its relays will round is left to the margin, and the rules check the integers.
    """
    intervals: dict[str, _Interval] = {}
    biases: dict[str, Tensor] = {}
    currents: dict[str, Current] = {}  # those that projections read: each holds its kernel
    read_on = {n for layer in layers if isinstance(layer.module, GradedConv) for n in layer.inputs}
    budget = Budget(math.inf)
    for layer in layers:
        module = layer.module
        if not isinstance(module, Conv):
            continue
        kernel, bias = module.folded()
        if isinstance(module, GradedConv) and not module.pixels:
            arriving = _sum([intervals[n] for n in layer.inputs])
            source = sum(biases[n] for n in layer.inputs)
            bias = bias + kernel.sum((2, 3)) @ source
            read = tuple(currents[n] for n in layer.inputs)
            messages: Box = Sum(arriving.low.numpy(), arriving.high.numpy(), read)
        else:
            if isinstance(module, GradedConv):
                bias = bias - kernel.sum((2, 3)) @ module.normalization()[0]
            # spikes, or pixels with 255 as one: k sources that are summed send 0..k
            messages = Box(np.zeros(1), np.full(1, float(layer.most)))
        current = Current(kernel.cpu().numpy(), (messages,), module.groups)
        low, high = (torch.from_numpy(bound) for bound in reach(current, budget))
        intervals[layer.name], biases[layer.name] = _Interval(low, high), bias
        if layer.name in read_on:
            currents[layer.name] = current
    return intervals, biases


def _sum(intervals: list[_Interval]) -> _Interval:
    total = intervals[0]
    for interval in intervals[1:]:
        total = total + interval
    return total


def _choose_lsb(
    stream: _Stream, intervals: dict[str, _Interval], biases: dict[str, Tensor]
) -> None:
    names = ", ".join(layer.name for layer in stream.synapses)
    if not stream.neurons and not stream.projections:
        raise CaptureError(
            f"no neuron reads the currents of {names} ({stream.synapses[0].place}); remove the "
            "layers"
        )
    for reader in (*stream.neurons, *stream.projections):
        stream.reach = max(stream.reach, _sum([intervals[n] for n in reader.inputs]).worst)
        total = sum(biases[n] for n in reader.inputs)
        assert isinstance(total, Tensor)
        if isinstance(reader.module, NormLif):
            total = total + reader.module.absorbed()[2]
        stream.bias = max(stream.bias, float(total.abs().max()))
    if not stream.neurons:  # only its range matters: nothing is compared with a threshold
        stream.lsb = MARGIN * max(stream.reach, 1e-12) / integers.CURRENT_MAX
        return
    neurons = [n.module for n in stream.neurons if isinstance(n.module, Lif)]
    plain = [n for n in neurons if not isinstance(n, NormLif)]
    absorbed = [n.absorbed()[1] for n in neurons if isinstance(n, NormLif)]
    thresholds = sorted({n.threshold for n in plain})
    # what norms make of a threshold is no multiple of anything: it is rounded down
    smallest = min((float(t.min()) for t in absorbed), default=math.inf)
    # thresholds that were learned are snapped onto the grid, those that were given lie on it
    learned = any(n.trained_threshold is not None for n in plain)
    unit = thresholds[0] if learned else _unit(thresholds) if thresholds else smallest
    threshold: float | None = unit
    if threshold is None:
        raise CaptureError(
            f"neurons of one stream ({names}) have thresholds {thresholds}, which are no small "
            "multiples of one number; use such (0.6, 1.6 and 2.6 are 3, 8 and 13 times 0.2)"
        )
    tallest = max(thresholds, default=threshold) / threshold
    lowest = max(1, math.ceil(COARSEST * threshold / min(thresholds, default=smallest)))
    lowest = max(lowest, math.ceil(FINEST * threshold / smallest))
    coarsest = [  # the largest integer for that number that range and bias permit
        threshold * integers.CURRENT_MAX / (MARGIN * stream.reach + 1e-12),
        threshold * integers.BIAS_MAX / (MARGIN * stream.bias + 1e-12),
        integers.THRESHOLD_MAX / tallest,
    ]
    weights = [
        float(layer.module.folded()[0].abs().max())
        for layer in stream.synapses
        if isinstance(layer.module, Conv) and not isinstance(layer.module, GradedConv)
    ]
    single = len(stream.synapses) == 1 and len(weights) == 1
    lightest = min((w for w in weights if w > 0), default=threshold)
    wanted = threshold * integers.WEIGHT_MAX / lightest
    limit = min(coarsest)
    if limit < lowest:
        raise IllegalError(
            f"the stream of {names} can reach {stream.reach / threshold:.0f} thresholds, too wide "
            f"for 17 bits with a threshold of {lowest} or more; use fewer blocks or smaller "
            "weights"
        )
    if single:
        stream.lsb = threshold / math.floor(min(limit, max(wanted, lowest)))
    else:
        stream.lsb = threshold / 2.0 ** math.floor(math.log2(min(limit, max(wanted, lowest))))


def _unit(thresholds: list[float]) -> float | None:
    """The largest number of which all thresholds are multiples, if they are small ones."""
    if len(thresholds) == 1:
        return thresholds[0]
    parts = [Fraction(threshold).limit_denominator(1000) for threshold in thresholds]
    below = math.lcm(*(part.denominator for part in parts))
    unit = Fraction(math.gcd(*(int(part * below) for part in parts)), below)
    close = all(
        math.isclose(part, exact, rel_tol=1e-9)
        for part, exact in zip(parts, thresholds, strict=True)
    )
    return float(unit) if close and parts[-1] / unit <= TALLEST else None


def _choose_shifts(module: GradedConv, lsb: float, source: float | None, reach: float) -> None:
    """Shifts of the relays around a graded convolution: the finest product that 24 bits hold."""
    largest = max(float(module.folded()[0].abs().max()), 1e-12)
    product = math.floor(math.log2(integers.MESSAGE_MAX * lsb / (MARGIN * max(reach, 1e-12))))
    message = module.message_unit if source is None else source
    weight = math.floor(math.log2(integers.WEIGHT_MAX * lsb / (largest * message)))
    product = min(product, integers.STATE_BITS - 1)
    module.lsb.fill_(lsb)
    if source is None:
        module.relay_out.shift.fill_(max(0, min(product, weight)))
        return
    assert module.relay_in is not None
    # weight bits beyond six buy little: leave them to the messages
    shift = max(0, min(product, weight))
    module.source_lsb.fill_(source)
    module.relay_out.shift.fill_(shift)
    module.relay_in.shift.fill_(min(max(0, weight - shift - 2), integers.STATE_BITS - 1))


def _freeze_readouts(readouts: list[Layer], steps: int) -> None:
    chosen: dict[nn.Module, float] = {}  # one that is called again has one LSB
    for layer in readouts:
        module = layer.module
        assert isinstance(module, Readout)
        positions = layer.reads[1] * layer.reads[2]
        weight, bias = module.synapse.weight, module.synapse.bias
        reach = float(
            torch.max(weight.clamp(min=0).sum(1).max(), -weight.clamp(max=0).sum(1).min())
        )
        largest = float(bias.abs().max())
        # k populations that are summed send 0..k
        drive = (reach * layer.most + largest) * positions
        lsb = max(
            float(weight.abs().max()) / integers.WEIGHT_MAX,
            MARGIN * drive * steps / integers.CURRENT_MAX,
            MARGIN * largest * positions / integers.BIAS_MAX,
            chosen.get(module, 0.0),
        )
        chosen[module] = lsb or 1.0
        module.lsb.fill_(chosen[module])
