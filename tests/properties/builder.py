"""Grow a network node by node, each made to fit what is there: shapes, widths, activity."""

from __future__ import annotations

from collections import Counter

import numpy as np

from neuroport.graph.graph import Graph
from neuroport.graph.integers import CURRENT_MAX
from neuroport.graph.node import Conv, Delay, Dense, Input, Node, Readout, Relay, Synapse
from tests.properties.choices import Choices
from tests.properties.interpreter import Cell
from tests.properties.tuning import biases, lively_lif

Names = tuple[str, ...]
Shape = tuple[int, ...]


INPUTS = (  # bits, signed
    (1, False), (1, False), (4, False), (8, False), (8, True), (4, True), (1, True), (12, True),
)  # fmt: skip
HOSTILE = (".held", ".held.identity", ".carry0", ".carry0.identity", ".late1", ".from0", "~2")


class RedrawError(Exception):
    """The choices made so far lead to no network worth running."""


class Builder:
    """Nodes so far; of each its shape, the values it gives, and a bound of their size.

    ``budget`` bounds what one synapse may deliver; a small one leaves room for many currents at one
    dendrite. A ``loud`` network uses all of it: voltages saturate, slow currents wrap. A ``stock``
    network has only what NetX's chains can hold: spikes within, no delays, biases by channel.
    """

    def __init__(self, choose: Choices, stock: bool | None = None) -> None:
        self.choose = choose
        self.nodes: list[Node] = []
        self.shape: dict[str, Shape] = {}
        self.values: dict[str, np.ndarray] = {}
        self.bound: dict[str, int] = {}
        self.tags: Counter[str] = Counter()
        self.steps = choose.integer(1, 12)
        self.samples = choose.integer(1, 4)
        self.interval = self.steps + choose.pick((0, 0, 0, 1, 3, 7))
        self.stock = choose.chance(20) if stock is None else stock
        self.loud = not self.stock and choose.chance(20)
        self.budget = CURRENT_MAX if self.loud else choose.pick((1 << 12, 1 << 14, 1 << 16))
        if self.stock:  # a potential stays below the largest threshold of a neuron
            self.budget = min(1 << 12, CURRENT_MAX // (2 * self.interval))

    # -- bookkeeping -----------------------------------------------------------------------

    def add(self, node: Node, shape: Shape, bound: int) -> str:
        self.nodes.append(node)
        self.shape[node.name], self.bound[node.name] = shape, bound
        cell = Cell(node, shape, 0, self.samples)
        arriving = [self.values[name] for name in node.inputs]
        outs = [cell.step([a[t] for a in arriving], self.frames[t]) for t in range(self.steps)]
        self.values[node.name] = np.stack(outs)
        return node.name

    def name(self, kind: str) -> str:
        """A name that no node has; now and then one that lowering would give."""
        name = f"{kind}{len(self.nodes)}"
        if self.choose.chance(3):
            hostile = f"{self.nodes[-1].name}{self.choose.pick(HOSTILE)}"
            return name if hostile in self.shape else hostile
        return name

    def arriving(self, inputs: Names) -> np.ndarray:
        return np.sum([self.values[name] for name in inputs], axis=0)

    def bound_of(self, inputs: Names) -> int:
        return sum(self.bound[name] for name in inputs)

    def fit(self, currents: Names) -> Names:
        """The latest of ``currents`` that one dendrite can sum without wrapping, in their order."""
        while self.bound_of(currents) > CURRENT_MAX:
            currents = currents[1:]
        return currents

    def graph(self) -> Graph:
        return Graph(self.nodes, self.steps, self.interval)

    # -- nodes -----------------------------------------------------------------------------

    def input(self) -> Names:
        choose = self.choose
        bits, signed = choose.pick(INPUTS[: 4 if self.stock else None])
        image = (choose.pick((2, 1, 4, 6)), choose.integer(4, 8), choose.integer(4, 8))
        shape = choose.pick((image, image, image, image, image, (9,)))
        low = -(1 << (bits - 1)) if signed else 0
        high = low + (1 << bits) - 1
        self.frames = choose.integers(low, high, (self.steps, self.samples, *shape))
        if choose.chance(50):  # sparser
            self.frames *= choose.integers(0, 1, self.frames.shape)
        self.add(Input("frames", shape, bits, signed), shape, max(-low, high))
        return ("frames",)

    def weight(self, shape: Shape, messages: int, wide: int | None) -> tuple[np.ndarray, int]:
        """Weights and an exponent whose worst case stays within the budget, or within ``wide``.

        Even integers of both signs, or of one sign with odd ones among them.
        """
        choose = self.choose
        top = choose.pick((4, 8, 20, 60, 254))
        budget = self.budget if wide is None else wide
        one_sign = choose.chance(15)
        while True:
            if one_sign:
                weight = choose.integers(0, top + 1, shape) * choose.pick((1, 1, -1))
            else:
                weight = 2 * choose.integers(-(top // 2) + top // 8, top // 2, shape)
            weight = weight * (choose.integers(0, 99, shape) >= choose.pick((0, 0, 30, 70)))
            largest = int(np.abs(weight).reshape(shape[0], -1).sum(1).max()) * messages
            if 0 < largest <= budget:
                break
            top //= 2
            if top < 2:
                raise RedrawError("no weights fit")
        room = min(16, (budget // largest).bit_length() - 1)
        if self.stock and len(shape) == 2:
            return weight, 0  # a dense layer of NetX has eight bits
        if self.loud or wide is not None:
            return weight, room
        return weight, choose.integer(0, room) if choose.chance(60) else 0

    def synapse(
        self,
        inputs: Names,
        channels: int | None = None,
        stride: tuple[int, int] = (1, 1),
        *,
        pointwise: bool = False,
        wide: int | None = None,
    ) -> str:
        """A synapse whose output has ``stride`` times fewer rows and columns, ``channels`` deep."""
        choose, shape = self.choose, self.shape[inputs[0]]
        if len(shape) == 1:
            return self.dense(inputs, channels or shape[0], wide)
        channels = channels or shape[0]
        reach = [0, 0] if pointwise else [choose.pick((1, 1, 0, 2)) for _ in range(2)]
        dilation = tuple(
            choose.pick((1, 1, 2)) if r and n > 2 * r else 1
            for n, r in zip(shape[1:], reach, strict=True)
        )
        padding = tuple(r * d for r, d in zip(reach, dilation, strict=True))
        kernel = tuple(2 * r + 1 for r in reach)
        return self.conv(inputs, channels, kernel, stride, padding, dilation, wide)

    def conv(
        self,
        inputs: Names,
        channels: int,
        kernel: Shape,
        stride: Shape,
        padding: Shape,
        dilation: Shape,
        wide: int | None = None,
    ) -> str:
        shape = self.shape[inputs[0]]
        sizes = (1, 2, 3, 4, 6, 8)
        groups = self.choose.pick([g for g in sizes if shape[0] % g == channels % g == 0])
        if self.choose.chance(50):
            groups = 1
        messages = self.bound_of(inputs)
        taps = (channels, shape[0] // groups, *kernel)
        weight, exponent = self.weight(taps, messages, wide)
        node = Conv(self.name("conv"), inputs, weight, exponent, stride, padding, dilation, groups)
        size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(shape[1:], padding, dilation, kernel, stride, strict=True)
        )
        largest = int(np.abs(weight).reshape(channels, -1).sum(1).max()) * messages
        return self.add(node, (channels, *size), largest << exponent)

    def any_conv(self, inputs: Names) -> str:
        """A convolution of any geometry, where its kernel fits."""
        choose, shape = self.choose, self.shape[inputs[0]]
        kernel, stride = choose.pair(1, 4), choose.pair(1, 3)
        padding, dilation = choose.pair(0, 2), choose.pair(1, 2)
        fits = all(
            (n + 2 * p - d * (k - 1) - 1) // s + 1 >= 2
            for n, p, d, k, s in zip(shape[1:], padding, dilation, kernel, stride, strict=True)
        )
        if not fits:
            kernel, stride, padding, dilation = (1, 1), (1, 1), (0, 0), (1, 1)
        return self.conv(inputs, choose.pick((2, 4, 6)), kernel, stride, padding, dilation)

    def dense(self, inputs: Names, outputs: int, wide: int | None = None) -> str:
        count = int(np.prod(self.shape[inputs[0]]))
        messages = self.bound_of(inputs)
        weight, exponent = self.weight((outputs, count), messages, wide)
        delay = np.zeros(1, np.int64)
        if not self.stock and self.choose.chance(10):
            delay = self.choose.integers(0, self.choose.integer(1, 4), weight.shape)
        node = Dense(self.name("dense"), inputs, weight, exponent, delay)
        largest = int(np.abs(weight).sum(1).max()) * messages
        return self.add(node, (outputs,), largest << exponent)

    def unit(self, currents: Names) -> Names:
        """One population, or up to three of different thresholds that share a dendritic input."""
        currents = self.fit(currents)
        arriving, shape = self.arriving(currents), self.shape[currents[0]]
        levels = self.choose.pick((1, 1, 1, 2, 3))
        made: list[str] = []
        for _ in range(levels):
            name = self.name("lif")
            lif = lively_lif(self.choose, name, currents, arriving, by_neuron=not self.stock)
            made.append(self.add(lif, shape, 1))
        return self.maybe_delayed(tuple(made))

    def maybe_delayed(self, messages: Names) -> Names:
        if self.stock or self.steps == 1 or not self.choose.chance(6):
            return messages
        first, *rest = messages
        steps = self.choose.integer(0, min(3, self.steps - 1))
        delay = Delay(self.name("delay"), (first,), steps)
        return (self.add(delay, self.shape[first], self.bound[first]), *rest)

    def relay(self, currents: Names) -> str:
        """Currents as real-valued messages of about eight bits."""
        seen = int(np.abs(self.arriving(currents)).max()).bit_length()
        bound = self.bound_of(currents)
        # about eight bits of what is seen, eleven of what could be
        shift = max(0, seen - self.choose.integer(4, 8), bound.bit_length() - 11)
        threshold = self.choose.pick((0, 1, 0, 3))
        node = Relay(self.name("relay"), currents, shift, threshold)
        return self.add(node, self.shape[currents[0]], (bound >> shift) + 1)

    def head(self, currents: Names) -> None:
        """A readout."""
        currents = self.fit(currents)
        bias = biases(self.choose, self.arriving(currents), by_neuron=not self.stock)
        self.add(Readout("potential", currents, bias), self.shape[currents[0]], 1 << 23)

    def dead_end(self) -> None:
        """A synapse, or a population, that nobody listens to."""
        messages = tuple(n for n in self.shape if self.is_messages(n))
        current = self.synapse((self.choose.pick(messages),))
        if self.choose.chance(50):
            self.unit((current,))
        self.tags["dead end"] += 1

    def is_messages(self, name: str) -> bool:
        return not any(n.name == name and isinstance(n, Synapse) for n in self.nodes)
