"""Neurons with an adaptive threshold: by hand, and one Python integer at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import AdaptiveLif, AdaptiveRecurrent, Dense, Input

TOP = 2**23 - 1
Arrays = Callable[[Any], Any]


@pytest.fixture(params=["numpy", "torch"])
def arrays(request: pytest.FixtureRequest) -> Arrays:
    """Makes int64 arrays of one of the two libraries."""
    if request.param == "numpy":
        return lambda values: np.asarray(values, np.int64)
    torch = pytest.importorskip("torch")
    return lambda values: torch.as_tensor(np.asarray(values, np.int64))


# threshold 640, 128 more with each spike; half of the rise and 3/4 of the hold stay per step
ADAPTATION = (640, 128, 2048, 1024)
# current forgets at once, half of the voltage stays: current, then u, v, rise, hold, spike
BY_HAND = [
    (10, 640, 640, 128, 1280, 1),  # reaches 640: fires; hold = 2 * 640
    (15, 960, 1280, 64, 960, 0),  # below 640 + 64 + 960
    (32, 2048, 2688, 160, 2064, 1),  # th = 672, hold = 720: fires; 32 + 128, 720 + 2 * 672
    (0, 0, 1344, 80, 1548, 0),
    (-8, -512, 160, 40, 1161, 0),
    (22, 1408, 1488, 20, 870, 0),  # 870.75 is cut; below 640 + 20 + 870 = 1530
    (0, 0, 744, 10, 652, 0),
    (15, 960, 1332, 133, 1779, 1),  # 640 + 5 + 489: fires; 5 + 128, 489 + 2 * 645
]


def test_threshold_rises_with_every_spike_and_falls_back(arrays: Arrays) -> None:
    states: Any = (arrays([0]),) * 4
    for current, *after in BY_HAND:
        states, spikes = integers.adaptive_lif_step(
            states, arrays([current]), 0, 4096, 2048, ADAPTATION
        )
        assert [int(part[0]) for part in (*states, spikes)] == after


def test_reaching_the_threshold_is_enough_and_one_unit_less_is_not(arrays: Arrays) -> None:
    zeros = arrays([0, 0, 0, 0])
    held = arrays([0, 0, 128, 128])  # of which 64 stay
    states = (zeros, arrays([576, 575, 640, 639]), zeros, held)
    _, spikes = integers.adaptive_lif_step(states, arrays([1] * 4), 0, 4096, 0, (640, 0, 0, 2048))
    assert [int(s) for s in spikes] == [1, 0, 1, 0]


def test_bias_is_a_part_of_the_current_and_decays_with_it(arrays: Arrays) -> None:
    states: Any = (arrays([0]),) * 4
    for current in (0, 64 + 64 * 3 // 4):  # unlike the bias of a LIF, which enters the voltage
        states, _ = integers.adaptive_lif_step(states, arrays([0]), 1, 1024, 4096, (TOP, 0, 0, 0))
        if current:
            assert int(states[0][0]) == current


def kept(x: int, rate: int) -> int:
    return int(x * (4096 - rate) / 4096)


def clipped(x: int) -> int:
    return max(-TOP, min(TOP, x))


def adapted(
    level: int, may: bool, rise: int, hold: int, adaptation: tuple[int, int, int, int]
) -> tuple[int, int, int]:
    threshold, step, threshold_decay, refractory_decay = adaptation
    rise, hold = kept(rise, threshold_decay), kept(hold, refractory_decay)
    if may and level >= threshold + rise + hold:
        return clipped(rise + step), clipped(hold + 2 * (threshold + rise)), 1
    return rise, hold, 0


def states(seed: int, top: int = TOP) -> list[int]:
    edges = [0, 1, -1, top, -top, 4095, -4096, 64, -64]
    return edges + [int(n) for n in np.random.default_rng(seed).integers(-top, top + 1, 400)]


@pytest.mark.parametrize("step", [0, 777, -300, TOP])
def test_adaptive_neurons_truncate_and_saturate(arrays: Arrays, step: int) -> None:
    adaptation = (40_000, step, 300, 1111)
    given = [states(1), states(2), states(3), states(4)]
    current = states(5, 2**17 - 1)
    found = integers.adaptive_lif_step(
        tuple(arrays(part) for part in given), arrays(current), 0, 700, 90, adaptation
    )
    expected = []
    for u, v, rise, hold, a in zip(*given, current, strict=True):
        u = kept(u, 700) + 64 * a
        u = (u + TOP) % 2**24 - TOP
        v = clipped(kept(v, 90) + u)
        expected.append((u, v, *adapted(v, True, rise, hold, adaptation)))
    columns = [np.asarray(part).astype(int).tolist() for part in (*found[0], found[1])]
    assert list(zip(*columns, strict=True)) == expected
    assert 0 < sum(columns[-1]) < len(expected)


@pytest.mark.parametrize("izhikevich", [False, True])
def test_adaptive_resonators_turn_as_resonators_do_and_are_not_reset(
    arrays: Arrays, izhikevich: bool
) -> None:
    adaptation = (4000, 555, 300, 1111)
    given = [states(1), states(2), states(3, 2**20), states(4, 2**20)]
    currents = [states(5, 2**16), states(6, 2**16)]
    found = integers.adaptive_resonate_step(
        tuple(arrays(part) for part in given),
        *(arrays(part) for part in currents),
        2103,
        3273,
        adaptation,
        izhikevich,
    )
    real, imag, _ = integers.resonate_step(
        *(arrays(part) for part in (*given[:2], *currents)), 2103, 3273, 0
    )
    expected = []
    for r, i, before, rise, hold in zip(
        real.tolist(), imag.tolist(), given[1], given[2], given[3], strict=True
    ):
        level, may = (i, True) if izhikevich else (r, i >= 0 > before)
        expected.append((r, i, *adapted(level, may, rise, hold, adaptation)))
    columns = [np.asarray(part).astype(int).tolist() for part in (*found[0], found[1])]
    assert list(zip(*columns, strict=True)) == expected
    assert 0 < sum(columns[-1]) < len(expected)


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_population_does_by_itself_what_was_computed_by_hand(engine: str) -> None:
    if engine == "fast":
        pytest.importorskip("torch")
    nodes = [
        Input("frames", (1,), bits=7, signed=True),
        Dense("synapse", ("frames",), np.array([[1]])),
        AdaptiveLif("neuron", ("synapse",), *ADAPTATION, voltage_decay=2048),
    ]
    frames = np.array([row[0] for row in BY_HAND]).reshape(-1, 1, 1)
    want = [row[-1] for row in BY_HAND]
    twice = np.concatenate([frames, frames], axis=1)  # the second begins at rest
    for time in ("ideal", "chip"):
        got = port.run(Graph(nodes, len(frames)), twice, on=engine, time_model=time)
        assert got["neuron"][:, :, 0].T.astype(int).tolist() == [want, want]


def test_recurrent_population_hears_its_spikes_a_step_later() -> None:
    def neuron(own: list[list[int]]) -> Graph:
        return Graph(
            [
                Input("frames", (2,), bits=7, signed=True),
                Dense("synapse", ("frames",), np.eye(2, dtype=np.int64)),
                AdaptiveRecurrent("neuron", ("synapse",), own, 640, 0, 0, 4096, voltage_decay=4096),
            ],
            4,
        )

    frames = np.zeros((4, 1, 2), int)
    frames[0, 0, 0] = 10
    # the first tells the second, which tells the first; neither keeps anything
    heard = port.run(neuron([[0, 10], [10, 0]]), frames)["neuron"][:, 0].astype(int)
    assert heard.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert port.run(neuron([[0, 9], [9, 0]]), frames)["neuron"].sum() == 1
