"""Axonal delays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroport.graph.kinds.base import MESSAGES, IntArray, Node, Shape, kind


@kind("delay")
@dataclass(frozen=True, eq=False)
class Delay(Node):
    """The same messages ``steps`` later (an axonal delay), 0 at the first steps of a sample."""

    takes = MESSAGES
    gives = MESSAGES

    name: str
    inputs: tuple[str, ...]
    steps: int

    @property
    def longest_delay(self) -> int:
        return self.steps

    def infer(
        self, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, IntArray, IntArray]:
        if self.steps < 0:
            raise self.refuse(f"steps is {self.steps}; a delay is 0 or more")
        return shape, np.minimum(low, 0), np.maximum(high, 0)

    def text(self) -> str:
        return f"{self.steps} steps"
