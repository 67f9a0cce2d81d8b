"""Dense synapses: a weight and a delay for every pair of neurons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

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
        return self.lag + self.packed("delay").range[1]

    def by_delay(self) -> Iterator[tuple[int, IntArray]]:
        delay, weight = self.delay, self.weight
        if not delay.any():
            yield 0, weight
            return
        for steps in np.unique(delay):
            yield int(steps), np.where(delay == steps, weight, 0)

    def reading(self, channels: IntArray, size: int) -> Synapse:
        columns = (channels[:, None] * size + np.arange(size)).reshape(-1)
        delay = self.delay
        delay = delay if delay.size == 1 else delay[:, columns]
        return self.replace(weight=self.weight[:, columns], delay=delay)

    def fan_out(self, source: Shape, target: Shape) -> IntArray:
        kept = self.packed("weight").nonzero()
        return np.asarray(kept.sum(axis=0, dtype=np.int64)).reshape(source)

    def infer(
        self, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, IntArray, IntArray]:
        count = int(np.prod(shape))
        weight, delay = self.packed("weight"), self.packed("delay")
        if len(weight.shape) != 2 or weight.shape[1] != count or weight.shape[0] < 1:
            raise self.refuse(
                f"weight is {weight.shape}, its input {shape} needs (outputs, {count})"
            )
        self.check_synapse()
        if delay.shape not in ((1,), weight.shape):
            raise self.refuse(f"delay is {delay.shape}; use 0 or one per weight {weight.shape}")
        if delay.range[0] < 0:
            raise self.refuse(f"a delay is {delay.range[0]}; use 0 or more")
        each = count // shape[0]  # inputs per channel, channel-major when flattened
        low, high = (np.repeat(spread(bound, shape[0]), each) for bound in (low, high))
        least, most = (np.empty(weight.shape[0], np.int64) for _ in range(2))
        for part, rows in weight.rows():  # a readout after many positions is large
            found = bounds(rows[None], low[None, :, None], high[None, :, None])
            least[part], most[part] = (bound.ravel() for bound in found)
        return (len(least),), least << self.exponent, most << self.exponent

    def title(self) -> str:
        outputs, inputs = self.packed("weight").shape
        square = outputs == inputs and self.exponent == 0
        same = square and np.array_equal(self.weight, np.eye(outputs, dtype=np.int64))
        return "identity" if same else "dense"

    def text(self) -> str:
        delay = f" delay {span(self.delay)}" if self.delay.any() else ""
        outputs, inputs = self.packed("weight").shape
        return f"w {outputs}x{inputs}{delay}{self.suffix()}"
