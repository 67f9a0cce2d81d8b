"""A convolution and the projections behind it as one convolution: nothing is rounded between them.

A projection of a membrane stream is linear and reads no padding, so that it may be put before the
sum that it reads,

    P(F_0(s_0) + F_1(s_1) + ...) = P(F_0(s_0)) + P(F_1(s_1)) + ...,

and each term is a convolution of the messages ``s_i`` whose kernel is P's composed with F_i's: 4x4
of stride 2 for a 3x3 kernel behind which 2x2 are averaged, 6x6 of stride 4 behind two of them.
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

    It has no weights of its own: they are the two layers', whose gradients it passes on. In the
    integer phase the composed weights are what is rounded, once. It is for evaluation and for the
    integer phase: while real numbers are trained, the norm of a projection needs what it projects.

    Args:
        source: a convolution of spikes, or one that is composed.
        projection: of the stream that ``source`` enters.
        biased: whether the projection's bias is added here; one of its sources brings it.

    Raises:
        LayerError: a projection that pads, dilates or groups, or a source that dilates or groups.
    """

    def __init__(self, source: Conv, projection: GradedConv, biased: bool) -> None:
        nn.Module.__init__(self)
        for layer, pads in ((source, False), (projection, projection.padding != (0, 0))):
            if pads or layer.dilation != (1, 1) or layer.groups != 1:
                raise LayerError(
                    f"{layer} cannot be composed: a projection that pads, dilates or has groups is "
                    "no kernel that one convolution holds"
                )
        # a tuple, since both belong to other modules of the network
        self._parts = source, projection
        self.biased = biased
        self.pool = (1, 1)
        self.register_buffer("lsb", torch.zeros((), dtype=torch.float64))
        self.register_buffer("exponent", torch.zeros((), dtype=torch.int64))

    @property
    def synapse(self) -> nn.Conv2d:  # type: ignore[override]
        """The source's, which says what is read."""
        return self._parts[0].synapse

    @property
    def norm(self) -> nn.Module:  # type: ignore[override]
        """The projection's, which says what is sent."""
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
        # the order of a sum would show in the last bit of float32
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
        """What the kernel is given: messages as they are."""
        return x


class ComposedStem(Composed, GradedConv):
    """The same for a source of pixels: its relay, if it rounds, is the only one on the way."""

    def __init__(self, source: GradedConv | ComposedStem, projection: GradedConv) -> None:
        Composed.__init__(self, source, projection, biased=True)
        self.pixels, self.rounds = True, source.rounds
        self.frame_norm = None  # the source's, whose :meth:`normalization` this takes
        self.relay_in = None
        self.register_buffer("source_lsb", torch.zeros((), dtype=torch.float64))
        self.relay_out = Relay()
        self.frame_bits, self.message_unit = source.frame_bits, source.message_unit

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Nothing: mean and deviation are those of the source."""

    def normalization(self) -> tuple[Tensor, Tensor]:
        source = self._parts[0]
        assert isinstance(source, GradedConv)
        return source.normalization()

    def unnormalized(self, x: Tensor) -> Tensor:
        """Pixels without their mean; the kernel divides by their deviation."""
        return x * self.message_unit - per_position(self.normalization()[0])


def compose(sources: dict[str, Conv], projection: GradedConv) -> dict[str, Conv]:
    """A convolution for each source of the stream that ``projection`` reads, by the same names.

    The first brings the projection's bias.
    """
    found: dict[str, Conv] = {}
    for name, source in sources.items():
        if isinstance(source, GradedConv):
            found[name] = ComposedStem(source, projection)
        else:
            found[name] = Composed(source, projection, biased=not found)
    return found
