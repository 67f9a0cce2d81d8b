"""The kernels on tensors; a result of ``None`` means that the caller must take the plain path.

C on a CPU, Triton on an NVIDIA GPU (relays aside, which have no steps).
"""

from __future__ import annotations

import ctypes
import math
import warnings
from functools import cache

import torch
from torch import Tensor

from neuroport.graph import integers
from neuroport.kernels.compilation import kernels, switched_off
from neuroport.kernels.surrogate import SURROGATES

KINDS = {"rectangular": 1, "triangular": 2, "arctan": 3}  # torch computes the others
STEPS = 128  # at most, of neurons whose voltages are computed again
POSITIONS = 1 << 10  # at most, of a kernel whose weights are snapped
_INT32 = 1 << 24  # larger thresholds would exceed 32 bits
# larger biases saturate any voltage, as this one does, and would exceed 32 bits
_BEYOND = 1 << 20


def real_forward(
    current: Tensor, current_keep: float, voltage_keep: float, threshold: float
) -> tuple[Tensor, Tensor] | None:
    """Return voltages before their reset, and spikes, in the memory layout of ``current``."""
    if _on_gpu(current):
        from neuroport.kernels import triton_neurons

        return triton_neurons.real_forward(current, current_keep, voltage_keep, threshold)
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
    """Return distances to the threshold before the reset, in units of the state, and spikes.

    ``bias`` is int64 and broadcasts over ``current`` (T, N, ...) from the third dimension on.
    """
    if current.ndim <= 2 or threshold >= _INT32:
        return None
    gpu = _on_gpu(current)
    library = kernels() if fits(current) and not gpu else None
    if library is None and not gpu:
        return None
    shifted = shifted_biases(current, bias)
    if library is None:
        from neuroport.kernels import triton_neurons

        return triton_neurons.integer_forward(
            current, shifted, current_decay, voltage_decay, threshold
        )
    distance, spikes = torch.empty_like(current), torch.empty_like(current)
    library.integer_forward(
        current.data_ptr(),
        shifted.data_ptr(),
        distance.data_ptr(),
        spikes.data_ptr(),
        *_integer_neurons(current, shifted, current_decay, voltage_decay, threshold),
    )
    return distance, spikes


def recomputes(current: Tensor, threshold: int, surrogate: str) -> bool:
    """Whether voltages can be computed again in the backward pass instead of stored."""
    able = current.ndim > 2 and len(current) <= STEPS and threshold < _INT32 and surrogate in KINDS
    return able and fits(current) and kernels() is not None


def integer_spikes(
    current: Tensor, shifted: Tensor, current_decay: int, voltage_decay: int, threshold: int
) -> Tensor:
    """:func:`integer_forward` without the distances, where it :func:`recomputes`."""
    spikes = torch.empty_like(current)
    given = _integer_neurons(current, shifted, current_decay, voltage_decay, threshold)
    _library().integer_forward(
        current.data_ptr(), shifted.data_ptr(), None, spikes.data_ptr(), *given
    )
    return spikes


