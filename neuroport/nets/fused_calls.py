"""Modules called together where that moves less memory than one after the other.

Blocks say ``fire(conv, neuron, x)`` for ``neuron(conv(x))`` and ``join(conv, x, shortcut, y)`` for
``conv(x) + shortcut(y)``; what is computed is the same (:mod:`neuroport.nets.fused_batchnorm`).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from neuroport.errors import LayerError
from neuroport.nets.fused_batchnorm import norming
from neuroport.nets.held_numbers import number
from neuroport.nets.neuron import Lif, Mlf
from neuroport.nets.synapse import Conv, GradedConv

NEURONS = (Lif, Mlf)


def fire(conv: nn.Module, neuron: nn.Module, x: Any) -> Any:
    """``neuron(conv(x))``."""
    trained = _trained(conv, x)
    if trained is None or type(neuron) not in NEURONS or _heard(neuron):
        return neuron(conv(x))
    conv = trained
    levels, raw = cast("Lif | Mlf", neuron).constants(), conv.unnormalized(x)
    found = norming(conv.norm, raw) if levels is not None else None
    if found is None or levels is None:
        return neuron(conv.normalized(raw))
    return found.spikes(levels)


def join(conv: nn.Module, x: Any, shortcut: nn.Module, source: Any) -> Any:
    """``conv(x) + shortcut(source)``.

    Raises:
        LayerError: the two differ in size.
    """
    trained = _trained(conv, x)
    if trained is None:
        branch, passed = conv(x), shortcut(source)
        _meet(branch.shape, passed.shape)
        return branch + passed
    conv = trained
    raw, passed = conv.unnormalized(x), shortcut(source)
    _meet(raw.shape, passed.shape)
    found = norming(conv.norm, raw)
    return conv.normalized(raw) + passed if found is None else found.tensor(passed)


def _meet(branch: torch.Size, shortcut: torch.Size) -> None:
    if branch != shortcut:
        raise LayerError(
            f"a block's branch gives maps {tuple(branch[2:])} and its shortcut "
            f"{tuple(shortcut[2:])} (C, H, W): a strided convolution rounds an odd size up, "
            "average pooling rounds it down; use frames whose height and width the strides "
            'divide (crop or pad them), or shortcut="stride"'
        )


class Branch(nn.Sequential):
    """``nn.Sequential`` that joins convolutions with the neurons behind them."""

    def forward(self, x: Any) -> Any:
        parts = list(self)
        while parts:
            part = parts.pop(0)
            fires = parts and isinstance(parts[0], NEURONS)
            x = fire(part, parts.pop(0), x) if fires else part(x)
        return x


def _trained(module: nn.Module, x: Any) -> Conv | None:
    """The module, if it is a convolution of the library that is trained with real numbers."""
    if type(module) not in (Conv, GradedConv) or not isinstance(x, Tensor) or _heard(module):
        return None
    conv = cast("Conv", module)
    return conv if conv.training and not number(conv.lsb) else None


def _heard(module: nn.Module) -> bool:
    """Whether somebody listens to calls of ``module``, which therefore has to be called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
