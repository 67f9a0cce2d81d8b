"""Exact sums of integers in float32, even if partial sums exceed its range of exact integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neuroport.graph import integers


def convolve_exactly(
    convolve: Callable[[Tensor, Tensor], Tensor], messages: Tensor, weight: Tensor
) -> Tensor:
    """``convolve(messages, weight)`` of integers whose sum fits in 24 bits; partial sums may not.

    Float32 adds integers exactly up to 2**24. Messages whose sums could exceed that are split into
    two parts, ``low + 2**bits * high``, whose sums cannot. If that is not enough, float64 is used.
    """
    if messages.device.type != "cpu":  # reading the largest value would wait for the device
        with torch.no_grad():
            value = convolve(messages.double(), weight.double()).to(messages.dtype)
        return _with_gradient(convolve, messages, weight, value)
    room = integers.STATE_MAX / max(1.0, float(weight.detach().abs().sum((1, 2, 3)).max()))
    low, high = messages.detach().aminmax()
    largest = max(-float(low), float(high))
    if not largest > room:  # NaNs are not checked either: the loss shows them
        return convolve(messages, weight)
    with torch.no_grad():
        part = 2.0 ** math.floor(math.log2(max(room, 1.0)))
        if largest / part + 1 <= room:
            above = (messages / part).round()
            below = convolve(messages - part * above, weight)
            value = below + part * convolve(above, weight)
        else:
            value = convolve(messages.double(), weight.double()).to(messages.dtype)
    return _with_gradient(convolve, messages, weight, value)


def _with_gradient(
    convolve: Callable[[Tensor, Tensor], Tensor], messages: Tensor, weight: Tensor, value: Tensor
) -> Tensor:
    if not torch.is_grad_enabled():
        return value
    out = _Valued.apply(convolve(messages, weight), value)  # type: ignore[no-untyped-call]
    assert isinstance(out, Tensor)
    return out


class _Valued(torch.autograd.Function):
    """Return another value, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
