"""Choose the integer grid of a network: one LSB per membrane stream, proven to fit.

Synapses that meet at a dendrite add up, so they share one LSB. A *stream* is a set of synapses that
are connected in this way (all branches of a stage, its stem or projection included). Its LSB is

* a power of two below the threshold if several synapses meet, so that branches may differ by a
  power of two (the synapse's exponent) and thresholds are exact;
* threshold / integer if one synapse feeds one neuron.

The LSB is as fine as the weights need: the branch with the smallest weights still uses 7 of the 8
bits. But it is coarse enough that the *worst case* of every current, not only the observed one,
stays below 2**17, every sum below 2**23 and every bias below 4096, with a margin for further
training. Rounding and later training can change the integers. If a rule of lowering would then
refuse them, the grid of that stream or projection is made coarser.

With ``widths="checked"`` ranges are not proven but measured on calibration frames, in real numbers
(:mod:`neuroport.quantization.calibration`), with a margin of a factor of two. In this case it is
proven that sums fit the 32 bits of engines as long as all earlier populations keep their widths,
and every engine checks that they do. The integer network also runs on the calibration frames, and a
stream that exceeds its widths there is made coarser.

If the grid is *equalized* (:mod:`neuroport.nets.grid_options`), each channel of a stream
has a unit of its own, ``LSB / 2**k``, with the largest k >= 0 at which its weights in every synapse
of the stream still fit. A leaky neuron is homogeneous: if the current, bias and threshold of a
channel are multiplied by one number, its spikes stay the same. With powers of two this holds bit
for bit in floating point, too, and the real-valued network keeps its numbers: only its grid is
another. All synapses, neurons and projections of the stream have the same k.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from neuroport.arguments import is_module, takes
from neuroport.capture.connectivity import LayerCall, evaluating, unit_of, unwrapped, wiring
from neuroport.capture.native_network import integer_graph
from neuroport.errors import CaptureError, IllegalError, RangeError
from neuroport.graph import integers
from neuroport.graph.border_taps import inside
from neuroport.graph.graph import Graph
from neuroport.graph.linear_bounds import Box, Budget, LinearMap, Sum, reach
from neuroport.nets.batchnorm_lif import NormLif
from neuroport.nets.composed import ComposedStem
from neuroport.nets.grid_options import is_corrected, is_equalized, set_grid_options
from neuroport.nets.pooling import SumPool
from neuroport.nets.stream import per_position
from neuroport.nets.synapse import Biased, Conv, GradedConv, exact
from neuroport.nets.widths import CHECKED, WIDTHS, set_widths, widths_of
from neuroport.quantization.bias_correction import check_samples, correct_biases
from neuroport.quantization.calibration import Ranges, check_departures, observe
from neuroport.quantization.input_checks import check_numbers, real_frames
from neuroport.targets.rules import too_wide

COARSEST = 4  # smallest integer threshold; heavier weights use the synapse's exponent instead
FINEST = 8  # smallest integer threshold of a channel whose norm is part of its neuron
TALLEST = 64  # largest ratio of a stream's thresholds to their common divisor
STEM = 32  # largest weight of a stem that does not round, in units: 33 levels
MARGIN = 1.5  # margin for weights that still change in quantization-aware training
SEEN = 2.0  # margin for frames with larger ranges than those of the calibration
WIDTH_RULES = ("threshold_fits", "bias_fits", "currents_fit", "accumulators_fit")
_ATTRIBUTE = "frames_of_grid"  # of the network's module: T, C, H, W
FINEST_CHANNEL = 8  # powers of two by which a channel's unit may be finer than the LSB
TRIES = 100  # attempts at making a grid coarser, by a factor of two each

# parts with a grid of their own: ("stream", a synapse of it), ("projection", ...), ("readout", ...)
Part: TypeAlias = tuple[str, str]


@dataclass
class _Interval:
    low: Tensor
    high: Tensor

    def __add__(self, other: _Interval) -> _Interval:
        return _Interval(self.low + other.low, self.high + other.high)

    @property
    def worst(self) -> Tensor:
        """The largest absolute value of each channel, (C,)."""
        return _of_channels(torch.maximum(self.high, -self.low))


def _of_channels(values: Tensor) -> Tensor:
    """The largest value of each channel, (C,), of (C,) or (C, ...)."""
    return values.flatten(1).amax(1).double() if values.ndim > 1 else values.double()


def _zero() -> Tensor:
    return torch.zeros(1, dtype=torch.float64)


@dataclass
class _Stream:
    """Synapses that share an LSB, and their readers: populations and projections."""

    synapses: list[LayerCall] = field(default_factory=list)
    neurons: list[LayerCall] = field(default_factory=list)
    projections: list[LayerCall] = field(default_factory=list)
    reach: Tensor = field(default_factory=_zero)  # worst |current| at any reader, real, (C,)
    bias: Tensor = field(default_factory=_zero)  # worst |bias| at any reader, real, (C,)
    lsb: float = 0.0
    finer: Tensor | None = None  # of an equalized grid, (C,)


@takes(net=is_module)
def is_integer(net: nn.Module) -> bool:
    """Return whether the network computes with integers."""
    return any(isinstance(m, Biased) and float(m.lsb) > 0 for m in net.modules())


def set_options(
    net: nn.Module,
    frames: Tensor,
    widths: str | None = None,
    equalize: bool | None = None,
    correct_bias: bool | None = None,
) -> None:
    """Set the options of the grid of ``net``, see :func:`neuroport.quantize`; None keeps them.

    Args:
        frames: of the calibration, (T, N, C, H, W).

    Raises:
        CaptureError: an option has no such value, or the network is already in its integer phase.
        FramesError: biases are to be corrected, and all values of the frames are 0.
    """
    net = unwrapped(net)
    given = {"widths": widths, "equalize": equalize, "correct_bias": correct_bias}
    now = {
        "widths": widths_of(net),
        "equalize": is_equalized(net),
        "correct_bias": is_corrected(net),
    }
    for name, value in given.items():
        values = WIDTHS if name == "widths" else (True, False)
        if value is None:
            continue
        if not any(value is one or (value == one and isinstance(value, str)) for one in values):
            raise CaptureError(f"{name} is {value!r:.100}; use {' or '.join(map(repr, values))}")
        if is_integer(net) and value != now[name]:
            raise CaptureError(
                f"{name} is {value!r}, but the network has its integers already, whose {name} is "
                f"{now[name]!r}: that is chosen where the integer phase begins ({name} of "
                f"[quantization] in a recipe); leave {name} out"
            )
    if correct_bias and not is_integer(net):
        check_samples(frames)
    if widths is not None:
        set_widths(net, widths)
    set_grid_options(net, equalize, correct_bias)


def frames_of_grid(net: nn.Module) -> tuple[int, ...] | None:
    """Return T, C, H and W of the frames for which the grid was chosen, where that is known."""
    found: tuple[int, ...] | None = getattr(net, _ATTRIBUTE, None)
    return found


def note_frames(net: nn.Module, steps: int, shape: Sequence[int]) -> None:
    """Remember for which frames the grid was chosen; this is not part of the network's state."""
    vars(net)[_ATTRIBUTE] = (steps, *shape)


