"""Batch norm directly before a neuron, absorbed into one threshold and bias per channel.

If several neurons read one membrane stream through different norms, no norm can fold into the
stream's synapses. A leaky neuron is homogeneous: with ``y = a (x - mean) + beta``,
``a = gamma / sqrt(var + eps) > 0``, it fires under ``y`` and threshold ``V`` exactly as it does
under

    x + beta / a - mean     and threshold     V / a.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.arguments import takes, whole_number
from neuroport.errors import LayerError
from neuroport.graph import integers
from neuroport.nets.fused_batchnorm import DeferredCurrent
from neuroport.nets.neuron import Lif
from neuroport.nets.stream import Stream, per_position

# a smaller gain would need a threshold and a bias that leave too little range for other channels
SMALLEST = 0.05


class PositiveNorm(nn.BatchNorm2d):
    """Batch norm whose gain is ``max(|weight|, 0.05)``.

    With a negative gain the neuron would have to fire *below* a threshold, which no neuron on a
    chip does. The absolute value loses nothing, because the following synapses can change their
    sign, and it has a gradient everywhere except below the floor.
    """

    def gain(self) -> Tensor:
        """The factor of the normalized input, per channel."""
        return self.weight.abs().clamp_min(SMALLEST)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.gain(),
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


class NormLif(Lif):
    """``Lif`` with a batch norm of its current.

    Args:
        channels: number of channels of the current.
        threshold, voltage_decay, current_decay, surrogate, detach_reset: see :class:`Lif`.
    """

    @takes(channels=whole_number(1, LayerError))
    def __init__(
        self,
        channels: int,
        threshold: float = 0.5,
        voltage_decay: float = 0.75,
        current_decay: float = 1.0,
        surrogate: str = "rectangular",
        detach_reset: bool = True,
    ) -> None:
        super().__init__(threshold, voltage_decay, current_decay, surrogate, detach_reset)
        self.norm = PositiveNorm(channels)

    def absorbed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gain, threshold and bias per channel in the units of the norm's input stream."""
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        gain = self.norm.gain() / torch.sqrt(self.norm.running_var + self.norm.eps)
        return gain, self.threshold / gain, self.norm.bias / gain - self.norm.running_mean

    def thresholds(self, stream: Stream) -> Tensor:
        """Thresholds in units of the stream, (C,), rounded down; straight-through gradient."""
        real = self.absorbed()[1] / self.lsb.to(self.norm.bias.dtype)
        if stream.factor is not None:
            real = real * stream.factor.reshape(-1)
        lowered = (real.detach() + 1e-9).floor().clamp(max=integers.THRESHOLD_MAX)
        return real + (lowered - real).detach()

    def integer_bias(self, stream: Stream) -> Tensor:
        bias = per_position(stream.bias) + per_position(self.absorbed()[2])
        return super().integer_bias(Stream(stream.value, bias, stream.finer))

    def gain(self, stream: Stream) -> Tensor:
        finer, gain = super().gain(stream), per_position(self.absorbed()[0].detach())
        return gain if finer is None else gain * finer

    def forward(self, x: Tensor | Stream | DeferredCurrent) -> Tensor:
        if isinstance(x, Stream):
            return super().forward(x)
        x = x.tensor() if isinstance(x, DeferredCurrent) else x
        return super().forward(self.norm(x.flatten(0, 1)).unflatten(0, (len(x), -1)))
