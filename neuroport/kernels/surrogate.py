"""Surrogate gradients of the spike: ``ds/dv`` as a function of the distance to the threshold.

Each is symmetric and has unit area, so that a neuron's gain does not depend on the choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def rectangular(distance: Tensor, width: float = 0.5) -> Tensor:
    """``1 / (2 * width)`` within ``width`` of the threshold, else 0 (MS-ResNet's official code)."""
    return (distance.abs() < width).to(distance.dtype) / (2 * width)


def triangular(distance: Tensor, width: float = 1.0) -> Tensor:
    """``max(0, 1 - |distance| / width) / width`` (Esser et al., arXiv 1603.08270)."""
    return torch.relu(1 - distance.abs() / width) / width


def sigmoid(distance: Tensor, steepness: float = 4.0) -> Tensor:
    """Derivative of ``sigmoid(steepness * distance)`` (SpikingJelly's default steepness)."""
    scaled = steepness * distance
    return torch.sigmoid(scaled) * torch.sigmoid(-scaled) * steepness


def arctan(distance: Tensor, steepness: float = 2.0) -> Tensor:
    """``a / 2 / (1 + (pi / 2 * a * distance)**2)`` (Fang et al., arXiv 2007.05785)."""
    scaled = math.pi / 2 * steepness * distance
    return torch.reciprocal(1 + scaled * scaled) * (steepness / 2)


def slayer(distance: Tensor, relaxation: float = 1.0) -> Tensor:
    """``exp(-|distance| / relaxation) / (2 * relaxation)`` (lava-dl's SLAYER, ``spike.py``)."""
    return torch.exp(-distance.abs() / relaxation) / (2 * relaxation)


SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "rectangular": rectangular,
    "triangular": triangular,
    "sigmoid": sigmoid,
    "arctan": arctan,
    "slayer": slayer,
}
