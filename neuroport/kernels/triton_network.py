"""Synapses and populations of a graph over all time steps on a GPU, in Triton, in integers only.

The counterpart of ``network.c``. Values are (T * N, height, width, channels), dense, as narrow as
their bounds allow. A synapse multiplies 8-bit digits and adds up in 32 bits, which no GPU rounds:

    x = x_0 + 128 x_1,   w = w_0 + 128 w_1,   x w = x_0 w_0 + 128 (x_0 w_1 + x_1 w_0) + ...

with digits in -128..127; the second ones only where bounds say that they are needed. Sums that wrap
at 32 bits on the way end right, because the graph's intervals bound the last one.

A population adds up to ``PARTS`` shifted values. ``TRITON_INTERPRET=1`` runs the kernels on a CPU.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from neuroport.errors import BackendError
from neuroport.graph import integers
from neuroport.graph.node import Pair
from neuroport.kernels.triton_neurons import integer_step

BLOCK = 1024  # positions of a program of a population
PARTS = 4
DIGIT = 7  # bits of a digit but the last, which has the sign
HELD = -(1 << 14), (1 << 14) - 1  # what two digits hold

Value = tuple[Tensor, int]  # a tensor, and by how much it is shifted left


# a kernel is compiled for each set of its constants, and without this for values as 0, 1 and 16
GEOMETRY = [
    *("second", "height", "width", "out_height", "out_width", "stride_y", "stride_x"),
    *("padding_y", "padding_x", "dilation_y", "dilation_x"),
]
SHIFTS = ["shift_a", "shift_b", "shift_c", "shift_d"]


@triton.jit(do_not_specialize=GEOMETRY)
def _synapse(
    x,
    weight,
    out,
    rows,
    outputs,
    second,
    height,
    width,
    out_height,
    out_width,
    stride_y,
    stride_x,
    padding_y,
    padding_x,
    dilation_y,
    dilation_x,
    channels: tl.constexpr,
    columns: tl.constexpr,
    taps: tl.constexpr,
    wide: tl.constexpr,
    heavy: tl.constexpr,
    block_m: tl.constexpr,
    block_o: tl.constexpr,
    block_k: tl.constexpr,
):
    """Sums over a kernel's taps, which are ordered (row, column, channel).

    ``weight`` is (outputs, taps), zeros beyond both; ``second`` is where its second digits begin.
    """
    m = tl.program_id(0) * block_m + tl.arange(0, block_m)
    inside = m < rows
    column = m % out_width
    row = (m // out_width) % out_height
    image = (m // (out_width * out_height)).to(tl.int64) * (height * width * channels)
    top = row * stride_y - padding_y
    left = column * stride_x - padding_x
    o = tl.program_id(1) * block_o + tl.arange(0, block_o)
    low = tl.zeros((block_m, block_o), tl.int32)
    middle = tl.zeros((block_m, block_o), tl.int32)
    high = tl.zeros((block_m, block_o), tl.int32)
    length: tl.constexpr = (taps + block_k - 1) // block_k * block_k
    # expand_dims: the interpreter of Triton 2.3 has no [:, None]
    image, top = tl.expand_dims(image, 1), tl.expand_dims(top, 1)
    left, inside = tl.expand_dims(left, 1), tl.expand_dims(inside, 1)
    o = tl.expand_dims(o, 0)
    for first in range(0, length, block_k):
        k = first + tl.arange(0, block_k)
        across, down = tl.expand_dims(k, 0), tl.expand_dims(k, 1)
        tap = across // channels
        y = top + tap // columns * dilation_y
        z = left + tap % columns * dilation_x
        heard = inside & (across < taps) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
        place = image + ((y * width + z) * channels + across % channels)
        value = tl.load(x + place, mask=heard, other=0)
        w = tl.load(weight + (o * length + down))
        if wide:
            value = value.to(tl.int32)
            first_digit = (value & 127).to(tl.int8)
            second_digit = (value >> 7).to(tl.int8)
            middle = tl.dot(second_digit, w, middle, out_dtype=tl.int32)
        else:
            first_digit = value
        low = tl.dot(first_digit, w, low, out_dtype=tl.int32)
        if heavy:
            w = tl.load(weight + second + (o * length + down))
            middle = tl.dot(first_digit, w, middle, out_dtype=tl.int32)
            if wide:
                high = tl.dot(second_digit, w, high, out_dtype=tl.int32)
    total = low
    if wide or heavy:
        total += middle * 128
    if wide and heavy:
        total += high * 16384
    at = tl.expand_dims(m.to(tl.int64), 1) * outputs + o
    tl.store(out + at, total, mask=inside & (o < outputs))


@triton.jit
def _arriving(
    a,
    b,
    c,
    d,
    at,
    inside,
    shift_a,
    shift_b,
    shift_c,
    shift_d,
    parts: tl.constexpr,
):
    total = tl.load(a + at, mask=inside, other=0).to(tl.int32) << shift_a
    if parts > 1:
        total += tl.load(b + at, mask=inside, other=0).to(tl.int32) << shift_b
    if parts > 2:
        total += tl.load(c + at, mask=inside, other=0).to(tl.int32) << shift_c
    if parts > 3:
        total += tl.load(d + at, mask=inside, other=0).to(tl.int32) << shift_d
    return total


@triton.jit(do_not_specialize=["threshold", "half", "shift", *SHIFTS])
def _relay(
    a,
    b,
    c,
    d,
    sent,
    size,
    threshold,
    half,
    shift,
    shift_a,
    shift_b,
    shift_c,
    shift_d,
    parts: tl.constexpr,
    block: tl.constexpr,
):
    """``relay`` of integers.py, where ``half`` is ``2**(shift - 1)``, or 0 without a shift."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    current = _arriving(a, b, c, d, at, inside, shift_a, shift_b, shift_c, shift_d, parts)
    message = (current + half) >> shift
    magnitude = tl.where(message < 0, -message, message)
    tl.store(sent + at, tl.where(magnitude > threshold, message, 0), mask=inside)


