"""Convolutions of torch, avoiding one that writes beyond its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.graph.node import Pair


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """``torch.nn.functional.conv2d``; x (N, C, H, W), weight (O, C/groups, kH, kW), bias (O,).

    A strided 1x1 kernel is computed by selecting the positions first and using a stride of 1, which
    gives the same sums. On processors without AVX-512, oneDNN (at least in torch 2.1 to 2.14)
    writes over the heap in the backward pass of the strided kernel, with fewer than 8 channels in
    channels-last format on one thread.
    """
    if _skips(tuple(weight.shape[2:]), padding, stride):
        x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


@contextmanager
def unstrided(synapse: nn.Module) -> Iterator[Pair]:
    """Context for calling a synapse as a module: yields the stride at which to read its input.

    It is (1, 1), or the stride of a 1x1 kernel, which meanwhile has a stride of 1 (:func:`conv2d`).
    """
    if not isinstance(synapse, nn.Conv2d) or not _skips(
        synapse.kernel_size, synapse.padding, synapse.stride
    ):
        yield (1, 1)
        return
    rows, columns = synapse.stride
    synapse.stride = (1, 1)
    try:
        yield rows, columns
    finally:
        synapse.stride = (rows, columns)


def _skips(kernel: tuple[int, ...], padding: object, stride: tuple[int, ...]) -> bool:
    """Return whether a convolution reads only some positions of its input, each once."""
    return kernel == (1, 1) and padding in ((0, 0), "valid") and stride != (1, 1)
