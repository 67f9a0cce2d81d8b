"""Batch norms over time, batch and space, and the one way in which they fold into a synapse.

In evaluation every norm is ``y = scale * x + shift`` per channel; :func:`folding` gives both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        """What ``x - mean`` is multiplied with, per channel, ``weight`` included."""
        # a channel that never fires has variance 0, where the root has no finite slope
        safe = var.clamp_min(torch.finfo(var.dtype).tiny)
        root = torch.sqrt(var + self.eps) if self.inside else torch.sqrt(safe) + self.eps
        factor: Tensor = self.alpha * self.threshold / root
        return factor if self.weight is None else factor * self.weight

    def forward(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        if self.training:
            var, mean = torch.var_mean(x, (0, 2, 3), unbiased=False)
            count = x.numel() // x.shape[1]
            if count < 2:
                raise ValueError("batch norm needs more than one value per channel when training")
            with torch.no_grad():
                momentum = self.momentum or 0.0
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                unbiased = var * (count / (count - 1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
                assert self.num_batches_tracked is not None
                self.num_batches_tracked.add_(1)
        else:
            mean, var = self.running_mean, self.running_var
        factor = self.factor(var)
        shift = -mean * factor
        if self.bias is not None:
            shift = shift + self.bias
        return x * factor.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)


class BiasNorm(nn.Module):
    """No norm: a bias per channel, ``y = x + bias``, for convolutions that have one instead."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.reshape(-1, 1, 1)


def folding(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of ``norm`` in evaluation, per channel.

    Raises:
        TypeError: a norm that is not of these.
    """
    if isinstance(norm, BiasNorm):
        return torch.ones_like(norm.bias), norm.bias
    if not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(
            f"{type(norm).__name__} cannot be folded into a synapse; use nn.BatchNorm2d, "
            "TdBatchNorm or BiasNorm"
        )
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    if isinstance(norm, TdBatchNorm):
        scale = norm.factor(var)
    else:
        scale = (1.0 if norm.weight is None else norm.weight) / torch.sqrt(var + norm.eps)
    return scale, (0.0 if norm.bias is None else norm.bias) - mean * scale
