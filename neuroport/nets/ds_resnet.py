"""MLF and DS-ResNet: multi-level neurons, whose outputs 0..K are added after the activation.

    DS:      out = MLF(tdBN(conv(MLF(tdBN(conv_stride(x)))))) + shortcut(x)
             shortcut: the identity, or MLF(tdBN(conv1x1_stride(x)))
    vanilla: out = MLF(tdBN(conv(MLF(tdBN(conv_stride(x))))) + shortcut(x))
             shortcut: the identity, or tdBN(conv1x1_stride(x))

Convolutions and the classifier start Kaiming-normal. Source: MLF, official code
(``langfengQ/MLF-DSResNet``): CIFAR-10 has widths 64, 128, 256 and depths 14, 20, 32, 44, 68;
DVS-Gesture depth 20, widths 16, 32, 64 and normalized event counts; CIFAR10-DVS depth 14, widths
32, 64, 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from neuroport.arguments import flag, one_of, takes
from neuroport.errors import LayerError
from neuroport.nets.activation_recompute import Chain
from neuroport.nets.batchnorm import TdBatchNorm
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.neuron import Mlf
from neuroport.nets.recipe import choice, per_stage
from neuroport.nets.stream import join
from neuroport.nets.synapse import Conv, Direct, GradedConv, Readout

THRESHOLDS = (0.6, 1.6, 2.6, 3.6)  # levels up to the fourth are nested, see Mlf
LEVELS = range(1, len(THRESHOLDS) + 1)


class MlfBlock(nn.Module):
    """Two convolutions with multi-level neurons; ``kind`` says where the shortcut is added."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, kind: str, levels: int, surrogate: str
    ) -> None:
        super().__init__()
        neuron = partial(Mlf, THRESHOLDS[:levels], surrogate=surrogate)
        conv = partial(Conv, norm=TdBatchNorm, norm_scale=1.0)
        self.kind = kind
        self.conv1 = deferred(conv(in_channels, channels, 3, stride))
        self.neuron1 = neuron()
        self.conv2 = deferred(conv(channels, channels))
        self.neuron2 = neuron()
        self.shortcut: nn.Module
        if stride != 1 or in_channels != channels:
            projection = deferred(conv(in_channels, channels, 1, stride, 0))
            self.shortcut = nn.Sequential(projection, neuron()) if kind == "ds" else projection
        else:
            self.shortcut = nn.Identity() if kind == "ds" else Direct(channels)

    def forward(self, x: Tensor) -> Tensor:
        current = self.conv2(self.neuron1(self.conv1(x)))
        if self.kind == "ds":
            return join(self.neuron2(current), self.shortcut(x))  # type: ignore[no-any-return]
        return self.neuron2(join(current, self.shortcut(x)))  # type: ignore[no-any-return]


class DsResNet(nn.Module):
    """DS-ResNet of depth 6n + 2, or its baseline: a residual network with multi-level neurons.

    Args:
        blocks: n, the number of blocks in each stage: one number for all, or one for each.
        widths: channels of the stages.
        in_channels, classes: channels of the frames (unsigned 8-bit pixels or counts); classes.
        levels: K, 1 to 4 levels of every neuron.
        block: ``ds`` or ``vanilla``.
        surrogate: of every level.
        normalize: normalize every channel of the frames (tdBN without weights), as for Gesture.

    Raises:
        LayerError: a choice is unknown, or a number has no meaning.

    Takes frames (T, N, C, H, W), gives logits (N, classes).
    """

    @takes(
        block=choice("block"),
        levels=one_of(LEVELS, LayerError),
        normalize=flag(LayerError),
    )
    def __init__(
        self,
        blocks: int | Sequence[int] = 3,
        widths: Sequence[int] = (64, 128, 256),
        in_channels: int = 3,
        classes: int = 10,
        levels: int = 3,
        block: str = "ds",
        surrogate: str = "rectangular",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        numbers = per_stage(blocks, widths)
        self.stem = deferred(
            GradedConv(
                in_channels,
                widths[0],
                3,
                padding=1,
                pixels=True,
                norm=TdBatchNorm,
                norm_scale=1.0,
                frame_norm=TdBatchNorm(in_channels, affine=False) if normalize else None,
            )
        )
        self.neuron = Mlf(THRESHOLDS[:levels], surrogate=surrogate)
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, number) in enumerate(zip(widths, numbers, strict=True)):
            for index in range(number):
                stride = 2 if stage > 0 and index == 0 else 1
                stages.append(MlfBlock(channels, width, stride, block, levels, surrogate))
                channels = width
        self.blocks = Chain(*stages)
        self.readout = Readout(channels, classes)
        for module in self.modules():
            if isinstance(module, Conv) and not isinstance(module, Direct):
                nn.init.kaiming_normal_(module.synapse.weight)
        nn.init.kaiming_normal_(self.readout.synapse.weight)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.blocks(self.neuron(self.stem(frames))))
        return logits
