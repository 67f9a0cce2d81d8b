"""Build the fused Lava process from a group of nodes. Imported by the worker only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from neuroport.backends.lava_cpu.compiled_step import planned
from neuroport.backends.lava_cpu.fused_partition import Group
from neuroport.backends.lava_cpu.fused_state import HeldCounter, HeldPopulation, HeldSynapse
from neuroport.backends.lava_cpu.processes.fused import Fused, fused_process
from neuroport.backends.lava_cpu.stepped_population import Stepped
from neuroport.backends.lava_cpu.weight_products import products
from neuroport.graph import integers
from neuroport.graph.declared_widths import window_of
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    IntArray,
    Lif,
    Population,
    Readout,
    Relay,
    Shape,
    Synapse,
    per_neuron,
)
from neuroport.runs.trace import is_spiking

NEURONS_AT_ONCE = 1 << 14  # arrays of 128 kB: larger ones exceed the cache and are slower

Update: TypeAlias = Callable[[IntArray, int], Any]  # current, time step -> messages


@dataclass(frozen=True)
class Outlet:
    """Output of one population of a fused process; used like a process with ``s_out``."""

    process: Fused
    number: int

    @property
    def s_out(self) -> Any:
        """The out-port of the population."""
        return getattr(self.process, f"s_out_{self.number}")

    def record(self, path: Path, steps: int) -> None:
        """Let the process write the population's messages of every step to an array file."""
        population = self.process.proc_params["populations"][self.number]
        kind = np.bool_ if population.spikes else np.int32
        np.save(path, np.zeros((steps, population.size), kind))
        self.process.proc_params["paths"][self.number] = str(path)

    def count(self, path: Path, samples: int, counters: int, first: int, graph: Graph) -> None:
        """Let the process count the population's messages, and write a row per sample.

        Args:
            counters: number of counters; neurons that share one are adjacent.
            first: Lava's time step, from 1, of the first message of the first sample.
        """
        np.save(path, np.zeros((samples, counters), np.int32))
        held = HeldCounter(str(path), first, graph.interval, graph.steps)
        self.process.proc_params["counters"][self.number] = held


def fuse(graph: Graph, group: Group, samples: int | None = None) -> dict[str, Outlet]:
    """Build the process of a group, not yet connected; return it and its outlets.

    Args:
        samples: number of samples during which declared widths are checked; None: all.
    """
    sources = sources_of(graph, group)
    plan = planned(graph, group, [*sources, *group.populations], samples)
    numbers = {name: number for number, name in enumerate([*sources, *group.populations])}
    synapses = [] if plan else [_held(graph, name, numbers) for name in group.synapses]
    process = fused_process(
        [int(np.prod(graph.facts(name).shape)) for name in sources],
        synapses,
        [_population(graph, name, group, samples) for name in group.populations],
        plan,
    )
    return {name: Outlet(process, number) for number, name in enumerate(group.populations)}


def join(graph: Graph, group: Group, processes: dict[str, Any]) -> None:
    """Connect the sources of a group."""
    process = processes[group.populations[0]].process
    for number, name in enumerate(sources_of(graph, group)):
        processes[name].s_out.connect(getattr(process, f"s_in_{number}"))


def sources_of(graph: Graph, group: Group) -> list[str]:
    """Return the nodes outside a group that send to it, each once: its in-ports."""
    senders = dict.fromkeys(name for synapse in group.synapses for name in graph[synapse].inputs)
    return [name for name in senders if name not in group.populations]


def _held(graph: Graph, name: str, numbers: dict[str, int]) -> HeldSynapse:
    node, facts = graph[name], graph.facts(name)
    assert isinstance(node, Synapse)
    return HeldSynapse(
        senders=tuple(numbers[source] for source in node.inputs),
        products=tuple(products(graph, node)),
        size=int(np.prod(facts.shape)),
        lag=node.lag,
        interval=graph.interval,
        offset=facts.input_latencies[0] + 1,
    )