@takes(net=is_module)
@torch.no_grad()
def freeze_scales(net: nn.Module, frames: Tensor | npt.ArrayLike) -> None:
    """Put ``net`` into its integer phase.

    Decays and thresholds that neurons have learned are rounded to the grid and fixed.

    Args:
        net: the network; :func:`neuroport.nets.widths.set_widths` selects proven or checked widths,
            :mod:`neuroport.nets.grid_options` equalized channels and corrected biases.
        frames: (T, N, C, H, W); T and the image size determine the readout's range. For checked
            widths and corrected biases all samples are run; otherwise their values have no effect.

    Raises:
        CaptureError: a graph cannot express the network's ``forward``, or its numbers are not
            finite.
        FramesError: biases are to be corrected, and all values of the frames are 0; or an array is
            none of frames.
        IllegalError: a stream's worst case cannot be brought into range.
    """
    net, frames = unwrapped(net), _tensor(frames)
    check_numbers(net)
    if is_corrected(net):
        check_samples(frames)
    with evaluating(net), exact(frames):
        grid = _Grid(net, frames)
        grid.choose()
        grid.fit(net, frames)
        for _ in range(TRIES if is_corrected(net) else 0):
            correct_biases(net, grid.layers, frames)
            if not grid.fit(net, frames):
                break
    note_frames(net, len(frames), frames.shape[2:])


