"""The geometry of convolutions: the positions that each tap of a kernel reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroport.graph.array_storage import Packed

IntArray = npt.NDArray[np.int64]
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """One kernel that is applied at every position of a map.

    ``weight`` is (O, I/groups, kH, kW), as a node holds it in ``packed``; ``stride``, ``padding``,
    ``dilation`` are (H, W).
    """

    packed: Packed
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def weight(self) -> IntArray:
        return self.packed.unfolded()

    def landing(self, axis: int, size: int, outputs: int) -> IntArray:
        """Return the output row for each tap and input row, (taps, ``size``); -1 if none.

        ``landing[k, y] = (y + padding - k * dilation) / stride`` where that is a whole number below
        ``outputs``. ``axis`` is 0 for rows, 1 for columns.
        """
        tap = np.arange(self.packed.shape[2 + axis])[:, None]
        start = np.arange(size)[None] + self.padding[axis] - tap * self.dilation[axis]
        position, remainder = np.divmod(start, self.stride[axis])
        inside = (remainder == 0) & (position >= 0) & (position < outputs)
        return np.where(inside, position, -1)
