"""The fast engine on a CPU: bytes for spikes, 8-bit convolutions, neurons compiled over all steps.

A value is held in the narrowest type that the graph's intervals prove to hold it: bytes for
messages of 0..255, float32 for integers below 2**24, else int64, where the plain lines of
:mod:`neuroport.backends.fast` take over. A convolution of bytes with weights of 8 bits adds up in
32-bit integers and leaves as float32, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neuroport.backends.fast import TorchArithmetic
from neuroport.backends.walk import Starts
from neuroport.graph import integers
from neuroport.graph.exact import FLOAT32_EXACT, largest_sum
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Dense,
    Input,
    IntArray,
    Lif,
    Node,
    Relay,
    Shape,
    Synapse,
    per_neuron,
)
from neuroport.kernels import fused
from neuroport.kernels.sums import convolve_exactly

BYTE = 255
SAFE_WITHOUT_VNNI = 128  # older processors add two products in 16 bits: 2 * 128 * 127 fits


class QuickArithmetic(TorchArithmetic):
    """Arrays are uint8, float32 or int64 tensors, channels last."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        super().__init__(graph, device)
        self.graph = graph
        self.fields: dict[str, tuple[Tensor, Tensor]] = {}
        self.summed: tuple[tuple[Tensor, ...], Tensor] = ((), torch.empty(0))
        self.ordinary = {
            node.name: node
            for node in graph
            if isinstance(node, Conv) and _ordinary(node, *self._shapes(node))
        }
        self.bytes = {
            name: packed
            for name, node in self.ordinary.items()
            if (packed := self._packed(node)) is not None
        }

    def load(self, frames: npt.NDArray[Any]) -> Tensor:
        node = self.graph.input
        facts = self.graph.facts(node.name)
        kind = _kind(int(facts.low.min()), int(facts.high.max()))
        given = torch.from_numpy(np.ascontiguousarray(frames)).to(kind)
        if given.ndim != 5:
            return given
        flat = given.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return flat.reshape(given.shape)

    def total(self, node: Node, values: Sequence[Tensor]) -> Tensor:
        if len(values) == 1:
            return values[0]
        before, added = self.summed  # a relay and a neuron often read the same sum
        if len(before) == len(values) and all(a is b for a, b in zip(before, values, strict=True)):
            return added
        facts = self.graph.facts(node.name)
        kind = _kind(int(facts.reach_low.min()), int(facts.reach_high.max()))
        if any(value.dtype == torch.int64 for value in values):
            kind = torch.int64  # one of them may be larger than the sum
        first, second, *others = (value.to(kind) for value in values)
        added = first + second
        for other in others:
            added += other
        self.summed = tuple(values), added
        return added

    def output(self, node: Node, arriving: Tensor, starts: Starts) -> Tensor:
        match node:
            case Conv() if arriving.dtype != torch.int64 and node.name in self.ordinary:
                if self.exact_in_single(node):
                    return self._convolved(node, arriving)
                if self._fits_single(node):
                    return self._split(node, arriving)
            case Dense() if (
                arriving.dtype != torch.int64
                and self.exact_in_single(node)
                and not node.delay.any()
            ):
                weight = self.weights[node.name]
                found = arriving.flatten(2).to(weight.dtype) @ weight.T
                return self._narrow(node, found * 2.0**node.exponent)
            case Lif() if arriving.dtype != torch.int64 and _plain_decays(node):
                spikes = self._fired(node, arriving.to(torch.float32), starts)
                if spikes is not None:
                    return spikes
            case Relay() if node.shift == 0 and node.threshold == 0:
                return arriving
            case Relay() if arriving.dtype != torch.int64:
                message = fused.relay(arriving.to(torch.float32), node.shift, node.threshold)
                if message is not None:
                    return self._narrow(node, message)
            case Input():
                return arriving
        plain = arriving.to(torch.int64).contiguous()  # see _ordinary
        return self._narrow(node, super().output(node, plain, starts))

    def store(self, out: Tensor, messages: npt.NDArray[Any]) -> None:
        if fused.planes(out, messages):
            return
        bits = messages.view(np.uint8) if messages.dtype == np.bool_ else messages
        torch.from_numpy(bits).copy_(out)

    def _shapes(self, node: Node) -> tuple[Shape, Shape]:
        return self.graph.facts(node.inputs[0]).shape, self.graph.facts(node.name).shape

    def exact_in_single(self, node: Conv | Dense) -> bool:
        """Whether float32 holds every partial sum of a synapse, and its current."""
        return self.weights[node.name].dtype == torch.float32

    def _narrow(self, node: Node, out: Tensor) -> Tensor:
        """An output in the type that is proven to hold it; currents are never bytes."""
        facts = self.graph.facts(node.name)
        kind = _kind(int(facts.low.min()), int(facts.high.max()))
        if kind == torch.uint8 and isinstance(node, Synapse):
            kind = torch.float32
        return out.to(kind)

    def _convolved(self, node: Conv, messages: Tensor) -> Tensor:
        flat = messages.flatten(0, 1)
        packed = self.bytes.get(node.name) if messages.dtype == torch.uint8 else None
        if _each_its_own(node):
            factor = torch.tensor(node.weight.reshape(-1, 1, 1)) * 2.0**node.exponent
            out = flat if (factor == 1).all() else flat * factor.to(torch.float32)
        elif packed is not None:
            out = packed(flat)
        else:
            out = self._single(node, flat)
        return self._narrow(node, out.reshape(*messages.shape[:2], *out.shape[1:]))

    def _single(self, node: Conv, flat: Tensor) -> Tensor:
        weight = self.weights[node.name]
        window = (node.stride, node.padding, node.dilation, node.groups)
        out = torch.nn.functional.conv2d(flat.to(weight.dtype), weight, None, *window)
        return out * 2.0**node.exponent if node.exponent else out

    def _fits_single(self, node: Conv) -> bool:
        """Whether float32 holds the current of a synapse, whatever its partial sums."""
        facts = self.graph.facts(node.name)
        return _kind(int(facts.low.min()), int(facts.high.max())) != torch.int64

    def _split(self, node: Conv, messages: Tensor) -> Tensor:
        window = (node.stride, node.padding, node.dilation, node.groups)

        def convolve(x: Tensor, weight: Tensor) -> Tensor:
            return torch.nn.functional.conv2d(x, weight, None, *window)

        flat = messages.flatten(0, 1).to(torch.float32)
        out = convolve_exactly(convolve, flat, self.weights[node.name].to(torch.float32))
        scaled = out * 2.0**node.exponent if node.exponent else out
        return scaled.reshape(*messages.shape[:2], *out.shape[1:])

    def _packed(self, node: Conv) -> _ByteConvolution | None:
        """The convolution of bytes, where messages and weights are proven to be 8 bits wide."""
        facts = self.graph.facts(node.name)
        low, high = int(facts.reach_low.min()), int(facts.reach_high.max())
        if low < 0 or high > (BYTE if has_vnni() else SAFE_WITHOUT_VNNI):
            return None
        if largest_sum(self.graph, node) >= FLOAT32_EXACT or not byte_convolutions():
            return None
        even = not (node.weight & 1).any()
        weight = node.weight >> 1 if even else node.weight
        if abs(weight).max() > 127:
            return None
        packed = _ByteConvolution(node, weight, 2.0 ** (node.exponent + int(even)))
        return packed if self._tried(node, packed, high) else None

    def _tried(self, node: Conv, packed: _ByteConvolution, high: int) -> bool:
        """Whether it gives what float32 gives, once, on its own window and size."""
        random = torch.Generator().manual_seed(0)
        source, _ = self._shapes(node)
        messages = torch.randint(0, high + 1, (1, *source), generator=random, dtype=torch.uint8)
        messages = messages.contiguous(memory_format=torch.channels_last)
        return torch.equal(packed(messages), self._single(node, messages))

    def _fired(self, node: Lif, current: Tensor, starts: Starts) -> Tensor | None:
        current = fused.dense(current)
        sample = current[0, 0]
        key = f"{node.name} {sample.stride()}"
        if key not in self.fields:
            self.fields[key] = _states(node.bias, sample), _states(node.threshold, sample)
        decays = int(node.current_decay.flat[0]), int(node.voltage_decay.flat[0])
        return fused.spikes(current, *self.fields[key], *decays, starts.first, starts.interval)


