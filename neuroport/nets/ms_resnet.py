"""MS-ResNet: residual spiking networks whose shortcuts join membrane inputs.

Block (x is a real-valued current, one tensor per step):

    out = norm0(conv(lif(norm(conv_stride(lif(x)))))) + shortcut(x)

The shortcut is the identity, or a projection ``norm(conv1x1(.))`` of the *current* where the shape
changes. There is no neuron after the addition. Norms start at the threshold (0.5), the last one of
each branch at 0.

Published projections read real values. Two alternatives read spikes, so that no relay has to round
them. ``spike`` replaces the projection, as in later networks with membrane shortcuts; this is a
different network and must be trained in this form. ``composed`` composes the published projection
with its sources (:mod:`neuroport.nets.composed`); in real numbers it is the same network.

Max-ResNet (arXiv 2505.18608) has this block. Where the shape changes, it takes the maximum of
*currents* over 3x3 before the second neuron, which no dendrite can compute. The nearest network
with an exact form takes the maximum of the neuron's *spikes*, by OR gates: ``downsampling="max"``.
It is a different network and must be trained in this form. If the second neuron has no memory, both
are equal.

Source: MS-ResNet, official code (``Ariande1/MS-ResNet``), which covers ImageNet;
the 6n+2 family, its average-pooled projection and the strides for event cameras follow third-party
reimplementations.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.arguments import one_of, takes
from neuroport.errors import LayerError
from neuroport.nets import held_numbers
from neuroport.nets.activation_recompute import Chain
from neuroport.nets.batchnorm import BiasNorm
from neuroport.nets.composed import compose
from neuroport.nets.fused_batchnorm import deferred, later, listened, settled, waiting
from neuroport.nets.neuron import Lif
from neuroport.nets.pooling import MaxPool
from neuroport.nets.recipe import BLOCKS, choice, per_stage
from neuroport.nets.stream import join
from neuroport.nets.synapse import Conv, GradedConv, Readout

STEMS = ("3x3", "7x7", "deep")
# depth -> shortcut, as in the official code for ImageNet
IMAGENET = {18: "stride", 34: "stride", 104: "pool"}


class MembraneBlock(nn.Module):
    """Two spike-driven convolutions and a shortcut from membrane input to membrane input.

    Within :class:`MsResNet`, its sum is computed by the neuron that reads it first, in training
    (:func:`~neuroport.nets.fused_batchnorm.later`).
    """

    defers = False  # whether that neuron computes it

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        shortcut: str,
        surrogate: str = "rectangular",
        projection: str = "membrane",
        downsampling: str = "stride",
    ) -> None:
        super().__init__()
        pools = downsampling == "max" and stride > 1
        self.neuron1 = Lif(surrogate=surrogate)
        self.conv1 = deferred(
            Conv(in_channels, channels, 3, 1 if pools else stride, 1, norm_scale=0.5)
        )
        self.neuron2 = Lif(surrogate=surrogate)
        self.pool = MaxPool(channels, 3, stride, 1) if pools else nn.Identity()
        self.conv2 = deferred(Conv(channels, channels, 3, 1, 1, norm_scale=0.0))
        self.shortcut: nn.Module = nn.Identity()
        self.projects = stride != 1 or in_channels != channels
        self.of_spikes = self.projects and projection == "spike"
        self.composed = nn.ModuleDict()  # filled by MsResNet, where projections are composed
        if self.projects:
            kind = Conv if self.of_spikes else GradedConv
            pooled = shortcut == "pool"
            self.shortcut = kind(
                in_channels,
                channels,
                1,
                stride=1 if pooled else stride,
                padding=0,
                pool=stride if pooled else 1,
            )

    def forward(self, x: Any, sent: Sequence[Tensor] | None = None) -> Any:
        """Return the stream after the block and, if ``sent`` is given, the block's own messages."""
        first = self.neuron1(x)
        x = settled(x)
        spikes = self.pool(self.neuron2(self.conv1(first)))
        total = self.conv2(spikes)
        if sent is None:
            shortcut = self.shortcut(first if self.of_spikes else x)
            return join(total, shortcut, later if self.defers else operator.add)
        if not self.projects:
            return total + x, spikes
        for conv, message in zip(self.composed.values(), sent, strict=True):
            total = total + conv(message)
        return total, spikes


