"""A small spike-driven transformer: attention of masks, membrane shortcuts, no matrix products.

    stages but the last:  blocks of MS-ResNet, projections of spikes
    last stage:           one of them, then blocks of
        x <- x + proj(mask AND q),   mask = lif(sum over the positions of k AND v)
        x <- x + conv1x1(lif(conv1x1(lif(x))))

with q, k, v = lif(conv(lif(x))). Products of q, k and v are products of single spikes: AND gates.
The convolutional stages before attention come from Spike-driven Transformer V2, whose attention
itself needs matrix products. The published stem of V1 takes maxima of currents, which no dendrite
can compute.

Source: Spike-driven Transformer (arXiv 2307.01694), its attention and perceptron.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from neuroport.arguments import flag, takes
from neuroport.errors import LayerError
from neuroport.nets.activation_recompute import Chain
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.gates import ChannelMask
from neuroport.nets.ms_resnet import MembraneBlock
from neuroport.nets.neuron import Lif
from neuroport.nets.recipe import per_stage
from neuroport.nets.rep_conv import RepConv
from neuroport.nets.stream import join
from neuroport.nets.synapse import Conv, GradedConv, Readout


class MaskedBlock(nn.Module):
    """Channel attention, then a two-layer perceptron per position; both add to the membrane.

    With ``rep``, queries, keys and values come from 3x3 convolutions that are trained as
    :class:`RepConv`, as in Spike-driven Transformer V2; otherwise from 1x1 convolutions.
    """

    def __init__(self, channels: int, window: int, ratio: int, rep: bool, surrogate: str) -> None:
        super().__init__()
        conv: Any = RepConv if rep else partial(Conv, kernel_size=1, padding=0)
        neuron = partial(Lif, surrogate=surrogate)
        self.neuron = neuron()
        self.q, self.k, self.v = (
            nn.Sequential(deferred(conv(channels, channels)), neuron()) for _ in range(3)
        )
        self.mask = ChannelMask(channels, window, surrogate=surrogate)
        self.proj = Conv(channels, channels, 1, 1, 0, norm_scale=0.0)
        self.mlp = nn.Sequential(
            neuron(),
            deferred(Conv(channels, ratio * channels, 1, 1, 0)),
            neuron(),
            Conv(ratio * channels, channels, 1, 1, 0, norm_scale=0.0),
        )

    def forward(self, x: Any) -> Any:
        spikes = self.neuron(x)
        x = join(self.proj(self.mask(self.q(spikes), self.k(spikes), self.v(spikes))), x)
        return join(self.mlp(x), x)


class SpikeTransformer(nn.Module):
    """Convolutional stages, and a last one of attention.

    Args:
        blocks: number of blocks in each stage: one number for all, or one for each.
        widths: channels of the stages.
        in_channels, classes: channels of the frames (unsigned 8-bit pixels); classes.
        window: window of the attention, odd; ``2 s - 1`` covers a map of s x s (13 for 28 x 28
            frames and three stages).
        ratio: channels within a perceptron, relative to those of the stage.
        reparameterize: train queries, keys and values as 3x3 :class:`RepConv`.
        surrogate: of every neuron.
        stem_stride, first_stride: strides of the stem and of the first stage.

    Takes frames (T, N, C, H, W) of pixels 0..255, gives logits (N, classes).

    Raises:
        LayerError: the window is even.
    """

    @takes(reparameterize=flag(LayerError))
    def __init__(
        self,
        blocks: int | Sequence[int] = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        window: int = 13,
        ratio: int = 4,
        reparameterize: bool = False,
        surrogate: str = "rectangular",
        stem_stride: int = 1,
        first_stride: int = 1,
    ) -> None:
        super().__init__()
        numbers = per_stage(blocks, widths)
        self.stem = GradedConv(in_channels, widths[0], 3, stem_stride, 1, pixels=True)
        layers: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, number) in enumerate(zip(widths, numbers, strict=True)):
            stride = 2 if stage > 0 else first_stride
            last = stage == len(widths) - 1
            for index in range(1 if last else number):
                block = MembraneBlock(
                    channels, width, stride if index == 0 else 1, "stride", surrogate, "spike"
                )
                layers.append(block)
                channels = width
            if last:
                layers += [
                    MaskedBlock(channels, window, ratio, reparameterize, surrogate)
                    for _ in range(number)
                ]
        self.blocks = Chain(*layers)
        self.neuron = Lif(surrogate=surrogate)
        self.readout = Readout(channels, classes)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.neuron(self.blocks(self.stem(frames))))
        return logits
