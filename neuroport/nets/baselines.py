"""Residual spiking networks to compare with; all use this package's neuron and 6n + 2 layers.

    plain:   out = lif(norm(conv(lif(norm(conv(x))))) + shortcut(x))
             shortcut: spikes as currents of 1, or norm(conv1x1(x))
    sew:     out = g(lif(norm(conv(lif(norm(conv(x)))))), shortcut(x))
             shortcut: the identity, or lif(norm(conv1x1(x)))
             g(a, s) = a + s (add),  a s (and),  (1 - a) s (iand)

``tdbn`` is ``plain`` with the norms of STBP-tdBN (arXiv 2011.05280), whose alpha is 1/sqrt(2) where
two branches meet. SEW: arXiv 2102.04159. Products of spikes (``and``, ``iand``) can be trained, not
captured: a dendrite sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from neuroport.nets.activation_recompute import Chain
from neuroport.nets.batchnorm import TdBatchNorm
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.neuron import Lif
from neuroport.nets.stream import join
from neuroport.nets.synapse import Conv, Direct, GradedConv, Readout

CONNECTIONS = ("add", "and", "iand")
THRESHOLD = 0.5


def _norms(kind: str) -> tuple[Callable[[int], nn.Module], Callable[[int], nn.Module], float]:
    """Norms where one branch arrives and where two meet, and their initial gamma."""
    if kind == "tdbn":
        norm = partial(TdBatchNorm, threshold=THRESHOLD, inside=True)
        return norm, partial(norm, alpha=0.5**0.5), 1.0
    return nn.BatchNorm2d, nn.BatchNorm2d, THRESHOLD


class PlainBlock(nn.Module):
    """Addition before the activation."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, norms: str, surrogate: str
    ) -> None:
        super().__init__()
        serial, meeting, scale = _norms(norms)
        self.conv1 = deferred(Conv(in_channels, channels, 3, stride, norm=serial, norm_scale=scale))
        self.neuron1 = Lif(THRESHOLD, surrogate=surrogate)
        self.conv2 = deferred(Conv(channels, channels, norm=meeting, norm_scale=scale))
        self.shortcut: nn.Module = Direct(channels)
        if stride != 1 or in_channels != channels:
            self.shortcut = Conv(
                in_channels, channels, 1, stride, 0, norm=meeting, norm_scale=scale
            )
        self.neuron2 = Lif(THRESHOLD, surrogate=surrogate)

    def forward(self, x: Tensor) -> Tensor:
        current = self.conv2(self.neuron1(self.conv1(x)))
        return self.neuron2(join(current, self.shortcut(x)))  # type: ignore[no-any-return]


class SewBlock(nn.Module):
    """Activation before the spike-element-wise connection."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, connect: str, surrogate: str
    ) -> None:
        super().__init__()
        self.connect = connect
        self.conv1 = deferred(Conv(in_channels, channels, 3, stride))
        self.neuron1 = Lif(THRESHOLD, surrogate=surrogate)
        self.conv2 = deferred(Conv(channels, channels))
        self.neuron2 = Lif(THRESHOLD, surrogate=surrogate)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                deferred(Conv(in_channels, channels, 1, stride, 0)),
                Lif(THRESHOLD, surrogate=surrogate),
            )

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.neuron2(self.conv2(self.neuron1(self.conv1(x))))
        shortcut: Tensor = self.shortcut(x)
        if self.connect == "add":
            return branch + shortcut
        product = branch * shortcut
        return product if self.connect == "and" else shortcut - product


class SpikingResNet(nn.Module):
    """A baseline of depth 6n + 2.

    Args:
        blocks: n, the number of blocks in each stage.
        widths: channels of the stages.
        in_channels, classes: channels of the frames (unsigned 8-bit pixels); classes.
        block: ``plain``, ``tdbn`` or ``sew``.
        connect: of ``sew``, one of ``CONNECTIONS``.
        surrogate: of every neuron.

    Takes frames (T, N, C, H, W), gives logits (N, classes).
    """

    def __init__(
        self,
        blocks: int = 1,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 1,
        classes: int = 10,
        block: str = "plain",
        connect: str = "add",
        surrogate: str = "rectangular",
    ) -> None:
        super().__init__()
        serial, _, scale = _norms(block)
        self.stem = deferred(
            GradedConv(
                in_channels, widths[0], 3, padding=1, pixels=True, norm=serial, norm_scale=scale
            )
        )
        self.neuron = Lif(THRESHOLD, surrogate=surrogate)
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                stages.append(
                    SewBlock(channels, width, stride, connect, surrogate)
                    if block == "sew"
                    else PlainBlock(channels, width, stride, block, surrogate)
                )
                channels = width
        self.blocks = Chain(*stages)
        self.readout = Readout(channels, classes)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.blocks(self.neuron(self.stem(frames))))
        return logits
