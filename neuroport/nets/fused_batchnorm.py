"""Fuse batch norm into the operation that reads it, to save memory traffic in training.

Memory traffic limits the speed of a training step. A separate norm stores its result only for a
neuron to compare it with a threshold. Here the reader (a neuron or an addition) applies the norm
itself, and voltages are recomputed in the backward pass instead of stored. A convolution that is
:func:`deferred` returns such a :class:`DeferredCurrent`. Its sum with a shortcut can wait, too: the
neuron that reads it first computes it along with its spikes (:func:`later`).

The arithmetic is in ``kernels/normed.c``. Where it cannot run (no compiler, CUDA, joint statistics
of several processes, evaluation), norms and neurons are called one after the other; the results are
equal within the rounding of float32. In the integer phase norms are folded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function
from torch.utils._pytree import tree_map

from neuroport.errors import LayerError
from neuroport.kernels import batchnorm_kernels, lif_kernels
from neuroport.kernels.batchnorm_kernels import NeuronConstants, NormStatistics, TensorLayout
from neuroport.nets.batchnorm import TdBatchNorm

ConvT = TypeVar("ConvT", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class DeferredCurrent:
    """A current (T, N, C, H, W) before its norm, ``y = scale q (x - mean) + bias``.

    neuroport's neurons and ``+`` apply the norm themselves. All other operations get ``y``.
    """

    x: Tensor
    scale: Tensor
    bias: Tensor
    statistics: NormStatistics
    layout: TensorLayout

    def tensor(self, added: Tensor | None = None) -> Tensor:
        """``y + added``.

        Raises:
            LayerError: gradients are disabled now, so that they would be lost silently.
        """
        if not torch.is_grad_enabled():
            raise LayerError(
                "the current of a convolution whose norm is deferred (deferred(conv)) is read "
                "where gradients are off, which would lose its gradient; set conv.defers = False"
            )
        out = _Apply.apply(self.x, self.scale, self.bias, added, self.statistics, self.layout)
        assert isinstance(out, Tensor)
        return out

    def spikes(self, levels: NeuronConstants) -> Tensor:
        """How many levels of neurons under ``y`` fire."""
        out = _Fire.apply(self.x, self.scale, self.bias, self.statistics, self.layout, levels)
        assert isinstance(out, Tensor)
        return out

    @property
    def shape(self) -> torch.Size:
        return self.x.shape

    def __add__(self, other: Any) -> Tensor:
        other = settled(other)
        return self.tensor(other) if self._adds(other) else self.tensor() + other

    def _adds(self, other: Any) -> bool:
        """Whether a kernel adds ``other``."""
        plain = type(other) is Tensor and other.shape == self.shape and other.dtype == self.x.dtype
        return plain and not has_torch_function((other,))

    __radd__ = __add__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.tensor(), name)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Functions of torch get ``y``."""
        args, kwargs = tree_map(settled, args), tree_map(settled, kwargs or {})
        if func in (torch.Tensor.add, torch.Tensor.__radd__, torch.add) and len(args) == 2:
            return args[0] + args[1]
        return func(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class DeferredStream(DeferredCurrent):
    """A membrane stream, ``y + added``, which others read after the neuron that reads it first.

    That neuron computes the stream along with its spikes, and the gradients of both together.
    """

    added: Tensor | None = None
    computed: list[Tensor] = field(default_factory=list)

    def tensor(self, added: Tensor | None = None) -> Tensor:
        if not self.computed:
            self.computed.append(super().tensor(self.added))
        (stream,) = self.computed
        return stream if added is None else stream + added

    def spikes(self, levels: NeuronConstants) -> Tensor:
        along = levels.along_a_stream(self.layout.steps) and torch.is_grad_enabled()
        if self.computed or not along:
            found = spikes(self.tensor(), levels)
            assert found is not None  # the levels are known, and the layout has been made
            return found
        stream, out = _Stream.apply(
            self.x, self.scale, self.bias, self.added, self.statistics, self.layout, levels
        )
        self.computed.append(stream)
        assert isinstance(out, Tensor)
        return out


def later(current: Any, added: Any = None) -> Any:
    """``current + added``, or ``current``, as a stream that the next neuron computes.

    At once where ``current`` is no deferred one, or a kernel cannot add ``added``.
    """
    if type(current) is DeferredCurrent and (added is None or current._adds(added)):
        parts = (current.x, current.scale, current.bias, current.statistics, current.layout)
        return DeferredStream(*parts, added)
    return current if added is None else current + added


def settled(x: Any) -> Any:
    """``x`` as a tensor if it is a deferred current; others as they are."""
    return x.tensor() if isinstance(x, DeferredCurrent) else x


def _operator(name: str) -> Any:
    def apply(self: DeferredCurrent, *others: Any) -> Any:
        return getattr(self.tensor(), name)(*map(settled, others))

    return apply


for _name in (
    *("sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "matmul", "neg", "abs"),
    *("lt", "le", "gt", "ge", "getitem", "len", "iter", "bool", "float"),
):
    setattr(DeferredCurrent, f"__{_name}__", _operator(f"__{_name}__"))


def deferred(conv: ConvT) -> ConvT:
    """Let the reader of ``conv``, a neuron of neuroport or ``+``, apply its norm; return ``conv``.

    ``neuron(conv(x))`` and ``conv(x) + shortcut`` compute the same as before, with less memory
    traffic. Nothing is deferred if the convolution or its norm has hooks.
    """
    conv.defers = True  # type: ignore[assignment]
    return conv


@contextmanager
def waiting(*modules: nn.Module) -> Iterator[None]:
    """Context in which modules are :func:`deferred` that are not otherwise."""
    others = [module for module in modules if not module.defers]
    for module in others:
        vars(module)["defers"] = True
    try:
        yield
    finally:
        for module in others:  # another thread may have called the network, too
            vars(module).pop("defers", None)


def listened(module: nn.Module) -> bool:
    """Whether ``module`` has hooks."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def defer(norm: nn.Module, x: Tensor) -> DeferredCurrent | None:
    """Defer ``norm`` over ``x`` and update its running statistics; None if it must be called."""
    if not (
        norm.training and torch.is_grad_enabled() and type(norm) in (nn.BatchNorm2d, TdBatchNorm)
    ):
        return None
    assert isinstance(norm, nn.BatchNorm2d)
    mean, var, counted = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if norm.weight is None or norm.momentum is None or mean is None or var is None:
        return None
    if has_torch_function((x,)) or listened(norm):
        return None
    x, layout = _laid_out(x)
    if layout is None or not layout.last or x.numel() // layout.channels < 2:
        return None
    scale: Tensor = norm.weight
    outside = False
    if isinstance(norm, TdBatchNorm):
        scale, outside = scale * (norm.alpha * norm.threshold), not norm.inside
    given = (norm.momentum, norm.eps, outside)
    found = batchnorm_kernels.statistics(x, scale, layout, mean, var, *given)
    if counted is not None:
        counted.add_(1)
    return DeferredCurrent(x, scale, norm.bias, found, layout)


def spikes(x: Tensor, levels: NeuronConstants) -> Tensor | None:
    """Number of levels that fire under the current ``x``; None if neurons must be called singly."""
    if not levels.known:
        return None
    x, layout = _laid_out(x)
    if layout is None:
        return None
    out = _Fire.apply(x, None, None, None, layout, levels)
    assert isinstance(out, Tensor)
    return out


def _laid_out(x: Tensor) -> tuple[Tensor, TensorLayout | None]:
    """Return ``x`` as a dense tensor, and its memory format."""
    layout = TensorLayout.of(x)
    if layout is None or not layout.last:
        x = lif_kernels.dense(x)
        layout = TensorLayout.of(x)
    return x, layout


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        added: Tensor | None,
        statistics: NormStatistics,
        layout: TensorLayout,
    ) -> Tensor:
        if added is not None:
            added = laid_out_like(added, x)
        ctx.save_for_backward(x)
        ctx.constants = (statistics, layout)
        ctx.added = added is not None
        return batchnorm_kernels.apply(x, layout, statistics, bias, added)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        statistics, layout = ctx.constants
        laid_out, out = laid_out_like(grad, x), torch.empty_like(x)
        sums = batchnorm_kernels.sums(laid_out, x, layout, statistics)
        scale, bias = batchnorm_kernels.gradient(laid_out, x, layout, statistics, sums, out)
        return out, scale, bias, grad if ctx.added else None, None, None


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        statistics: NormStatistics | None,
        layout: TensorLayout,
        levels: NeuronConstants,
    ) -> Tensor:
        ctx.save_for_backward(x, bias)
        ctx.constants = (statistics, layout, levels)
        return batchnorm_kernels.levels_forward(x, layout, statistics, bias, levels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, bias = ctx.saved_tensors
        statistics, layout, levels = ctx.constants
        out, sums = batchnorm_kernels.levels_backward(
            laid_out_like(grad, x), x, layout, statistics, bias, levels
        )
        if statistics is None:
            return out, None, None, None, None, None
        scale, bias = batchnorm_kernels.gradient(out, x, layout, statistics, sums, out)
        return out, scale, bias, None, None, None


class _Stream(torch.autograd.Function):
    """A stream, and the spikes of the neurons that read it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        added: Tensor | None,
        statistics: NormStatistics,
        layout: TensorLayout,
        levels: NeuronConstants,
    ) -> tuple[Tensor, Tensor]:
        if added is not None:
            added = laid_out_like(added, x)
        stream, out = batchnorm_kernels.stream_forward(x, layout, statistics, bias, added, levels)
        ctx.save_for_backward(x, stream)
        ctx.constants = (statistics, layout, levels)
        ctx.added = added is not None
        ctx.set_materialize_grads(False)
        return stream, out

    @staticmethod
    def backward(
        ctx: Any, shortcut: Tensor | None, grad: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, stream = ctx.saved_tensors
        statistics, layout, levels = ctx.constants
        of_spikes, of_stream = (
            torch.zeros_like(x) if each is None else laid_out_like(each, x)
            for each in (grad, shortcut)
        )
        total, sums = batchnorm_kernels.stream_backward(
            of_spikes, of_stream, stream, x, layout, statistics, levels
        )
        out = torch.empty_like(x)
        scale, bias = batchnorm_kernels.gradient(total, x, layout, statistics, sums, out)
        if shortcut is not None:  # whoever added it sums up its gradient in its own layout
            total = laid_out_like(total, shortcut)
        return out, scale, bias, total if ctx.added else None, None, None, None


def laid_out_like(x: Tensor, other: Tensor) -> Tensor:
    """Return ``x`` in the memory format of ``other``."""
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)
