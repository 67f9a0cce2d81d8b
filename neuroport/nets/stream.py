"""What travels between synapses and neurons in the integer phase."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Stream:
    """A sum of integer currents and the real bias that belongs to it.

    ``value`` holds integers in float32 (exact below 2**24), shape (T, N, C, H, W), in units of the
    stream's LSB. ``bias`` is (C,), or (C, H, W) where it differs by position, in real units: biases
    of a stream add up as real numbers and each neuron rounds the sum once, so that depth does not
    accumulate rounding.
    """

    value: Tensor
    bias: Tensor

    def __add__(self, other: Stream) -> Stream:
        if self.bias.ndim == other.bias.ndim:
            return Stream(self.value + other.value, self.bias + other.bias)
        return Stream(self.value + other.value, per_position(self.bias) + per_position(other.bias))


def per_position(bias: Tensor) -> Tensor:
    """A bias as (C, 1, 1) or (C, H, W)."""
    return bias.reshape(len(bias), *(bias.shape[1:] or (1, 1)))
