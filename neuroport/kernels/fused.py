"""The kernels on tensors; ``None`` tells the caller to take its plain path."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from neuroport.graph import integers
from neuroport.kernels.compiled import kernels
from neuroport.nets.surrogate import SURROGATES

KINDS = {"rectangular": 1, "triangular": 2, "arctan": 3}  # others are computed by torch
_INT32 = 1 << 24  # biases and thresholds beyond it would leave 32 bits


def real_forward(
    current: Tensor, current_keep: float, voltage_keep: float, threshold: float
) -> tuple[Tensor, Tensor] | None:
    """Voltages before their reset, and spikes, both as ``current`` lies in memory."""
    library = kernels() if fits(current) else None
    if library is None:
        return None
    v, spikes = torch.empty_like(current), torch.empty_like(current)
    library.real_forward(
        current.data_ptr(),
        v.data_ptr(),
        spikes.data_ptr(),
        len(current),
        current[0].numel(),
        current_keep,
        voltage_keep,
        threshold,
    )
    return v, spikes


def integer_forward(
    current: Tensor, bias: Tensor, current_decay: int, voltage_decay: int, threshold: int
) -> tuple[Tensor, Tensor] | None:
    """Distances to the threshold before the reset, in states, and spikes.

    ``bias`` is int64 and broadcasts over ``current`` (T, N, ...) from the third dimension on.
    """
    library = kernels() if fits(current) and current.ndim > 2 else None
    if library is None or threshold >= _INT32 or int(bias.abs().max()) >= _INT32:
        return None
    sample = current[0, 0]
    # every position's bias, in the order in which positions lie in memory
    shifted = torch.empty_like(sample, dtype=torch.int32)
    shifted.copy_(bias << integers.STATE_SHIFT)
    distance, spikes = torch.empty_like(current), torch.empty_like(current)
    library.integer_forward(
        current.data_ptr(),
        shifted.data_ptr(),
        distance.data_ptr(),
        spikes.data_ptr(),
        len(current),
        current.shape[1],
        sample.numel(),
        integers.DECAY_UNITY - current_decay,
        integers.DECAY_UNITY - voltage_decay,
        threshold << integers.STATE_SHIFT,
    )
    return distance, spikes


def backward(
    grad_spikes: Tensor,
    v: Tensor,
    unit: float,
    offset: float,
    surrogate: str,
    current_keep: float,
    voltage_keep: float,
    threshold: float | None,
    scale: float,
) -> tuple[Tensor, Tensor] | None:
    """``scale`` times the gradients of the voltage and of the current."""
    library = kernels() if fits(v) and grad_spikes.dtype == v.dtype else None
    if library is None:
        return None
    kind = KINDS.get(surrogate, 0)
    slope = v if kind else SURROGATES[surrogate](v * unit - offset)
    grad_u = torch.empty_like(v)
    grad_v = grad_u if current_keep == 0 else torch.empty_like(v)
    library.backward(
        grad_spikes.data_ptr(),
        v.data_ptr(),
        slope.data_ptr(),
        None if grad_v is grad_u else grad_v.data_ptr(),
        grad_u.data_ptr(),
        len(v),
        v[0].numel(),
        unit,
        offset,
        current_keep,
        voltage_keep,
        threshold is not None,
        threshold or 0.0,
        scale,
        kind,
    )
    return grad_v, grad_u


def spikes(
    current: Tensor,
    bias: Tensor,
    threshold: Tensor,
    current_decay: int,
    voltage_decay: int,
    first: int,
    interval: int,
) -> Tensor | None:
    """Spikes, uint8, of currents (T, N, ...) that hold integers below 2**24.

    ``bias`` and ``threshold`` are int32 in states, shaped and laid out as one sample; states start
    afresh where ``(t - first) % interval`` is 0.
    """
    library = kernels() if fits(current) else None
    if library is None:
        return None
    out = torch.empty_like(current, dtype=torch.uint8)
    library.spikes(
        current.data_ptr(),
        bias.data_ptr(),
        threshold.data_ptr(),
        out.data_ptr(),
        len(current),
        current.shape[1],
        bias.numel(),
        first,
        interval,
        integers.DECAY_UNITY - current_decay,
        integers.DECAY_UNITY - voltage_decay,
    )
    return out


def relay(x: Tensor, shift: int, threshold: int = 0) -> Tensor | None:
    """Messages of a relay whose current ``x`` holds integers below 2**24."""
    library = kernels() if fits(x) and shift < 24 and threshold < _INT32 else None
    if library is None or not _without_gaps(x):
        return None
    out = torch.empty_like(x)
    library.relay(x.data_ptr(), out.data_ptr(), x.numel(), shift, threshold)
    return out


def planes(x: Tensor, out: npt.NDArray[Any]) -> bool:
    """Copy (T, N, C, H, W), channels last in memory, into ``out``; whether that was done.

    Bytes become bytes, float32 that holds integers becomes int32.
    """
    kinds = {(torch.uint8, 1): "bytes", (torch.float32, 4): "floats"}
    kind = kinds.get((x.dtype, out.itemsize)) if x.device.type == "cpu" else None
    library = kernels() if kind is not None and x.ndim == 5 and out.dtype.kind in "iub" else None
    if library is None or out.shape != x.shape or not x.numel():
        return False
    if not (out[0, 0].flags.c_contiguous and x.permute(0, 1, 3, 4, 2).is_contiguous()):
        return False
    steps, samples, channels, height, width = x.shape
    apart = [stride // out.itemsize for stride in out.strides[:2]]
    sizes = (steps, samples, height * width, channels, *apart)
    getattr(library, f"planes_of_{kind}")(x.data_ptr(), out.ctypes.data, *sizes)
    return True


def dense(x: Tensor) -> Tensor:
    """``x`` with steps, then samples outermost in memory, and the rest without gaps.

    What the functions here take; the plain path takes it too, so that sums over what either gives
    run in the same order.
    """
    inner = x[0, 0] if x.ndim > 2 else x[0]
    outer = (x.shape[1] * inner.numel(), inner.numel())[: min(x.ndim - 1, 2)]
    if x.stride()[: len(outer)] == outer and _without_gaps(inner):
        return x
    return x.contiguous()


def fits(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0


def _without_gaps(x: Tensor) -> bool:
    pairs = sorted(zip(x.stride(), x.shape, strict=True))
    expected = 1
    for stride, size in pairs:
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