def _population(
    graph: Graph, name: str, group: Group, samples: int | None = None
) -> HeldPopulation:
    node, facts = graph[name], graph.facts(name)
    start = (graph.interval, facts.input_latencies[0] + 1)  # Lava counts steps from 1
    update: Update
    match node:
        case Population() if name in graph.checked:
            arriving, window = graph.facts(node.inputs[0]).shape, window_of(graph, name, samples)
            stepped = Stepped(node, arriving, window, graph.checked[name])

            def update(current: IntArray, time_step: int) -> Any:
                return stepped.step(current, time_step).reshape(-1)
        case Lif():
            update = in_parts(node, facts.shape, *start)
        case Readout():
            update = ReadoutStep(node, facts.shape, *start)
        case Relay(shift=shift, threshold=threshold):

            def update(current: IntArray, time_step: int) -> Any:
                return integers.relay(current, shift, threshold)
        case _:
            raise TypeError(f"{name}: no fused process holds a {type(node).__name__}")
    taken = tuple(group.synapses.index(synapse) for synapse in node.inputs)
    spikes = is_spiking(node.kind)
    return HeldPopulation(taken, update, int(np.prod(facts.shape)), spikes)


class _Stateful:
    """States are 0 before the first sample, and again where one begins."""

    def __init__(self, interval: int, offset: int) -> None:
        self._interval, self._offset = interval, offset

    def starts(self, time_step: int) -> bool:
        """Return whether a sample begins; steps are Lava's, from 1."""
        return (time_step - self._offset) % self._interval == 0


def in_parts(node: Lif, shape: Shape, interval: int, offset: int) -> Update:
    """Run the neurons of a population in parts that fit into the processor's cache."""
    fields = (node.bias, node.current_decay, node.voltage_decay, node.threshold)
    constants = [_constant(values, shape) for values in fields]
    size = int(np.prod(shape))
    bounds = [*range(0, size, NEURONS_AT_ONCE), size]
    parts = [slice(a, b) for a, b in pairwise(bounds)]
    steps = [
        LifStep([c[part] if np.ndim(c) else c for c in constants], interval, offset)
        for part in parts
    ]
    if len(steps) == 1:
        return steps[0]

    def update(current: IntArray, time_step: int) -> Any:
        pairs = zip(steps, parts, strict=True)
        return np.concatenate([step(current[part], time_step) for step, part in pairs])

    return update


class LifStep(_Stateful):
    """:func:`neuroport.graph.integers.lif_step` and the reset.

    Args:
        constants: bias, current decay, voltage decay, threshold: numbers, or one per neuron.
    """

    def __init__(self, constants: list[Any], interval: int, offset: int) -> None:
        super().__init__(interval, offset)
        self._constants = constants
        # a state that decays fully in one step need not be stored
        self._forgets = bool(np.all(constants[1] == integers.DECAY_UNITY))
        self._u: Any = np.int64(0)
        self._v: Any = np.int64(0)

    def __call__(self, current: IntArray, time_step: int) -> Any:
        if self.starts(time_step):
            self._u = self._v = np.int64(0)
        u, v, spikes = integers.lif_step(self._u, self._v, current, *self._constants)
        if not self._forgets:
            self._u = u
        self._v = integers.reset(v, spikes)
        return spikes


class ReadoutStep(_Stateful):
    """:func:`neuroport.graph.integers.readout_step`; sends its potential."""

    def __init__(self, node: Readout, shape: Shape, interval: int, offset: int) -> None:
        super().__init__(interval, offset)
        self._bias = _constant(node.bias, shape)
        self._v: Any = np.int64(0)

    def __call__(self, current: IntArray, time_step: int) -> Any:
        if self.starts(time_step):
            self._v = np.int64(0)
        self._v = integers.readout_step(self._v, current, self._bias)
        return self._v


def _constant(values: IntArray, shape: Shape) -> Any:
    """Return one number if all are equal, otherwise one per neuron, in channel-major order."""
    if values.size == 1:
        return values.reshape(-1)[0]
    return np.ascontiguousarray(per_neuron(values, shape)).reshape(-1)
