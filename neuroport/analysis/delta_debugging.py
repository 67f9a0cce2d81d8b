"""Delta debugging: reduce a list while a property holds (Zeller, TSE 28, 2002)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def ddmin(items: list[T], shows: Callable[[list[T]], bool]) -> list[T]:
    """Find a sublist with ``shows`` from which no single item can be removed.

    ``shows(items)`` must be true, and was true for the result. Ever smaller runs of neighbours are
    removed, with about ``k * log(len(items))`` tests if k items remain.
    """
    if items and shows([]):
        return []
    size = len(items) // 2
    while size:
        start, before = 0, len(items)
        while start < len(items):
            rest = items[:start] + items[start + size :]
            if rest and shows(rest):
                items = rest
            else:
                start += size
        # what was taken out may make room for more of the same size
        size = min(size, len(items) // 2) if size == 1 and len(items) < before else size // 2
    return items
