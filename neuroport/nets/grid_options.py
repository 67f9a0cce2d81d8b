"""Equalized channels and corrected biases: options of a network's grid, off by default.

A network that has them keeps their numbers with its weights, as buffers of its synapses: ``finer``
(an equalized grid), and ``correction`` (of biases). Without them it has no such buffers.
"""

from __future__ import annotations

import torch
from torch import nn

from neuroport.nets.synapse import Conv, GradedConv, Readout


@torch.no_grad()
def equalize(net: nn.Module) -> nn.Module:
    """Let ``net`` have a unit of its own in each channel of a stream; begins with that of all."""
    for module in net.modules():
        if isinstance(module, Conv) and module.finer is None:
            module.finer = _zeros(module, len(module.kernel()), torch.int64)
            if isinstance(module, GradedConv) and not module.pixels:
                module.source_finer = _zeros(module, module.synapse.in_channels, torch.int64)
    return net


def is_equalized(net: nn.Module) -> bool:
    """Return whether channels of a stream may have units of their own."""
    return any(isinstance(m, Conv) and m.finer is not None for m in net.modules())


@torch.no_grad()
def correct_bias(net: nn.Module) -> nn.Module:
    """Let ``net`` have corrections of its biases in the integer phase; begins with 0."""
    for module in net.modules():
        if isinstance(module, Conv) and module.correction is None:
            module.correction = _zeros(module, len(module.kernel()), torch.float32)
        elif isinstance(module, Readout) and module.correction is None:
            module.correction = _zeros(module, module.synapse.out_features, torch.float32)
    return net


def is_corrected(net: nn.Module) -> bool:
    """Return whether biases of the integer phase are corrected."""
    return any(isinstance(m, (Conv, Readout)) and m.correction is not None for m in net.modules())


def _zeros(module: Conv | Readout, size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(size, dtype=dtype, device=module.lsb.device)
