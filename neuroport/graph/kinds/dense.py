"""Dense synapses: a weight and a delay for every pair of neurons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from neuroport.graph.chunks import blocks
from neuroport.graph.kinds.base import IntArray, Shape, Synapse, kind, span, spread, zero
from neuroport.graph.linear_bounds import bounds


@kind("dense")
@dataclass(frozen=True, eq=False)
class Dense(Synapse):
    """``current[t] = (sum_i weight[:, i] * messages[t - delay[:, i], i]) << exponent``.

    ``weight`` is (O, I), over the flattened messages. ``delay``, 0 or (O, I), is part of the
    network; messages before the first step of a sample are 0. ``lag`` as for :class:`Synapse`.
    """

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    exponent: int = 0
    delay: IntArray = field(default_factory=zero)
    lag: int = 0

    @property
    def longest_delay(self) -> int:
        return self.lag + int(self.delay.max())

    def by_delay(self) -> Iterator[tuple[int, IntArray]]:
        if not self.delay.any():
            yield 0, self.weight
            return
        for steps in np.unique(self.delay):
            yield int(steps), np.where(self.delay == steps, self.weight, 0)

    def reading(self, channels: IntArray, size: int) -> Synapse:
        columns = (channels[:, None] * size + np.arange(size)).reshape(-1)
        delay = self.delay if self.delay.size == 1 else self.delay[:, columns]
        return self.replace(weight=self.weight[:, columns], delay=delay)

    def fan_out(self, source: Shape, target: Shape) -> IntArray:
        fan = np.zeros(self.weight.shape[1], np.int64)
        for part in blocks(len(self.weight), self.weight.size):
            fan += np.count_nonzero(self.weight[part], axis=0)
        return fan.reshape(source)

    def infer(
        self, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, IntArray, IntArray]:
        count = int(np.prod(shape))
        if self.weight.ndim != 2 or self.weight.shape[1] != count or len(self.weight) < 1:
            raise self.refuse(
                f"weight is {self.weight.shape}, its input {shape} needs (outputs, {count})"
            )
        self.check_synapse()
        if self.delay.shape not in ((1,), self.weight.shape):
            raise self.refuse(
                f"delay is {self.delay.shape}; use 0 or one per weight {self.weight.shape}"
            )
        if int(self.delay.min()) < 0:
            raise self.refuse(f"a delay is {self.delay.min()}; use 0 or more")
        each = count // shape[0]  # inputs per channel, channel-major when flattened
        low, high = (np.repeat(spread(bound, shape[0]), each) for bound in (low, high))
        low, high = bounds(self.weight[None], low[None, :, None], high[None, :, None])
        low, high = (bound.ravel() << self.exponent for bound in (low, high))
        return (len(low),), low, high

    def title(self) -> str:
        square = self.weight.shape[0] == self.weight.shape[1] and self.exponent == 0
        same = square and np.array_equal(self.weight, np.eye(len(self.weight), dtype=np.int64))
        return "identity" if same else "dense"

    def text(self) -> str:
        delay = f" delay {span(self.delay)}" if self.delay.any() else ""
        return f"w {self.weight.shape[0]}x{self.weight.shape[1]}{delay}{self.suffix()}"
