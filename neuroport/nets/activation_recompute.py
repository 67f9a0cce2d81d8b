"""Save memory in training by recomputing a block's activations in the backward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from neuroport.errors import LayerError
from neuroport.nets.fused_batchnorm import settled


class _StatisticsKept(AbstractContextManager[None]):
    """Update running statistics once per batch, not again when the batch is recomputed."""

    def __init__(self, module: nn.Module) -> None:
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]

    def __enter__(self) -> None:
        self.before = [buffer.clone() for buffer in self.buffers]

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for buffer, before in zip(self.buffers, self.before, strict=True):
                buffer.copy_(before)


class Recomputing(nn.Module):
    """A module whose parts, called with ``run``, can be recomputed in the backward pass.

    With ``recompute``, a part stores only its input and runs a second time in the backward pass, so
    that only the activations of one part are in memory. Gradients and statistics are the same.
    """

    recompute = False

    def run(self, part: nn.Module, *given: Any) -> Any:
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return part(*given)
        return checkpoint(
            lambda *given: settled(part(*given)),  # what waits would be computed outside
            *map(settled, given),
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _StatisticsKept(part)),
        )


class Chain(Recomputing, nn.Sequential):
    """``nn.Sequential`` whose modules are such parts."""

    def forward(self, x: Any) -> Any:
        for part in self:
            x = self.run(part, x)
        return x


def recompute(net: nn.Module) -> nn.Module:
    """Recompute every block of ``net`` in the backward pass.

    Raises:
        LayerError: ``net`` has no blocks that can be recomputed.
    """
    found = [module for module in net.modules() if isinstance(module, Recomputing)]
    if not found:
        raise LayerError(
            f"{type(net).__name__} has no blocks to recompute; hold them in a "
            "neuroport.nets.activation_recompute.Chain instead of nn.Sequential"
        )
    for module in found:
        module.recompute = True
    return net