@takes(net=is_module)
@torch.no_grad()
def fit_scales(net: nn.Module, frames: Tensor | npt.ArrayLike) -> list[str]:
    """Make the grid coarser where the weights of a network in its integer phase outgrew it.

    Weights that were trained after the grid was chosen may exceed the widths. Streams and
    projections that still fit keep their grid. Frames of more steps or positions than those for
    which it was chosen may need a coarser one, too: the network is then another one than before.

    Returns:
        The layers whose grid has changed.
    """
    net, frames = unwrapped(net), _tensor(frames)
    check_numbers(net)
    with evaluating(net), exact(frames):
        changed = _Grid(net, frames).fit(net, frames)
    note_frames(net, len(frames), frames.shape[2:])
    return changed


def _tensor(frames: Tensor | npt.ArrayLike) -> Tensor:
    return frames if isinstance(frames, Tensor) else real_frames(frames)


class _Grid:
    """The streams, projections and readouts of a network, whose units are chosen."""

    def __init__(self, net: nn.Module, frames: Tensor) -> None:
        self.layers, self.steps = wiring(net, frames[:, :1].shape), len(frames)
        self.margins: dict[Part, float] = {}
        self.ranges = observe(net, self.layers, frames) if widths_of(net) == CHECKED else None

    def choose(self, only: Collection[Part] | None = None) -> None:
        """Choose the units of some parts, or of all, from the current weights."""
        streams = _streams(self.layers)
        intervals, biases = _propagate(self.layers)
        named = {layer.name: layer for layer in self.layers}
        again = set()  # streams whose unit has changed
        for stream in _unique(streams):
            own = {("stream", layer.path) for layer in stream.synapses}
            if only is None or not own.isdisjoint(only):
                margin = max(self.margins.get(part, MARGIN) for part in own)
                _choose_lsb(stream, intervals, biases, named, margin, self.ranges)
                if _equalized(stream):
                    stream.finer = _finer(stream, named, margin)
                again.add(id(stream))
        for layer in self.layers:
            module = layer.module
            if (neuron := layer.neuron) is not None:
                if id(streams[layer.inputs[0]]) in again:
                    neuron.lsb.fill_(streams[layer.inputs[0]].lsb)
                    neuron.fix()
                continue
            if isinstance(module, SumPool):
                module.lsb.fill_(unit_of(layer.name, named))
            if (conv := layer.synapse) is None:
                continue
            stream = streams[layer.name]
            lsb = stream.lsb if id(stream) in again else float(conv.lsb)
            if stream.finer is not None and conv.finer is not None:
                conv.finer.copy_(stream.finer)
            if isinstance(module, GradedConv):
                source, moved = None, id(stream) in again
                if not module.pixels:
                    before = streams[layer.inputs[0]]
                    moved |= id(before) in again
                    source = before.lsb if id(before) in again else float(module.source_lsb)
                    if before.finer is not None and module.source_finer is not None:
                        module.source_finer.copy_(before.finer)
                part = ("projection", layer.path)
                if moved or (only is not None and part in only):
                    calls = [other.name for other in self.layers if other.module is module]
                    worst = [intervals[name].worst for name in calls]
                    if self.ranges is not None and source is not None:
                        worst = [self._seen(name) for name in calls]
                    if module.finer is not None:
                        worst = [each * 2.0**module.finer for each in worst]
                    margin = self.margins.get(part, MARGIN)
                    room = max(float(each.max()) for each in worst) * margin
                    _choose_shifts(layer.path, module, lsb, source, room)
            elif id(stream) in again:
                lsb /= unit_of(layer.inputs[0], named)  # the contribution of a message of 1
                conv.lsb.fill_(lsb)
                conv.exponent.fill_(_exponent(conv, lsb))
        self._choose_readouts(only)

    def fit(self, net: nn.Module, frames: Tensor) -> list[str]:
        """Choose parts that a rule of widths refuses again, with more margin, until none is."""
        changed: dict[str, None] = {}
        for _ in range(TRIES):
            graph = integer_graph(net, frames[:, :1], check=False)
            refused = self._refused(graph) or self._left(net, graph, frames)
            if not refused:
                break
            for part in refused:
                # at the first time, nothing has been chosen from these weights yet
                self.margins[part] = 2 * self.margins.get(part, MARGIN if changed else MARGIN / 2)
            self.choose(refused)
            changed |= dict.fromkeys(name for _, name in refused)
        return list(changed)

    def _seen(self, name: str) -> Tensor:
        """Return the largest measured products of a projection, without its bias, with a margin."""
        assert self.ranges is not None
        module = next(layer.module for layer in self.layers if layer.name == name)
        assert isinstance(module, GradedConv)
        bias = float(module.folded()[1].abs().max())
        return (self.ranges.products[name] + bias) * SEEN / MARGIN

    def _left(self, net: nn.Module, graph: Graph, frames: Tensor) -> set[Part]:
        """Return the part that exceeds its declared widths on the calibration frames, if any."""
        if not graph.checked:
            return set()
        try:
            check_departures(net, graph, frames)
        except RangeError as error:
            owner = self._owners().get(error.population)
            if owner is None:
                raise
            return {owner}
        return set()

    def _refused(self, graph: Graph) -> set[Part]:
        """Return the parts whose numbers break a rule of widths."""
        owners = self._owners()
        broken = (v.node for v in too_wide(graph) if v.rule in WIDTH_RULES)
        nodes = (node if node in owners else node.rpartition(".channels")[0] for node in broken)
        return {owners[node] for node in nodes if node in owners}

    def _owners(self) -> dict[str, Part]:
        """Return the part to which each node of the graph belongs."""
        owners: dict[str, Part] = {}
        for layer in self.layers:
            name, module = layer.name, layer.module
            if layer.neuron is not None:
                owners[name] = self._stream(layer.inputs[0])
            elif isinstance(module, GradedConv):
                rounds = int(module.relay_out.shift) > 0
                product = ("projection", layer.path) if rounds else self._stream(name)
                owners |= {name: product, f"{name}.relay_out": product}
                owners[f"{name}.identity"] = self._stream(name)
                if module.relay_in is not None:
                    owners[f"{name}.relay_in"] = self._stream(layer.inputs[0])
            elif layer.synapse is not None:
                owners[name] = self._stream(name)
            elif layer.readout is not None:
                owners |= dict.fromkeys(
                    (f"{name}.synapse", f"{name}.potential"), ("readout", layer.path)
                )
        return owners

    def _stream(self, name: str) -> Part:
        return "stream", next(layer.path for layer in self.layers if layer.name == name)

    def _choose_readouts(self, only: Collection[Part] | None) -> None:
        chosen: dict[nn.Module, float] = {}  # a layer that is called several times has one LSB
        for layer in self.layers:
            module, part = layer.readout, ("readout", layer.path)
            if module is None or (only is not None and part not in only):
                continue
            positions = layer.reads[1] * layer.reads[2]
            weight, bias = module.weights()
            margin = self.margins.get(part, MARGIN)
            reach = float(
                torch.max(weight.clamp(min=0).sum(1).max(), -weight.clamp(max=0).sum(1).min())
            )
            largest = float(module.corrected(bias).abs().max())
            # a sum of k populations is 0..k
            most = layer.most * max(_tops(self.layers).get(name, 1.0) for name in layer.inputs)
            potential = (reach * most + largest) * positions * self.steps
            if self.ranges is not None:
                potential = float(self.ranges.potentials[layer.name]) * SEEN / MARGIN
            lsb = max(
                float(weight.abs().max()) / integers.WEIGHT_MAX,
                margin * potential / integers.CURRENT_MAX,
                margin * largest * positions / integers.BIAS_MAX,
                chosen.get(module, 0.0),
            )
            chosen[module] = lsb or 1.0
            module.lsb.fill_(chosen[module])