class MsResNet(nn.Module):
    """MS-ResNet; by default of depth 6n + 2, for small images.

    Args:
        blocks: number of blocks in each stage: one number for all, or one for each.
        widths: channels of the stages.
        in_channels: channels of the frames (unsigned 8-bit pixels).
        classes: number of classes.
        shortcut: ``pool`` (average pooling, then 1x1) or ``stride`` (strided 1x1).
        stem: ``3x3``; ``7x7`` (depths 18 and 34 for ImageNet); or ``deep``, three consecutive 3x3
            convolutions with biases and one norm (depth 104).
        stem_stride, first_stride: strides of the stem and of the first stage. Both are 2 for event
            cameras (128x128) and for ImageNet.
        dropout: before the classifier (0.2 at depth 104).
        surrogate: of every neuron.
        stem_width: channels of the stem; 0: as many as the first stage.
        projection: ``membrane`` reads the stream, as published; ``spike`` reads the spikes of the
            branch's first neuron; ``composed`` is ``membrane``, applied before the sum.
        downsampling: how branches reduce the map: ``stride``, or ``max``, the maximum over 3x3 of
            the spikes after the second neuron (Max-ResNet: of the currents before it).

    Raises:
        LayerError: a choice is unknown, a number has no meaning, or ``composed`` is combined with a
            ``deep`` stem, whose relays round between convolutions.

    Takes frames (T, N, C, H, W) of pixels 0..255, gives logits (N, classes).
    """

    @takes(
        shortcut=choice("shortcut"),
        stem=one_of(STEMS, LayerError),
        projection=choice("projection"),
        downsampling=choice("downsampling"),
    )
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
        projection: str = "membrane",
        stem_width: int = 0,
        downsampling: str = "stride",
    ) -> None:
        super().__init__()
        numbers = per_stage(blocks, widths)
        channels = stem_width or widths[0]
        self.stem = _stem(stem, in_channels, channels, stem_stride)
        stages: list[nn.Module] = []
        for stage, (width, number) in enumerate(zip(widths, numbers, strict=True)):
            for block in range(number):
                stride = (2 if stage > 0 else first_stride) if block == 0 else 1
                given = (channels, width, stride, shortcut, surrogate, projection, downsampling)
                stages.append(MembraneBlock(*given))
                channels = width
        self.blocks = Chain(*stages)
        self.composes = projection == "composed"
        if self.composes:
            self._compose()
        self.neuron = Lif(surrogate=surrogate)
        self.readout = Readout(channels, classes, dropout)

    @classmethod
    @takes(depth=one_of(IMAGENET, LayerError))
    def imagenet(
        cls,
        depth: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        in_channels: int = 3,
        classes: int = 1000,
        surrogate: str = "rectangular",
        projection: str = "membrane",
    ) -> MsResNet:
        """MS-ResNet-18, -34 or -104: every stage starts with stride 2 and a projection."""
        blocks, shortcut = BLOCKS[depth], IMAGENET[depth]
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
            projection=projection,
        )

    def _compose(self) -> None:
        """Give blocks with a projection a composed convolution per source of the stream."""
        if not isinstance(self.stem, GradedConv):
            raise LayerError(
                "projection 'composed' with stem 'deep': relays round between its convolutions; "
                "use projection 'spike' or 'membrane'"
            )
        sources: dict[str, Conv] = {"stem": self.stem}
        for index, block in enumerate(self.blocks):
            if block.projects:
                sources = compose(sources, block.shortcut)
                block.composed.update(sources)
            sources[f"block{index}"] = block.conv2

    def forward(self, frames: Tensor) -> Tensor:
        # the norm of a projection is trained on the projected stream
        real = self.training and held_numbers.number(self.readout.lsb) == 0
        with waiting(*self._streaming()) if real else nullcontext():
            x = later(self.stem(frames))
            x = self.blocks(x) if real or not self.composes else self._composed(x, frames)
            logits: Tensor = self.readout(self.neuron(x))
        return logits

    def _streaming(self) -> list[nn.Module]:
        """The modules whose sums may wait for the next neuron: none if others could see them.

        Those are hooks, modules of other types, and a ``forward`` that somebody has replaced.
        """
        readers = [self.neuron, *(getattr(block, "neuron1", None) for block in self.blocks)]
        own = all(type(block) is MembraneBlock for block in self.blocks) and type(self) is MsResNet
        own &= type(self.blocks) is Chain and all(type(reader) is Lif for reader in readers)
        if not own or any(listened(m) or "forward" in vars(m) for m in self.modules()):
            return []
        every = torch.nn.modules.module
        if (
            every._global_forward_hooks
            or every._global_forward_pre_hooks
            or every._global_backward_hooks
            or every._global_backward_pre_hooks
        ):
            return []
        stem = [self.stem] if type(self.stem) is GradedConv else []
        return [*stem, *self.blocks]

    def _composed(self, x: Any, frames: Tensor) -> Any:
        sent = [frames]
        for block in self.blocks:
            x, spikes = self.blocks.run(block, x, sent)
            sent = [*sent, spikes]
        return x


def _stem(kind: str, in_channels: int, width: int, stride: int) -> nn.Module:
    if kind != "deep":
        size = int(kind[0])
        return GradedConv(in_channels, width, size, stride, size // 2, pixels=True)
    return nn.Sequential(
        GradedConv(in_channels, width, 3, stride, 1, pixels=True, norm=BiasNorm),
        GradedConv(width, width, 3, 1, 1, norm=BiasNorm),
        # the norm's mean includes the last convolution's bias
        GradedConv(width, width, 3, 1, 1),
    )
