"""MS-ResNet: residual spiking networks whose shortcuts join membrane inputs.

Block (x is a real-valued current, one tensor per step):

    out = norm0(conv(lif(norm(conv_stride(lif(x)))))) + shortcut(x)

The shortcut is the identity, or a projection ``norm(conv1x1(.))`` of the *current* where the shape
changes. There is no neuron after the addition. Norms start at the threshold (0.5), the last one of
each branch at 0. Source: MS-ResNet, official code (``Ariande1/MS-ResNet``); the 6n+2 family's
average-pooled projection follows third-party reimplementations, since the official code covers
ImageNet only.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from neuroport.nets.neuron import Lif
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, GradedConv, Readout


class MembraneBlock(nn.Module):
    """Two spike-driven convolutions and a shortcut from membrane input to membrane input."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.neuron1 = Lif()
        self.conv1 = Conv(in_channels, channels, 3, stride, 1, norm_scale=0.5)
        self.neuron2 = Lif()
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
        branch = self.conv2(self.neuron2(self.conv1(self.neuron1(x))))
        return branch + self.shortcut(x)  # type: ignore[no-any-return]


class MsResNet(nn.Module):
    """MS-ResNet of depth 6n + 2 for small images.

    Args:
        blocks: n, the number of blocks in each of the three stages.
        widths: channels of the stages.
        in_channels: channels of the frames (unsigned 8-bit pixels).
        classes: number of classes.
        shortcut: ``pool`` (average pooling, then 1x1) or ``stride`` (strided 1x1).

    Takes frames (T, N, C, H, W) of pixels 0..255, gives logits (N, classes).
    """

    def __init__(
        self,
        blocks: int = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        shortcut: str = "pool",
    ) -> None:
        super().__init__()
        self.stem = GradedConv(in_channels, widths[0], 3, padding=1, pixels=True)
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(MembraneBlock(channels, width, stride, shortcut))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.neuron = Lif()
        self.readout = Readout(channels, classes)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.neuron(self.blocks(self.stem(frames))))
        return logits
