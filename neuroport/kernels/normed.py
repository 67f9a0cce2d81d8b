"""Batch norm, and neurons behind it, in training, on tensors; see ``normed.c``."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from neuroport.kernels import fused
from neuroport.kernels.compiled import kernels

LEVELS, STEPS = 4, 128  # at most
PARTS = 16  # of the work, each with sums of its own


@dataclass(frozen=True)
class Layout:
    """Sizes of (T, N, C, H, W); ``last`` says whether channels lie last in memory."""

    steps: int
    samples: int
    positions: int  # C * H * W
    channels: int
    last: bool

    @classmethod
    def of(cls, x: Tensor) -> Layout | None:
        """None where the kernels cannot read ``x``, which is dense (:func:`fused.dense`)."""
        if kernels() is None or not fused.fits(x) or x.ndim != 5 or len(x) > STEPS:
            return None
        steps, samples, channels, height, width = x.shape
        size = channels * height * width
        strides = (samples * size, size, 1, width * channels, channels)
        lengths = zip(x.stride(), strides, x.shape, strict=True)
        last = all(one == other or length == 1 for one, other, length in lengths)
        return cls(steps, samples, size, channels, last)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return (self.steps, self.samples, self.positions, self.channels)

    @property
    def rows(self) -> tuple[int, int, int]:
        return (self.steps * self.samples, self.positions, self.channels)

    def sums(self) -> Tensor:
        """Room for two sums per channel and part; those of all parts come first."""
        return torch.empty(PARTS, 2, self.channels, dtype=torch.float64)


@dataclass(frozen=True)
class Statistics:
    """Of a batch: mean, the deviation's inverse ``q`` and its slope, see ``norm_statistics``."""

    mean: Tensor
    q: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Levels:
    """Constants of neurons under one current, as :class:`neuroport.nets.neuron.Lif` has them."""

    thresholds: tuple[float, ...]
    current_keep: float
    voltage_keep: float
    surrogate: str
    detach_reset: bool

    @property
    def known(self) -> bool:
        """Whether the kernels have them."""
        return self.surrogate in fused.KINDS and 0 < len(self.thresholds) <= LEVELS

    @property
    def keeps(self) -> tuple[float, float]:
        return self.current_keep, self.voltage_keep

    @property
    def array(self) -> ctypes.Array[ctypes.c_float]:
        return (ctypes.c_float * len(self.thresholds))(*self.thresholds)


def statistics(
    x: Tensor,
    layout: Layout,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    outside: bool,
) -> Statistics:
    """Of ``x``; the running ones move."""
    found = Statistics(*torch.empty(3, layout.channels).unbind())
    given = (x, layout.sums(), found.mean, found.q, found.slope, running_mean, running_var)
    _library().norm_statistics(
        *_pointers(*given),
        *layout.sizes,
        momentum,
        eps,
        outside,
    )
    return found


def apply(
    x: Tensor, layout: Layout, mean: Tensor, factor: Tensor, bias: Tensor, added: Tensor | None
) -> Tensor:
    """``factor (x - mean) + bias + added``; ``added`` lies in memory as ``x`` does."""
    out = torch.empty_like(x)
    _library().norm_apply(*_pointers(x, mean, factor, bias, added, out), *layout.rows)
    return out


def sums(grad: Tensor, x: Tensor, layout: Layout, mean: Tensor) -> Tensor:
    """Per channel the sums of ``grad`` and of ``grad (x - mean)``, (2, C), in float64."""
    out = layout.sums()
    _library().norm_sums(*_pointers(grad, x, mean, out), *layout.sizes)
    return out[0]


def gradient(
    grad: Tensor,
    x: Tensor,
    layout: Layout,
    found: Statistics,
    factor: Tensor,
    sums: Tensor,
    out: Tensor,
) -> Tensor:
    """Gradient of ``x``, into ``out``, which may be ``grad``."""
    given = (grad, x, found.mean, factor, found.slope, sums, out)
    _library().norm_gradient(*_pointers(*given), *layout.rows)
    return out


def levels_forward(
    x: Tensor,
    layout: Layout,
    mean: Tensor | None,
    factor: Tensor | None,
    bias: Tensor | None,
    levels: Levels,
) -> Tensor:
    """How many levels fire under the (normalized) current."""
    out = torch.empty_like(x)
    _library().levels_forward(
        *_pointers(x, mean, factor, bias, out),
        *layout.sizes,
        *levels.keeps,
        levels.array,
        len(levels.thresholds),
    )
    return out


def levels_backward(
    grad: Tensor,
    x: Tensor,
    layout: Layout,
    mean: Tensor | None,
    factor: Tensor | None,
    bias: Tensor | None,
    levels: Levels,
) -> tuple[Tensor, Tensor]:
    """Gradient of the (normalized) current, and with a norm the :func:`sums` of it."""
    out, total = torch.empty_like(x), layout.sums()
    _library().levels_backward(
        *_pointers(grad, x, mean, factor, bias, out, total),
        *layout.sizes,
        *levels.keeps,
        not levels.detach_reset,
        levels.array,
        len(levels.thresholds),
        fused.KINDS[levels.surrogate],
    )
    return out, total[0]


def _pointers(*tensors: Tensor | None) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _library() -> ctypes.CDLL:
    library = kernels()
    assert library is not None  # who has a layout has the kernels
    return library
