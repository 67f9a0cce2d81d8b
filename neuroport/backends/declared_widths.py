"""Declared widths, checked while an engine runs: what leaves them, and the one error that says so.

A graph may *declare* that the current of a population stays within a number, and its states within
24 bits (``Graph.checked``), where neither can be proven for every input. Every engine then looks at
every step of every such population, and a run in which one leaves its widths has no trace: it ends
with a :class:`~neuroport.errors.RangeError` that names sample, population, step and neuron.

*Why no engine can miss it.* Let all populations before a dendrite have kept their widths. Then its
messages are within the ranges that :meth:`~neuroport.graph.graph.Graph.facts` has of them, which
take declared widths for kept; so its summed current is within ``reach_low..reach_high``, computed
from weights and those ranges alone. The rules ``currents_fit`` and ``accumulators_fit`` hold that
bound to 32 bits, and integers of 32 bits that wrap on the way end with the right sum if it fits
them: the current is exact when it is compared with its width. By induction over a sample's steps
and the order of the graph the *first* departure is seen exactly, and what is computed from it
afterwards is never shown. The compiled engine runs only graphs whose bounds fit 32 bits, torch only
those that its type holds exactly.

*First* is the same for all: the first sample; in it the first step of chip time, step + latency;
then the first population of the graph, and its first neuron. An engine that stops earlier or later
than that (Lava runs several samples at once, kernels check whole samples) says only that something
left its widths, and :func:`find` names what was first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neuroport.errors import RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Loop, Population, Shape, Spread, States, per_neuron

CURE = (
    "the widths of this network are checked, not proven: quantize it again with such frames in its "
    "calibration, or with widths='proven'"
)


class Departure(NamedTuple):
    """A neuron that left its widths; they are ordered as they are told."""

    sample: int
    time: int  # of chip: step + latency
    order: int  # of the population in the graph
    neuron: int  # its flat place
    step: int
    current: int

    def error(self, graph: Graph) -> RangeError:
        """The error that tells of it."""
        node = graph.nodes[self.order]
        shape, limit = graph.facts(node.name).shape, graph.checked[node.name]
        place = ", ".join(str(int(n)) for n in np.unravel_index(self.neuron, shape))
        what = f"its current is {self.current}, and {limit} was declared"
        if abs(self.current) <= limit:
            what = f"its state leaves 24 bits (with a current of {self.current})"
        return RangeError(
            f"{node.name}: at step {self.step} neuron ({place}) left its width: {what}; {CURE}",
            sample=self.sample,
            population=node.name,
        )


class Watch:
    """Looks at the declared populations of a graph, over all steps of a walk, and keeps the first.

    Args:
        samples: of a stream in chip time; None in ideal time.
    """

    def __init__(self, graph: Graph, samples: int | None = None) -> None:
        self._graph, self._samples = graph, samples
        self._orders = {node.name: order for order, node in enumerate(graph)}
        self._first: Departure | None = None

    def look(self, node: Population, arriving: Any, spread: Spread, loop: Loop) -> None:
        """Step a population through the current that arrives, (T, N, *shape), of NumPy or torch."""
        graph = self._graph
        shape = tuple(arriving.shape[2:])
        constants, limit = node.setup(shape, spread, loop), graph.checked[node.name]
        zero = arriving[0, :, : node.shape_of(shape)[0]] * 0
        states = rest = (zero,) * len(node.states)
        facts, chip = graph.facts(node.name), self._samples is not None
        start, interval = (facts.input_latencies[0], graph.interval) if chip else (0, graph.steps)
        for t in range(len(arriving)):
            sample, step = divmod(t - start, interval)
            if step == 0:
                states = rest
            if 0 <= sample < (self._samples or 1) and step < graph.steps:
                left = node.leaves(constants, states, arriving[t], limit)
                if bool(left.any()):
                    key = sample, step + facts.latency, self._orders[node.name], step
                    self._keep(left, arriving[t], *key)
            states, _ = node.step(constants, states, arriving[t])

    def _keep(self, left: Any, current: Any, sample: int, time: int, order: int, step: int) -> None:
        number, neuron = divmod(int(left.reshape(-1).nonzero()[0][0]), left[0].reshape(-1).shape[0])
        value = int(current[number].reshape(-1)[neuron])
        found = Departure(sample + number, time, order, neuron, step, value)
        self._first = found if self._first is None else min(self._first, found)

    def end(self) -> None:
        """Raise what was found.

        Raises:
            RangeError: a width was left.
        """
        if self._first is not None:
            raise self._first.error(self._graph)


def find(graph: Graph, frames: npt.NDArray[Any], batch: int = 8) -> None:
    """Run frames (T, N, *shape) on the reference, and raise what first leaves its widths there.

    Raises:
        RangeError: a width was left; nothing is raised where none was.
    """
    from neuroport.backends.executor import evaluate
    from neuroport.backends.reference import NumpyArithmetic

    for first in range(0, frames.shape[1], batch):
        try:
            part = frames[:, first : first + batch]
            for _ in evaluate(NumpyArithmetic(), graph, part, chip=False):
                pass
        except RangeError as error:
            raise error.later(first) from None


class Stepped:
    """A population of one sample at a time in Lava's steps, which are counted from 1.

    Args:
        arriving: shape of its current, which is given flat.
        limit: its declared current; None where its widths are proven.
    """

    def __init__(
        self, node: Population, arriving: Shape, window: Window, limit: int | None = None
    ) -> None:
        from neuroport.backends.reference import own

        self.node, self.arriving, self.window, self.limit = node, arriving, window, limit
        self.constants = node.setup(arriving, per_neuron, own)
        shape = node.shape_of(arriving)
        self.rest: States = (np.zeros((1, *shape), np.int64),) * len(node.states)
        self.states = self.rest

    def step(self, current: npt.NDArray[Any], time_step: int) -> Any:
        """What it sends, (1, *shape).

        Raises:
            RangeError: it left its widths.
        """
        given = current.astype(np.int64).reshape(1, *self.arriving)
        if self.window.begins(time_step):
            self.states = self.rest
        if self.limit is not None and self.window.holds(time_step):
            refuse(
                self.node.name,
                self.node.leaves(self.constants, self.states, given, self.limit),
                time_step,
            )
        self.states, sent = self.node.step(self.constants, self.states, given)
        return sent


class Window(NamedTuple):
    """Steps of Lava, counted from 1, at which a population answers to a sample."""

    offset: int
    interval: int
    steps: int
    samples: int | None = None

    def begins(self, time_step: int) -> bool:
        """Whether a sample begins."""
        return (time_step - self.offset) % self.interval == 0

    def holds(self, time_step: int) -> bool:
        """Whether the step is one of a sample, and not between two, before or after all."""
        sample, step = divmod(time_step - self.offset, self.interval)
        return 0 <= sample < (self.samples or sample + 1) and step < self.steps


def window_of(graph: Graph, name: str, samples: int | None = None) -> Window:
    """The steps at which a population of a balanced graph answers on Lava."""
    offset = graph.facts(name).input_latencies[0] + 1  # Lava counts steps from 1
    return Window(offset, graph.interval, graph.steps, samples)


def refuse(name: str, left: npt.NDArray[Any], time_step: int) -> None:
    """End where any neuron left its widths; :func:`find` then says what was first.

    Raises:
        RangeError: names population, neuron and Lava's step.
    """
    if left.any():
        neuron = int(np.flatnonzero(left)[0])
        raise RangeError(
            f"{name}: at Lava's step {time_step} neuron {neuron} left its declared width; {CURE}"
        )


def samples_of_stream(graph: Graph, length: int) -> int:
    """How many samples a stream of :func:`~neuroport.backends.executor.chip_stream` holds."""
    return (length - graph.steps - graph.depth) // graph.interval + 1
