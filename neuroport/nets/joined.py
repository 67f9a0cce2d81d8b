"""Modules called together where that moves less memory than one after the other.

Blocks say ``fire(conv, neuron, x)`` for ``neuron(conv(x))`` and ``join(conv, x, shortcut, y)`` for
``conv(x) + shortcut(y)``; what is computed is the same (:mod:`neuroport.nets.norming`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neuroport.errors import LayerError
from neuroport.nets.neuron import Lif, Mlf
from neuroport.nets.norming import norming
from neuroport.nets.synapse import Conv, GradedConv


def fire(conv: nn.Module, neuron: nn.Module, x: Any) -> Any:
    """``neuron(conv(x))``."""
    if not (_trained(conv, x) and type(neuron) in (Lif, Mlf)) or _heard(neuron):
        return neuron(conv(x))
    assert isinstance(conv, Conv)
    assert isinstance(neuron, Lif | Mlf)
    levels, raw = neuron.constants(), conv.unnormalized(x)
    found = norming(conv.norm, raw) if levels is not None else None
    if found is None or levels is None:
        return neuron(conv.normalized(raw))
    return found.spikes(levels)


def join(conv: nn.Module, x: Any, shortcut: nn.Module, source: Any) -> Any:
    """``conv(x) + shortcut(source)``.

    Raises:
        LayerError: the two differ in size.
    """
    if not _trained(conv, x):
        branch, passed = conv(x), shortcut(source)
        _meet(branch.shape, passed.shape)
        return branch + passed
    assert isinstance(conv, Conv)
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
            if parts and isinstance(parts[0], Lif | Mlf):
                x = fire(part, parts.pop(0), x)
            else:
                x = part(x)
        return x


def _trained(conv: nn.Module, x: Any) -> bool:
    """Whether a convolution of the library is trained with real numbers."""
    if type(conv) not in (Conv, GradedConv) or not isinstance(x, Tensor) or _heard(conv):
        return False
    assert isinstance(conv, Conv)
    return conv.training and not conv.lsb


def _heard(module: nn.Module) -> bool:
    """Whether somebody listens to calls of ``module``, which therefore has to be called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
