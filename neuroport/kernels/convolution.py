"""Convolutions of torch, without the one that writes beyond its memory."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from neuroport.graph.node import Pair


def conv2d(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """``torch.nn.functional.conv2d`` without a bias; x (N, C, H, W), weight (O, C/groups, kH, kW).

    A 1x1 kernel with a stride reads the positions that it keeps and has a stride of 1: the same
    sums. On processors without AVX-512, oneDNN (in torch 2.1 to 2.14 at least) writes over the heap
    in the backward pass of the strided one: fewer than 8 channels, which lie last, on one thread.
    """
    if weight.shape[2:] == (1, 1) and padding == (0, 0) and stride != (1, 1):
        x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups)