def _streams(layers: list[LayerCall]) -> dict[str, _Stream]:
    """Return the stream of every synapse layer: those that meet, or enter a repeated layer."""
    streams: dict[str, _Stream] = {}
    for layer in layers:
        if layer.synapse is not None:
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
        readers = merged.neurons if layer.neuron is not None else merged.projections
        readers.append(layer)
    for layer in layers:  # a layer that is called several times has one LSB for input and output
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


def _propagate(layers: list[LayerCall]) -> tuple[dict[str, _Interval], dict[str, Tensor]]:
    """Return the worst-case interval and bias of every synapse's current, per channel, real units.

    A projection is bounded together with the linear map before it
    (:mod:`neuroport.graph.linear_bounds`). The margin covers the rounding of its relays, and the
    rules check the integers.
    """
    intervals: dict[str, _Interval] = {}
    biases: dict[str, Tensor] = {}
    currents: dict[str, LinearMap] = {}  # streams that projections read: each holds its kernel
    read_on = {n for layer in layers if isinstance(layer.module, GradedConv) for n in layer.inputs}
    budget = Budget(math.inf)
    tops = _tops(layers)
    for layer in layers:
        module = layer.synapse
        most = layer.most * max(tops.get(name, 1.0) for name in layer.inputs)
        if module is None:
            continue
        kernel, bias = module.folded()
        if isinstance(module, GradedConv) and not module.pixels:
            arriving = _sum([intervals[n] for n in layer.inputs])
            source = _total(biases, layer)
            bias = module.carried(kernel, bias, source, torch.Size(layer.reads[1:]))
            read = tuple(currents[n] for n in layer.inputs)
            messages: Box = Sum(arriving.low.numpy(), arriving.high.numpy(), read)
        else:
            if isinstance(module, GradedConv):
                mean = module.normalization()[0]
                if mean.any():
                    bias = module.carried(kernel, bias, -mean, torch.Size(layer.reads[1:]))
            # spikes, or pixels with 255 as one: a sum of k sources is 0..k
            messages = Box(np.zeros(1), np.full(1, float(most)))
        together = inside(
            layer.reads[1:], kernel.shape[2:], module.stride, module.padding, module.dilation
        )
        current = LinearMap(kernel.numpy(), (messages,), module.groups, inside=together)
        low, high = (torch.from_numpy(bound) for bound in reach(current, budget))
        intervals[layer.name], biases[layer.name] = _Interval(low, high), module.corrected(bias)
        if layer.name in read_on:
            currents[layer.name] = current
    return intervals, biases


