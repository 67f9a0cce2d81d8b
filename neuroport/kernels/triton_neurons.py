"""Neurons over all time steps on a GPU, in Triton; the counterpart of ``neuron.c``.

The kernels equal the plain torch of :mod:`neuroport.kernels.torch_neurons`, bit for bit. A program
of the GPU runs ``BLOCK`` positions through all steps; arrays are (steps, samples * positions),
dense. The compiler must not contract a product and a sum (``enable_fp_fusion``); the code uses a
multiply-add only where torch has one. This is assumed for ``torch.add(a, b, alpha=c)`` and similar
functions only: on CUDA each of torch's operations is one kernel, in which nvcc contracts
``a + c * b`` by default, and nothing is contracted across kernels. :func:`fault` tests on a device
whether this is true.

Instructions that need a certain rounding are PTX: Triton's division is not rounded to nearest, and
libdevice's ``fma`` flushes subnormal numbers, which torch does not. Triton's interpreter
(``TRITON_INTERPRET=1``, on a CPU) has no PTX.
"""

import contextlib
import os
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from neuroport.graph import integers
from neuroport.kernels import torch_neurons

BLOCK = 512
PTX = os.environ.get("TRITON_INTERPRET", "0") != "1"


@triton.jit
def _multiply_add(a, b, c, ptx: tl.constexpr):
    """``a * b + c``, rounded once (interpreted: twice, which all but never differs)."""
    if ptx:
        found = tl.inline_asm_elementwise(
            "fma.rn.f32 $0, $1, $2, $3;", "=f,f,f,f", [a, b, c], tl.float32, True, 1
        )
    else:
        found = (a.to(tl.float64) * b + c).to(tl.float32)
    return found


@triton.jit
def _inverse(a, ptx: tl.constexpr):
    if ptx:
        found = tl.inline_asm_elementwise("rcp.rn.f32 $0, $1;", "=f,f", [a], tl.float32, True, 1)
    else:
        found = 1.0 / a
    return found


@triton.jit
def _real_forward(
    x,
    v,
    s,
    steps,
    size,
    keep_u,
    keep_v,
    threshold,
    memory: tl.constexpr,
    block: tl.constexpr,
    ptx: tl.constexpr,
):
    """u = keep_u u + x;  v = keep_v v + u;  s = v > threshold;  v is stored before its reset."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    u = tl.load(x + at, mask=inside)
    volt = u
    tl.store(v + at, volt, mask=inside)
    tl.store(s + at, tl.where(volt > threshold, 1.0, 0.0), mask=inside)
    for _t in range(1, steps):
        at += size
        now = tl.load(x + at, mask=inside)
        u = _multiply_add(u, keep_u, now, ptx) if memory else now
        volt = _multiply_add(tl.where(volt > threshold, 0.0, volt), keep_v, u, ptx)
        tl.store(v + at, volt, mask=inside)
        tl.store(s + at, tl.where(volt > threshold, 1.0, 0.0), mask=inside)


@triton.jit
def _decayed(x, keep):
    """``trunc(x keep / 4096)`` for ``|x| <= 2**23``; no product exceeds 32 bits."""
    magnitude = tl.where(x < 0, -x, x)
    kept = (magnitude >> 12) * keep + (((magnitude & 4095) * keep) >> 12)
    return tl.where(x < 0, -kept, kept)


@triton.jit
def integer_step(u, v, current, keep_u, keep_v, shifted, shift: tl.constexpr, top: tl.constexpr):
    """leak_step of integers.py, where ``top`` is one more than the largest voltage."""
    # 32 bits wrap on their own, 24 of them by the mask
    u = top - ((top - (_decayed(u, keep_u) + (current << shift))) & (2 * top - 1))
    v = _decayed(v, keep_v) + u + shifted
    v = tl.where(v > top - 1, top - 1, v)
    return u, tl.where(v < 1 - top, 1 - top, v)


@triton.jit
def _integer_forward(
    x,
    bias,
    distance,
    s,
    steps,
    size,
    positions,
    keep_u,
    keep_v,
    threshold,
    shift: tl.constexpr,
    top: tl.constexpr,
    block: tl.constexpr,
):
    """lif_step and reset of integers.py.

    ``bias``, one per position of a sample, and ``threshold`` come shifted.
    """
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    shifted = tl.load(bias + at % positions, mask=inside)
    u = tl.full([block], 0, tl.int32)
    v = tl.full([block], 0, tl.int32)
    for _t in range(steps):
        current = tl.load(x + at, mask=inside).to(tl.int32)
        u, v = integer_step(u, v, current, keep_u, keep_v, shifted, shift, top)
        tl.store(distance + at, (v - threshold).to(tl.float32), mask=inside)
        tl.store(s + at, tl.where(v > threshold, 1.0, 0.0), mask=inside)
        v = tl.where(v > threshold, 0, v)
        at += size


@triton.jit
def _own(grad, v, slope, at, inside, unit, offset, kind: tl.constexpr, ptx: tl.constexpr):
    """Distance, slope of a surrogate (``neuroport.kernels.lif_kernels.KINDS``) and gradient."""
    d = tl.load(v + at, mask=inside) * unit - offset
    magnitude = tl.where(d < 0, -d, d)
    if kind == 1:
        k = tl.where(magnitude < 0.5, 1.0, 0.0)
    elif kind == 2:
        k = tl.where(1.0 - magnitude > 0, 1.0 - magnitude, 0.0)
    elif kind == 3:
        scaled = d * 3.141592653589793
        k = _inverse(scaled * scaled + 1.0, ptx)
    else:
        k = tl.load(slope + at, mask=inside)
    return d, k, tl.load(grad + at, mask=inside) * k


@triton.jit
def _backward(
    grad,
    v,
    slope,
    grad_v,
    grad_u,
    steps,
    size,
    last,
    unit,
    offset,
    keep_u,
    keep_v,
    threshold,
    scale,
    kind: tl.constexpr,
    reset: tl.constexpr,
    memory: tl.constexpr,
    block: tl.constexpr,
    ptx: tl.constexpr,
):
    """Gradients of v (with ``memory``) and of x, times ``scale``; ``last`` is the last step."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    at += last
    d, k, later = _own(grad, v, slope, at, inside, unit, offset, kind, ptx)
    later_u = later
    tl.store(grad_u + at, later * scale, mask=inside)
    if memory:
        tl.store(grad_v + at, later * scale, mask=inside)
    for _t in range(1, steps):
        at -= size
        d, k, g = _own(grad, v, slope, at, inside, unit, offset, kind, ptx)
        g = _multiply_add(tl.where(d > 0, 0.0, later), keep_v, g, ptx)
        if reset:
            # not times -keep_v: where keep_v is 0, Triton makes it +0, and torch -0
            g = _multiply_add(k * (d + threshold) * later * -1.0, keep_v, g, ptx)
        later = g
        if memory:
            tl.store(grad_v + at, g * scale, mask=inside)
            g = _multiply_add(later_u, keep_u, g, ptx)
            later_u = g
        tl.store(grad_u + at, g * scale, mask=inside)


