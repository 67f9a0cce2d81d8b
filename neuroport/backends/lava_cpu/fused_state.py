"""State and steps of the synapses and populations inside a fused process.

They are not in the folder of the processes, because Lava executes the files there without
registering them as modules, and dataclasses cannot be defined in such a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.lava_cpu.weight_products import Product
from neuroport.graph.node import IntArray


@dataclass(frozen=True)
class HeldSynapse:
    """A synapse of a fused process.

    Attributes:
        senders: numbers of its sources, whose messages are summed; one may occur twice. In-ports
            are numbered first, then the populations of the process.
        products: (delay, product of the messages of that many steps ago), shortest delay first.
        size: number of values of its current.
        lag: extra delay in steps.
        interval, offset: a sample's first message arrives at steps ``offset + n * interval``.
    """

    senders: tuple[int, ...]
    products: tuple[tuple[int, Product], ...]
    size: int
    lag: int
    interval: int
    offset: int


@dataclass(frozen=True)
class HeldPopulation:
    """A population of a fused process.

    Attributes:
        taken: numbers of the synapses whose currents are summed; one may occur twice.
        update: (current, Lava's time step) -> messages; it keeps the states.
        size: number of neurons.
        spikes: whether its messages are 0 or 1.
    """

    taken: tuple[int, ...]
    update: Callable[[IntArray, int], npt.NDArray[Any]]
    size: int
    spikes: bool

    def step(self, currents: Sequence[IntArray], time_step: int) -> npt.NDArray[Any]:
        """Return the messages of a step, from the currents of all synapses of the process."""
        first, *others = self.taken
        return self.update(sum((currents[n] for n in others), currents[first]), time_step)


@dataclass(frozen=True)
class HeldCounter:
    """Counters of a population of a fused process.

    Attributes:
        path: an array file, (samples, counters), with one row per sample.
        first: Lava's time step of the first message of the first sample; others begin ``interval``
            later each, and last ``steps``.
    """

    path: str
    first: int
    interval: int
    steps: int


class RunningCounter:
    """Nonzero messages of the current sample; neurons that share a counter are adjacent."""

    def __init__(self, held: HeldCounter) -> None:
        self._held = held
        self._rows = np.load(held.path, mmap_mode="r+")
        self._counts = np.zeros(self._rows.shape[1], np.int32)

    def take(self, messages: npt.NDArray[Any], time_step: int) -> None:
        """Count the messages of this step; write the row of a sample after its last step."""
        held, counts = self._held, self._counts
        sample, step = divmod(time_step - held.first, held.interval)
        if not (0 <= sample < len(self._rows) and step < held.steps):
            return
        if step == 0:
            counts[:] = 0
        if messages.size == counts.size:
            counts += messages != 0
        else:
            counts += np.count_nonzero(messages.reshape(len(counts), -1), axis=1).astype(np.int32)
        if step == held.steps - 1:
            self._rows[sample] = counts


class RunningSynapse:
    """The state of a synapse: messages that it still needs, and delayed currents."""

    def __init__(self, held: HeldSynapse) -> None:
        self._held = held
        zero = np.zeros(held.size, np.int64)
        self._pending = deque([zero] * (1 + held.lag))
        self._history: History | None = None

    def give(self) -> IntArray:
        """Return the current that arrives in this step; call it before :meth:`take`."""
        return self._pending.popleft()

    def take(self, sent: Sequence[npt.NDArray[Any]], time_step: int) -> None:
        """Receive all messages of this step, and compute the current."""
        held = self._held
        first, *others = held.senders
        messages = sent[first]
        if others:  # spikes of the same process are booleans, whose sum would be a boolean
            messages = sum((sent[sender] for sender in others), messages.astype(np.int32))
        longest = held.products[-1][0]
        if longest == 0:
            self._pending.append(held.products[0][1](messages))
            return
        if self._history is None:
            self._history = History(len(messages), longest, held.interval, held.offset)
        self._history.receive(messages, time_step)
        parts = [product(self._history.ago(delay)) for delay, product in held.products]
        self._pending.append(sum(parts[1:], parts[0]))


class History:
    """The messages of the last steps, cleared when a sample begins."""

    def __init__(self, size: int, longest: int, interval: int, offset: int) -> None:
        self._rows = np.zeros((longest + 1, size), np.int32)
        self._interval, self._offset = interval, offset
        self._step = 0

    def receive(self, messages: npt.NDArray[Any], time_step: int) -> None:
        if (time_step - self._offset) % self._interval == 0:
            self._rows[:] = 0
        self._step = time_step
        self._rows[time_step % len(self._rows)] = messages

    def ago(self, delay: int) -> npt.NDArray[Any]:
        row: npt.NDArray[Any] = self._rows[(self._step - delay) % len(self._rows)]
        return row