def _sum(intervals: list[_Interval]) -> _Interval:
    total = intervals[0]
    for interval in intervals[1:]:
        total = total + interval
    return total


def _tops(layers: list[LayerCall]) -> dict[str, float]:
    """Return the largest message of each pool, real units; spikes and pixels are at most 1."""
    tops: dict[str, float] = {}
    for layer in layers:
        module = layer.module
        if isinstance(module, SumPool):
            most = layer.most * max(tops.get(name, 1.0) for name in layer.inputs)
            tops[layer.name] = most * math.prod(module.kernel_size) / module.divisor
    return tops


def _total(biases: dict[str, Tensor], layer: LayerCall) -> Tensor:
    """Return the bias of a layer's input, (C,), or (C, H, W) if it differs by position."""
    found = [biases[name] for name in layer.inputs]
    if any(bias.ndim > 1 for bias in found):  # (C,) and (C, H, W) add up per channel
        found = [per_position(bias) for bias in found]
    total = found[0]
    for bias in found[1:]:
        total = total + bias
    return total


def _choose_lsb(
    stream: _Stream,
    intervals: dict[str, _Interval],
    biases: dict[str, Tensor],
    named: dict[str, LayerCall],
    margin: float,
    ranges: Ranges | None,
) -> None:
    names = ", ".join(layer.name for layer in stream.synapses)
    if not stream.neurons and not stream.projections:
        raise CaptureError(
            f"no neuron reads the currents of {names} ({stream.synapses[0].place}); remove the "
            "layers"
        )
    seen = _zero()
    for reader in (*stream.neurons, *stream.projections):
        worst = _sum([intervals[n] for n in reader.inputs]).worst
        stream.reach = torch.maximum(stream.reach, worst)
        total = _total(biases, reader)
        if isinstance(reader.module, NormLif):
            total = per_position(total) + per_position(reader.module.absorbed()[2])
        bias = _of_channels(total.abs())
        stream.bias = torch.maximum(stream.bias, bias)
        if ranges is not None:  # measured with its bias, which integers hold separately
            arriving = (ranges.arriving[reader.name] + bias.max()) * SEEN / MARGIN
            seen = torch.maximum(seen, arriving)
    if ranges is not None:
        stream.reach = seen
    reach, most = float(stream.reach.max()), float(stream.bias.max())
    if not stream.neurons:  # only its range matters, because nothing is compared with a threshold
        stream.lsb = margin * max(reach, 1e-12) / integers.CURRENT_MAX
        return
    neurons = [n.neuron for n in stream.neurons if n.neuron is not None]
    plain = [n for n in neurons if not isinstance(n, NormLif)]
    absorbed = [n.absorbed()[1] for n in neurons if isinstance(n, NormLif)]
    thresholds = sorted({n.threshold for n in plain})
    # a threshold after a norm is not a multiple of the LSB: it is rounded down
    smallest = min((float(t.min()) for t in absorbed), default=math.inf)
    # learned thresholds are rounded to the grid; given ones lie on it
    learned = any(n.trained_threshold is not None for n in plain)
    unit = thresholds[0] if learned else _unit(thresholds) if thresholds else smallest
    threshold: float | None = unit
    if threshold is None:
        raise CaptureError(
            f"neurons of one stream ({names}) have thresholds {thresholds}, which are not "
            "small multiples of one number; use such (0.6, 1.6 and 2.6 are 3, 8 and 13 times 0.2)"
        )
    tallest = max(thresholds, default=threshold) / threshold
    lowest = max(1, math.ceil(COARSEST * threshold / min(thresholds, default=smallest)))
    lowest = max(lowest, math.ceil(FINEST * threshold / smallest))
    coarsest = [  # the largest integer threshold that range and bias permit
        threshold * integers.CURRENT_MAX / (margin * reach + 1e-12),
        threshold * integers.BIAS_MAX / (margin * most + 1e-12),
        integers.THRESHOLD_MAX / tallest,
    ]
    weights = [weight for layer in stream.synapses for weight in _largest(layer, named)]
    single = len(stream.synapses) == 1 and len(weights) == 1
    lightest = min((w for w in weights if w > 0), default=threshold)
    wanted = threshold * integers.WEIGHT_MAX / lightest
    limit = min(coarsest)
    if limit < lowest:
        raise IllegalError(
            f"the stream of {names} can reach {reach / threshold:.0f} thresholds, too wide "
            f"for 17 bits with a threshold of {lowest} or more; train with smaller weights and "
            "norms (weight decay), or let fewer blocks share a stream"
        )
    if single:
        stream.lsb = threshold / math.floor(min(limit, max(wanted, lowest)))
    else:
        stream.lsb = threshold / 2.0 ** math.floor(math.log2(min(limit, max(wanted, lowest))))


