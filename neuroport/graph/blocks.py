"""Large arrays are worked on in blocks: what is made on the way stays small beside them."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 1 << 18  # values


def blocks(length: int, values: int) -> Iterator[slice]:
    """Slices of an axis of ``length``, each of about :data:`BLOCK` of the array's ``values``."""
    each = max(1, BLOCK * length // max(values, 1))
    return (slice(start, min(start + each, length)) for start in range(0, length, each))
