"""Several ways of doing the same work, timed in turn, so that a drift of the machine hits all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from neuroport.kernels.allocator import keep_freed

Work = Callable[[], object]


@dataclass(frozen=True)
class Spread:
    """Median, least and largest of several measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def to_list(self, digits: int) -> list[float]:
        """``[median, low, high]``, rounded."""
        return [round(value, digits) for value in (self.median, self.low, self.high)]


@dataclass(frozen=True)
class Turns:
    """Seconds of every way in every round."""

    seconds: dict[str, list[float]]

    def time(self, way: str) -> Spread:
        """Seconds of ``way``."""
        return Spread.of(self.seconds[way])

    def ratio(self, way: str, other: str) -> Spread:
        """``way`` over ``other``, round by round."""
        pairs = zip(self.seconds[way], self.seconds[other], strict=True)
        return Spread.of([a / b for a, b in pairs])

    def faster(self, *ways: str) -> str:
        """The one of ``ways`` with the smallest median."""
        return min(ways, key=lambda way: self.time(way).median)


def in_turn(ways: Mapping[str, Work], rounds: int, warm: int = 2) -> Turns:
    """Time all ``ways`` once per round, after ``warm`` rounds that do not count.

    Every round begins with another way, so that none always follows the same one. Freed memory
    stays with the process, as in our training: the system's clearing of pages slows none of them.
    """
    keep_freed()
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warm + rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            ways[name]()
            if turn >= warm:
                seconds[name].append(time.perf_counter() - started)
    return Turns(seconds)
