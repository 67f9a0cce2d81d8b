"""Pooling of spikes: sums over windows, exact in integers.

A pool follows a neuron (or another pool) and precedes a synapse. In the integer phase it sends the
number of spikes of each window, as graded messages of a population without state. The division of
an average is part of the unit of the following synapse. In the graph a pool is a convolution of
each channel with weights of 1, and a relay.

The maximum of spikes is 1 if there is a spike in the window. :class:`MaxPool` computes it as a
``SumPool`` into neurons that fire at the first spike: ``Direct(channels)`` and
``Lif(threshold=0.5)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.errors import CaptureError, LayerError
from neuroport.nets.geometry import Size, pair
from neuroport.nets.held_numbers import number
from neuroport.nets.neuron import Lif
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Direct, Relay
from neuroport.nets.torch_parts import OnGrid


class SumPool(OnGrid):
    """Number of spikes in each window.

    Args:
        kernel_size: size of the window, an integer or a pair (height, width).
        stride: distance between windows; the kernel's size by default.
        padding: zeros around the map, at most half of the window, as in torch.

    Takes and gives (T, N, C, H, W).

    Raises:
        LayerError: a size is invalid, or the padding exceeds half a window.
        CaptureError: the input is a current, in the integer phase.
    """

    lsb: Tensor  # real value of an integer message of 1

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        if any(2 * pad > k for pad, k in zip(self.padding, self.kernel_size, strict=True)):
            raise LayerError(
                f"padding is {padding}; pad by half of the window {kernel_size} at most"
            )
        self.relay = Relay()
        self.register_buffer("lsb", torch.zeros((), dtype=torch.float64))

    @property
    def divisor(self) -> int:
        """The divisor of a window's sum, in real numbers."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Stream):
            raise CaptureError(
                f"{self} pools a current; pool the spikes of a neuron, or a membrane stream with "
                "GradedConv(pool=...)"
            )
        divisor = 1 if number(self.lsb) > 0 else self.divisor
        out = F.avg_pool2d(
            x.flatten(0, 1),
            self.kernel_size,
            self.stride,
            self.padding,
            divisor_override=divisor,
        )
        pooled: Tensor = self.relay(out.unflatten(0, (len(x), -1)))
        return pooled

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool(SumPool):
    """Average over each window, zeros of the padding included (torch's default).

    The arguments are those of :class:`SumPool`.
    """

    @property
    def divisor(self) -> int:
        return math.prod(self.kernel_size)


class MaxPool(nn.Module):
    """Whether there is a spike in each window: the maximum of spikes that are 0 or 1.

    Unlike a sum, it is a population of neurons. They fire at the first spike of their window, and
    their voltage is 0 again after every step.

    Args:
        channels: number of channels of the map.
        kernel_size, stride, padding: see :class:`SumPool`.
    """

    def __init__(
        self, channels: int, kernel_size: Size, stride: Size | None = None, padding: Size = 0
    ) -> None:
        super().__init__()
        self.pool = SumPool(kernel_size, stride, padding)
        self.direct = Direct(channels)
        self.neuron = Lif(0.5)

    def forward(self, spikes: Tensor) -> Tensor:
        if not self.training:
            fired: Tensor = self.neuron(self.direct(self.pool(spikes)))
            return fired
        # the same numbers; in training the gradient goes directly to the spike
        pool = self.pool
        flat = spikes.flatten(0, 1)
        out = F.max_pool2d(flat, pool.kernel_size, pool.stride, pool.padding)
        most: Tensor = out.unflatten(0, (len(spikes), -1))
        return most
