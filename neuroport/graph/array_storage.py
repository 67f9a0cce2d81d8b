"""Store integer arrays compactly: narrow types, no common zero bits, repeated values once.

Weights of 8 bits are even, or small, so that each fits in a byte. A projection after a pooling is a
kernel of equal values, and many biases are one value per channel. The stored array unfolds to the
given array exactly::

    values[i, j, ...] = stored[i // repeat[0], j // repeat[1], ...] << shift
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.graph.chunks import blocks

Array: TypeAlias = npt.NDArray[Any]

TYPES = tuple(np.dtype(f"<i{size}") for size in (1, 2, 4, 8))
UNFOLD = 4  # values per byte of a file: no small file takes much memory


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """An array as it is stored; ``repeat`` has one number per axis."""

    stored: Array
    shift: int
    repeat: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of unfolded values, as a Python integer, which cannot overflow."""
        return int(self.stored.size) * math.prod(self.repeat)

    def unfolded(self) -> npt.NDArray[np.int64]:
        """The values, read-only."""
        shape = self.stored.shape
        pairs = [n for pair in zip(shape, self.repeat, strict=True) for n in pair]
        values = np.empty([n * r for n, r in zip(shape, self.repeat, strict=True)], np.int64)
        once = self.stored.reshape([n for size in shape for n in (size, 1)])
        np.left_shift(once, self.shift, out=values.reshape(pairs), dtype=np.int64)
        values.setflags(write=False)
        return values


def pack(arrays: Sequence[npt.NDArray[np.int64]]) -> Iterator[Packed]:
    """Yield the arrays of one file in order, each packed on demand.

    If the file would unfold to more than :data:`UNFOLD` values per byte, the arrays that repeat
    most are stored in full.
    """
    repeats = [_repeat(array) for array in arrays]
    times = [math.prod(repeat) for repeat in repeats]
    values = stored = sum(array.size for array in arrays)
    whole = set(range(len(arrays)))
    for index in sorted((n for n in range(len(arrays)) if times[n] > 1), key=times.__getitem__):
        size = arrays[index].size
        stored -= size - size // times[index]
        if values > UNFOLD * stored:
            break
        whole.remove(index)
    for index, array in enumerate(arrays):
        yield _narrow(array, (1,) * array.ndim if index in whole else repeats[index])


def _narrow(values: npt.NDArray[np.int64], repeat: tuple[int, ...]) -> Packed:
    """Return the array in the narrowest type, without common zero bits if that helps."""
    values = values[tuple(slice(None, None, n) for n in repeat)]
    low, high = _bounds(values)
    bits = int(np.bitwise_or.reduce(values, axis=None))
    zeros = (bits & -bits).bit_length() - 1 if bits else 0
    whole, shifted = _type(low, high), _type(low >> zeros, high >> zeros)
    shift = zeros if shifted.itemsize < whole.itemsize else 0
    stored = np.empty(values.shape, shifted)
    np.right_shift(values, shift, out=stored, casting="unsafe")
    return Packed(stored, shift, repeat)


def plain(values: npt.NDArray[np.int64]) -> Array:
    """Return the same values in the narrowest type, for readers that do not unfold arrays."""
    return values.astype(_type(*_bounds(values)))


def _bounds(values: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int(np.min(values, initial=0)), int(np.max(values, initial=0))


def _type(low: int, high: int) -> np.dtype[Any]:
    return next(kind for kind in TYPES if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)


def _repeat(values: Array) -> tuple[int, ...]:
    """Return, for each axis, the largest run length into which all its values divide."""
    if values.size == 0:
        return (1,) * values.ndim
    found = []
    for axis, size in enumerate(values.shape):
        lines = values.reshape(math.prod(values.shape[:axis]), size, -1)
        run = size
        for part in blocks(size - 1, values.size):
            after = slice(part.start + 1, part.stop + 1)
            differs = np.any(lines[:, after] != lines[:, part], axis=(0, 2))
            run = int(np.gcd.reduce(np.flatnonzero(differs) + after.start, initial=run))
            if run == 1:
                break
        found.append(run)
    return tuple(found)
