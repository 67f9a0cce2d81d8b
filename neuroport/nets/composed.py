"""Compose a convolution with the projections behind it, so that nothing is rounded between them.

A projection of a membrane stream is linear and has no padding, so it can be applied before the
sum,

    P(F_0(s_0) + F_1(s_1) + ...) = P(F_0(s_0)) + P(F_1(s_1)) + ...,

and each term is a convolution of the messages ``s_i`` whose kernel composes P's with F_i's: 4x4
with stride 2 for a 3x3 kernel followed by an average over 2x2, 6x6 with stride 4 for two averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.errors import LayerError
from neuroport.nets.fused_batchnorm import DeferredCurrent
from neuroport.nets.held_numbers import number
from neuroport.nets.stream import Stream, per_position
from neuroport.nets.synapse import Conv, GradedConv, Relay


class Composed(Conv):
    """``projection(source(x))`` as one convolution of what ``source`` reads.

    It has no weights of its own. It uses those of the two layers and passes gradients to them. In
    the integer phase the composed weights are rounded, once. Use it for evaluation and in the
    integer phase only: in real-valued training, the projection's norm needs the stream.

    Args:
        source: a convolution of spikes, or another composed one.
        projection: the projection of the stream that ``source`` enters.
        biased: whether to add the projection's bias here; only one of its sources adds it.

    Raises:
        LayerError: the projection pads, dilates or has groups, or the source dilates or has groups.
    """

    def __init__(self, source: Conv, projection: GradedConv, biased: bool) -> None:
        nn.Module.__init__(self)
        for layer, pads in ((source, False), (projection, projection.padding != (0, 0))):
            if pads or layer.dilation != (1, 1) or layer.groups != 1:
                raise LayerError(
                    f"{layer} cannot be composed: a projection that pads, dilates or has groups is "
                    "no kernel that one convolution holds"
                )
        # a tuple, because both are registered in other modules of the network
        self._parts = source, projection
        self.biased = biased
        self.pool = (1, 1)
        self._begin_grid()

    @property
    def synapse(self) -> nn.Conv2d:  # type: ignore[override]
        """The source's synapse, which determines the input."""
        return self._parts[0].synapse

    @property
    def norm(self) -> nn.Module:  # type: ignore[override]
        """The projection's norm, which determines the output."""
        return self._parts[1].norm

    @property
    def stride(self) -> tuple[int, int]:
        source, projection = self._parts
        return source.stride[0] * projection.stride[0], source.stride[1] * projection.stride[1]

    @property
    def padding(self) -> tuple[int, int]:
        return self._parts[0].padding

    def kernel(self) -> Tensor:
        return self.folded()[0]

    def folded(self) -> tuple[Tensor, Tensor]:
        (weight, bias), (kernel, shift) = (part.folded() for part in self._parts)
        # float64, because the order of a sum changes the last bit of float32
        composed = F.conv_transpose2d(
            kernel.double(), weight.double(), stride=self._parts[0].stride
        )
        carried = kernel.double().sum((2, 3)) @ bias.double()
        total = carried.to(bias.dtype) + shift if self.biased else carried.to(bias.dtype)
        return composed.to(weight.dtype), total

    def refusal(self) -> str | None:
        source, projection = self._parts
        return source.refusal() or projection.refusal()

    def _in_integers(self) -> None:
        for part in self._parts:
            part._in_integers()

    def forward(self, x: Any) -> Tensor | Stream | DeferredCurrent:
        if number(self.lsb) == 0:
            weight, bias = self.folded()
            return self.convolve(self.unnormalized(x), weight) + per_position(bias)
        return super().forward(x)

    def unnormalized(self, x: Tensor) -> Tensor:
        """The kernel's input: the messages, unchanged."""
        return x


class ComposedStem(Composed, GradedConv):
    """The same for a source of pixels; only the source's own relay may round."""

    def __init__(self, source: GradedConv | ComposedStem, projection: GradedConv) -> None:
        Composed.__init__(self, source, projection, biased=True)
        self.pixels, self.rounds = True, source.rounds
        self.frame_norm = None  # the source's, whose :meth:`normalization` this takes
        self.relay_in = None
        self.register_buffer("source_lsb", torch.zeros((), dtype=torch.float64))
        self.register_buffer("source_finer", None)
        self.relay_out = Relay()
        self.frame_bits, self.message_unit = source.frame_bits, source.message_unit

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Do nothing: mean and deviation are those of the source."""

    def normalization(self) -> tuple[Tensor, Tensor]:
        source = self._parts[0]
        assert isinstance(source, GradedConv)
        return source.normalization()

    def unnormalized(self, x: Tensor) -> Tensor:
        """Pixels without their mean; the kernel divides by their deviation."""
        return x * self.message_unit - per_position(self.normalization()[0])


def compose(sources: dict[str, Conv], projection: GradedConv) -> dict[str, Conv]:
    """Return a composed convolution for each source of the stream, by the same names.

    The first one adds the projection's bias.
    """
    found: dict[str, Conv] = {}
    for name, source in sources.items():
        if isinstance(source, GradedConv):
            found[name] = ComposedStem(source, projection)
        else:
            found[name] = Composed(source, projection, biased=not found)
    return found