class _ByteConvolution:
    """Bytes times 8-bit weights, summed exactly and scaled by a power of two: float32."""

    def __init__(self, node: Conv, weight: IntArray, scale: float) -> None:
        self.window = (list(node.stride), list(node.padding), list(node.dilation), node.groups)
        self.scale = scale
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        integer = torch.from_numpy(weight.astype(np.int8))
        self.ones = torch.ones(len(weight))
        self.weight = torch.ops.onednn.qconv_prepack(  # type: ignore[attr-defined]
            integer, self.ones, 1.0, 0, *self.window
        )

    def __call__(self, messages: Tensor) -> Tensor:
        found: Tensor = torch.ops.onednn.qconv2d_pointwise(  # type: ignore[attr-defined]
            messages,
            self.scale,
            0,
            self.weight,
            self.ones,
            self.zeros,
            None,
            *self.window,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return found


def _ordinary(node: Conv, source: Shape, target: Shape) -> bool:
    """Whether the window moves alike in both directions, has no holes and always meets the input.

    oneDNN's convolutions of channels that lie last (torch 2.3) crash where a window lies in the
    padding altogether, and with 8 bits, one channel to a group, a vertical stride of 1 and a larger
    horizontal one they give wrong sums.
    """
    if node.stride[0] != node.stride[1] or tuple(node.dilation) != (1, 1):
        return False
    for axis in (0, 1):
        first = np.arange(target[1 + axis]) * node.stride[axis] - node.padding[axis]
        last = first + node.weight.shape[2 + axis] - 1
        if not ((last >= 0) & (first < source[1 + axis])).all():
            return False
    return True


@cache
def byte_convolutions() -> bool:
    """Whether this torch has the 8-bit convolution, and it gives what float64 gives."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    weight = np.full((16, 16, 3, 3), 127)
    weight[::2] = -127
    messages = torch.full((1, 16, 8, 8), SAFE_WITHOUT_VNNI, dtype=torch.uint8)
    try:
        found = _ByteConvolution(Conv("probe", ("x",), weight), weight, 2.0)(messages)
    except (RuntimeError, AttributeError, TypeError):
        return False
    wide = torch.nn.functional.conv2d(messages.double(), torch.from_numpy(weight).double())
    return torch.equal(found.double(), 2 * wide)


@cache
def has_vnni() -> bool:
    """Whether the processor adds four 8-bit products in 32 bits."""
    try:
        return "_vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _kind(low: int, high: int) -> torch.dtype:
    """The narrowest type that holds low..high."""
    if low >= 0 and high <= BYTE:
        return torch.uint8
    return torch.float32 if max(-low, high) < FLOAT32_EXACT else torch.int64


def _each_its_own(node: Conv) -> bool:
    """Whether every neuron hears one neuron of its own channel and place: a carried shortcut."""
    channels, inner, *kernel = node.weight.shape
    one = (1, 1)
    return (
        inner == 1
        and node.groups == channels
        and tuple(kernel) == tuple(node.stride) == tuple(node.dilation) == one
        and tuple(node.padding) == (0, 0)
    )


def _plain_decays(node: Lif) -> bool:
    """Whether one decay holds for all neurons, and biases and thresholds fit 32 bits as states."""
    most = max(int(abs(node.bias).max()), int(abs(node.threshold).max()))
    return node.current_decay.size == node.voltage_decay.size == 1 and most < FLOAT32_EXACT


def _states(values: IntArray, sample: Tensor) -> Tensor:
    """A field of every neuron in states, int32, in the memory order of a sample."""
    spread = torch.from_numpy(np.array(per_neuron(values, tuple(sample.shape))))
    laid_out = torch.empty_like(sample, dtype=torch.int32)
    return laid_out.copy_(spread << integers.STATE_SHIFT)
