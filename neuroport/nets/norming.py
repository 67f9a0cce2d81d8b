"""Batch norms in training that are applied by who reads them, with less memory moved.

A training step is bound by memory. A norm that stores what it normalizes, for a neuron that only
compares it with a threshold, moves more than is needed. Here the reader (a neuron, or an
addition) normalizes on the way, and voltages are computed again in the backward pass instead of
stored. The arithmetic is in ``kernels/normed.c``. Where it does not run (no compiler, CUDA, joint
statistics of several processes, evaluation), norms and neurons are called one after the other; both
compute the same to within the rounding of float32. In the integer phase norms are folded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function

from neuroport.kernels import fused, normed
from neuroport.kernels.normed import Layout, Levels, Statistics
from neuroport.nets.norm import TdBatchNorm


@dataclass(frozen=True)
class Norming:
    """A current (T, N, C, H, W) before its norm, ``y = scale q (x - mean) + bias``."""

    x: Tensor
    scale: Tensor
    bias: Tensor
    statistics: Statistics
    layout: Layout

    def tensor(self, added: Tensor | None = None) -> Tensor:
        """``y + added``."""
        out = _Apply.apply(self.x, self.scale, self.bias, added, self.statistics, self.layout)
        assert isinstance(out, Tensor)
        return out

    def spikes(self, levels: Levels) -> Tensor:
        """How many levels of neurons under ``y`` fire."""
        out = _Fire.apply(self.x, self.scale, self.bias, self.statistics, self.layout, levels)
        assert isinstance(out, Tensor)
        return out


def norming(norm: nn.Module, x: Tensor) -> Norming | None:
    """``norm`` over ``x``, whose running statistics move now; None if it has to be called."""
    if not (
        norm.training and torch.is_grad_enabled() and type(norm) in (nn.BatchNorm2d, TdBatchNorm)
    ):
        return None
    assert isinstance(norm, nn.BatchNorm2d)
    mean, var, counted = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if norm.weight is None or norm.momentum is None or mean is None or var is None:
        return None
    if has_torch_function((x,)) or norm._forward_hooks or norm._forward_pre_hooks:
        return None
    x = fused.dense(x)
    layout = Layout.of(x)
    if layout is None or not layout.last or x.numel() // layout.channels < 2:
        return None
    scale: Tensor = norm.weight
    outside = False
    if isinstance(norm, TdBatchNorm):
        scale, outside = scale * (norm.alpha * norm.threshold), not norm.inside
    found = normed.statistics(x.detach(), layout, mean, var, norm.momentum, norm.eps, outside)
    if counted is not None:
        counted.add_(1)
    return Norming(x, scale, norm.bias, found, layout)


def spikes(x: Tensor, levels: Levels) -> Tensor | None:
    """How many levels of neurons under ``x`` fire; None if they have to be called one by one."""
    x = fused.dense(x)
    layout = Layout.of(x) if levels.known else None
    if layout is None:
        return None
    out = _Fire.apply(x, None, None, None, layout, levels)
    assert isinstance(out, Tensor)
    return out


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        added: Tensor | None,
        statistics: Statistics,
        layout: Layout,
    ) -> Tensor:
        factor = scale * statistics.q
        if added is not None:
            added = _like(added, x)
        ctx.save_for_backward(x, factor)
        ctx.constants = (statistics, layout)
        ctx.added = added is not None
        return normed.apply(x, layout, statistics.mean, factor, bias, added)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, factor = ctx.saved_tensors
        statistics, layout = ctx.constants
        laid_out = _like(grad, x)
        sums = normed.sums(laid_out, x, layout, statistics.mean)
        out = torch.empty_like(x)
        given = _norm_gradients(laid_out, x, layout, statistics, factor, sums, out)
        return *given, grad if ctx.added else None, None, None


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        statistics: Statistics | None,
        layout: Layout,
        levels: Levels,
    ) -> Tensor:
        mean, factor = None, None
        if scale is not None and statistics is not None:
            mean, factor = statistics.mean, scale * statistics.q
        ctx.save_for_backward(x, factor, bias)
        ctx.constants = (statistics, layout, levels)
        return normed.levels_forward(x, layout, mean, factor, bias, levels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, factor, bias = ctx.saved_tensors
        statistics, layout, levels = ctx.constants
        mean = None if statistics is None else statistics.mean
        out, sums = normed.levels_backward(_like(grad, x), x, layout, mean, factor, bias, levels)
        if statistics is None:
            return out, None, None, None, None, None
        given = _norm_gradients(out, x, layout, statistics, factor, sums, out)
        return *given, None, None, None


def _norm_gradients(
    grad: Tensor,
    x: Tensor,
    layout: Layout,
    statistics: Statistics,
    factor: Tensor,
    sums: Tensor,
    out: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of ``x``, ``scale`` and ``bias``, from the gradient of ``y`` and its sums."""
    normed.gradient(grad, x, layout, statistics, factor, sums, out)
    bias, tilted = sums.float()
    return out, tilted * statistics.q, bias


def _like(x: Tensor, other: Tensor) -> Tensor:
    """``x``, in memory as ``other``."""
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)
