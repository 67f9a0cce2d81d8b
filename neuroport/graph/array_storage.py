"""Hold integer arrays compactly: narrow types, no common zero bits, repeated values once.

So are the arrays of files, and the large ones of nodes (which do not look for repeats). NumPy
computes with narrow integers modulo their width, without a word, so nobody calculates with what is
stored: every reader gets the values unfolded to 64 bits.

Weights of 8 bits are even, or small, so that each fits in a byte. A projection after a pooling is a
kernel of equal values, and many biases are one value per channel. The stored array unfolds to the
given array exactly::

    values[i, j, ...] = stored[i // repeat[0], j // repeat[1], ...] << shift
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.graph.chunks import blocks

Array: TypeAlias = npt.NDArray[Any]
Integers: TypeAlias = npt.NDArray[np.int64]

TYPES = tuple(np.dtype(f"<i{size}") for size in (1, 2, 4, 8))
SMALL = 1 << 16  # values that a node holds in 64 bits: narrow ones would cost time and save little
UNFOLD = 4  # values per byte of a file: no small file takes much memory


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """An array as it is stored, read-only; ``repeat`` has one number per axis."""

    stored: Array
    shift: int
    repeat: tuple[int, ...]

    def __post_init__(self) -> None:
        self.stored.setflags(write=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the unfolded values."""
        return tuple(n * r for n, r in zip(self.stored.shape, self.repeat, strict=True))

    @property
    def size(self) -> int:
        """Number of unfolded values, as a Python integer, which cannot overflow."""
        return int(self.stored.size) * math.prod(self.repeat)

    @property
    def range(self) -> tuple[int, int]:
        """The least and the largest value; 0 and 0 of none."""
        if not self.stored.size:
            return 0, 0
        return int(self.stored.min()) << self.shift, int(self.stored.max()) << self.shift

    @property
    def bits(self) -> int:
        """All values joined bit by bit, by *or*: it is odd if one of them is."""
        return int(np.bitwise_or.reduce(self.stored, axis=None)) << self.shift

    def unfolded(self) -> Integers:
        """The values, read-only; a new array of 64 bits, unless that is how they are stored."""
        if self.shift == 0 and self.stored.dtype == np.int64 and max(self.repeat, default=1) == 1:
            return self.stored
        values = np.empty(self.shape, np.int64)
        once, all_of_them = _beside(self.stored, values, self.repeat)
        np.left_shift(once, self.shift, out=all_of_them, dtype=np.int64)
        values.setflags(write=False)
        return values

    def rows(self) -> Iterator[tuple[slice, Integers]]:
        """Yield the values of an array of one axis or more, unfolded some rows at a time."""
        each = self.repeat[0]
        for part in blocks(self.shape[0], self.size):
            first = part.start // each
            piece = Packed(self.stored[first : -(-part.stop // each)], self.shift, self.repeat)
            yield part, piece.unfolded()[part.start - first * each : part.stop - first * each]

    def nonzero(self) -> npt.NDArray[np.bool_]:
        """Return where the values are not 0."""
        return _spread(self.stored != 0, self.repeat)


def _beside(stored: Array, values: Array, repeat: tuple[int, ...]) -> tuple[Array, Array]:
    """Return views of both in which each stored value stands beside its repeats."""
    pairs = [n for pair in zip(stored.shape, repeat, strict=True) for n in pair]
    return stored.reshape([n for size in stored.shape for n in (size, 1)]), values.reshape(pairs)


def _spread(stored: Array, repeat: tuple[int, ...]) -> Array:
    """Return the stored values with their repeats, in their type."""
    if max(repeat, default=1) == 1:
        return stored
    shape = [n * r for n, r in zip(stored.shape, repeat, strict=True)]
    values = np.empty(shape, stored.dtype)
    once, all_of_them = _beside(stored, values, repeat)
    all_of_them[...] = once
    return values


def hold(values: Array | Packed) -> Packed:
    """Return integers as a node holds them, in memory of their own: many of them packed."""
    if isinstance(values, Packed):
        if values.size > SMALL or values.unfolded() is values.stored:
            return values
        values = values.unfolded()
    if values.size > SMALL:
        return narrow(values.astype(np.int64, copy=False))
    return Packed(np.array(values, np.int64, order="C"), 0, (1,) * values.ndim)


def narrow(values: Integers, repeat: tuple[int, ...] | None = None) -> Packed:
    """Pack values that are each repeated, for each axis so many times, without looking for more."""
    once = (1,) * values.ndim
    return replace(_narrow(Packed(values.view(), 0, once), once), repeat=repeat or once)


def pack(arrays: Sequence[Packed]) -> Iterator[Packed]:
    """Yield the arrays of one file in order, each packed on demand as a file holds it.

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
        yield _narrow(array, (1,) * len(array.repeat) if index in whole else repeats[index])


def _narrow(array: Packed, repeat: tuple[int, ...]) -> Packed:
    """Return the array in the narrowest type, without common zero bits if that helps.

    ``repeat`` are the repeats of its values, or 1 each for an array in full.
    """
    stored = array.stored
    if repeat != array.repeat:
        stored = _spread(stored, array.repeat)[tuple(slice(None, None, n) for n in repeat)]
    low, high = array.range
    bits = array.bits
    zeros = (bits & -bits).bit_length() - 1 if bits else 0
    whole, shifted = _type(low, high), _type(low >> zeros, high >> zeros)
    shift = zeros if shifted.itemsize < whole.itemsize else 0
    made = np.empty(stored.shape, shifted)
    if shift >= array.shift:
        np.right_shift(stored, shift - array.shift, out=made, casting="unsafe")
    else:
        np.left_shift(stored, array.shift - shift, out=made, casting="unsafe", dtype=np.int64)
    return Packed(made, shift, repeat)


def plain(values: Integers) -> Array:
    """Return the same values in the narrowest type, for readers that do not unfold arrays."""
    return values.astype(_type(*_bounds(values)))


def _bounds(values: Array) -> tuple[int, int]:
    return int(np.min(values, initial=0)), int(np.max(values, initial=0))


def _type(low: int, high: int) -> np.dtype[Any]:
    return next(kind for kind in TYPES if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)


def _repeat(array: Packed) -> tuple[int, ...]:
    """Return, for each axis, the largest run length into which all its values divide."""
    values = array.stored
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
        found.append(run * array.repeat[axis])
    return tuple(found)
