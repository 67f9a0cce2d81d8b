"""The fused process's compiled step sends what its steps in NumPy send, on any messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.backends.lava_cpu.compiled_step import planned
from neuroport.backends.lava_cpu.fused_partition import Group, held
from neuroport.errors import NeuroportError
from neuroport.graph.graph import Graph
from neuroport.graph.node import per_neuron
from neuroport.kernels import plain, why_plain
from tests.helpers.lava import lava_module
from tests.properties.networks import network
from tests.tiers import examples

CARRIERS = ("relay", "unroll", "delays")


class InNumpy:
    """The process's own steps, without Lava."""

    def __init__(self, graph: Graph, group: Group) -> None:
        from neuroport.backends.lava_cpu.fused_build import _held, _population, sources_of
        from neuroport.backends.lava_cpu.fused_state import RunningSynapse

        self.senders = [*sources_of(graph, group), *group.populations]
        numbers = {name: number for number, name in enumerate(self.senders)}
        self._synapses = [RunningSynapse(_held(graph, name, numbers)) for name in group.synapses]
        self._populations = [_population(graph, name, group) for name in group.populations]

    def step(self, time_step: int) -> list[Any]:
        currents = [synapse.give() for synapse in self._synapses]
        self._sent = [each.step(currents, time_step) for each in self._populations]
        return self._sent

    def take(self, arrived: list[Any], time_step: int) -> None:
        for synapse in self._synapses:
            synapse.take([*arrived, *self._sent], time_step)


def bounds_of(graph: Graph, name: str) -> tuple[Any, Any]:
    facts = graph.facts(name)
    low, high = (
        per_neuron(x, facts.shape) + np.zeros(facts.shape, int) for x in (facts.low, facts.high)
    )
    return low, high


def networks() -> list[tuple[int, str]]:
    return [(seed, CARRIERS[seed % 3]) for seed in range(300, 300 + examples(90))]


@pytest.mark.skipif(why_plain() is not None, reason=f"no compiled kernels here: {why_plain()}")
def test_it_sends_what_the_steps_in_numpy_send() -> None:
    lava_module("neuroport.backends.lava_cpu.fused_build")
    held_some, delayed, lagging = 0, 0, 0
    for seed, carrier in networks():
        try:
            graph = port.lower(network(seed).graph, carrier=carrier)
        except NeuroportError:  # which this carrier cannot carry
            continue
        group = held(graph)
        if not group.populations:
            continue
        plainly = InNumpy(graph, group)
        plan = planned(graph, group, plainly.senders)
        if plan is None:
            continue
        compiled = plan.build()
        held_some += 1
        delayed += any(past.delay for past in compiled._loads)
        lagging += any(past.ago > past.delay for past in compiled._loads)
        rng = np.random.default_rng(seed)
        outside = plainly.senders[: -len(group.populations)]
        bounds = [bounds_of(graph, name) for name in outside]
        lively = False
        for time_step in range(1, 3 * graph.interval + 5):
            want = plainly.step(time_step)
            got = compiled.step(time_step)
            for name, one, other in zip(group.populations, want, got, strict=True):
                np.testing.assert_array_equal(other, one, f"{seed} {carrier} {name} {time_step}")
                lively |= bool(one.any())
            arrived = [rng.integers(low, high + 1).reshape(-1) for low, high in bounds]
            plainly.take(arrived, time_step)
            compiled.take(arrived)
        assert lively
    assert held_some > len(networks()) // 3
    assert delayed
    assert lagging


def test_without_kernels_there_is_no_compiled_step() -> None:
    lava_module("neuroport.backends.lava_cpu.fused_build")
    graph = port.lower(network(300).graph)
    with plain():
        assert planned(graph, held(graph), []) is None