def _exponent(conv: Conv, lsb: float) -> int:
    """Return the exponent of a synapse whose weights would otherwise exceed 8 bits."""
    ratio = float(conv.folded()[0].abs().max()) / (integers.WEIGHT_MAX * lsb)
    return max(0, math.ceil(math.log2(ratio))) if ratio > 0 else 0


def _equalized(stream: _Stream) -> bool:
    synapses = (layer.synapse for layer in stream.synapses)
    return any(synapse is not None and synapse.finer is not None for synapse in synapses)


def _finer(stream: _Stream, named: dict[str, LayerCall], margin: float) -> Tensor:
    """Return by which powers of two the unit of each channel may be finer than the stream's LSB.

    The weights of the channel in every synapse stay within 8 bits at the synapse's exponent, and
    its current, bias and thresholds within their widths, with the margin of the LSB.
    """
    lsb = stream.lsb
    room = [
        integers.CURRENT_MAX * lsb / (margin * stream.reach),
        integers.BIAS_MAX * lsb / (margin * stream.bias),
    ]
    for layer in stream.neurons:
        neuron = layer.neuron
        assert neuron is not None
        threshold = torch.tensor([neuron.threshold], dtype=torch.float64)
        if isinstance(neuron, NormLif):
            threshold = neuron.absorbed()[1].double()
        room.append(integers.THRESHOLD_MAX * lsb / threshold)
    for layer in stream.synapses:
        module = layer.synapse
        assert module is not None
        largest = _of_channels(module.folded()[0].abs())
        if isinstance(module, GradedConv):
            # a product that is rounded shares one shift: no other channel may lose from it
            coarse = integers.WEIGHT_MAX * lsb / module.message_unit
            most = float(largest.max()) if module.rounds else coarse
        else:
            unit = lsb / unit_of(layer.inputs[0], named)
            most = integers.WEIGHT_MAX * unit * 2.0 ** _exponent(module, unit)
        room.append(most / largest)
    least: Tensor = reduce(torch.minimum, room)
    return least.log2().floor().clamp(0, FINEST_CHANNEL).to(torch.int64)


