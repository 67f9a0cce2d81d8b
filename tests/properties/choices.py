"""Where the choices of a random network come from: hypothesis, or one integer.

``Seeded`` draws from NumPy's legacy ``RandomState`` (MT19937), whose streams NumPy has frozen: the
same integer makes the same network with every version on every machine. Only integers are drawn and
only integer arithmetic follows, so that no rounding of a platform enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

T = TypeVar("T")


class Choices:
    """Draws of a builder; ``numbers`` fills arrays of weights and frames."""

    numbers: np.random.RandomState

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        raise NotImplementedError

    def pick(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        return self.integer(0, 99) >= 100 - percent

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.integer(low, high), self.integer(low, high)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """An array of integers in low..high, both included."""
        return self.numbers.randint(low, high + 1, shape, dtype=np.int64)


class Seeded(Choices):
    """Everything follows from a seed and the number of the attempt at it."""

    def __init__(self, seed: int, attempt: int) -> None:
        self.numbers = np.random.RandomState([seed, attempt])

    def integer(self, low: int, high: int) -> int:
        return int(self.numbers.randint(low, high + 1, dtype=np.int64))


class Drawn(Choices):
    """Hypothesis draws, and shrinks towards the first options; 0 % of what has a chance."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.numbers = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))
