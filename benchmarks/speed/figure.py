"""A figure of the results: a ratio or a number of seconds, and what it is held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.speed.timing import Spread


@dataclass(frozen=True)
class Figure:
    """``value`` of ``what`` in ``unit``; ``goal`` bounds the median from above, or from below.

    A figure without a goal is context: what the others are made of.
    """

    what: str
    value: Spread
    unit: str  # "x": a ratio
    goal: float | None = None
    at_least: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the median meets the goal."""
        if self.goal is None:
            return None
        return (self.value.median >= self.goal) == self.at_least or self.value.median == self.goal

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        bound = {} if self.goal is None else {"at_least" if self.at_least else "at_most": self.goal}
        digits = 3 if self.unit == "x" else 6 if self.value.high < 0.1 else 4
        median, low, high = self.value.to_list(digits)
        named = {"what": self.what, "median": median, "low": low, "high": high, "unit": self.unit}
        return {**named, **bound} | ({} if self.reached is None else {"reached": self.reached})
