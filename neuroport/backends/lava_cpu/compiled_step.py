"""Run one step of the fused process as one compiled call, with the kernels of the fast engine.

The call loads every population's messages of the previous step, multiplies them by the synapses'
weights, and steps the populations. Voltages and currents persist between calls. The numbers equal
those of :mod:`neuroport.backends.lava_cpu.fused_state`, which runs if there are no kernels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neuroport.backends.compiled_network import (
    CompiledNetwork,
    Part,
    fits,
    is_carried,
    kernels_by_delay,
    planes,
)
from neuroport.backends.lava_cpu.fused_partition import Group
from neuroport.graph.declared_widths import refuse, window_of
from neuroport.graph.graph import Graph
from neuroport.graph.node import Synapse
from neuroport.kernels.compilation import kernels
from neuroport.kernels.network_kernel import LIF, LOAD, READOUT, Program
from neuroport.runs.trace import is_spiking

BEGINS, GOES_ON = 0, 1  # `first` of an operation of interval 2 whose only step is step 0


class Past(NamedTuple):
    """Messages of a sender, as one synapse reads them.

    Attributes:
        ago: steps between sending and the computed step, beyond the synapse's own step.
        delay: the part of ``ago`` that is a delay; messages sent before the sample are not read.
        offset: a sample's first message arrives at Lava's steps ``offset + n * interval``.
    """

    sender: int
    ago: int
    delay: int
    offset: int


class CompiledStep(CompiledNetwork):
    """The populations and synapses of a group.

    Args:
        senders: in-ports and populations of the process, by name, in the order of their numbers.
        samples: number of samples during which declared widths are checked; None: all.
    """

    def __init__(
        self,
        graph: Graph,
        group: Group,
        senders: Sequence[str],
        library: ctypes.CDLL,
        samples: int | None = None,
    ) -> None:
        inside = [
            node for node in map(graph.__getitem__, group.synapses) if isinstance(node, Synapse)
        ]
        self._begin(graph, inside, library, chip=False)
        self._senders = {name: number for number, name in enumerate(senders)}
        self._loads: dict[Past, tuple[int, Part]] = {}
        for node in inside:
            self._connect(node)
        for name in group.populations:
            self._send(graph[name])
        self._program = Program(library, self._operations, self._places)
        operations = self._program.operations
        longest = 1 + max((past.ago for past in self._loads), default=0)
        # messages of the last steps, one row per step; a population's step overwrites the oldest
        self._rings = [
            np.zeros((longest, int(np.prod(graph.facts(name).shape))), np.int32) for name in senders
        ]
        self._nothing = np.zeros(max(ring.shape[1] for ring in self._rings), np.int32)
        self._sent: list[npt.NDArray[Any]] = []
        self._starts_at: list[tuple[int, int]] = []  # operation, step of a sample's start
        for name in group.populations:
            number, facts = self._numbers[name], graph.facts(name)
            operation = operations[number]
            kind = np.bool_ if is_spiking(graph[name].kind) else np.int32
            sent = np.zeros(int(np.prod(facts.shape)), kind)
            self._sent.append(sent)
            operation.record, operation.samples = sent.ctypes.data, 1
            if operation.what in (LIF, READOUT):
                place = self._places[operation.out]
                channels, height, width = place.shape
                padded = -(-channels // self._lanes) * self._lanes
                operation.state = self._pointer(np.zeros(2 * height * width * padded, np.int32))
                operation.interval = 2
                self._starts_at.append((number, facts.input_latencies[0] + 1))
        self._left: dict[str, npt.NDArray[np.uint8]] = {}
        for name, number in self._declared.items():
            self._live[name], self._left[name] = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
            operations[number].live = self._live[name].ctypes.data
            operations[number].left = self._left[name].ctypes.data
        self._windows = {name: window_of(graph, name, samples) for name in self._declared}

    def step(self, time_step: int) -> list[npt.NDArray[Any]]:
        """Return the messages at Lava's ``time_step``; the next step overwrites the arrays.

        Raises:
            RangeError: a population exceeded its declared widths.
        """
        operations, interval = self._program.operations, self.graph.interval
        for past, (number, _) in self._loads.items():
            taken = (
                time_step - 1 - (past.ago - past.delay)
            )  # step at which the synapse received the message
            ring = self._rings[past.sender]
            heard = ring[(time_step - 1 - past.ago) % len(ring)]
            if past.delay and (taken - past.offset) % interval < past.delay:
                heard = self._nothing
            operations[number].record = heard.ctypes.data
        for number, start in self._starts_at:
            begins = (time_step - start) % interval == 0
            operations[number].first = BEGINS if begins else GOES_ON
        for name, window in self._windows.items():
            self._live[name][0] = window.holds(time_step)
            self._left[name][0] = 0
        self._program.run(1, 1, 1)
        for name, left in self._left.items():
            refuse(name, left, time_step)
        return self._sent

    def take(self, arrived: list[npt.NDArray[Any]], time_step: int) -> None:
        """Store the messages of this step, from outside and inside."""
        for ring, messages in zip(self._rings, [*arrived, *self._sent], strict=True):
            ring[time_step % len(ring)] = messages

    def _connect(self, node: Synapse) -> None:
        self._parts[node.name] = []
        offset = self.graph.facts(node.name).input_latencies[0] + 1
        for name in node.inputs:
            if is_carried(node):
                shift = node.exponent + int(node.weight.flat[0]).bit_length() - 1
                part = self._loaded(name, Past(self._senders[name], node.lag, 0, 0))
                self._parts[node.name].append(Part(part.place, min(31, shift)))
                continue
            for delay, weight in kernels_by_delay(node, planes(self.graph.facts(name).shape)):
                ago = Past(self._senders[name], node.lag + delay, delay, offset if delay else 0)
                part = self._loaded(name, ago)
                self._parts[node.name].append(self._multiplied(node, weight, part, 0))

    def _loaded(self, name: str, past: Past) -> Part:
        """Load the messages of a sender at an earlier step, once for all readers."""
        if past not in self._loads:
            number = len(self._operations)
            self._operation(LOAD, []).samples = 1
            self._loads[past] = number, self._message(self.graph[name])
        return self._loads[past][1]


@dataclass(frozen=True)
class StepPlan:
    """The description from which the running process creates its :class:`CompiledStep`."""

    graph: Graph
    group: Group
    senders: tuple[str, ...]
    samples: int | None = None

    def build(self) -> CompiledStep:
        library = kernels(with_torch=False)
        assert library is not None  # as where it was planned
        return CompiledStep(self.graph, self.group, self.senders, library, self.samples)


def planned(
    graph: Graph, group: Group, senders: Sequence[str], samples: int | None = None
) -> StepPlan | None:
    """Return the compiled step of a group; None if no kernels support it."""
    nodes = [graph[name] for name in (*group.synapses, *group.populations)]
    shapes = all(len(graph.facts(name).shape) in (1, 3) for name in senders)
    if not shapes or not fits(graph, nodes) or kernels(with_torch=False) is None:
        return None
    return StepPlan(graph, group, tuple(senders), samples)
