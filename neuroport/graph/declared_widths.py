"""Check declared widths while an engine runs, and raise the same error on every engine.

A graph may *declare* that the current of a population stays within a limit, and its states within
24 bits (``Graph.checked``), if this cannot be proven for every input. Every engine then checks
every step of every such population. If one exceeds its widths, the run gives no trace and ends with
a :class:`~neuroport.errors.RangeError` that names sample, population, step and neuron.

*Why no engine can miss it.* Assume that all populations before a dendrite have kept their widths.
Then their messages are within the ranges of :meth:`~neuroport.graph.graph.Graph.facts`, which
assume declared widths, and the summed current is within ``reach_low..reach_high``, computed from
weights and those ranges alone. The rules ``currents_fit`` and ``accumulators_fit`` hold that
bound to 32 bits, and integers of 32 bits that wrap on the way end with the right sum if it fits
them: the current is exact when it is compared with its width. By induction over a sample's steps
and the order of the graph, the *first* departure is detected exactly, and nothing computed after it
is ever shown. The compiled engine runs only graphs whose bounds fit 32 bits, torch only
those that its type holds exactly.

*First* has the same meaning on all engines: the first sample; in it the first step of chip time,
step + latency; then the first population of the graph, and its first neuron. Some engines stop
earlier or later (Lava runs several samples at once, kernels check complete samples). They only
detect that some width was exceeded; the reference names the first one
(:func:`neuroport.backends.reference.find_departure`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neuroport.errors import RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Loop, Population, Spread

CURE = (
    "the widths of this network are checked, not proven: quantize it again with such frames in its "
    "calibration, or with widths='proven'"
)


class Departure(NamedTuple):
    """A neuron that exceeded its widths; the order is that of the definition of *first*."""

    sample: int
    time: int  # step in chip time: step + latency
    order: int  # index of the population in the graph
    neuron: int  # flat index of the neuron
    step: int
    current: int

    def error(self, graph: Graph) -> RangeError:
        """Return the error for it."""
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
    """Checks the declared populations of a graph in all steps of a walk, and keeps the first error.

    Args:
        samples: number of samples of a stream in chip time; None in ideal time.
    """

    def __init__(self, graph: Graph, samples: int | None = None) -> None:
        self._graph, self._samples = graph, samples
        self._orders = {node.name: order for order, node in enumerate(graph)}
        self._first: Departure | None = None

    def look(self, node: Population, arriving: Any, spread: Spread, loop: Loop) -> None:
        """Check each step of a population, given its current (T, N, *shape) in NumPy or torch."""
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
        """Raise the first error, if there was one.

        Raises:
            RangeError: a width was exceeded.
        """
        if self._first is not None:
            raise self._first.error(self._graph)


class Window(NamedTuple):
    """Lava's steps, counted from 1, in which a population processes a sample."""

    offset: int
    interval: int
    steps: int
    samples: int | None = None

    def begins(self, time_step: int) -> bool:
        """Whether a sample begins."""
        return (time_step - self.offset) % self.interval == 0

    def holds(self, time_step: int) -> bool:
        """Whether the step belongs to a sample, not to a gap or the time before or after all."""
        sample, step = divmod(time_step - self.offset, self.interval)
        return 0 <= sample < (self.samples or sample + 1) and step < self.steps


def window_of(graph: Graph, name: str, samples: int | None = None) -> Window:
    """Return Lava's steps in which a population of a balanced graph processes samples."""
    offset = graph.facts(name).input_latencies[0] + 1  # Lava counts steps from 1
    return Window(offset, graph.interval, graph.steps, samples)


def refuse(name: str, left: npt.NDArray[Any], time_step: int) -> None:
    """Raise an error if any neuron exceeded its widths; the reference then names the first one.

    Raises:
        RangeError: names population, neuron and Lava's step.
    """
    if left.any():
        neuron = int(np.flatnonzero(left)[0])
        raise RangeError(
            f"{name}: at Lava's step {time_step} neuron {neuron} left its declared width; {CURE}"
        )


def samples_of_stream(graph: Graph, length: int) -> int:
    """Return the number of samples in a :func:`~neuroport.backends.executor.chip_stream`."""
    return (length - graph.steps - graph.depth) // graph.interval + 1