def integer_backward(
    grad_spikes: Tensor,
    current: Tensor,
    shifted: Tensor,
    current_decay: int,
    voltage_decay: int,
    threshold: int,
    unit: float,
    surrogate: str,
    reset_at: float | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """:func:`backward` of those neurons, with an offset of 0."""
    unity = integers.DECAY_UNITY
    grad_u = torch.empty_like(current)
    grad_v = grad_u if current_decay == unity else torch.empty_like(current)
    _library().integer_backward(
        grad_spikes.data_ptr(),
        current.data_ptr(),
        shifted.data_ptr(),
        None if grad_v is grad_u else grad_v.data_ptr(),
        grad_u.data_ptr(),
        *_integer_neurons(current, shifted, current_decay, voltage_decay, threshold),
        unit,
        1 - current_decay / unity,
        1 - voltage_decay / unity,
        reset_at is not None,
        reset_at or 0.0,
        scale,
        KINDS[surrogate],
    )
    return grad_v, grad_u


def _integer_neurons(
    current: Tensor, shifted: Tensor, current_decay: int, voltage_decay: int, threshold: int
) -> tuple[int, ...]:
    """Sizes, what decays keep, and the threshold, as the kernels take them."""
    unity = integers.DECAY_UNITY
    kept = unity - current_decay, unity - voltage_decay
    sizes = len(current), current.shape[1], shifted.numel()
    return *sizes, *kept, threshold << integers.STATE_SHIFT


def _library() -> ctypes.CDLL:
    library = kernels()
    assert library is not None  # the caller has asked
    return library


def shifted_biases(current: Tensor, bias: Tensor) -> Tensor:
    """Biases in units of the state, of every position in memory order.

    ``bias`` is int64 and broadcasts over ``current`` (T, N, ...) from the third dimension on.
    """
    shifted = torch.empty_like(current[0, 0], dtype=torch.int32)
    return shifted.copy_(bias.clamp(-_BEYOND, _BEYOND) << integers.STATE_SHIFT)


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
    """Return ``scale`` times the gradients of the voltage and of the current."""
    gpu = _on_gpu(v)
    library = kernels() if fits(v) and not gpu else None
    if (library is None and not gpu) or grad_spikes.dtype != v.dtype:
        return None
    kind = KINDS.get(surrogate, 0)
    slope = v if kind else SURROGATES[surrogate](v * unit - offset)
    if library is None:
        from neuroport.kernels import triton_neurons

        keeps = current_keep, voltage_keep
        return triton_neurons.backward(
            grad_spikes, v, slope, unit, offset, kind, *keeps, threshold, scale
        )
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


def relay(x: Tensor, shift: int) -> Tensor | None:
    """Return the messages of a relay whose current ``x`` holds integers below 2**24."""
    library = kernels() if fits(x) and shift < 24 else None
    if library is None or not _without_gaps(x):
        return None
    out = torch.empty_like(x)
    library.relay(x.data_ptr(), out.data_ptr(), x.numel(), shift)
    return out


def snap(weight: Tensor, unit: float, most: float) -> tuple[Tensor, Tensor] | None:
    """Even integers nearest to ``weight / unit`` within ``most``; and which weights are within.

    The kernel of a convolution comes in the layout in which convolutions read it.
    """
    library = kernels() if fits(weight) and weight.is_contiguous() else None
    if library is None or math.prod(weight.shape[2:]) > POSITIONS:
        return None
    turns = _turns(weight)
    out = torch.empty_like(weight, memory_format=torch.channels_last if turns else None)
    inside = torch.empty_like(weight, dtype=torch.bool)
    given = weight.data_ptr(), out.data_ptr(), inside.data_ptr(), *_kernel_sizes(weight, turns)
    library.snap(*given, unit, most)
    return out, inside


def snap_backward(grad: Tensor, inside: Tensor, unit: float) -> Tensor | None:
    """Gradient of those weights."""
    library = kernels() if fits(grad) and inside.is_contiguous() else None
    if library is None or math.prod(grad.shape[2:]) > POSITIONS:
        return None
    turns = _turns(grad)
    if turns:
        grad = grad.contiguous(memory_format=torch.channels_last)
    elif not grad.is_contiguous():
        return None
    out = torch.empty_like(inside, dtype=grad.dtype)
    given = grad.data_ptr(), inside.data_ptr(), out.data_ptr(), *_kernel_sizes(grad, turns)
    library.snap_backward(*given, unit)
    return out


def _turns(kernel: Tensor) -> bool:
    # with one input channel, both layouts are one, and torch takes it for the other
    return kernel.ndim == 4 and kernel.shape[1] > 1


def _kernel_sizes(kernel: Tensor, turns: bool) -> tuple[int, int, int]:
    """Outputs, inputs and positions; all together where nothing turns."""
    if not turns:
        return 1, kernel.numel(), 1
    return kernel.shape[0], kernel.shape[1], math.prod(kernel.shape[2:])


def dense(x: Tensor) -> Tensor:
    """Return ``x`` with steps, then samples outermost in memory, and the rest without gaps.

    The functions here need this layout. The plain path uses it too, so that both sum in the same
    order.
    """
    inner = x[0, 0] if x.ndim > 2 else x[0]
    outer = (x.shape[1] * inner.numel(), inner.numel())[: min(x.ndim - 1, 2)]
    if x.stride()[: len(outer)] == outer and _without_gaps(inner):
        return x
    return x.contiguous()


def fits(x: Tensor) -> bool:
    """Return whether the kernels in C support ``x``."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0


def _on_gpu(x: Tensor) -> bool:
    """Return whether the kernels in Triton support ``x``."""
    if not (x.is_cuda and x.dtype == torch.float32 and x.numel() > 0) or switched_off():
        return False
    return _triton(x.device)


@cache
def _triton(device: torch.device) -> bool:
    """Whether Triton is available, and a test shows that its kernels equal torch on ``device``."""
    try:
        from neuroport.kernels import triton_neurons

        fault = triton_neurons.fault(device)
    except ImportError as error:  # torch includes it on some systems only
        fault = str(error)
    if fault:
        warnings.warn(
            f"neurons on {device} run plain torch, which is slower: {fault}", stacklevel=2
        )
    return fault is None


def _without_gaps(x: Tensor) -> bool:
    pairs = sorted(zip(x.stride(), x.shape, strict=True))
    expected = 1
    for stride, size in pairs:
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
