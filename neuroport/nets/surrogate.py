"""Surrogate gradients of the spike: ``ds/dv`` as a function of the distance to the threshold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def rectangular(distance: Tensor, width: float = 0.5) -> Tensor:
    """``1 / (2 * width)`` within ``width`` of the threshold, else 0 (MS-ResNet's official code)."""
    return (distance.abs() < width).to(distance.dtype) / (2 * width)


def triangular(distance: Tensor, width: float = 1.0) -> Tensor:
    """``max(0, 1 - |distance| / width) / width``."""
    return torch.relu(1 - distance.abs() / width) / width


SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "rectangular": rectangular,
    "triangular": triangular,
}