@triton.jit(do_not_specialize=["steps", "period", *SHIFTS])
def _neuron(
    a,
    b,
    c,
    d,
    sent,
    bias,
    limit,
    keep_u,
    keep_v,
    steps,
    size,
    period,
    memory: tl.constexpr,
    fires: tl.constexpr,
    shift: tl.constexpr,
    top: tl.constexpr,
    shift_a,
    shift_b,
    shift_c,
    shift_d,
    parts: tl.constexpr,
    block: tl.constexpr,
):
    """``lif_step`` and ``reset`` of integers.py, or without ``fires`` its ``leak_step``.

    Constants, biases and thresholds shifted, are given for ``period`` positions.
    """
    begin = tl.program_id(0).to(tl.int64) * block
    at = begin + tl.arange(0, block)
    inside = at < size
    own = ((begin % period).to(tl.int32) + tl.arange(0, block)) % period
    shifted = tl.load(bias + own, mask=inside, other=0)
    kept_v = tl.load(keep_v + own, mask=inside, other=0)
    kept_u = tl.full([block], 0, tl.int32)
    if memory:
        kept_u = tl.load(keep_u + own, mask=inside, other=0)
    threshold = shifted
    if fires:
        threshold = tl.load(limit + own, mask=inside, other=0)
    u = tl.full([block], 0, tl.int32)
    v = tl.full([block], 0, tl.int32)
    for _t in range(steps):
        current = _arriving(a, b, c, d, at, inside, shift_a, shift_b, shift_c, shift_d, parts)
        u, v = integer_step(u, v, current, kept_u, kept_v, shifted, shift, top)
        if fires:
            fired = v > threshold
            tl.store(sent + at, fired.to(tl.int8), mask=inside)
            v = tl.where(fired, 0, v)
        else:
            tl.store(sent + at, v, mask=inside)
        at += size


@triton.jit(do_not_specialize=["steps"])
def _count(x, counts, steps, size, positions, block: tl.constexpr):
    """How many values of a part of a sample's positions are not 0, over all steps."""
    place = tl.program_id(1) * block + tl.arange(0, block)
    inside = place < positions
    at = tl.program_id(0).to(tl.int64) * positions + place
    total = tl.full([block], 0, tl.int32)
    for _t in range(steps):
        total += (tl.load(x + at, mask=inside, other=0) != 0).to(tl.int32)
        at += size
    own = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1) + tl.arange(0, 1)
    # a row, because the interpreter of Triton 2.3 has no single sum
    tl.store(counts + own, tl.sum(tl.expand_dims(total, 0), 1))


