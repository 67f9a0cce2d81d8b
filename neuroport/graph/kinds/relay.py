"""Relays: populations without memory that forward the current they receive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroport.graph import integers
from neuroport.graph.kinds.base import (
    GRADED,
    IntArray,
    Population,
    Range,
    Shape,
    States,
    constant,
    kind,
)
from neuroport.graph.linear_bounds import Box, LinearMap, Sum


@kind("relay", emits=GRADED)
@dataclass(frozen=True, eq=False)
class Relay(Population):
    """Stateless graded relay: ``m = (a + 2**(shift-1)) >> shift``, 0 where |m| <= threshold."""

    proves_current = False  # no state adds it up
    threshold_shift = 0
    declarable = True

    name: str
    inputs: tuple[str, ...]
    shift: int = constant(0, integers.STATE_BITS - 1, per="node", default=0)
    threshold: int = constant(0, per="node", default=0)

    @property
    def rounds(self) -> bool:
        return self.shift > 0

    def sends(self, shape: Shape, low: IntArray, high: IntArray) -> Range:
        low, high = (integers.round_shift(bound, self.shift) for bound in (low, high))
        return np.minimum(low, 0), np.maximum(high, 0)

    def as_sum(self, currents: tuple[LinearMap, ...], low: IntArray, high: IntArray) -> Box:
        error = self.threshold + (0.5 if self.shift else 0.0)
        return Sum(low, high, currents, 2.0**-self.shift, error)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        return states, integers.relay(current, self.shift, self.threshold)

    def leaves(self, c: Any, states: States, current: Any, limit: int) -> Any:
        return abs(current) > limit

    def title(self) -> str:
        return "graded relay"

    def text(self) -> str:
        return f">>{self.shift}" if self.shift else "graded"
