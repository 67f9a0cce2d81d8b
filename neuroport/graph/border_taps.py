"""Find which kernel taps lie inside a map at the same time; on a small map, never all of them.

At each output position, the taps inside the map form a range on each axis. The bound of a
convolution is the largest sum over these ranges, not the sum of all taps: on a 1x1 map, a 3x3
kernel uses a single tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Ranges: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Inside:
    """Ranges ``(first, end)`` of taps used at one position, per axis; no range contains another.

    A position uses the rows of one range and the columns of another. Every such pair occurs.
    """

    rows: Ranges
    columns: Ranges

    @property
    def most_taps(self) -> int:
        """Largest number of taps that one position uses."""
        return max(b - a for a, b in self.rows) * max(b - a for a, b in self.columns)

    def cropped(self) -> tuple[tuple[slice, slice], Inside | None]:
        """Return the used part of the kernel, and its ranges; None if a position uses all of it."""
        parts = [
            slice(min(a for a, _ in axis), max(b for _, b in axis))
            for axis in (self.rows, self.columns)
        ]
        if len(self.rows) == len(self.columns) == 1:
            return (parts[0], parts[1]), None
        rows, columns = (
            tuple((a - part.start, b - part.start) for a, b in axis)
            for axis, part in zip((self.rows, self.columns), parts, strict=True)
        )
        return (parts[0], parts[1]), Inside(rows, columns)

    def most(self, values: Array) -> Array:
        """Return the largest sum over one position's taps of nonnegative ``values`` (O, kH, kW)."""
        for axis, ranges in ((1, self.rows), (2, self.columns)):
            first, end = np.array(ranges).T
            sums = np.cumsum(values, axis=axis)
            sums = np.insert(sums, 0, 0, axis=axis)
            values = sums.take(end, axis=axis) - sums.take(first, axis=axis)
        found: Array = values.max(axis=(1, 2))
        return found


def inside(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Inside | None:
    """Return the taps used together on a map of ``size``; None if a position uses all."""
    every = [_ranges(*axis) for axis in zip(size, kernel, stride, padding, dilation, strict=True)]
    if all(ranges == ((0, taps),) for ranges, taps in zip(every, kernel, strict=True)):
        return None
    return Inside(*every)


def _ranges(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Ranges:
    """Return the largest ranges of taps that one position uses on one axis."""
    last = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride  # position
    found: list[tuple[int, int]] = []
    for tap in range(kernel):
        # with the position both ends move down: the first one that reads the tap reads most others
        position = max(0, -((tap * dilation - padding) // stride))
        start = position * stride - padding
        if position > last:
            continue
        first = max(0, -(start // dilation))
        end = min(kernel, (size - 1 - start) // dilation + 1)
        if first >= end:
            continue
        if found and found[-1][1] >= end:  # those found begin no later
            continue
        while found and found[-1][0] >= first:
            found.pop()
        found.append((first, end))
        if end == kernel:
            break
    return tuple(found) or ((0, 1),)  # all windows lie in the padding: any one tap reads a 0
