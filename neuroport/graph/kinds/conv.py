"""Convolutions: synapses with the same kernel at all positions of a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroport.graph.border_taps import Inside, inside
from neuroport.graph.kernel import Kernel
from neuroport.graph.kinds.base import IntArray, Pair, Shape, Synapse, by, kind, pair, spread
from neuroport.graph.linear_bounds import Box, LinearMap, bounds


@kind("conv")
@dataclass(frozen=True, eq=False)
class Conv(Synapse):
    """``current = (weight * messages) << exponent``, cross-correlation as in torch.

    ``weight`` is (O, I/groups, kH, kW); ``stride``, ``padding``, ``dilation`` are (H, W). ``lag``
    as for :class:`Synapse`.
    """

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    exponent: int = 0
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    lag: int = 0

    @property
    def kernel(self) -> Kernel:
        return Kernel(self.packed("weight"), self.stride, self.padding, self.dilation, self.groups)

    def inside(self, source: Shape) -> Inside | None:
        """Return the taps used together on a map of shape ``source``; None if one uses all."""
        kernel = self.packed("weight").shape[2:]
        return inside(source[1:], kernel, self.stride, self.padding, self.dilation)

    def reading(self, channels: IntArray, size: int) -> Synapse:
        if self.groups != 1:
            raise self.refuse("takes the input's channels in groups")
        return self.replace(weight=self.weight[:, channels])

    def fan_out(self, source: Shape, target: Shape) -> IntArray:
        """``fan[c, y, x] = sum over taps of outputs(c, tap) * reaches(tap, y) * reaches(tap, x)``,
        where ``reaches`` is 1 if a tap carries an input row or column to an output, else 0.
        """
        kernel = self.kernel
        kept = kernel.packed.nonzero()
        grouped = kept.reshape(self.groups, -1, *kept.shape[1:])
        taps = grouped.sum(axis=1, dtype=np.int64).reshape(source[0], *kept.shape[2:])
        rows, columns = (
            kernel.landing(axis, source[1 + axis], target[1 + axis]) >= 0 for axis in (0, 1)
        )
        return np.asarray(np.einsum("ckl,ky,lx->cyx", taps, rows, columns, dtype=np.int64))

    def infer(
        self, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, IntArray, IntArray]:
        weight, groups = self.weight, self.groups
        if len(shape) != 3:
            raise self.refuse(f"a Conv takes (C, H, W), its input is {shape}; use Dense")
        if weight.ndim != 4 or groups < 1 or shape[0] % groups or weight.shape[0] % groups:
            raise self.refuse(
                f"weight {weight.shape} in {groups} groups does not fit {shape[0]} channels; "
                "weight is (O, I/groups, kH, kW)"
            )
        if weight.shape[1] != shape[0] // groups:
            raise self.refuse(
                f"weight {weight.shape} takes {weight.shape[1] * groups} channels, its input has "
                f"{shape[0]}"
            )
        if min(self.stride) < 1 or min(self.dilation) < 1 or min(self.padding) < 0:
            raise self.refuse("stride and dilation start at 1, padding at 0")
        self.check_synapse()
        size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                shape[1:], self.padding, self.dilation, weight.shape[2:], self.stride, strict=True
            )
        )
        if min(size) < 1 or min(weight.shape) < 1:
            raise self.refuse(
                f"kernel {weight.shape[2:]} leaves nothing of an input {shape}; use a smaller "
                "kernel or more padding"
            )
        low, high = self._range(weight, shape, spread(low, shape[0]), spread(high, shape[0]))
        return (weight.shape[0], *size), low << self.exponent, high << self.exponent

    def _range(
        self, weight: IntArray, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Return the range of the sums.

        All groups are computed together, because a small file could ask a loop for a million
        groups.
        """
        groups = self.groups
        taps = weight.reshape(groups, weight.shape[0] // groups, -1)
        number = weight.shape[2] * weight.shape[3]
        together = self.inside(shape)
        if together is None:
            low, high = (np.repeat(b, number).reshape(groups, -1, 1) for b in (low, high))
            low, high = bounds(taps, low, high)
            return low.ravel(), high.ravel()
        # tap by tap, and the most that one position sums
        each = taps.reshape(groups, taps.shape[1], -1, number).swapaxes(2, 3)
        each = each.reshape(groups, taps.shape[1] * number, -1)
        low, high = bounds(each, *(bound.reshape(groups, -1, 1) for bound in (low, high)))
        low, high = (b.reshape(weight.shape[0], *weight.shape[2:]) for b in (low, high))
        return -together.most(-low), together.most(high)

    def as_current(self, messages: tuple[Box, ...], source: Shape) -> LinearMap | None:
        together, factor = self.inside(source), 2.0**self.exponent
        return LinearMap(self.packed("weight"), messages, self.groups, factor, together)

    def title(self) -> str:
        shape = self.packed("weight").shape
        depthwise = shape[1:] == (1, 1, 1) and self.groups == shape[0]
        plain = max(self.stride) == 1 and max(self.padding) == 0 and self.exponent == 0
        if depthwise and plain and bool((self.weight == 1).all()):
            return "identity"
        stride = "" if max(self.stride) == 1 else f" /{pair(self.stride)}"
        groups = "" if self.groups == 1 else f" in {self.groups} groups"
        return f"conv {by(shape[2:])}{stride}{groups}"

    def details(self) -> list[str]:
        return [
            f"stride {pair(self.stride)}, padding {pair(self.padding)}",
            f"dilation {pair(self.dilation)}, groups {self.groups}",
        ]

    def text(self) -> str:
        parts = [f"w {'x'.join(str(n) for n in self.packed('weight').shape)}"]
        for name, default in (("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1))):
            value = getattr(self, name)
            if value != default:
                parts.append(f"{name} {value[0]},{value[1]}")
        if self.groups != 1:
            parts.append(f"groups {self.groups}")
        return " ".join(parts) + self.suffix()
