"""The integers that SLAYER's synapses and neurons compute with.

Source: ``lava/lib/dl/slayer/synapse/layer.py`` of lava-dl 0.6.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.weight_norm import WeightNorm

from neuroport.errors import CaptureError
from neuroport.graph.node import IntArray


def integers_of(name: str, synapse: Any, scale: int, mask: Tensor | None = None) -> IntArray:
    """Return the weight of SLAYER's forward pass, times ``scale``, without the time axis.

    With weight norm the weight is computed again before every pass, so that a mask has no effect.

    Raises:
        CaptureError: weights are not finite or not on the grid of integers.
    """
    weight: Tensor = synapse.weight.detach()
    norms = [h for h in synapse._forward_pre_hooks.values() if isinstance(h, WeightNorm)]
    if norms:
        weight = norms[0].compute_weight(synapse).detach()
    elif mask is not None:
        weight = weight * mask
    if synapse._pre_hook_fx is not None:
        weight = synapse._pre_hook_fx(weight)
    return whole(f"block {name!r}: its weights", weight, scale)[..., 0]


def whole(what: str, values: Tensor, scale: int) -> IntArray:
    """Return ``scale * values`` as integers.

    Raises:
        CaptureError: they are not integers.
    """
    scaled = values.detach().to(torch.float64).numpy() * scale
    if not np.isfinite(scaled).all():
        raise CaptureError(f"{what} are not finite numbers; train again with a smaller step")
    found: IntArray = np.rint(scaled).astype(np.int64)
    if not np.array_equal(found, scaled):
        odd = scaled[found != scaled].flat[0] / scale
        raise CaptureError(
            f"{what} hold {odd:g}, no multiple of 1/{scale}; let SLAYER quantize them (its "
            "default, neuron.quantize_8bit)"
        )
    return found
