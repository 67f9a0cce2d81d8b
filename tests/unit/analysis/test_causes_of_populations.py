"""Explaining and minimizing a divergence in every kind of population that NetX files hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Input, Node
from tests.helpers.neurons import neurons

CHANGED = {
    "heard": {"bias": np.array([0, 1, 2, 40])},
    "changes": {"threshold": 5},
    "units": {"bias": np.array([4, -2, 3])},
    "phase": {"cos": np.array([3000, 1, 9])},
    "izhikevich": {"threshold": 90},
    "fading": {"voltage_decay": np.array([300, 4000, 1])},
    "tired": {"threshold_step": 900},
    "musing": {"bias": np.array([1, 0, 40])},
    "tuned": {"threshold": 5},
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_population_is_found_explained_and_made_small(name: str) -> None:
    nodes: list[Node] = [
        Input("frames", (2, 4, 3), bits=4, signed=True),
        *neurons("frames", (2, 4, 3)),
    ]
    changed = [replace(n, **CHANGED[name]) if n.name == name else n for n in nodes]
    graph, other = Graph(nodes, 9), Graph(changed, 9)
    frames = np.random.default_rng(2).integers(-3, 4, (9, 4, 2, 4, 3))
    want, got = port.run(graph, frames), port.run(other, frames)
    found = port.compare(want, got, graph=graph, other=other, frames=frames)
    assert found.first is not None
    assert found.first.population == name
    assert found.neighbourhood is not None
    assert found.cause is not None
    assert name in found.cause.sentence
    small = port.minimize(graph, other, frames)
    assert small.first.population == name
    assert small.frames.size < frames.size
