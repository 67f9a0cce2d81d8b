"""Batch norm and the following neurons in training, on tensors; see ``normed.c``."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from neuroport.kernels import lif_kernels
from neuroport.kernels.compilation import kernels

LEVELS, STEPS = 4, lif_kernels.STEPS  # at most
STREAM_STEPS = 6  # at most, of neurons that are computed along with the stream they read
PARTS = 16  # parts of the work, each with its own sums


@dataclass(frozen=True)
class TensorLayout:
    """Sizes of (T, N, C, H, W); ``last``: whether channels are last in memory."""

    steps: int
    samples: int
    positions: int  # C * H * W
    channels: int
    last: bool

    @classmethod
    def of(cls, x: Tensor) -> TensorLayout | None:
        """Return the layout of a dense ``x`` (:func:`lif_kernels.dense`), None if unsupported."""
        if kernels() is None or not lif_kernels.fits(x) or x.ndim != 5 or len(x) > STEPS:
            return None
        steps, samples, channels, height, width = shape = x.shape
        size = channels * height * width
        given, strides = x.stride(), (samples * size, size, 1, width * channels, channels)
        last = given == strides or all(
            one == other or length == 1
            for one, other, length in zip(given, strides, shape, strict=True)
        )
        return cls(steps, samples, size, channels, last)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return (self.steps, self.samples, self.positions, self.channels)

    @property
    def rows(self) -> tuple[int, int, int]:
        return (self.steps * self.samples, self.positions, self.channels)

    def sums(self) -> Tensor:
        """Allocate two sums per channel and part; the totals come first."""
        return torch.empty(PARTS, 2, self.channels, dtype=torch.float64)


@dataclass(frozen=True)
class NormStatistics:
    """Statistics of a batch; rows of ``found`` (4, C): mean, ``q``, its slope, ``a = scale q``."""

    found: Tensor

    @property
    def mean(self) -> int:
        """The address of the mean."""
        return self.found.data_ptr()

    @property
    def factor(self) -> int:
        """The address of ``a``."""
        return self.found.data_ptr() + 3 * self.found.shape[1] * self.found.element_size()


@dataclass(frozen=True)
class NeuronConstants:
    """Constants of neurons that share a current; see :class:`neuroport.nets.neuron.Lif`."""

    thresholds: tuple[float, ...]
    current_keep: float
    voltage_keep: float
    surrogate: str
    detach_reset: bool

    @property
    def known(self) -> bool:
        """Whether the kernels support this surrogate and this number of levels."""
        return self.surrogate in lif_kernels.KINDS and 0 < len(self.thresholds) <= LEVELS

    def along_a_stream(self, steps: int) -> bool:
        """Whether the kernels compute such neurons along with the stream that they read."""
        return len(self.thresholds) == 1 and self.current_keep == 0 and steps <= STREAM_STEPS

    @property
    def keeps(self) -> tuple[float, float]:
        return self.current_keep, self.voltage_keep

    @property
    def array(self) -> ctypes.Array[ctypes.c_float]:
        return (ctypes.c_float * len(self.thresholds))(*self.thresholds)


def statistics(
    x: Tensor,
    scale: Tensor,
    layout: TensorLayout,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    outside: bool,
) -> NormStatistics:
    """Compute the statistics of ``x``, and update the running ones."""
    found = torch.empty(4, layout.channels)
    given = (x, scale, layout.sums(), found, running_mean, running_var)
    _library().norm_statistics(*_pointers(*given), *layout.sizes, momentum, eps, outside)
    return NormStatistics(found)


def apply(
    x: Tensor, layout: TensorLayout, found: NormStatistics, bias: Tensor, added: Tensor | None
) -> Tensor:
    """Return ``a (x - mean) + bias + added``; ``added`` has the memory layout of ``x``."""
    out = torch.empty_like(x)
    _library().norm_apply(
        x.data_ptr(),
        found.mean,
        found.factor,
        *_pointers(bias, added, out),
        *layout.rows,
    )
    return out


def sums(grad: Tensor, x: Tensor, layout: TensorLayout, found: NormStatistics) -> Tensor:
    """Return per channel the sums of ``grad`` and of ``grad (x - mean)``, the totals first."""
    out = layout.sums()
    _library().norm_sums(grad.data_ptr(), x.data_ptr(), found.mean, out.data_ptr(), *layout.sizes)
    return out


def gradient(
    grad: Tensor, x: Tensor, layout: TensorLayout, found: NormStatistics, sums: Tensor, out: Tensor
) -> Tensor:
    """Write the gradient of ``x`` to ``out`` (may be ``grad``); return those of scale and bias."""
    given = torch.empty(2, layout.channels)
    _library().norm_gradient(*_pointers(grad, x, found.found, sums, out, given), *layout.rows)
    return given


def levels_forward(
    x: Tensor,
    layout: TensorLayout,
    found: NormStatistics | None,
    bias: Tensor | None,
    levels: NeuronConstants,
) -> Tensor:
    """Compute how many levels fire under the (normalized) current."""
    out = torch.empty_like(x)
    _library().levels_forward(
        x.data_ptr(),
        *_norm(found),
        *_pointers(bias, out),
        *layout.sizes,
        *levels.keeps,
        levels.array,
        len(levels.thresholds),
    )
    return out


def levels_backward(
    grad: Tensor,
    x: Tensor,
    layout: TensorLayout,
    found: NormStatistics | None,
    bias: Tensor | None,
    levels: NeuronConstants,
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the (normalized) current, and with a norm its :func:`sums`."""
    out, total = torch.empty_like(x), layout.sums()
    _library().levels_backward(
        grad.data_ptr(),
        x.data_ptr(),
        *_norm(found),
        *_pointers(bias, out, total),
        *layout.sizes,
        *levels.keeps,
        not levels.detach_reset,
        levels.array,
        len(levels.thresholds),
        lif_kernels.KINDS[levels.surrogate],
    )
    return out, total


def stream_forward(
    x: Tensor,
    layout: TensorLayout,
    found: NormStatistics,
    bias: Tensor,
    added: Tensor | None,
    levels: NeuronConstants,
) -> tuple[Tensor, Tensor]:
    """Compute :func:`apply`, and the spikes of one level that reads it."""
    stream, spikes = torch.empty_like(x), torch.empty_like(x)
    _library().stream_forward(
        x.data_ptr(),
        found.mean,
        found.factor,
        *_pointers(bias, added, stream, spikes),
        *layout.sizes,
        levels.voltage_keep,
        *levels.thresholds,
    )
    return stream, spikes


def stream_backward(
    grad: Tensor,
    shortcut: Tensor,
    stream: Tensor,
    x: Tensor,
    layout: TensorLayout,
    found: NormStatistics,
    levels: NeuronConstants,
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the stream, and its :func:`sums`.

    Args:
        grad, shortcut: gradients of the spikes, and of the stream by its other readers.
        stream, x: the stream, and what its norm reads.
    """
    out, total = torch.empty_like(x), layout.sums()
    _library().stream_backward(
        *_pointers(grad, shortcut, stream, x),
        found.mean,
        *_pointers(out, total),
        *layout.sizes,
        levels.voltage_keep,
        not levels.detach_reset,
        *levels.thresholds,
        lif_kernels.KINDS[levels.surrogate],
    )
    return out, total


def _norm(found: NormStatistics | None) -> tuple[int | None, int | None]:
    return (None, None) if found is None else (found.mean, found.factor)


def _pointers(*tensors: Tensor | None) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _library() -> ctypes.CDLL:
    library = kernels()
    assert library is not None  # a layout exists only if the kernels do
    return library
