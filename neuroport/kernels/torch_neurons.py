"""Neurons over all time steps in plain torch; the kernels give the same bits."""

from __future__ import annotations

import torch
from torch import Tensor

from neuroport.graph import integers
from neuroport.kernels.surrogate import SURROGATES


def real_forward(
    current: Tensor, current_keep: float, voltage_keep: float, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return voltages before their reset, and spikes."""
    v = torch.empty_like(current)
    u = current[0]
    v[0] = u
    for t in range(1, len(current)):
        u = current[t] if current_keep == 0 else torch.add(current[t], u, alpha=current_keep)
        kept = v[t - 1].masked_fill(v[t - 1] > threshold, 0)
        torch.add(u, kept, alpha=voltage_keep, out=v[t])
    return v, (v > threshold).to(current.dtype)


def integer_forward(
    current: Tensor, bias: Tensor, current_decay: int, voltage_decay: int, threshold: int | Tensor
) -> tuple[Tensor, Tensor]:
    """Return distances to the threshold before the reset, in units of the state, and spikes."""
    u = v = torch.zeros_like(current[0], dtype=torch.int64)
    spikes = torch.empty_like(current)
    distance = torch.empty_like(current)
    for t in range(len(current)):
        u, v, s = integers.lif_step(
            u, v, current[t].to(torch.int64), bias, current_decay, voltage_decay, threshold
        )
        spikes[t] = s
        # integers below 2**24 are exact in float32, so the sign of the distance is the spike
        distance[t] = v - (threshold << integers.STATE_SHIFT)
        v = integers.reset(v, s)
    return distance, spikes


def backward(
    grad_spikes: Tensor,
    v: Tensor,
    unit: float,
    offset: float,
    surrogate: str,
    current_keep: float,
    voltage_keep: float,
    threshold: float | Tensor | None,
    scale: float = 1.0,
    gain: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return gradients of the voltage and of the input current, times ``scale``.

    ``v * unit - offset`` is the distance to the threshold before the reset, (T, ...) in real units.
    A step passes ``v (1 - s)`` to the next. With ``threshold`` its gradient also flows through
    ``s``; without (``None``) that path is detached. The surrogate is evaluated at ``gain`` times
    the distance.
    """
    distance = v * unit - offset
    fired = distance > 0
    if gain is None:
        slope = SURROGATES[surrogate](distance)
    else:
        slope = SURROGATES[surrogate](distance * gain) * gain
    grad_v = grad_spikes * slope
    for t in range(len(grad_v) - 2, -1, -1):
        later = grad_v[t + 1]
        grad_v[t].add_(later.masked_fill(fired[t], 0), alpha=voltage_keep)
        if threshold is not None:
            grad_v[t].sub_(slope[t] * (distance[t] + threshold) * later, alpha=voltage_keep)
    if current_keep == 0:
        grad_v = grad_v * scale
        return grad_v, grad_v
    grad_u = grad_v.clone()
    for t in range(len(grad_u) - 2, -1, -1):
        grad_u[t].add_(grad_u[t + 1], alpha=current_keep)
    return grad_v * scale, grad_u * scale


def constants_backward(
    v: Tensor, grad_v: Tensor, grad_u: Tensor, voltage_keep: float, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of both decays, in units of 1/4096, and of the threshold.

    With ``k[t] = v[t] (1 - s[t])``, the voltage that a step passes to the next, and
    ``u[t] = v[t] - keep k[t-1]``,

        du: -sum_t grad_u[t] u[t-1],   dv: -sum_t grad_v[t] k[t-1],
        threshold: -sum_t (grad_v[t] - keep (1 - s[t]) grad_v[t+1]),

    where the bracket is the gradient that reaches v through the spike only.
    """
    fired = v[:-1] > threshold
    kept = v[:-1].masked_fill(fired, 0)
    u = v[:-1].clone()
    u[1:].sub_(kept[:-1], alpha=voltage_keep)
    through_spike = grad_v.clone()
    through_spike[:-1].sub_(grad_v[1:].masked_fill(fired, 0), alpha=voltage_keep)
    unity = -integers.DECAY_UNITY
    return (grad_u[1:] * u).sum() / unity, (grad_v[1:] * kept).sum() / unity, -through_spike.sum()
