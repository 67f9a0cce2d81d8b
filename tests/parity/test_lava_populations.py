"""Sigma-delta, resonating and recurrent populations: ideal time, chip time and Lava agree."""

from __future__ import annotations

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import BackendError, RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delta, Dense, Input, Node, Sigma, SigmaDelta
from tests.helpers.neurons import neurons


def network(interval: int) -> tuple[Graph, np.ndarray]:
    """Every kind behind a graded image; samples overlap nowhere, whatever the interval."""
    nodes: list[Node] = [
        Input("frames", (2, 4, 3), bits=4, signed=True),
        *neurons("frames", (2, 4, 3)),
    ]
    graph = Graph(nodes, 9, interval)
    frames = np.random.default_rng(2).integers(-3, 4, (9, 4, 2, 4, 3))
    return graph, frames


@pytest.mark.parametrize("interval", [9, 13])
@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("reference", {"time_model": "chip"}),
        ("fast", {}),
        ("fast", {"time_model": "chip"}),
        pytest.param("lava-cpu", {}, marks=pytest.mark.lava),
    ],
)
def test_every_population_is_the_references(
    engine: str, options: dict[str, str], interval: int
) -> None:
    if engine == "fast":
        pytest.importorskip("torch")
    graph, frames = network(interval)
    want = port.run(graph, frames)
    got = port.run(graph, frames, on=engine, **options)
    assert set(got.messages) == {node.name for node in graph.populations}
    for name, messages in want.messages.items():
        assert messages.any(), name
        np.testing.assert_array_equal(got[name], messages, err_msg=name)


def test_samples_do_not_hear_the_sample_before() -> None:
    graph, frames = network(9)
    alone = [port.run(graph, frames[:, n : n + 1], time_model="chip") for n in range(4)]
    together = port.run(graph, frames, time_model="chip")
    for name, messages in together.messages.items():
        for n, one in enumerate(alone):
            np.testing.assert_array_equal(messages[:, n], one[name][:, 0])


def overflowing() -> tuple[Graph, np.ndarray]:
    """Changes whose sum leaves 24 bits at the third step: 4,000,000 and a little each time."""
    nodes: list[Node] = [
        Input("frames", (1, 1, 1), bits=11, signed=True),
        Conv("drive", ("frames",), np.ones((1, 1, 1, 1), np.int64)),
        Delta("changes", ("drive",), 0),
        Dense("wide", ("changes",), np.array([[250]])),
        SigmaDelta("units", ("wide",), 0),
        Dense("last", ("units",), np.array([[2]])),
        Sigma("sum", ("last",)),
    ]
    steps = np.array([250, 500, 750]).reshape(3, 1, 1, 1, 1)
    return Graph(nodes, 3), steps


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_a_sum_beyond_24_bits_ends_the_run_and_says_where(engine: str) -> None:
    if engine == "fast":
        pytest.importorskip("torch")
    graph, frames = overflowing()
    with pytest.raises(RangeError, match="units: a sum of changes reaches 12000000 at step 2"):
        port.run(graph, frames, on=engine)


@pytest.mark.lava
def test_a_sum_beyond_24_bits_ends_lavas_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, frames = overflowing()
    with pytest.raises(RangeError, match="a sum of changes reaches 12000000"):
        port.run(graph, frames, on="lava-cpu")
    # Lava's own states are checked, too, should the reference have missed it
    monkeypatch.setattr("neuroport.backends.lava_cpu.engine.find_departure", lambda *_: None)
    with pytest.raises(BackendError, match="sigma reaches 12000000"):
        port.run(graph, frames, on="lava-cpu")
