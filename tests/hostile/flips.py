"""Mutations of bytes: what a disk, a network or a bored attacker does to a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Flip = Callable[[Rng, bytearray], None]

LIMITS = (0, 1, 2**15 - 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def _spot(rng: Rng, content: bytearray, size: int = 1) -> int:
    """A place to damage, mostly where something is: half of a file is padding."""
    for _ in range(8):
        at = int(rng.integers(max(1, len(content) - size)))
        if any(content[at : at + 4]):
            break
    return at


def one_bit(rng: Rng, content: bytearray) -> None:
    """Flip a bit."""
    content[_spot(rng, content)] ^= 1 << int(rng.integers(8))


def some_bits(rng: Rng, content: bytearray) -> None:
    """Flip 2 to 16 bits, anywhere."""
    for _ in range(int(rng.integers(2, 17))):
        one_bit(rng, content)


def burst(rng: Rng, content: bytearray) -> None:
    """Overwrite 2 to 64 bytes in a row with noise."""
    size = int(rng.integers(2, 65))
    at = _spot(rng, content, size)
    content[at : at + size] = rng.bytes(len(content[at : at + size]))


def zeros(rng: Rng, content: bytearray) -> None:
    """Zero a block of 16 to 4096 bytes, as a disk does that lost a sector."""
    size = 1 << int(rng.integers(4, 13))
    at = _spot(rng, content) // size * size
    content[at : at + size] = bytes(len(content[at : at + size]))


def truncation(rng: Rng, content: bytearray) -> None:
    """Cut the end off."""
    del content[int(rng.integers(len(content))) :]


def insertion(rng: Rng, content: bytearray) -> None:
    """Put 1 to 64 bytes in between, so that everything after them moves."""
    at = _spot(rng, content)
    content[at:at] = rng.bytes(int(rng.integers(1, 65)))


def removal(rng: Rng, content: bytearray) -> None:
    """Take 1 to 64 bytes away."""
    at = _spot(rng, content)
    del content[at : at + int(rng.integers(1, 65))]


def copied(rng: Rng, content: bytearray) -> None:
    """Write one block of the file over another."""
    size = 1 << int(rng.integers(3, 11))
    source, target = _spot(rng, content, size), _spot(rng, content, size)
    piece = content[source : source + size]
    content[target : target + len(piece)] = piece


def limit(rng: Rng, content: bytearray) -> None:
    """Write a size or count that no program expects, of 1 to 8 bytes."""
    size = int(rng.choice([1, 2, 4, 8]))
    at = _spot(rng, content, size) // 2 * 2
    value = LIMITS[int(rng.integers(len(LIMITS)))] % (1 << 8 * size)
    content[at : at + size] = value.to_bytes(size, "little")


def pointer(rng: Rng, content: bytearray) -> None:
    """Make an address of the file point elsewhere in it: cycles, overlaps, the wrong kind."""
    words = np.frombuffer(bytes(content[: len(content) // 8 * 8]), "<u8")
    (addresses,) = np.nonzero((words > 0) & (words < len(content)))
    if len(addresses):
        at = 8 * int(rng.choice(addresses))
        pool = int(words[rng.choice(addresses)]), int(rng.integers(len(content))) // 8 * 8
        content[at : at + 8] = int(rng.choice(pool)).to_bytes(8, "little")


FLIPS: dict[str, Flip] = {
    "one bit": one_bit,
    "some bits": some_bits,
    "burst": burst,
    "zeroed block": zeros,
    "truncation": truncation,
    "insertion": insertion,
    "removal": removal,
    "copied block": copied,
    "extreme number": limit,
    "wrong pointer": pointer,
}