def count(x: Tensor) -> Tensor:
    """The number of nonzero values of each sample of (T, N, ...), (N, 1), int32."""
    steps, samples = x.shape[:2]
    positions = x[0, 0].numel()
    block = min(2048, triton.next_power_of_2(positions))
    parts = -(-positions // block)
    counts = torch.empty((samples, parts), dtype=torch.int32, device=x.device)
    with _on(x.device):
        _count[samples, parts](x, counts, steps, samples * positions, positions, block=block)
    return counts.sum(1, keepdim=True, dtype=torch.int32)


def _on(device: torch.device) -> Any:
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


class Weights:
    """A kernel (O, C, kH, kW) of integers on a device, in digits.

    Args:
        low, high: of the values that it multiplies.
    """

    def __init__(self, weight: Tensor, low: int, high: int, device: torch.device) -> None:
        self.outputs, self.channels, *kernel = weight.shape
        self.kernel = kernel[0], kernel[1]
        self.taps = self.channels * kernel[0] * kernel[1]
        self.wide = low < -128 or high > 127
        self.heavy = bool((weight > 127).any() or (weight < -128).any())
        self.block_o = min(64, max(16, triton.next_power_of_2(self.outputs)))
        self.block_k = 32 if self.taps <= 32 else 128 if self.channels >= 64 else 64
        length = -(-self.taps // self.block_k) * self.block_k
        rows = -(-self.outputs // self.block_o) * self.block_o
        laid = torch.zeros(1 + self.heavy, rows, length, dtype=torch.int8)
        flat = weight.permute(0, 2, 3, 1).reshape(self.outputs, self.taps)
        if self.heavy:
            laid[0, : self.outputs, : self.taps] = flat & 127
            laid[1, : self.outputs, : self.taps] = flat >> DIGIT
        else:
            laid[0, : self.outputs, : self.taps] = flat
        self.second = rows * length
        self.laid = laid.to(device)


def synapse(
    x: Tensor, weights: Weights, stride: Pair, padding: Pair, dilation: Pair, kind: torch.dtype
) -> Tensor:
    """Convolve ``x`` (images, H, W, C) to (images, H', W', O) of type ``kind``.

    Raises:
        BackendError: there are more positions than 31 bits number.
    """
    images, height, width, _ = x.shape
    size = [
        (each + 2 * pad - gap * (taps - 1) - 1) // step + 1
        for each, pad, gap, taps, step in zip(
            (height, width), padding, dilation, weights.kernel, stride, strict=True
        )
    ]
    rows = images * size[0] * size[1]
    if rows >= 1 << 31:
        raise BackendError(f"{rows:,} positions of a layer at once are too many; lower batch")
    out = torch.empty((images, *size, weights.outputs), dtype=kind, device=x.device)
    block_m = 128 if rows >= 1 << 14 else 32
    grid = -(-rows // block_m), -(-weights.outputs // weights.block_o)
    with _on(x.device):
        _synapse[grid](
            x,
            weights.laid,
            out,
            rows,
            weights.outputs,
            weights.second,
            height,
            width,
            *size,
            *stride,
            *padding,
            *dilation,
            channels=weights.channels,
            columns=weights.kernel[1],
            taps=weights.taps,
            wide=weights.wide,
            heavy=weights.heavy,
            block_m=block_m,
            block_o=weights.block_o,
            block_k=weights.block_k,
        )
    return out


def _spread(values: Sequence[Value]) -> tuple[list[Tensor], dict[str, int]]:
    """Arguments of :func:`_arriving`."""
    tensors = [tensor for tensor, _ in values]
    shifts = [shift for _, shift in values] + [0] * (PARTS - len(values))
    named = {f"shift_{name}": shift for name, shift in zip("abcd", shifts, strict=True)}
    return tensors + tensors[:1] * (PARTS - len(values)), {**named, "parts": len(values)}


def relay(values: Sequence[Value], shift: int, threshold: int, kind: torch.dtype) -> Tensor:
    """The messages of a relay under the sum of ``values``, as ``kind``; see ``integers.relay``."""
    tensors, named = _spread(values)
    out = torch.empty_like(tensors[0], dtype=kind)
    grid = (-(-out.numel() // BLOCK),)
    half = (1 << shift) >> 1
    with _on(out.device):
        _relay[grid](*tensors, out, out.numel(), threshold, half, shift=shift, block=BLOCK, **named)
    return out


def neuron(
    values: Sequence[Value],
    steps: int,
    bias: Tensor,
    limit: Tensor | None,
    keep_u: Tensor,
    keep_v: Tensor,
    memory: bool,
) -> Tensor:
    """Spikes, 8 bits, or without a ``limit`` potentials, 32 bits, under the sum of ``values``.

    Constants are int32 (positions of a sample,) or (channels,); bias and limit are in states.
    """
    tensors, named = _spread(values)
    kind = torch.int32 if limit is None else torch.int8
    out = torch.empty_like(tensors[0], dtype=kind)
    size = out.numel() // steps
    with _on(out.device):
        _neuron[(-(-size // BLOCK),)](
            *tensors,
            out,
            bias,
            bias if limit is None else limit,
            keep_u,
            keep_v,
            steps,
            size,
            bias.numel(),
            memory=memory,
            fires=limit is not None,
            shift=integers.STATE_SHIFT,
            top=integers.STATE_MAX + 1,
            block=BLOCK,
            **named,
        )
    return out
