"""Residual spiking networks whose shortcuts carry spikes: SEW-ResNet and its baselines.

    plain:   out = lif(norm(conv(lif(norm(conv(x))))) + shortcut(x))
             shortcut: spikes as currents of 1, or norm(conv1x1(x))
    sew:     out = g(lif(norm(conv(lif(norm(conv(x)))))), shortcut(x))
             shortcut: the identity, or lif(norm(conv1x1(x)))
             g(a, s) = a + s (add),  a s (and),  (1 - a) s (iand)

A bottleneck's branch has three convolutions, 1x1, 3x3 and 1x1. ``tdbn`` is ``plain`` with the norms
of STBP-tdBN (arXiv 2011.05280), whose alpha is 1/sqrt(2) where two branches meet. SEW: arXiv
2102.04159. For ImageNet ``sew`` and ``plain`` have the layers of SpikingJelly's ``sew_resnet`` and
``spiking_resnet``. Products of spikes (``and``, ``iand``) are gates
(:mod:`neuroport.nets.gates`): a dendrite sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from neuroport.arguments import flag, one_of, takes
from neuroport.errors import LayerError
from neuroport.nets.activation_recompute import Chain
from neuroport.nets.batchnorm import TdBatchNorm
from neuroport.nets.danet import EXPANSION, IMAGENET
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.gates import Gate
from neuroport.nets.neuron import Lif
from neuroport.nets.pooling import MaxPool
from neuroport.nets.recipe import BLOCKS, choice, per_stage
from neuroport.nets.stream import join
from neuroport.nets.synapse import Conv, Direct, GradedConv, Readout

KINDS = ("plain", "tdbn", "sew")
THRESHOLD = 0.5


def _norms(
    kind: str, threshold: float
) -> tuple[Callable[[int], nn.Module], Callable[[int], nn.Module], float]:
    """Norms for a single branch and for two branches that meet, and their initial gamma."""
    if kind == "tdbn":
        norm = partial(TdBatchNorm, threshold=threshold, inside=True)
        return norm, partial(norm, alpha=0.5**0.5), 1.0
    return nn.BatchNorm2d, nn.BatchNorm2d, threshold


@dataclass(frozen=True)
class Parts:
    """The layers of which a network's blocks consist."""

    norms: str
    threshold: float
    neuron: Callable[[], Lif]
    bottleneck: bool

    def conv(self, inner: int, outer: int, kernel: int, stride: int, meets: bool = False) -> Conv:
        """A convolution and its norm; ``meets`` where another current joins."""
        serial, meeting, scale = _norms(self.norms, self.threshold)
        norm = meeting if meets else serial
        return Conv(inner, outer, kernel, stride, kernel // 2, norm=norm, norm_scale=scale)

    def out(self, width: int) -> int:
        """Channels behind a block."""
        return EXPANSION * width if self.bottleneck else width

    def branch(self, block: nn.Module, channels: int, width: int, stride: int, meets: bool) -> int:
        """Give ``block`` its ``conv1``, ``neuron1``, ...; return the number of its last neuron."""
        layers = [(channels, width, 3, stride), (width, width, 3, 1)]
        if self.bottleneck:
            wide = self.out(width)
            layers = [(channels, width, 1, 1), (width, width, 3, stride), (width, wide, 1, 1)]
        for number, layer in enumerate(layers, 1):
            last = number == len(layers)
            setattr(block, f"conv{number}", deferred(self.conv(*layer, meets=meets and last)))
            if not last:
                setattr(block, f"neuron{number}", self.neuron())
        return len(layers)


def _current(block: nn.Module, convolutions: int, x: Tensor) -> Any:
    """The current at the end of a branch, before its last neuron."""
    for number in range(1, convolutions):
        x = getattr(block, f"neuron{number}")(getattr(block, f"conv{number}")(x))
    return getattr(block, f"conv{convolutions}")(x)


class PlainBlock(nn.Module):
    """Addition before the activation."""

    def __init__(self, in_channels: int, channels: int, stride: int, parts: Parts) -> None:
        super().__init__()
        out = parts.out(channels)
        self.convolutions = parts.branch(self, in_channels, channels, stride, meets=True)
        self.shortcut: nn.Module = Direct(out)
        if stride != 1 or in_channels != out:
            self.shortcut = parts.conv(in_channels, out, 1, stride, meets=True)
        setattr(self, f"neuron{self.convolutions}", parts.neuron())

    def forward(self, x: Tensor) -> Tensor:
        current = _current(self, self.convolutions, x)
        neuron = getattr(self, f"neuron{self.convolutions}")
        return neuron(join(current, self.shortcut(x)))  # type: ignore[no-any-return]


class SewBlock(nn.Module):
    """Activation before the spike-element-wise connection."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, connect: str, parts: Parts
    ) -> None:
        super().__init__()
        self.connect = connect
        out = parts.out(channels)
        self.gate = None if connect == "add" else Gate(out, connect)
        self.convolutions = parts.branch(self, in_channels, channels, stride, meets=False)
        setattr(self, f"neuron{self.convolutions}", parts.neuron())
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out:
            projection = deferred(parts.conv(in_channels, out, 1, stride))
            self.shortcut = nn.Sequential(projection, parts.neuron())

    def forward(self, x: Tensor) -> Tensor:
        neuron = getattr(self, f"neuron{self.convolutions}")
        branch: Tensor = neuron(_current(self, self.convolutions, x))
        shortcut: Tensor = self.shortcut(x)
        return branch + shortcut if self.gate is None else self.gate(branch, shortcut)


class SpikingResNet(nn.Module):
    """A residual network with spike shortcuts; by default of depth 6n + 2, for small images.

    Args:
        blocks: number of blocks in each stage: one number for all, or one for each.
        widths: channels of the stages (a quarter of them, with bottlenecks).
        in_channels, classes: channels of the frames (unsigned 8-bit pixels); classes.
        block: ``plain``, ``tdbn`` or ``sew``.
        connect: of ``sew``, ``add``, ``and`` or ``iand``.
        surrogate: of every neuron.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions instead of two 3x3.
        stem: size of the stem's kernel, 3 or 7.
        stem_stride, first_stride: strides of the stem and of the first stage.
        stem_pool: whether a maximum over 3x3 with stride 2 follows the stem's neuron.
        stem_width: channels of the stem; 0: as many as the first stage.
        threshold, voltage_decay, fires_at: arguments of every neuron (:class:`Lif`). Norms start at
            the threshold.
        mean, std: mean and deviation of the pixels per channel (:class:`GradedConv`).

    Takes frames (T, N, C, H, W), gives logits (N, classes).
    """

    @takes(
        block=one_of(KINDS, LayerError),
        connect=choice("connect"),
        bottleneck=flag(LayerError),
        stem_pool=flag(LayerError),
    )
    def __init__(
        self,
        blocks: int | Sequence[int] = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        block: str = "plain",
        connect: str = "add",
        surrogate: str = "rectangular",
        bottleneck: bool = False,
        stem: int = 3,
        stem_stride: int = 1,
        first_stride: int = 1,
        stem_pool: bool = False,
        stem_width: int = 0,
        threshold: float = THRESHOLD,
        voltage_decay: float = 0.75,
        fires_at: bool = False,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        numbers = per_stage(blocks, widths)
        neuron = partial(Lif, threshold, voltage_decay, surrogate=surrogate, fires_at=fires_at)
        parts = Parts(block, threshold, neuron, bottleneck)
        serial, _, scale = _norms(block, threshold)
        channels = stem_width or widths[0]
        self.stem = deferred(
            GradedConv(
                in_channels,
                channels,
                stem,
                stem_stride,
                padding=stem // 2,
                pixels=True,
                norm=serial,
                norm_scale=scale,
                mean=mean,
                std=std,
            )
        )
        self.neuron = neuron()
        self.pool = MaxPool(channels, 3, 2, 1) if stem_pool else nn.Identity()
        stages: list[nn.Module] = []
        for stage, (width, number) in enumerate(zip(widths, numbers, strict=True)):
            for index in range(number):
                stride = (2 if stage > 0 else first_stride) if index == 0 else 1
                stages.append(
                    SewBlock(channels, width, stride, connect, parts)
                    if block == "sew"
                    else PlainBlock(channels, width, stride, parts)
                )
                channels = parts.out(width)
        self.blocks = Chain(*stages)
        self.readout = Readout(channels, classes)

    @classmethod
    @takes(depth=one_of(IMAGENET, LayerError))
    def imagenet(
        cls,
        depth: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        in_channels: int = 3,
        classes: int = 1000,
        **rest: object,
    ) -> SpikingResNet:
        """Depth 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks), with a pool after the stem."""
        blocks = BLOCKS[depth]
        shape = {"bottleneck": IMAGENET[depth], "stem": 7, "stem_stride": 2, "stem_pool": True}
        return cls(blocks, widths, in_channels, classes, **shape, **rest)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        spikes = self.pool(self.neuron(self.stem(frames)))
        logits: Tensor = self.readout(self.blocks(spikes))
        return logits
