"""Process large arrays in blocks, so that intermediate results stay small."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 1 << 18  # values


def blocks(length: int, values: int) -> Iterator[slice]:
    """Yield slices of an axis of ``length``, each with up to :data:`BLOCK` ``values``.

    Their size is a power of two. BLAS processes rows in groups of four, so sums in a block equal
    those in the complete array.
    """
    each = 1 << max(1, BLOCK * length // max(values, 1)).bit_length() - 1
    return (slice(start, min(start + each, length)) for start in range(0, length, each))