def _largest(layer: LayerCall, named: dict[str, LayerCall]) -> list[float]:
    """Return the largest weight's current per message, in real units; nothing if a relay rounds it.

    A coarse stem needs fewer levels than other synapses, and with more levels their weights would
    need exponents. It is therefore reported as larger by that factor.
    """
    module = layer.synapse
    if module is None or (isinstance(module, GradedConv) and module.rounds):
        return []
    largest = float(module.folded()[0].abs().max())
    if isinstance(module, GradedConv):
        return [largest * module.message_unit * integers.WEIGHT_MAX / STEM]
    return [largest * unit_of(layer.inputs[0], named)]


def _unit(thresholds: list[float]) -> float | None:
    """Return the largest number of which all thresholds are small multiples."""
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


def _choose_shifts(
    path: str, module: GradedConv, lsb: float, source: float | None, room: float
) -> None:
    """Choose the shifts of the relays around a graded convolution: the finest product in 24 bits.

    ``room``: largest value of the product, in real units.
    """
    largest = max(float(module.scaled(module.folded()[0]).abs().max()), 1e-12)
    product = math.floor(math.log2(integers.MESSAGE_MAX * lsb / max(room, 1e-12)))
    message = module.message_unit if source is None else source
    weight = math.floor(math.log2(integers.WEIGHT_MAX * lsb / (largest * message)))
    product = min(product, integers.STATE_BITS - 1)
    module.lsb.fill_(lsb)
    if source is None:
        module.relay_out.shift.fill_(max(0, min(product, weight)) if module.rounds else 0)
        # a stem adds little to later stages, and others add to them, too
        alone = not isinstance(module, ComposedStem)
        if alone and not module.rounds and largest * message < lsb:
            raise IllegalError(
                f"the largest weight of {path!r} is {largest * message / lsb:.2f} units of its "
                "stream for one of a pixel, and all of them round to 0; let it round "
                "(stem = 'rounding'), or train with a larger norm behind it"
            )
        return
    assert module.relay_in is not None
    # weight bits beyond six help little: leave them to the messages
    shift = max(0, min(product, weight))
    module.source_lsb.fill_(source)
    module.relay_out.shift.fill_(shift)
    module.relay_in.shift.fill_(min(max(0, weight - shift - 2), integers.STATE_BITS - 1))
