"""Bound projections of a graded stream by composing kernels, not by multiplying ranges.

Everything between two firing populations is linear. A projection ``P`` of a stream reads the sum of
currents ``W_j * x_j``, so its current is ``sum_j (P W_j) * x_j``, which is at most ``sum_j sum |P
W_j| |x_j|``. The product of ranges, ``sum |P| sum_j |W_j| |x_j|``, is larger by a factor of about
the square root of the channels for each projection.

Kernels are composed tap by tap: a tap of ``P`` reads ``P_tap @ W_j`` of each source. The bounds of
taps that are used together (:mod:`neuroport.graph.border_taps`) are added, for any padding, stride
and dilation. Rounding in a relay is an error of at most half a unit per message.

The computation uses float64. A bound on its rounding errors widens the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.graph.array_storage import Packed
from neuroport.graph.border_taps import Inside
from neuroport.graph.chunks import blocks

Array: TypeAlias = npt.NDArray[Any]
Integers: TypeAlias = npt.NDArray[np.int64]

EPSILON = 2.0**-52  # twice the relative error of one operation in float64
SLACK = 1 + 2.0**-30  # covers the sums of up to 2**20 terms of one sign


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Messages of a known range per channel; ``low <= 0 <= high``."""

    low: Array
    high: Array


@dataclass(frozen=True, slots=True, eq=False)
class Sum(Box):
    """Messages that are a sum of currents: ``|message - scale * sum| <= error``."""

    currents: tuple[LinearMap, ...]
    scale: float = 1.0
    error: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """``factor * (weight * sum of messages)``, a convolution with ``weight`` (O, I/groups, ...).

    ``inside`` are the taps used together; None if some position uses all. A graph holds many, so
    the weights of a node stay packed, and are unfolded where they are used.
    """

    weight: Array | Packed
    messages: tuple[Box, ...]
    groups: int = 1
    factor: float = 1.0
    inside: Inside | None = None

    @property
    def mixes(self) -> bool:
        """Whether channels are mixed, so that composing kernels improves the bound."""
        return self.weight.shape[1] > 1 or any(isinstance(m, Sum) for m in self.messages)

    def taps(self) -> tuple[Array, int, Taps | None]:
        """Weight as (O, I/groups, taps), equal taps (a pooled projection's) once; their number.

        And which taps are read together, None if all of them are.
        """
        weight, inside, number = self.weight, self.inside, None
        weight = weight.unfolded() if isinstance(weight, Packed) else weight
        if inside is not None:
            number = inside.most_taps
            part, inside = inside.cropped()
            weight = weight[:, :, part[0], part[1]]
        flat = weight.reshape(*weight.shape[:2], -1)
        if flat.shape[2] > 1 and bool(np.all(flat == flat[:, :, :1])):
            return flat[:, :, :1], number or flat.shape[2], None
        return flat, 1, None if inside is None else Taps(weight.shape[2:], inside)


@dataclass(frozen=True, slots=True)
class Taps:
    """Size (rows, columns) of a kernel that no position uses completely."""

    shape: tuple[int, ...]
    inside: Inside

    def most(self, values: list[Array]) -> Array:
        """The largest sum of ``values``, (O,) for each tap and none negative, over a position."""
        each = np.stack(values, axis=1).reshape(-1, *self.shape)
        # differences of sums that are known to within their rounding
        found: Array = self.inside.most(each) + each.sum((1, 2)) * (SLACK - 1)
        return found


