"""Batch norms over time, batch and space, and how they fold into a synapse.

In evaluation every norm is ``y = scale * x + shift`` per channel; :func:`folding` gives both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from neuroport.arguments import flag, positive, takes, whole_number
from neuroport.errors import CaptureError, LayerError
from neuroport.nets.torch_parts import refreshed


class TdBatchNorm(nn.BatchNorm2d):
    """Threshold-dependent batch norm, on (T * N, C, H, W).

        y = weight * alpha * threshold * (x - mean) / (sqrt(var) + eps) + bias

    as MLF's official code computes it (``langfengQ/MLF-DSResNet``), with ``eps`` outside the root;
    ``inside`` puts it under the root, as STBP-tdBN's paper (arXiv 2011.05280) writes it. Batches
    are normalized with the biased variance, the running one is unbiased, as in torch.

    Args:
        threshold: threshold of the neuron that follows.
        alpha: 1, or ``1 / sqrt(n)`` where n branches meet (STBP-tdBN).
    """

    @takes(
        channels=whole_number(1, LayerError),
        threshold=positive(LayerError),
        alpha=positive(LayerError),
        inside=flag(LayerError),
        affine=flag(LayerError),
    )
    def __init__(
        self,
        channels: int,
        threshold: float = 0.6,
        alpha: float = 1.0,
        inside: bool = False,
        affine: bool = True,
    ) -> None:
        super().__init__(channels, affine=affine)
        self.threshold = threshold
        self.alpha = alpha
        self.inside = inside

    def factor(self, var: Tensor) -> Tensor:
        """The factor of ``x - mean`` per channel, ``weight`` included."""
        # a channel that never fires has variance 0, where the root has no finite slope
        safe = var.clamp_min(torch.finfo(var.dtype).tiny)
        root = torch.sqrt(var + self.eps) if self.inside else torch.sqrt(safe) + self.eps
        factor: Tensor = self.alpha * self.threshold / root
        return factor if self.weight is None else factor * self.weight

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        assert mean is not None
        assert var is not None
        if not self.training:
            factor = self.factor(var)
            shift = -mean * factor if self.bias is None else self.bias - mean * factor
            return x * factor.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)
        if x.numel() // x.shape[1] < 2:
            raise ValueError("batch norm needs more than one value per channel when training")
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        scale = x.new_full((x.shape[1],), self.alpha * self.threshold)
        weight = scale if self.weight is None else scale * self.weight
        momentum = self.momentum or 0.0
        norm = F.batch_norm if self.inside else norm_outside_root
        return norm(x, mean, var, weight, self.bias, True, momentum, self.eps)


def norm_outside_root(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """``F.batch_norm``, in training, with ``eps`` outside the root.

    It has the signature of torch's function, so that a version for several processes can replace
    it.
    """
    given = (x, running_mean, running_var, weight, bias, training, momentum, eps)
    if has_torch_function(given[:4]):
        replaced: Tensor = handle_torch_function(norm_outside_root, given[:4], *given)
        return replaced
    out = _NormOutsideRoot.apply(x, weight, bias, running_mean, running_var, momentum, eps)
    assert isinstance(out, Tensor)
    return out


class _NormOutsideRoot(torch.autograd.Function):
    """``y = weight * q * (x - mean) + bias`` with ``q = 1 / (sqrt(var) + eps)``, by torch's norms.

    With ``r = sqrt(var)``, g the gradient of y and n values per channel,

        dx = weight * q * (g - mean(g) - (x - mean) * sum(g * (x - mean)) * q / (r * n)),

    which is the gradient of torch's norm for a deviation ``1 / s``, ``s * s = q / r``, and a weight
    of ``weight * q / s``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        mean, var = torch.batch_norm_update_stats(x, running_mean, running_var, momentum)
        root = var.sqrt()
        q = 1 / (root + eps)
        # a channel that never fires has variance 0, where the root has no finite slope
        s = torch.where(var < torch.finfo(var.dtype).tiny, q, (q / root).sqrt())
        ctx.save_for_backward(x, weight, mean, q, s)
        ctx.has_bias = bias is not None
        # not F.batch_norm: from torch 2.4 to 2.12 it refuses an eps of 0 even with given statistics
        given = mean, torch.ones_like(var), False, 0.0, 0.0, torch.backends.cudnn.enabled
        return torch.batch_norm(x, weight * q, bias, *given)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, q, s = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(  # type: ignore[attr-defined]
            grad, x, weight * q / s, None, None, mean, s, True, 0.0, [True, True, True]
        )
        grad_weight = grad_weight * q / s
        return grad_x, grad_weight, grad_bias if ctx.has_bias else None, None, None, None, None


class BiasNorm(nn.Module):
    """A bias per channel in place of a norm: ``y = x + bias``."""

    @takes(channels=whole_number(1, LayerError))
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.reshape(-1, 1, 1)


def unfoldable(norm: nn.Module) -> str | None:
    """Return why a norm has no scale and shift per channel in evaluation, or None if it has."""
    if isinstance(norm, (BiasNorm, nn.Identity)):
        return None
    if not isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)):
        return (
            f"{type(norm).__name__} cannot be folded into a synapse, whose weights are the same "
            "for all frames; use nn.BatchNorm2d, nn.SyncBatchNorm, nn.Identity, or TdBatchNorm or "
            "BiasNorm of neuroport.nets.batchnorm"
        )
    if norm.running_mean is None or norm.running_var is None:
        return (
            f"{type(norm).__name__} keeps no running statistics, so that what it computes depends "
            "on the batch; use track_running_stats=True"
        )
    return None


def folding(norm: nn.Module, channels: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift of ``norm`` in evaluation, per channel.

    Args:
        channels: any tensor (C, ...).

    Raises:
        CaptureError: the norm has no scale and shift per channel.
    """
    if isinstance(norm, nn.Identity):
        flat = channels.detach().flatten(1)[:, 0]
        return torch.ones_like(flat), torch.zeros_like(flat)
    refreshed(norm)
    if isinstance(norm, BiasNorm):
        return torch.ones_like(norm.bias), norm.bias
    refusal = unfoldable(norm)
    if refusal is not None:
        raise CaptureError(refusal)
    assert isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm))
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    if isinstance(norm, TdBatchNorm):
        scale = norm.factor(var)
    else:
        scale = (1.0 if norm.weight is None else norm.weight) / torch.sqrt(var + norm.eps)
    return scale, (0.0 if norm.bias is None else norm.bias) - mean * scale
