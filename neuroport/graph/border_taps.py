"""Find the kernel taps that lie inside the map at once: on a small map never all of them.

At an output position the taps that lie inside the map are a range per axis. A bound of what a
convolution sums is the largest over these ranges, not the sum of all taps: a 3x3 kernel on a 1x1
map reads with one tap.
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
    """Ranges ``(first, end)`` of taps that are read at one position, per axis; none holds another.

    The taps of a position are the rows of one range and the columns of another, and each such pair
    exists.
    """

    rows: Ranges
    columns: Ranges

    @property
    def most_taps(self) -> int:
        """Number of taps that are read at once, at most."""
        return max(b - a for a, b in self.rows) * max(b - a for a, b in self.columns)

    def cropped(self) -> tuple[tuple[slice, slice], Inside | None]:
        """The part of the kernel that is read at all, and the ranges in it; None if all at once."""
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
        """The largest sum of ``values`` (O, kH, kW), none negative, over the taps of a position."""
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
    """The taps of a convolution that read a map of ``size`` together; None if all do somewhere."""
    every = [_ranges(*axis) for axis in zip(size, kernel, stride, padding, dilation, strict=True)]
    if all(ranges == ((0, taps),) for ranges, taps in zip(every, kernel, strict=True)):
        return None
    return Inside(*every)


def _ranges(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Ranges:
    """The ranges of taps on one axis that are read at one position and that no other holds."""
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
