"""The work of every core in each step, and a lower bound of the time on a chip.

Populations are divided into the tiles of :mod:`neuroport.targets.tiling`. Each operation counts in
the core of the receiving neuron. In chip time, a population of latency s processes step t of a
sample in step t + s, so one sample alone (batch 1) takes ``T + depth`` steps. Each lasts as long as
the slowest core needs:

::

    step_us >= max over cores of (synop_ns * operations, neuron_ns * passes * neurons) / 1000
    step_us >= the target's minimum time of a step

This is a lower bound: routing, the host and the readout also take time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.operations import Sent
from neuroport.analysis.operations_per_core import FanIn, Tile, fan_ins, own_fan_in, sources
from neuroport.errors import TargetError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Node
from neuroport.targets.message_traffic import count
from neuroport.targets.population_demands import CONSTANT, CONSTANTS, rounding
from neuroport.targets.resources import Placed, Resources, resources
from neuroport.targets.target import Target

TIMES = ("synop_ns", "neuron_ns", "step_us")
PASSES = {"sigmadelta": "sigma_delta_passes"}  # of kinds whose update takes more than one
_US = 1e-3  # of a nanosecond


@dataclass(frozen=True, slots=True)
class StepTime:
    """Lower bound of the time of one sample alone.

    Attributes:
        steps: number of chip steps of a sample, T + depth.
        latency_us, worst_us: mean and largest time of a sample.
        bound_by: mean number of steps per sample whose time is determined by operations, neurons,
        or the minimum time of a step.
        unknown: unpublished times of the target, which the bound omits.
    """

    steps: int
    latency_us: float
    worst_us: float
    bound_by: dict[str, float]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CoreWork:
    """Cores of a network on a target, and their work; messages are means per sample.

    Attributes:
        target, cores, chips, fits: see :class:`neuroport.targets.resources.Resources`.
        most_operations: largest number of operations of one core in one step, over all samples.
        busiest: population on that core.
        most_neurons: largest number of neurons of a core, all updated at every step.
        between: messages between cores; a message to three cores counts three times.
        inside: messages from a core to itself (recurrent populations).
        outside: messages from the frames to cores.
        time: None if shortcuts are not aligned, so that the network cannot run on a chip.
    """

    target: str
    cores: int
    chips: int
    fits: bool
    most_operations: int
    busiest: str
    most_neurons: int
    between: float
    inside: float
    outside: float
    time: StepTime | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def core_work(graph: Graph, sent: Sent, target: Target) -> CoreWork:
    """Count the work of every core of ``target``.

    Raises:
        TargetError: the target has no times for a bound.
    """
    if all(target.cost(name) is None for name in TIMES):
        raise TargetError(
            f"{target.name}: no time of a step or an operation is known ({', '.join(TIMES)}); "
            "give one in its file, or take a target that has them, such as loihi2"
        )
    found = resources(graph, target)
    samples = next(iter(sent.values())).shape[1]
    traffic = count(graph, found, sent)
    busiest = operations(graph, found, sent)
    most = max(busiest, key=lambda name: busiest[name].max())
    return CoreWork(
        target=target.name,
        cores=found.cores,
        chips=found.chips,
        fits=found.fits,
        most_operations=int(busiest[most].max()),
        busiest=most,
        most_neurons=max(_neurons(placed) for placed in found.placed),
        time=_time(graph, found.placed, busiest, target) if graph.balanced else None,
        between=sum(f.messages * len(set(f.targets) - {f.source}) for f in traffic.flows) / samples,
        inside=sum(f.messages for f in traffic.flows if f.source in f.targets) / samples,
        outside=sum(f.messages * len(f.targets) for f in traffic.frames or ()) / samples,
    )


def operations(graph: Graph, found: Resources, sent: Sent) -> dict[str, npt.NDArray[np.float64]]:
    """Return the operations (T, N) of the busiest core of each population, for each step.

    The constant neuron has none.
    """
    samples = next(iter(sent.values())).shape[1]
    busiest: dict[str, npt.NDArray[np.float64]] = {}
    for placed in found.placed:
        name, tile = placed.layer.name, placed.tiling.tile
        if placed.layer.kind == CONSTANT:
            continue
        fans = _fans(graph, graph[name], tile)
        loads = sum(_loads(fan, sent[source], delay) for source, delay, fan in fans)
        busiest[name] = np.max(loads, axis=2) if fans else np.zeros((graph.steps, samples))
        if name in rounding(graph):
            busiest[name] += CONSTANTS * _neurons(placed)
    return busiest


def least_us(target: Target, most: float, neurons: float) -> float:
    """Return lower bounds of a core's step in us: by operations, by neurons, and of any step."""
    synop, neuron, least = (target.cost(name) or 0.0 for name in TIMES)
    return max(most * synop * _US, neurons * neuron * _US, least)


def _fans(graph: Graph, node: Node, tile: Tile) -> list[tuple[str, int, FanIn]]:
    """Yield every (source, delay, fan-in) of a population."""
    shape = graph.facts(node.name).shape
    found = []
    for synapse in graph.synapses_into(node.name):
        fans = fan_ins(graph, synapse, shape, tile)
        found += [(s, delay, fan) for s, delay in sources(graph, synapse.name) for fan in fans]
    if node.own_weight is not None:
        found.append((node.name, 0, own_fan_in(node.own_weight, shape, tile)))
    return found


def _loads(fan: FanIn, sent: npt.NDArray[Any], delay: int) -> npt.NDArray[np.float64]:
    """Return operations (T, N, cores) in the steps in which messages arrive."""
    steps, samples = sent.shape[:2]
    late = min(steps, delay + fan.delay)
    heard = sent[: steps - late] != 0
    found = fan.operations(heard.reshape(-1, *sent.shape[2:])).reshape(steps - late, samples, -1)
    return np.concatenate([np.zeros((late, *found.shape[1:])), found])


def _neurons(placed: Placed) -> int:
    return int(np.prod(placed.tiling.tile))


def _time(
    graph: Graph,
    layers: tuple[Placed, ...],
    busiest: dict[str, npt.NDArray[np.float64]],
    target: Target,
) -> StepTime:
    synop, neuron, least = (target.cost(name) or 0.0 for name in TIMES)
    steps, samples = graph.steps + graph.depth, next(iter(busiest.values())).shape[1]
    operations = np.zeros((steps, samples))
    for name, load in busiest.items():
        latency = graph.facts(name).latency
        at = slice(latency, latency + graph.steps)
        operations[at] = np.maximum(operations[at], load)
    updates = max(
        _neurons(p) * _passes(graph[p.layer.name], target)
        for p in layers
        if p.layer.kind != CONSTANT
    )
    terms = np.stack(
        [
            operations * synop * _US,
            np.full_like(operations, updates * neuron * _US),
            np.full_like(operations, least),
        ]
    )
    times = terms.max(axis=0).sum(axis=0)
    decided = np.bincount(terms[::-1].argmax(axis=0).ravel(), minlength=3)[::-1] / samples
    return StepTime(
        steps=steps,
        latency_us=float(times.mean()),
        worst_us=float(times.max()),
        bound_by=dict(zip(("operations", "neurons", "least"), decided.tolist(), strict=True)),
        unknown=tuple(name for name in TIMES if target.cost(name) is None),
    )


def _passes(node: Node, target: Target) -> float:
    key = PASSES.get(node.kind)
    return (key and target.cost(key)) or 1.0
