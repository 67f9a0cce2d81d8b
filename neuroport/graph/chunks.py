"""Process large arrays in blocks, so that intermediate results stay small."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 1 << 18  # values


def blocks(length: int, values: int) -> Iterator[slice]:
    """Slices of an axis of ``length``, each of up to :data:`BLOCK` of the array's ``values``.

    Their size is a power of two: BLAS, which takes rows by fours, then sums in a block as it does
    in the whole.
    """
    each = 1 << max(1, BLOCK * length // max(values, 1)).bit_length() - 1
    return (slice(start, min(start + each, length)) for start in range(0, length, each))
