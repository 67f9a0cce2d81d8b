"""A small QKFormer: token attention by masks, and additions of spikes.

    embedding:  x <- SEW block of stride 2
    attention:  x <- x + lif(proj(mask AND k)),   mask = lif(sum of q over a head's channels)
    mlp:        x <- x + lif(conv1x1(lif(conv1x1(x))))

q, k and the convolutions of a block are conv1x1-norm-lif. All shortcuts carry spikes, as in
SEW-ResNet. The published network ends with a stage of self-attention by matrix products of spikes,
which no synapse can express because its weights are constants. Between stages it takes maxima of
currents, which no dendrite can compute. Here every stage has token attention, and stages begin with
a stride.

Source: QKFormer (arXiv 2403.16552).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from neuroport.nets.activation_recompute import Chain
from neuroport.nets.baselines import Parts, SewBlock
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.gates import TokenMask
from neuroport.nets.neuron import Lif
from neuroport.nets.recipe import per_stage
from neuroport.nets.stream import join
from neuroport.nets.synapse import Conv, GradedConv, Readout


def pointwise(channels: int, out: int, surrogate: str) -> nn.Sequential:
    """conv1x1-norm-lif."""
    return nn.Sequential(deferred(Conv(channels, out, 1, 1, 0)), Lif(surrogate=surrogate))


class TokenBlock(nn.Module):
    """Token attention, then a two-layer perceptron per position; both add spikes."""

    def __init__(self, channels: int, heads: int, ratio: int, surrogate: str) -> None:
        super().__init__()
        self.q = pointwise(channels, channels, surrogate)
        self.k = pointwise(channels, channels, surrogate)
        self.mask = TokenMask(channels, heads, surrogate=surrogate)
        self.proj = pointwise(channels, channels, surrogate)
        self.mlp = nn.Sequential(
            pointwise(channels, ratio * channels, surrogate),
            pointwise(ratio * channels, channels, surrogate),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = join(self.proj(self.mask(self.q(x), self.k(x))), x)
        return join(self.mlp(x), x)  # type: ignore[no-any-return]


class QKFormer(nn.Module):
    """A stem, and stages of an embedding and token attention.

    Args:
        blocks: number of attention blocks in each stage: one number for all, or one for each.
        widths: channels of the stages.
        in_channels, classes: channels of the frames (unsigned 8-bit pixels); classes.
        heads: number of masks of every attention; must divide the widths.
        ratio: channels within a perceptron, relative to those of the stage.
        surrogate: of every neuron.
        stem_stride, first_stride: strides of the stem and of the first stage's embedding.

    Takes frames (T, N, C, H, W), gives logits (N, classes).

    Raises:
        LayerError: the heads do not divide a width.
    """

    def __init__(
        self,
        blocks: int | Sequence[int] = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        heads: int = 1,
        ratio: int = 4,
        surrogate: str = "rectangular",
        stem_stride: int = 1,
        first_stride: int = 1,
    ) -> None:
        super().__init__()
        numbers = per_stage(blocks, widths)
        parts = Parts("sew", 0.5, partial(Lif, surrogate=surrogate), False)
        self.stem = deferred(GradedConv(in_channels, widths[0], 3, stem_stride, 1, pixels=True))
        self.neuron = Lif(surrogate=surrogate)
        layers: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, number) in enumerate(zip(widths, numbers, strict=True)):
            stride = 2 if stage > 0 else first_stride
            layers.append(SewBlock(channels, width, stride, "add", parts))
            channels = width
            layers += [TokenBlock(channels, heads, ratio, surrogate) for _ in range(number)]
        self.blocks = Chain(*layers)
        self.readout = Readout(channels, classes)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.blocks(self.neuron(self.stem(frames))))
        return logits
