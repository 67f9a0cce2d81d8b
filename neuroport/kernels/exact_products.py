"""Exact convolutions and products of integers in floating point, for devices such as GPUs.

Sums of integers are exact in float32 below 2**24, in any order. A GPU's convolution may instead add
Winograd or Fourier transforms of the factors, or factors rounded to TF32. Here a convolution is one
matrix product of patches and kernels in full float32 (TF32 off), which adds only products. The same
code runs on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neuroport.graph.node import Pair

PATCHES = 1 << 26  # elements of patches that are created at a time, 256 MB of float32


@contextmanager
def full_precision() -> Iterator[None]:
    """Context without reduced precision in float32 products: no TF32 (GPU), no bfloat16 (CPU)."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def fault(device: torch.device) -> str | None:
    """Test whether products of float32 on ``device`` are exact; return the fault, or None.

    The sums are odd numbers up to 2**24, which any type with fewer bits than float32 rounds.
    """
    rng = torch.Generator().manual_seed(0)
    messages = torch.randint(0, 2, (96, 1024), generator=rng) * torch.randint(
        1, 129, (96, 1024), generator=rng
    )
    weight = torch.randint(-127, 128, (1024, 64), generator=rng)
    weight[:, :8] = 127  # one sign gives the largest sums
    want = messages @ weight
    got = matmul(messages.float().to(device), weight.float().to(device))
    if not torch.equal(got.cpu().long(), want):
        return f"products of float32 on {device} are not exact"
    image = messages.reshape(6, 16, 32, 32).float()
    kernel = weight[:144].T.reshape(64, 16, 3, 3)
    wanted = F.conv2d(image.double(), kernel.double(), padding=1)
    found = conv2d(image.to(device), kernel.float().to(device), (1, 1), (1, 1), (1, 1), 1)
    if not torch.equal(found.cpu().double(), wanted):
        return f"convolutions of float32 on {device} are not exact"
    return None


def matmul(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``x @ weight`` of integers whose sums the type holds."""
    with full_precision():
        product: Tensor = x @ weight
    return product


def conv2d(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """``torch.nn.functional.conv2d`` of integers whose sums the type holds, channels last.

    Gradients are those of torch's own convolution.
    """
    if not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)):
        return _convolved(x, weight, stride, padding, dilation, groups)
    out = _Exact.apply(x, weight, stride, padding, dilation, groups)  # type: ignore[no-untyped-call]
    assert isinstance(out, Tensor)
    return out


class _Exact(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding, dilation, groups
        return _convolved(x, weight, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        asked = [*ctx.needs_input_grad[:2], False]
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(  # type: ignore[attr-defined]
            grad, x, weight, None, stride, padding, dilation, False, [0, 0], groups, asked
        )
        return of_x, of_weight, None, None, None, None


def _convolved(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    samples, channels = x.shape[:2]
    outputs, each, *kernel = weight.shape
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    x = x.contiguous(memory_format=torch.channels_last)
    size = [
        (x.shape[2 + axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    ]
    # (groups, kH * kW * C / groups, O / groups), in the memory order of patches
    rows = weight.reshape(groups, outputs // groups, each, *kernel).permute(0, 3, 4, 2, 1)
    rows = rows.reshape(groups, -1, outputs // groups)
    of_one = size[0] * size[1] * channels * kernel[0] * kernel[1]
    together = max(1, PATCHES // max(of_one, 1))
    out = x.new_empty((samples, *size, outputs))
    for first in range(0, samples, together):
        part = x[first : first + together]
        s = part.stride()
        patches = part.as_strided(
            (len(part), *size, *kernel, channels),
            (
                s[0],
                s[2] * stride[0],
                s[3] * stride[1],
                s[2] * dilation[0],
                s[3] * dilation[1],
                s[1],
            ),
            part.storage_offset(),
        )
        if groups == 1:
            found = matmul(patches.reshape(-1, rows.shape[1]), rows[0])
        else:
            grouped = patches.reshape(*patches.shape[:5], groups, each).permute(5, 0, 1, 2, 3, 4, 6)
            product = matmul(grouped.reshape(groups, -1, rows.shape[1]), rows)
            found = product.permute(1, 0, 2).reshape(-1, outputs)
        out[first : first + together] = found.reshape(len(part), *size, outputs)
    return out.permute(0, 3, 1, 2)
