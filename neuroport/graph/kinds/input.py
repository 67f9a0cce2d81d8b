"""Frames entering the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroport.graph import integers
from neuroport.graph.kinds.base import MESSAGES, IntArray, Node, Shape, kind


@kind("input")
@dataclass(frozen=True, eq=False)
class Input(Node):
    """Frames entering the network: spikes (``bits=1``) or graded messages of ``bits`` bits."""

    takes = ""
    gives = MESSAGES

    name: str
    shape: Shape
    bits: int = 8
    signed: bool = False
    inputs: tuple[str, ...] = ()

    def infer(
        self, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, IntArray, IntArray]:
        if self.inputs:
            raise self.refuse(f"an Input takes no inputs; remove {self.inputs}")
        if not self.shape or any(n < 1 for n in self.shape):
            raise self.refuse(f"shape {self.shape} must hold positive sizes")
        if len(self.shape) > 3:
            raise self.refuse(f"shape {self.shape} has more than three sizes; use (C, H, W)")
        if not 1 <= self.bits <= integers.STATE_BITS - 1:
            raise self.refuse(f"bits is {self.bits}; use 1 (spikes) to 23")
        least = -(1 << (self.bits - 1)) if self.signed else 0
        most = (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1
        channels = np.ones(self.shape[0], np.int64)
        return self.shape, channels * least, channels * most

    def title(self) -> str:
        return f"input, {self.text()}"

    def text(self) -> str:
        return f"{'signed' if self.signed else 'unsigned'} {self.bits} bit"
