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
from neuroport.kernels.network_kernel import LIF, LOAD, READOUT, Program, column, size_of
from neuroport.runs.trace import is_spiking


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

    The messages of the last steps stay in the kernels' memory and layout, those of each sender in
    as many places as its readers need. A step points its senders and readers at the places.

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
        self._loads: dict[Past, Part] = {}
        self._arrived = [self._load(name) for name in senders if name not in group.populations]
        for node in inside:
            self._connect(node)
        for name in group.populations:
            self._send(graph[name])
        moving = self._keep(senders)
        self._program = Program(library, self._operations, self._places)
        operations, (values, _) = self._program.operations, self._program.layout(1)
        self._moving, self._cycle, self._back, self._delay, self._begun, kept = np.array(moving).T
        self._offsets = column(values, "offset")
        self._base = self._offsets[kept]
        self._size = np.array([size_of(values[number], 1) for number in kept])
        self._populations = [self._numbers[name] for name in group.populations]
        facts = [graph.facts(name) for name in group.populations]
        self._starts_at = np.array([each.input_latencies[0] + 1 for each in facts])
        self._first = column(operations, "first")
        self._sent: list[npt.NDArray[Any]] = []
        for name, number in zip(group.populations, self._populations, strict=True):
            operation, place = operations[number], self._places[operations[number].out]
            kind = np.bool_ if is_spiking(graph[name].kind) else np.int32
            self._sent.append(np.zeros(int(np.prod(place.shape)), kind))
            operation.record = self._sent[-1].ctypes.data
            operation.samples, operation.interval = 1, graph.interval
            if operation.what in (LIF, READOUT):
                channels, height, width = place.shape
                padded = -(-channels // self._lanes) * self._lanes
                operation.state = self._pointer(np.zeros(2 * height * width * padded, np.int32))
        self._windows = {name: window_of(graph, name, samples) for name in self._declared}
        self._checks, self._left = np.zeros((2, len(self._declared), 1), np.uint8)
        for number, live, left in zip(
            self._declared.values(), self._checks, self._left, strict=True
        ):
            operations[number].live, operations[number].left = live.ctypes.data, left.ctypes.data

    def step(self, time_step: int) -> list[npt.NDArray[Any]]:
        """Return the messages at Lava's ``time_step``; the next step overwrites the arrays.

        Raises:
            RangeError: a population exceeded its declared widths.
        """
        self._first[self._populations] = self._starts_at - time_step
        places = (time_step - self._back) % self._cycle
        early = (time_step - self._begun) % self.graph.interval < self._delay
        places[early] = self._cycle[early]
        self._offsets[self._moving] = self._base + places * self._size
        self._checks[:, 0] = [window.holds(time_step) for window in self._windows.values()]
        self._left[:] = 0
        self._program.run(1, 1, 1)
        if self._left.any():
            for name, left in zip(self._declared, self._left, strict=True):
                refuse(name, left, time_step)
        return self._sent

    def take(self, arrived: list[npt.NDArray[Any]]) -> None:
        """Store the messages of this step from outside."""
        for stored, messages in zip(self._arrived, arrived, strict=True):
            stored[:] = messages

    def _load(self, name: str) -> npt.NDArray[np.int32]:
        """Add the operation of an in-port; return where it reads what arrived in the last step."""
        stored = np.zeros(int(np.prod(self.graph.facts(name).shape)), np.int32)
        self._numbers[name] = len(self._operations)
        operation = self._operation(LOAD, [])
        operation.record, operation.samples = self._pointer(stored), 1
        self._message(self.graph[name])
        return stored

    def _keep(self, senders: Sequence[str]) -> list[tuple[int, ...]]:
        """Let senders' values be kept; tell which values move from step to step, and how.

        Returns:
            For each: its number, the number of places of its sender, how many steps before the
            computed one it was sent, the delay, the step of a sample's first message, and the
            number of its sender's value. The place behind those of a sender is always zero.
        """
        moving: list[tuple[int, ...]] = []
        for number, name in enumerate(senders):
            operation = self._operations[self._numbers[name]]
            pasts = [past for past in self._loads if past.sender == number]
            cycle = 2 + max((past.ago for past in pasts), default=0)
            zero = any(past.delay for past in pasts)
            self._places[operation.out].kept = cycle + zero
            # what arrived in the last step is loaded in this one
            moving.append((operation.out, cycle, operation.what == LOAD, 0, 0, operation.out))
            for past in pasts:
                place = self._loads[past].place
                self._places[place].of = operation.out
                begun = 1 + past.ago - past.delay + past.offset
                moving.append((place, cycle, 1 + past.ago, past.delay, begun, operation.out))
        return moving

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
        """Return the messages of a sender at an earlier step, once for all readers."""
        if past not in self._loads:
            self._loads[past] = self._message(self.graph[name])
        return self._loads[past]


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
