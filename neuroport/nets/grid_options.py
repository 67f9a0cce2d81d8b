"""Equalized channels and corrected biases: options of a network's integer grid, off by default.

A network that has them keeps their numbers with its weights, as buffers of its synapses that no
other network has: ``finer`` and ``source_finer`` of an equalized grid
(:mod:`neuroport.quantization.scales`), and ``correction``, the part of a bias that only the integer
phase adds (:mod:`neuroport.quantization.bias_correction`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuroport.nets.synapse import Conv, GradedConv, Readout


@torch.no_grad()
def set_grid_options(
    net: nn.Module, equalize: bool | None = None, correct_bias: bool | None = None
) -> nn.Module:
    """Set the options of ``net``; call it before scales are chosen, and before its state is loaded.

    Args:
        equalize: whether each channel of a stream has a unit of its own; None keeps what it is.
        correct_bias: whether biases are corrected; None keeps what it is.
    """
    for module in net.modules():
        if not isinstance(module, (Conv, Readout)):
            continue
        if correct_bias is not None and correct_bias != (module.correction is not None):
            size = module.synapse.out_features if isinstance(module, Readout) else _channels(module)
            module.correction = _zeros(module, size, torch.float32) if correct_bias else None
        if isinstance(module, Readout) or equalize is None:
            continue
        if equalize != (module.finer is not None):
            module.finer = _zeros(module, _channels(module), torch.int64) if equalize else None
            if isinstance(module, GradedConv) and not module.pixels:
                sources = module.synapse.in_channels
                module.source_finer = _zeros(module, sources, torch.int64) if equalize else None
    return net


def is_equalized(net: nn.Module) -> bool:
    """Return whether each channel of a stream has a unit of its own."""
    return any(isinstance(m, Conv) and m.finer is not None for m in net.modules())


def is_corrected(net: nn.Module) -> bool:
    """Return whether the biases of the integer phase are corrected."""
    return any(isinstance(m, (Conv, Readout)) and m.correction is not None for m in net.modules())


def _channels(module: Conv) -> int:
    return len(module.kernel())  # a layer of several convolutions has that of the last one


def _zeros(module: Conv | Readout, size: int, dtype: torch.dtype) -> Tensor:
    return torch.zeros(size, dtype=dtype, device=module.lsb.device)
