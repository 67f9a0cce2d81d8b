"""VGG with multi-level neurons: MLF without shortcuts.

    stage:       MLF(tdBN(conv(x))), several times, then the average over 2 x 2
    classifier:  MLF(W x + b), MLF(W x + b), then the readout; no norms

Source: MLF, official code (``langfengQ/MLF-DSResNet``): stages of 2, 2, 3, 3, 3 convolutions with
64, 128, 256, 512, 512 channels for CIFAR-10, 16 layers with the classifier's. The convolutions have
no biases here, because each norm removes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from neuroport.arguments import one_of, takes
from neuroport.errors import LayerError
from neuroport.nets import held_numbers
from neuroport.nets.activation_recompute import Chain
from neuroport.nets.batchnorm import BiasNorm, TdBatchNorm
from neuroport.nets.ds_resnet import LEVELS, THRESHOLDS
from neuroport.nets.fused_batchnorm import deferred
from neuroport.nets.neuron import Mlf
from neuroport.nets.pooling import AvgPool
from neuroport.nets.recipe import per_stage
from neuroport.nets.synapse import Conv, GradedConv, Readout

DROPPED = 0.25  # dropout of the messages before the last two layers, in real-valued training


class MlfVgg(nn.Module):
    """Stages of convolutions, each of which ends with an average over 2 x 2; three dense layers.

    Args:
        blocks: number of convolutions in each stage: one number for all, or one for each.
        widths: channels of the stages; the dense layers have the last one, its half, and the
            classes.
        in_channels, classes: channels of the frames (unsigned 8-bit pixels); classes.
        levels: K, 1 to 4 levels of every neuron.
        surrogate: of every level.

    Takes frames (T, N, C, H, W), gives logits (N, classes).
    """

    @takes(levels=one_of(LEVELS, LayerError))
    def __init__(
        self,
        blocks: int | Sequence[int] = (2, 2, 3, 3, 3),
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        in_channels: int = 3,
        classes: int = 10,
        levels: int = 3,
        surrogate: str = "rectangular",
    ) -> None:
        super().__init__()
        neuron = partial(Mlf, THRESHOLDS[:levels], surrogate=surrogate)
        normed: dict[str, Any] = {"norm": TdBatchNorm, "norm_scale": 1.0}
        numbers = per_stage(blocks, widths)
        stages: list[nn.Module] = []
        channels = in_channels
        for width, number in zip(widths, numbers, strict=True):
            layers: list[nn.Module] = []
            for _ in range(number):
                first = not stages and not layers
                conv = (
                    GradedConv(channels, width, 3, padding=1, pixels=True, **normed)
                    if first
                    else Conv(channels, width, **normed)
                )
                layers += [deferred(conv), neuron()]
                channels = width
            stages.append(nn.Sequential(*layers, AvgPool(2)))
        self.blocks = Chain(*stages)
        sizes = [(channels, channels), (channels, max(1, channels // 2))]
        self.dense = nn.ModuleList(
            nn.Sequential(Conv(inner, outer, 1, 1, 0, norm=BiasNorm), neuron())
            for inner, outer in sizes
        )
        self.dropout = nn.Dropout(DROPPED)
        self.readout = Readout(sizes[-1][1], classes)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.blocks(frames)
        for layer in self.dense:
            x = layer(x)
            # a network with dropout is not an integer network
            if self.training and held_numbers.number(self.readout.lsb) == 0:
                x = self.dropout(x)
        logits: Tensor = self.readout(x)
        return logits
