"""SLAYER's synapses as linear maps that a graph holds.

Shapes are SLAYER's without samples and steps: (C, H, W) or (C,); a flat one is in channel-major
order in both. Where no convolution of the graph says what SLAYER computes (a transposed one with a
stride) the map becomes a matrix.

Source: ``lava/lib/dl/slayer/synapse/layer.py`` of lava-dl 0.6.0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neuroport.capture.currents import MessageSum, NodeMessages
from neuroport.errors import CaptureError
from neuroport.graph.integers import WEIGHT_MAX
from neuroport.graph.linear_bounds import ungrouped
from neuroport.graph.node import IntArray, Pair, Shape

LARGEST_MATRIX = 1 << 25
MOST_PARTS = 8


@dataclass(frozen=True, eq=False)
class Linear:
    """A convolution, weight (O, I/groups, kH, kW), or a matrix, weight (O, I)."""

    weight: IntArray
    source: Shape
    target: Shape
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def is_matrix(self) -> bool:
        return self.weight.ndim == 2


def dense(name: str, weight: IntArray, source: Shape) -> Linear:
    """``synapse.Dense``: a matrix on rows, a convolution without padding on feature maps."""
    outputs, inputs, *kernel = weight.shape
    if len(source) == 3:
        return conv(name, weight, source, (1, 1), (0, 0), (1, 1), 1)
    if kernel != [1, 1] or source != (inputs,):
        _misfit(name, weight, source)
    return Linear(weight[..., 0, 0], source, (outputs,))


def conv(
    name: str,
    weight: IntArray,
    source: Shape,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Linear:
    """``synapse.Conv``."""
    if len(source) != 3 or source[0] != weight.shape[1] * groups:
        _misfit(name, weight, source)
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            source[1:], padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    if min(size) < 1:
        _misfit(name, weight, source)
    target = (len(weight), size[0], size[1])
    return Linear(weight, source, target, stride, padding, dilation, groups)


def pool(
    name: str, weight: IntArray, source: Shape, stride: Pair, padding: Pair, dilation: Pair
) -> Linear:
    """``synapse.Pool`` as a convolution of each channel.

    SLAYER appends ``H % kH`` rows of zeros (and columns), lays the channels of a sample below each
    other and convolves all with one kernel: rows must be cut where channels end.
    """
    if len(source) != 3:
        _misfit(name, weight, source)
    kernel = weight.shape[2:]
    channels, height, width = source
    more = height % kernel[0], width % kernel[1]
    span = dilation[0] * (kernel[0] - 1) + 1
    rows = height + more[0]
    if padding[0] or span > stride[0] or rows % stride[0]:
        raise CaptureError(
            f"block {name!r}: SLAYER pools over the rows of all channels at once, and with "
            f"{height} rows, kernel {kernel[0]}, stride {stride[0]}, padding {padding[0]} windows "
            "cross from one channel into the next; pool with stride = kernel and without padding, "
            "and a height that it divides, or use a Conv with groups"
        )
    # zeros below and to the right alone: padding on both sides, and a kernel that begins later
    spread = np.zeros([d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)], np.int64)
    spread[:: dilation[0], :: dilation[1]] = weight[0, 0]
    spread = np.pad(spread, ((more[0], 0), (more[1], 0)))
    each = np.broadcast_to(spread, (channels, 1, *spread.shape))
    both = (more[0], more[1] + padding[1])
    return conv(name, each, source, stride, both, (1, 1), channels)


def transposed(
    name: str,
    weight: IntArray,
    source: Shape,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Linear:
    """``synapse.ConvTranspose``, weight (I, O/groups, kH, kW)."""
    if len(source) != 3 or source[0] != len(weight):
        _misfit(name, weight, source)
    kernel = weight.shape[2:]
    inner = tuple(d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True))
    if stride == (1, 1) and min(inner) >= 0:
        each = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)  # (G, O/G, I/G, ...)
        flipped = np.concatenate(list(each))[:, :, ::-1, ::-1]
        return conv(name, flipped, source, (1, 1), inner, dilation, groups)  # type: ignore[arg-type]

    def spread(x: Tensor) -> Tensor:
        kernels = torch.from_numpy(weight.astype(np.float64))
        return F.conv_transpose2d(x, kernels, None, stride, padding, 0, groups, dilation)

    return _matrix(name, source, spread)


def unpool(
    name: str, weight: IntArray, source: Shape, stride: Pair, padding: Pair, dilation: Pair
) -> Linear:
    """``synapse.Unpool``: every channel transposed-convolved, laid out as in :func:`pool`."""
    if len(source) != 3:
        _misfit(name, weight, source)
    kernel = weight.shape[2:]
    if padding[0] or dilation[0] * (kernel[0] - 1) + 1 != stride[0]:
        raise CaptureError(
            f"block {name!r}: SLAYER unpools the rows of all channels at once, and with kernel "
            f"{kernel[0]}, stride {stride[0]}, padding {padding[0]} they run from one channel into "
            "the next; unpool with stride = kernel and without padding, or use a ConvT with groups"
        )
    each = np.broadcast_to(weight, (source[0], 1, *kernel))
    return transposed(name, each, source, stride, padding, dilation, source[0])


def as_matrix(name: str, linear: Linear) -> Linear:
    """A convolution as the matrix that it is."""
    if linear.is_matrix:
        return linear

    def convolve(x: Tensor) -> Tensor:
        kernels = torch.from_numpy(linear.weight.astype(np.float64))
        return F.conv2d(
            x, kernels, None, linear.stride, linear.padding, linear.dilation, linear.groups
        )

    return _matrix(name, linear.source, convolve)


def section(linear: Linear, value: MessageSum, term: NodeMessages) -> Linear:
    """Restrict ``linear`` to the channels of ``value`` that come from ``term``, groups expanded."""
    if term.part is None:
        return linear
    if linear.is_matrix:
        weight = linear.weight[:, value.rows(term)]
        return replace(linear, weight=weight, source=(weight.shape[1],))
    low, high = term.part
    weight = _ungrouped(linear).weight[:, low:high]
    return replace(linear, weight=weight, source=(high - low, *linear.source[1:]), groups=1)


def complex_pair(name: str, real: Linear, imag: Linear) -> Linear:
    """Both parts as one map, real channels (or rows) first.

    Raises:
        CaptureError: the parts differ in more than their weights.
    """
    for item in ("stride", "padding", "dilation", "groups"):
        if getattr(real, item) != getattr(imag, item):
            raise CaptureError(
                f"block {name!r}: the {item} of its real synapse is {getattr(real, item)} and of "
                f"its imaginary one {getattr(imag, item)}; use the same"
            )
    if real.weight.shape != imag.weight.shape:
        raise CaptureError(
            f"block {name!r}: the weight of its real synapse is {real.weight.shape} and of its "
            f"imaginary one {imag.weight.shape}; use the same sizes"
        )
    if not real.is_matrix and real.groups > 1:
        real, imag = _ungrouped(real), _ungrouped(imag)
    return replace(real, weight=np.concatenate([real.weight, imag.weight]))


def parts(name: str, weight: IntArray) -> list[IntArray]:
    """Weights that sum to ``weight``, each of which a synapse of the hardware holds.

    SLAYER's integers begin at -256 and a synapse's at -254: the rest is a synapse of its own.
    """
    found: list[IntArray] = []
    rest = weight
    while rest.any() or not found:
        if len(found) == MOST_PARTS:
            raise CaptureError(
                f"block {name!r}: its weights span {weight.min()}..{weight.max()}, more than "
                f"{MOST_PARTS} synapses of 8 bits hold; let SLAYER quantize them (its default)"
            )
        now = np.clip(rest, -WEIGHT_MAX, WEIGHT_MAX)
        if np.any(now & 1) and now.min() < 0 < now.max():
            now = np.maximum(now, 0)  # odd weights need a synapse of one sign
        found.append(now)
        rest = rest - now
    return found


def _ungrouped(linear: Linear) -> Linear:
    return replace(linear, weight=ungrouped(linear.weight, linear.groups), groups=1)


def _matrix(name: str, source: Shape, linear: Any) -> Linear:
    """The matrix of a linear map of feature maps, found by applying it to every unit."""
    count = int(np.prod(source))
    target = tuple(linear(torch.zeros(1, *source, dtype=torch.float64)).shape[1:])
    if count * int(np.prod(target)) > LARGEST_MATRIX:
        raise CaptureError(
            f"block {name!r}: as a matrix, which a transposed convolution with a stride and all "
            f"that follows it become, it has {count} x {int(np.prod(target))} weights; use "
            "smaller feature maps, or convolutions without a stride"
        )
    units = torch.eye(count, dtype=torch.float64).reshape(count, *source)
    weight = linear(units).reshape(count, -1).T.numpy().astype(np.int64)
    return Linear(np.ascontiguousarray(weight), source, target)


def _misfit(name: str, weight: IntArray, source: Shape) -> None:
    raise CaptureError(
        f"block {name!r}: its weight {weight.shape} does not fit what it reads, {source}; put a "
        "Flatten between convolutions and a Dense"
    )
