"""A neuron that loses its threshold when it fires, and goes the whole road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, SubtractiveLif, SubtractiveRecurrent

STEPS = 12


def alone(**fields: int) -> Graph:
    constants = {"threshold": 10, "subtract": 640, **fields}
    nodes = [
        Input("frames", (1,), bits=8),
        Dense("fc", ("frames",), np.ones((1, 1), np.int64)),
        SubtractiveLif("soft", ("fc",), **constants),
    ]
    return Graph(nodes, STEPS)


def spikes_of(graph: Graph, *currents: int) -> list[int]:
    frames = np.zeros((STEPS, 1, 1), np.int64)
    frames[: len(currents), 0, 0] = currents
    return np.flatnonzero(port.run(graph, frames)["soft"].reshape(-1)).tolist()


def test_what_lies_above_the_threshold_stays_and_fires_again() -> None:
    assert spikes_of(alone(), 31) == [0, 1, 2]  # 31, 21, 11 fire; 1 does not
    assert spikes_of(alone(), 30) == [0, 1]  # 10 is not above 10


def test_the_amount_may_be_larger_than_the_threshold() -> None:
    assert spikes_of(alone(subtract=64 * 20), 31) == [0, 1]  # 31, 11; then -9
    assert spikes_of(alone(subtract=64 * 20), 31, 0, 19) == [0, 1]  # -9 + 19 is 10
    assert spikes_of(alone(subtract=64 * 20), 31, 0, 20) == [0, 1, 2]


def test_the_leak_of_a_step_comes_after_the_subtraction() -> None:
    # (24 - 12) / 2 is 6; with the leak first 24 / 2 - 12 would be 0
    assert spikes_of(alone(threshold=11, subtract=64 * 12, voltage_decay=2048), 24, 6) == [0, 1]


def network() -> tuple[Graph, np.ndarray]:
    rng = np.random.default_rng(2)
    constants = {"threshold": 60, "subtract": 70 * 64, "voltage_decay": 500, "bias": 2}
    nodes = [
        Input("frames", (2, 5, 5), bits=1),
        Conv("conv1", ("frames",), 2 * rng.integers(-30, 40, (3, 2, 3, 3)), padding=(1, 1)),
        SubtractiveLif("soft1", ("conv1",), **constants),
        Conv("conv2", ("soft1",), 2 * rng.integers(-30, 40, (3, 3, 3, 3)), padding=(1, 1)),
        SubtractiveLif("soft2", ("conv1", "conv2"), **constants),
        Dense("fc", ("soft1", "soft2"), 2 * rng.integers(-9, 10, (4, 75))),
        SubtractiveRecurrent("heard", ("fc",), 2 * rng.integers(-20, 20, (4, 4)), **constants),
    ]
    return Graph(nodes, STEPS), (rng.random((STEPS, 3, 2, 5, 5)) < 0.4).astype(np.int32)


@pytest.mark.lava
def test_on_lava_through_a_file_no_spike_differs(tmp_path: Path) -> None:
    graph, frames = network()
    want = port.run(graph, frames)
    assert all(0.05 < want[name].mean() < 0.95 for name in ("soft1", "soft2", "heard"))
    net = port.export(port.lower(graph, target="lava-cpu"), tmp_path / "soft.net")
    found = port.compare(want, port.run(net, frames, on="lava-cpu"), graph=graph, frames=frames)
    assert found.equal, str(found)
    assert port.compare(want, port.run(graph, frames, on="fast"), graph=graph, frames=frames).equal


def test_chips_refuse_it_by_name_and_say_what_to_train() -> None:
    from neuroport.targets.rules import refusals
    from neuroport.targets.target import load_target

    lowered = port.lower(network()[0])
    for chip in ("loihi1", "loihi2"):
        found = [f for f in refusals(lowered, load_target(chip)) if f.node == "soft1"]
        assert len(found) == 1
        assert "subtract" in found[0].message
        assert "reset_mechanism='zero'" in found[0].message