def _launch(kernel: Any, like: Tensor, *arguments: object, **constants: object) -> None:
    size = like[0].numel()
    # a kernel takes float32; the interpreter of newer Tritons would calculate with all 64 bits
    given = [float(np.float32(a)) if isinstance(a, float) else a for a in arguments]
    with torch.cuda.device(like.device) if like.is_cuda else contextlib.nullcontext():
        kernel[(-(-size // BLOCK),)](*given, block=BLOCK, enable_fp_fusion=False, **constants)


def real_forward(
    current: Tensor, current_keep: float, voltage_keep: float, threshold: float
) -> tuple[Tensor, Tensor]:
    """See :func:`neuroport.kernels.lif_kernels.real_forward`, also for what follows."""
    v, spikes = torch.empty_like(current), torch.empty_like(current)
    _launch(
        _real_forward,
        current,
        current,
        v,
        spikes,
        len(current),
        current[0].numel(),
        float(current_keep),
        float(voltage_keep),
        float(threshold),
        memory=current_keep != 0,
        ptx=PTX,
    )
    return v, spikes


def integer_forward(
    current: Tensor, shifted: Tensor, current_decay: int, voltage_decay: int, threshold: int
) -> tuple[Tensor, Tensor]:
    """``shifted`` is the bias of every position of a sample as they lie in memory, in states."""
    distance, spikes = torch.empty_like(current), torch.empty_like(current)
    _launch(
        _integer_forward,
        current,
        current,
        shifted,
        distance,
        spikes,
        len(current),
        current[0].numel(),
        shifted.numel(),
        integers.DECAY_UNITY - current_decay,
        integers.DECAY_UNITY - voltage_decay,
        threshold << integers.STATE_SHIFT,
        shift=integers.STATE_SHIFT,
        top=integers.STATE_MAX + 1,
    )
    return distance, spikes


def backward(
    grad_spikes: Tensor,
    v: Tensor,
    slope: Tensor,
    unit: float,
    offset: float,
    kind: int,
    current_keep: float,
    voltage_keep: float,
    threshold: float | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """``slope`` is read for kind 0 alone."""
    grad_u = torch.empty_like(v)
    grad_v = grad_u if current_keep == 0 else torch.empty_like(v)
    steps, size = len(v), v[0].numel()
    _launch(
        _backward,
        v,
        grad_spikes,
        v,
        slope,
        grad_v,
        grad_u,
        steps,
        size,
        (steps - 1) * size,
        float(unit),
        float(offset),
        float(current_keep),
        float(voltage_keep),
        float(threshold or 0),
        float(scale),
        kind=kind,
        reset=threshold is not None,
        memory=current_keep != 0,
        ptx=PTX,
    )
    return grad_v, grad_u


def fault(device: torch.device) -> str | None:
    """Return why the kernels cannot be used on ``device``: missing, or unlike torch; else None."""
    if torch.version.hip is not None:
        return "the kernels hold instructions of NVIDIA's GPUs"
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, 999, generator=generator).to(device)
    bias = torch.arange(999, device=device)
    counts = (x * 3000).round()
    shifted = (bias << integers.STATE_SHIFT).to(torch.int32)
    keeps = 0.7, 0.3
    try:
        v, spikes = torch_neurons.real_forward(x, *keeps, 0.6)
        steps = torch_neurons.integer_forward(counts, bias, 1000, 2000, 1500)
        back = torch_neurons.backward(x, v, 1.0, 0.6, "arctan", *keeps, 0.6, 0.9)
        pairs = {
            "real neurons": ((v, spikes), real_forward(x, *keeps, 0.6)),
            "integer neurons": (steps, integer_forward(counts, shifted, 1000, 2000, 1500)),
            "gradients": (back, backward(x, v, v, 1.0, 0.6, 3, *keeps, 0.6, 0.9)),
        }
        for what, (want, got) in pairs.items():
            if not all(map(torch.equal, want, got)):
                return f"{what} differ from torch"
    except Exception as error:  # a compiler, a driver or a header is missing, or too old
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
