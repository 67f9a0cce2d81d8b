"""The convolutional stages of E-SpikeFormer: integer spikes, separable convolutions, membranes.

    block:       x <- x + pointwise(depthwise(pointwise(x)))     separable, twice the channels
                 x <- x + conv(conv(x))                          3x3, ``ratio`` times the channels
    next stage:  x <- conv_stride(x)

Each convolution reads integer spikes and has a batch norm. Shortcuts are membrane shortcuts, as in
MS-ResNet. The published network has two such stages and two stages of attention by matrix products
of q, k and v. No synapse can express these products, because its weights are constants. Here every
stage is convolutional. :mod:`neuroport.nets.gates` has attention with an exact form.

Source: Spike-driven Transformer V3 (arXiv 2411.16061), whose neurons send 0 to 4 at one step
(:mod:`neuroport.nets.integer_spikes`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from neuroport.arguments import flag, takes
from neuroport.errors import LayerError
from neuroport.nets.activation_recompute import Chain
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.integer_spikes import integer_spikes
from neuroport.nets.recipe import per_stage
from neuroport.nets.rep_conv import RepConv
from neuroport.nets.stream import join
from neuroport.nets.synapse import Conv, GradedConv, Readout

BETWEEN = 2  # times the channels, between the pointwise convolutions of a separable one


def separable(
    channels: int, neuron: Callable[[], nn.Module], kernel_size: int = 7, ratio: int = BETWEEN
) -> nn.Sequential:
    """A branch of spike-driven pointwise, depthwise and pointwise convolutions.

    Takes a current and gives one that starts at zero, (T, N, C, H, W).
    """
    wide = ratio * channels
    return nn.Sequential(
        neuron(),
        deferred(Conv(channels, wide, 1, 1, 0, norm_scale=1.0)),
        neuron(),
        deferred(Conv(wide, wide, kernel_size, 1, kernel_size // 2, wide, norm_scale=1.0)),
        neuron(),
        Conv(wide, channels, 1, 1, 0, norm_scale=0.0),
    )


class ConvBlock(nn.Module):
    """A separable branch, then one of two 3x3 convolutions; both end in the membrane."""

    def __init__(
        self,
        channels: int,
        ratio: int,
        neuron: Callable[[], nn.Module],
        rep: bool,
        kernel_size: int,
    ) -> None:
        super().__init__()
        conv: Any = RepConv if rep else partial(Conv, padding=1)
        self.separable = separable(channels, neuron, kernel_size)
        self.convolutions = nn.Sequential(
            neuron(),
            deferred(conv(channels, ratio * channels, kernel_size=3, norm_scale=1.0)),
            neuron(),
            conv(ratio * channels, channels, kernel_size=3, norm_scale=0.0),
        )

    def forward(self, x: Any) -> Any:
        x = join(self.separable(x), x)
        return join(self.convolutions(x), x)


class ESpikeformer(nn.Module):
    """Stages of E-SpikeFormer's convolutional blocks.

    Args:
        blocks: number of blocks in each stage: one number for all, or one for each.
        widths: channels of the stages.
        in_channels, classes: channels of the frames (unsigned 8-bit pixels); classes.
        levels: D, the largest value that a neuron sends.
        ratio: channels between the 3x3 convolutions, relative to those of the stage.
        reparameterize: train the 3x3 convolutions as :class:`RepConv`.
        stem: size of the stem's kernel.
        stem_stride: its stride.
        kernel_size: of the depthwise convolutions.
        surrogate: of every neuron.

    Takes frames (T, N, C, H, W) of pixels 0..255, gives logits (N, classes). The published T is 1.
    """

    @takes(reparameterize=flag(LayerError))
    def __init__(
        self,
        blocks: int | Sequence[int] = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        levels: int = 4,
        ratio: int = 4,
        reparameterize: bool = False,
        stem: int = 3,
        stem_stride: int = 1,
        kernel_size: int = 7,
        surrogate: str = "rectangular",
    ) -> None:
        super().__init__()
        numbers = per_stage(blocks, widths)
        neuron = partial(integer_spikes, levels, surrogate)
        self.stem = GradedConv(
            in_channels, widths[0], stem, stem_stride, stem // 2, pixels=True, norm_scale=1.0
        )
        parts: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, number) in enumerate(zip(widths, numbers, strict=True)):
            if stage > 0:
                parts.append(nn.Sequential(neuron(), Conv(channels, width, 3, 2, norm_scale=1.0)))
                channels = width
            for _ in range(number):
                parts.append(ConvBlock(channels, ratio, neuron, reparameterize, kernel_size))
        self.blocks = Chain(*parts)
        self.neuron = neuron()
        self.readout = Readout(channels, classes)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.neuron(self.blocks(self.stem(frames))))
        return logits
