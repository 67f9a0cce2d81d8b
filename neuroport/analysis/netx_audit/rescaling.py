"""Compute how NetX and Lava change the weights of dense layers.

``optimize_weight_bits`` of NetX shifts a matrix to fill 8 bits, and compensates with an exponent.
Lava then chooses its own sign mode, clips and truncates. Most matrices are unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuroport.graph.node import IntArray


def rescaled(parts: Sequence[IntArray]) -> list[tuple[IntArray, int]] | None:
    """Return ``(weight, shift)`` of matrices that NetX scales together.

    The current is ``(w @ s) >> shift``. None if all weights are 0, where NetX stops.
    """
    whole = np.concatenate([part.ravel() for part in parts])
    low, high = int(whole.min()), int(whole.max())
    if low == high == 0:
        return None
    clipped = list(parts)
    if high > 254 and low < 0:
        clipped = [np.clip(part, -256, 254) for part in clipped]
        high = min(high, 254)
    if low < -256 and high > 0:
        clipped = [np.clip(part, -256, 254) for part in clipped]
        low = max(low, -256)
    signed = not (high < 0 or low >= 0)
    if signed:
        scale = min(127 / high if high else np.inf, -128 / low)
    else:
        scale = -256 / low if high < 0 else 255 / high
    bits = int(np.floor(np.log2(scale))) + signed
    even = _even(np.concatenate([part.ravel() for part in clipped])) - signed
    if bits < 0:  # NumPy shifts to the left by a negative number: nothing is left
        return [(np.zeros_like(part), 0) for part in parts]
    return [(_by_lava(part << bits, 8 - bits - even), bits) for part in clipped]


def survives(weight: IntArray, through: tuple[IntArray, int]) -> bool:
    """Return whether the rescaled weights give the same currents as the original ones."""
    found, shift = through
    return np.array_equal(found, weight << shift)


def _even(weight: IntArray) -> int:
    """Return the largest n up to 8 such that 2**n divides all weights."""
    return next(n for n in range(8, -1, -1) if n == 0 or not np.any(weight & ((1 << n) - 1)))


def _by_lava(weight: IntArray, num_weight_bits: int) -> IntArray:
    """Apply Lava's ``clip_weights`` and ``truncate_weights``."""
    mixed = weight.min() < 0 < weight.max()
    sign = -1 if weight.max() <= 0 and not weight.min() >= 0 else 1
    clipped = np.clip(sign * weight, -256 if mixed else 0, 255)
    lost = 8 - num_weight_bits + mixed
    return sign * ((clipped >> lost) << lost) if lost > 0 else sign * clipped