@dataclass(slots=True)
class Budget:
    """Number of multiplications left; when it is used up, ranges are multiplied instead."""

    left: float = float(1 << 28)

    def earn(self, weights: int) -> None:
        """Increase the budget in proportion to a network's weights."""
        self.left += float(weights << 12)

    def spend(self, multiplications: int) -> bool:
        cost = multiplications + (1 << 14)  # a product of small matrices costs time, too
        if cost > self.left:
            return False
        self.left -= cost
        return True


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """``messages`` through a matrix (O, C, taps), each entry wrong by up to ``off`` (O,)."""

    matrix: Array
    off: Array
    messages: Box
    count: int = 1  # times that it is seen
    taps: Taps | None = None  # which of them are read together, if not all

    def rows(self) -> Iterator[tuple[slice, Array]]:
        """Yield the matrix as (O, C * taps) in float64, some outputs at a time."""
        flat = self.matrix.reshape(len(self.matrix), -1)
        for part in blocks(len(flat), flat.size):
            yield part, flat[part].astype(np.float64, copy=False)

    def total(self) -> Array:
        """Return an upper bound of ``sum |matrix|`` for each output."""
        bound = self.off * (self.matrix.shape[1] * self.matrix.shape[2])
        for part, rows in self.rows():
            bound[part] += np.abs(rows).sum(1)
        return bound * SLACK

    def range(self) -> tuple[Array, Array]:
        """Return the range of ``matrix @ messages`` for any set of taps outside the map."""
        outputs, channels, taps = self.matrix.shape
        low, high = (
            np.repeat(np.broadcast_to(bound, (channels,)).astype(np.float64), taps)
            for bound in (self.messages.low, self.messages.high)
        )
        below, above = np.empty(outputs), np.empty(outputs)
        for part, rows in self.rows():
            positive = np.maximum(rows, 0)
            negative = rows - positive
            below[part] = positive @ low + negative @ high
            above[part] = positive @ high + negative @ low
        off = self.off * np.maximum(high, -low).sum()
        return below - off, above + off

    def behind(self, budget: Budget) -> list[Callable[[], list[_Seen]]] | None:
        """What is seen through the currents whose sum the messages are, if the budget allows.

        Parts are computed on demand, because together they may be larger than the network.
        """
        found: list[Callable[[], list[_Seen]]] = []
        assert isinstance(self.messages, Sum)
        for current in self.messages.currents:
            number = self.matrix.shape[2]
            if not budget.spend(len(self.matrix) * number * current.taps()[0].size):
                return None
            found += [partial(self._through, current, tap) for tap in range(number)]
        return found

    def _through(self, current: LinearMap, tap: int) -> list[_Seen]:
        """What one tap sees through one current."""
        assert isinstance(self.messages, Sum)
        taps, alike, together = current.taps()
        each_out, each_in, number = len(taps) // current.groups, *taps.shape[1:]
        inner = taps.reshape(current.groups, each_out, -1).astype(np.float64)
        del taps  # which may be as large
        scale = self.messages.scale * current.factor
        off = (EPSILON * (each_out + 1) * self.total() + self.off * each_out) * SLACK
        off = off * (max(inner.max(), -inner.min()) * scale)
        outer = self.matrix[:, :, tap].reshape(-1, current.groups, each_out)
        outer = outer.astype(np.float64, copy=False)
        product = outer.transpose(1, 0, 2) @ inner
        product *= scale
        matrix = product.reshape(current.groups, -1, each_in, number)
        matrix = matrix.transpose(1, 0, 2, 3).reshape(len(outer), -1, number)
        return [_Seen(matrix, off, m, self.count * alike, together) for m in current.messages]

    def one_by_one(self) -> Iterator[_Seen]:
        """Yield each distinct tap alone."""
        for tap in range(self.matrix.shape[2]):
            yield replace(self, matrix=self.matrix[:, :, tap : tap + 1], count=1, taps=None)


def bounds(weight: Integers, low: Integers, high: Integers) -> tuple[Integers, Integers]:
    """Interval of ``weight @ x`` for low <= x <= high, in integers; (G, O, I) by (G, I, 1)."""
    low, high = high + low, high - low
    middle = weight @ low
    span = np.empty_like(middle)
    for part in blocks(weight.shape[1], weight.size):  # all absolute values are another weight
        span[:, part] = np.abs(weight[:, part]) @ high
    return (middle - span) >> 1, (middle + span) >> 1


def reach(current: LinearMap, budget: Budget) -> tuple[Array, Array]:
    """Return the proven range of a convolution's current, per output channel; ``low <= 0 <= high``.

    Args:
        current: a convolution; factors and scales are powers of two.
        budget: shared by all calls for one network, which bounds the total time.
    """
    taps, alike, together = current.taps()
    matrix, off = ungrouped(taps, current.groups), np.zeros(len(taps))
    seen: list[_Seen | Callable[[], list[_Seen]]] = []
    seen += [_Seen(matrix, off, messages, alike, together) for messages in current.messages]
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (
            bound * (current.factor * SLACK) for bound in _range_of(seen, len(taps), budget)
        )
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)


def _range_of(
    todo: list[_Seen | Callable[[], list[_Seen]]], outputs: int, budget: Budget
) -> tuple[Array, Array]:
    """Range of a sum of what is seen."""
    low = high = np.zeros(outputs)
    while todo:
        seen = todo.pop()
        if not isinstance(seen, _Seen):
            todo += seen()
            continue
        if seen.taps is not None:
            # each tap that is seen through costs the budget: this does not go deep
            each = [_range_of([tap], outputs, budget) for tap in seen.one_by_one()]
            below, above = (
                -seen.taps.most([-a for a, _ in each]),
                seen.taps.most([b for _, b in each]),
            )
            low, high = low + seen.count * below, high + seen.count * above
            continue
        inner = seen.behind(budget) if isinstance(seen.messages, Sum) else None
        if inner is None:
            below, above = seen.range()
        else:
            todo += inner
            assert isinstance(seen.messages, Sum)
            above = seen.messages.error * seen.total()
            below = -above
        low, high = low + seen.count * below, high + seen.count * above
    return low, high


def ungrouped(weight: npt.NDArray[Any], groups: int) -> npt.NDArray[Any]:
    """Weights (O, I / groups, ...) as (O, I, ...), zeros between the groups."""
    if groups == 1:
        return weight
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    full = np.zeros((weight.shape[0], groups * inputs, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        full[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return full
