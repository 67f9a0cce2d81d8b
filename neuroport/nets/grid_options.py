"""Equalized channels and corrected biases: options of a network's integer grid, off by default.

A network that has them keeps their numbers with its weights, as buffers of its synapses that no
other network has: ``finer`` and ``source_finer`` of an equalized grid
(:mod:`neuroport.quantization.scales`), and ``correction``, the part of a bias that only the integer
phase adds (:mod:`neuroport.quantization.bias_correction`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuroport.arguments import flag, is_module, takes
from neuroport.errors import LayerError
from neuroport.nets.synapse import Biased, GradedConv


@takes(net=is_module, equalize=flag(LayerError), correct_bias=flag(LayerError))
@torch.no_grad()
def set_grid_options(
    net: nn.Module, equalize: bool | None = None, correct_bias: bool | None = None
) -> nn.Module:
    """Set the options of ``net``; call it before scales are chosen, and before its state is loaded.

    Args:
        equalize: whether each channel of a stream has a unit of its own; None keeps what it is.
        correct_bias: whether biases are corrected; None keeps what it is.

    Raises:
        LayerError: an option is neither True nor False.
    """
    for module in net.modules():
        if not isinstance(module, Biased):
            continue
        if correct_bias is not None and correct_bias != (module.correction is not None):
            module.correction = _zeros(module, module.outputs, torch.float32, correct_bias)
        if equalize is None or not module.streamed:
            continue
        if equalize != (module.finer is not None):
            module.finer = _zeros(module, module.outputs, torch.int64, equalize)
            if isinstance(module, GradedConv) and not module.pixels:
                sources = module.synapse.in_channels
                module.source_finer = _zeros(module, sources, torch.int64, equalize)
    return net


def is_equalized(net: nn.Module) -> bool:
    """Return whether each channel of a stream has a unit of its own."""
    return any(getattr(m, "finer", None) is not None for m in net.modules())


def is_corrected(net: nn.Module) -> bool:
    """Return whether the biases of the integer phase are corrected."""
    return any(isinstance(m, Biased) and m.correction is not None for m in net.modules())


def _zeros(module: Biased, size: int, dtype: torch.dtype, wanted: bool) -> Tensor | None:
    return torch.zeros(size, dtype=dtype, device=module.lsb.device) if wanted else None
