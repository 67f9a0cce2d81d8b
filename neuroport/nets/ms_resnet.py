"""MS-ResNet: residual spiking networks whose shortcuts join membrane inputs.

Block (x is a real-valued current, one tensor per step):

    out = norm0(conv(lif(norm(conv_stride(lif(x)))))) + shortcut(x)

The shortcut is the identity, or a projection ``norm(conv1x1(.))`` of the *current* where the shape
changes. There is no neuron after the addition. Norms start at the threshold (0.5), the last one of
each branch at 0. Source: MS-ResNet, official code (``Ariande1/MS-ResNet``), which covers ImageNet;
the 6n+2 family, its average-pooled projection and the strides for event cameras follow third-party
reimplementations.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from neuroport.nets.activation_recompute import Chain
from neuroport.nets.batchnorm import BiasNorm
from neuroport.nets.fused_calls import fire, join
from neuroport.nets.neuron import Lif
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, GradedConv, Readout

# depth -> (blocks of the four stages, shortcut), as in the official code for ImageNet
IMAGENET: dict[int, tuple[tuple[int, ...], str]] = {
    18: ((2, 2, 2, 2), "stride"),
    34: ((3, 4, 6, 3), "stride"),
    104: ((3, 8, 32, 8), "pool"),
}


class MembraneBlock(nn.Module):
    """Two spike-driven convolutions and a shortcut from membrane input to membrane input."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        shortcut: str,
        surrogate: str = "rectangular",
    ) -> None:
        super().__init__()
        self.neuron1 = Lif(surrogate=surrogate)
        self.conv1 = Conv(in_channels, channels, 3, stride, 1, norm_scale=0.5)
        self.neuron2 = Lif(surrogate=surrogate)
        self.conv2 = Conv(channels, channels, 3, 1, 1, norm_scale=0.0)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            pooled = shortcut == "pool"
            self.shortcut = GradedConv(
                in_channels,
                channels,
                stride=1 if pooled else stride,
                pool=stride if pooled else 1,
            )

    def forward(self, x: Tensor | Stream) -> Tensor | Stream:
        spikes = fire(self.conv1, self.neuron2, self.neuron1(x))
        return join(self.conv2, spikes, self.shortcut, x)  # type: ignore[no-any-return]


class MsResNet(nn.Module):
    """MS-ResNet; of depth 6n + 2 for small images unless told otherwise.

    Args:
        blocks: number of blocks in each stage: one number for all, or one for each.
        widths: channels of the stages.
        in_channels: channels of the frames (unsigned 8-bit pixels).
        classes: number of classes.
        shortcut: ``pool`` (average pooling, then 1x1) or ``stride`` (strided 1x1).
        stem: ``3x3``; ``7x7`` (as ImageNet's depths 18 and 34); or ``deep``, three 3x3 convolutions
            with biases, nothing between them, and one norm (depth 104).
        stem_stride, first_stride: strides of the stem and of the first stage. Both are 2 for event
            cameras (128x128) and for ImageNet.
        dropout: before the classifier (0.2 at depth 104).
        surrogate: of every neuron.

    Takes frames (T, N, C, H, W) of pixels 0..255, gives logits (N, classes).
    """

    def __init__(
        self,
        blocks: int | Sequence[int] = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        shortcut: str = "pool",
        stem: str = "3x3",
        stem_stride: int = 1,
        first_stride: int = 1,
        dropout: float = 0.0,
        surrogate: str = "rectangular",
    ) -> None:
        super().__init__()
        self.stem = _stem(stem, in_channels, widths[0], stem_stride)
        numbers = [blocks] * len(widths) if isinstance(blocks, int) else list(blocks)
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, number) in enumerate(zip(widths, numbers, strict=True)):
            for block in range(number):
                stride = (2 if stage > 0 else first_stride) if block == 0 else 1
                stages.append(MembraneBlock(channels, width, stride, shortcut, surrogate))
                channels = width
        self.blocks = Chain(*stages)
        self.neuron = Lif(surrogate=surrogate)
        self.readout = Readout(channels, classes, dropout)

    @classmethod
    def imagenet(
        cls,
        depth: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        in_channels: int = 3,
        classes: int = 1000,
        surrogate: str = "rectangular",
    ) -> MsResNet:
        """MS-ResNet-18, -34 or -104: every stage starts with stride 2 and a projection."""
        blocks, shortcut = IMAGENET[depth]
        deep = depth == 104
        return cls(
            blocks,
            widths,
            in_channels,
            classes,
            shortcut,
            "deep" if deep else "7x7",
            stem_stride=2,
            first_stride=2,
            dropout=0.2 if deep else 0.0,
            surrogate=surrogate,
        )

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.neuron(self.blocks(self.stem(frames))))
        return logits


def _stem(kind: str, in_channels: int, width: int, stride: int) -> nn.Module:
    if kind != "deep":
        size = int(kind[0])
        return GradedConv(in_channels, width, size, stride, size // 2, pixels=True)
    return nn.Sequential(
        GradedConv(in_channels, width, 3, stride, 1, pixels=True, norm=BiasNorm),
        GradedConv(width, width, 3, 1, 1, norm=BiasNorm),
        # the last convolution's bias adds to the mean that its norm takes away
        GradedConv(width, width, 3, 1, 1),
    )
