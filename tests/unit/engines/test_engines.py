"""What every kind of node does, in each built-in engine, in ideal and in chip time.

Expected values are written out, or computed one Python integer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import product
from typing import Any

import numpy as np
import pytest

from neuroport.engines import Engine
from neuroport.engines.table import ready
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Readout, Recurrent, Relay
from neuroport.kernels import compilation
from neuroport.runs.trace import Trace

TOP = 2**23


@pytest.fixture(params=["reference", "fast", "fast, without kernels"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    name, _, rest = request.param.partition(", ")
    if name == "fast":
        pytest.importorskip("torch")
    with compilation.plain() if rest else nullcontext():
        yield ready(name)


def run(engine: Engine, nodes: list[Node], frames: Any, interval: int | None = None) -> Trace:
    """Frames (T, N, *shape) in both times, which must agree; samples follow after ``interval``."""
    data = np.array(frames)
    graph = Graph(nodes, len(data), interval)
    ideal = engine.run(graph, data)
    chip = engine.run(graph, data, time_model="chip")
    for node in graph.populations:
        np.testing.assert_array_equal(chip[node.name], ideal[node.name], node.name)
    return ideal


def wire(size: int = 1, bits: int = 8, weight: int = 1) -> list[Node]:
    """Messages that arrive as they are, times ``weight``, at whatever reads ``wire``."""
    return [
        Input("frames", (size,), bits, signed=True),
        Dense("wire", ("frames",), weight * np.eye(size, dtype=int)),
    ]


def by_sample(*samples: list[int]) -> np.ndarray:
    """Frames (T, N, 1) of samples that are given one after the other."""
    return np.array(samples).T[:, :, None]


def listed(trace: Trace, name: str = "out") -> list[list[int]]:
    """Output (T, N, 1) as one list per sample."""
    return trace[name][:, :, 0].T.tolist()  # type: ignore[no-any-return]


# -- synapses --------------------------------------------------------------------------------


def correlate(x: np.ndarray, node: Conv, shape: tuple[int, ...]) -> np.ndarray:
    """Cross-correlation of (C, H, W), tap by tap."""
    out = np.zeros(shape, np.int64)
    outputs, inputs = len(node.weight) // node.groups, len(x) // node.groups
    for o, row, column in product(*map(range, shape)):
        for i, ky, kx in product(*map(range, node.weight.shape[1:])):
            y = row * node.stride[0] - node.padding[0] + ky * node.dilation[0]
            z = column * node.stride[1] - node.padding[1] + kx * node.dilation[1]
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                channel = o // outputs * inputs + i
                out[o, row, column] += node.weight[o, i, ky, kx] * x[channel, y, z]
    return out * 2**node.exponent


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "exponent": {"exponent": 3},
    "stride": {"stride": (2, 3)},
    "padding": {"padding": (1, 2)},
    "dilation": {"dilation": (2, 3)},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4},
    "all": {
        "exponent": 1,
        "stride": (3, 2),
        "padding": (2, 1),
        "dilation": (1, 2),
        "groups": 2,
    },
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_is_the_sum_over_its_taps(engine: Engine, case: str) -> None:
    options = CONVOLUTIONS[case]
    rng = np.random.default_rng(1)
    weight = rng.integers(-9, 10, (8, 4 // options.get("groups", 1), 2, 3))
    conv = Conv("conv", ("frames",), weight, **options)
    nodes: list[Node] = [Input("frames", (4, 5, 7), 4, True), conv, Relay("out", ("conv",))]
    frames = rng.integers(-8, 8, (2, 3, 4, 5, 7))
    got = run(engine, nodes, frames)["out"]
    for t, n in product(range(2), range(3)):
        np.testing.assert_array_equal(got[t, n], correlate(frames[t, n], conv, got.shape[2:]))


def test_convolution_of_an_image_by_hand(engine: Engine) -> None:
    weight = [[[[1, 10], [100, 1000]]]]
    nodes: list[Node] = [
        Input("frames", (1, 2, 3), 4),
        Conv("conv", ("frames",), weight, 1),
        Relay("out", ("conv",)),
    ]
    got = run(engine, nodes, [[[[[1, 2, 3], [4, 5, 6]]]]])["out"]
    assert got.tolist() == [[[[[2 * 5421, 2 * 6532]]]]]


def test_dense_takes_images_channel_by_channel(engine: Engine) -> None:
    rng = np.random.default_rng(2)
    weight, frames = rng.integers(-9, 10, (5, 12)), rng.integers(0, 16, (3, 2, 2, 3, 2))
    nodes: list[Node] = [
        Input("frames", (2, 3, 2), 4),
        Dense("dense", ("frames",), weight, 2),
        Relay("out", ("dense",)),
    ]
    got = run(engine, nodes, frames)["out"]
    for t, n in product(range(3), range(2)):
        assert got[t, n].tolist() == [4 * int(row @ frames[t, n].ravel()) for row in weight]


@pytest.mark.parametrize("interval", [4, 5, 8])
def test_each_weight_of_a_dense_synapse_has_its_delay(engine: Engine, interval: int) -> None:
    nodes: list[Node] = [
        Input("frames", (2,), 4),
        Dense("dense", ("frames",), [[1, 100], [1, 100]], 1, [[0, 1], [2, 3]]),
        Relay("out", ("dense",)),
    ]
    first, second = [[1, 5], [2, 6], [3, 7], [4, 8]], [[9, 8], [7, 6], [5, 4], [3, 2]]
    frames = np.stack([first, second], axis=1)
    got = run(engine, nodes, frames, interval)["out"]
    assert got[:, 0].tolist() == [[2, 0], [2 * 502, 0], [2 * 603, 2], [2 * 704, 2 * 502]]
    assert got[:, 1].tolist() == [[18, 0], [2 * 807, 0], [2 * 605, 18], [2 * 403, 2 * 807]]


def test_what_is_delayed_beyond_a_sample_never_arrives(engine: Engine) -> None:
    nodes: list[Node] = [
        Input("frames", (1,), 4),
        Dense("dense", ("frames",), [[1]], 0, [[3]]),
        Delay("late", ("frames",), 3),
        Dense("wire", ("late",), [[1]]),
        Relay("out", ("dense",)),
        Relay("axon", ("wire",)),
    ]
    trace = run(engine, nodes, by_sample([1, 2, 3], [4, 5, 6]))
    assert listed(trace) == listed(trace, "axon") == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("interval", [3, 4, 7])
@pytest.mark.parametrize("deep", [False, True])
def test_axonal_delay_starts_each_sample_with_zeros(
    engine: Engine, interval: int, deep: bool
) -> None:
    source = [*wire(), Relay("relay", ("wire",))]
    nodes: list[Node] = [
        *source,
        Delay("late", ("relay" if deep else "frames",), 1),
        Dense("again", ("late",), [[1]]),
        Relay("out", ("again",)),
    ]
    trace = run(engine, nodes, by_sample([1, 2, 3], [4, 5, 6], [7, 8, 9]), interval)
    assert listed(trace) == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]


@pytest.mark.parametrize("lag", [0, 1, 2, 5])
def test_lag_aligns_branches_in_chip_time_and_means_nothing_in_ideal_time(
    engine: Engine, lag: int
) -> None:
    source = [*wire(), Relay("relay", ("wire",))]
    long: list[Node] = [Dense("long", ("relay",), [[10]], lag=lag)]
    short = Dense("short", ("frames",), [[1]], lag=1 + lag)
    nodes = [*source, *long, short, Relay("out", ("long", "short"))]
    graph = Graph(nodes, 2)
    assert graph.facts("out").latency == 2 + lag
    trace = run(engine, nodes, by_sample([1, 2], [3, 4], [5, 6]))
    assert listed(trace) == [[11, 22], [33, 44], [55, 66]]


def test_convolution_may_lag(engine: Engine) -> None:
    nodes: list[Node] = [
        Input("frames", (1, 1, 1), 4),
        Conv("first", ("frames",), [[[[1]]]]),
        Relay("relay", ("first",)),
        Conv("long", ("relay",), [[[[10]]]]),
        Conv("short", ("frames",), [[[[1]]]], lag=1),
        Relay("out", ("long", "short")),
    ]
    got = run(engine, nodes, [[[[[1]]]], [[[[2]]]], [[[[3]]]]])["out"]
    assert got.ravel().tolist() == [11, 22, 33]


def test_what_meets_is_summed_as_often_as_it_is_named(engine: Engine) -> None:
    nodes: list[Node] = [
        *wire(),
        Dense("ten", ("frames",), [[10]]),
        Dense("sum", ("frames", "frames"), [[1]]),
        Relay("out", ("wire", "ten", "wire", "sum", "ten")),
    ]
    assert listed(run(engine, nodes, by_sample([1, 3], [-2, 0]))) == [[24, 72], [-48, 0]]


# -- populations -----------------------------------------------------------------------------


def test_neuron_leaks_by_channel_and_rounds_toward_zero(engine: Engine) -> None:
    image = (3, 1, 2)
    nodes: list[Node] = [
        Input("frames", image, 5, signed=True),
        Conv("same", ("frames",), np.ones((3, 1, 1, 1), int), groups=3),
        Lif("out", ("same",), [9, 1, 20], [4096, 2048, 0], [0, 1024, 4096], [0, -1, 2]),
    ]
    values = [[[5, 5], [3, 2], [6, 5]], [[4, 5], [2, 4], [5, 4]], [[9, 0], [0, 1], [9, 9]]]
    frames = np.array(values)[:, None, :, None, :]
    got = run(engine, nodes, frames)["out"]
    # channel 0 adds up:        v = 5, 9 (not above 9), 18 | 5, 10 (fires), 0
    # channel 1 halves u and keeps 3/4 of v: u = 3, 3.5, 1.75; v = 3-1 = 2 (fires, 0), 2.5 (fires),
    #                           0.75 | u = 2, 5, 3.5; v = 1, 4.75 (fires), 2.5 (fires)
    # channel 2 keeps u and forgets v: 6+2, 11+2, 20+2 (fires) | 5+2, 9+2, 18+2 (not above 20)
    assert got[:, 0, :, 0].astype(int).tolist() == [
        [[0, 0], [1, 0], [0, 0]],
        [[0, 1], [1, 1], [0, 0]],
        [[1, 0], [0, 1], [1, 0]],
    ]


def test_decay_truncates_the_magnitude_of_a_state(engine: Engine) -> None:
    # u = 64, then 64 * 1/4096 >> 0 = 0 and not -1 when negative: v stays where it was
    nodes: list[Node] = [*wire(), Lif("out", ("wire",), 0, 4095, 0, 1)]
    assert listed(run(engine, nodes, by_sample([-1, -1, 0, 0], [-3, 1, 1, 1]))) == [
        [False, False, True, True],
        [False, False, True, True],
    ]


def test_neuron_fires_strictly_above_its_threshold_and_starts_again_at_zero(
    engine: Engine,
) -> None:
    nodes: list[Node] = [*wire(), Lif("out", ("wire",), 10)]
    trace = run(engine, nodes, by_sample([10, 1, 10, 1], [11, 10, 0, 1], [-5, 10, 5, 1]))
    assert listed(trace) == [
        [False, True, False, True],
        [True, False, False, True],
        [False, False, False, True],
    ]


def test_bias_may_differ_by_neuron(engine: Engine) -> None:
    bias = np.arange(6).reshape(2, 1, 3)
    same = Conv("same", ("frames",), np.ones((2, 1, 1, 1), int), groups=2)
    nodes: list[Node] = [
        Input("frames", (2, 1, 3), 4),
        same,
        Lif("spikes", ("same",), 5, bias=bias),
        Readout("out", ("same",), bias),
    ]
    trace = run(engine, nodes, np.ones((2, 1, 2, 1, 3), int))
    assert trace["spikes"][:, 0, :, 0].tolist() == [
        [[False, False, False], [False, False, True]],
        [[False, False, True], [True, True, True]],
    ]
    assert trace["out"][:, 0, :, 0].tolist() == [
        [[64, 128, 192], [256, 320, 384]],
        [[128, 256, 384], [512, 640, 768]],
    ]


def test_bias_of_a_channel_is_that_of_all_its_neurons(engine: Engine) -> None:
    nodes: list[Node] = [
        Input("frames", (2, 1, 2), 4),
        Conv("same", ("frames",), np.ones((2, 1, 1, 1), int), groups=2),
        Readout("out", ("same",), [10, -20]),
    ]
    got = run(engine, nodes, [[[[[1, 2]], [[3, 4]]]]])["out"]
    assert got[0, 0, :, 0].tolist() == [[64 * 11, 64 * 12], [64 * -17, 64 * -16]]


def test_current_wraps_and_voltage_saturates(engine: Engine) -> None:
    """2**17 << 6 is the one end that stays; one more falls to the other; v stops at 2**23 - 1."""
    nodes: list[Node] = [
        *wire(bits=20),
        Lif("spikes", ("wire",), 2**17 - 2),
        Readout("out", ("wire",)),
    ]
    big, small = 2**17, 2**17 - 1
    trace = run(engine, nodes, by_sample([big, 0], [big + 1, 0], [small, small], [-big, -small]))
    assert listed(trace, "spikes") == [[True, False], [False, False], [True, True], [True, False]]
    assert listed(trace) == [
        [TOP - 1, TOP - 1],
        [64 - TOP, 64 - TOP],
        [TOP - 64, TOP - 1],
        [TOP - 1, 63],
    ]


def test_readout_saturates_at_both_ends(engine: Engine) -> None:
    nodes: list[Node] = [*wire(bits=18), Readout("out", ("wire",), 5)]
    most = 2**17 - 1
    trace = run(engine, nodes, by_sample([most, 0, -1], [-most, -most, 7]))
    assert listed(trace) == [
        [TOP - 1, TOP - 1, TOP - 1],
        [-TOP + 6 * 64, 1 - TOP, 1 - TOP + 12 * 64],
    ]


def test_relay_rounds_halves_up_and_drops_small_messages(engine: Engine) -> None:
    sent = [-11, -10, -6, -5, -3, -2, -1, 0, 1, 2, 5, 6, 9, 10]
    nodes: list[Node] = [
        *wire(len(sent)),
        Relay("plain", ("wire",)),
        Relay("rounded", ("wire",), 2),
        Relay("sparse", ("wire",), 2, 1),
        Relay("above", ("wire",), 0, 5),
    ]
    trace = run(engine, nodes, [[sent]])
    assert trace["plain"].ravel().tolist() == sent
    assert trace["rounded"].ravel().tolist() == [-3, -2, -1, -1, -1, 0, 0, 0, 0, 1, 1, 2, 2, 3]
    assert trace["sparse"].ravel().tolist() == [-3, -2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 3]
    assert trace["above"].ravel().tolist() == [-11, -10, -6, *[0] * 8, 6, 9, 10]


# -- samples ---------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [2, 3, 5, 8])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_states_reset_where_a_sample_begins(engine: Engine, interval: int, depth: int) -> None:
    """Without the reset currents, voltages and potentials of one sample reach into the next."""
    nodes = wire()
    for level in range(1, depth):
        nodes += [Relay(f"r{level}", ("wire" if level == 1 else f"d{level - 1}",))]
        nodes += [Dense(f"d{level}", (f"r{level}",), [[1]])]
    last = nodes[-1].name
    nodes += [Lif("spikes", (last,), 5, 0, 0), Readout("out", (last,), 1)]
    trace = run(engine, nodes, by_sample([3, 1], [2, 1], [5, 4], [1, 0]), interval)
    # u = 3, 4; v = 3, 7 | u = 2, 3; v = 2, 5 | u = 5, 9; v = 5, 14 | u = 1, 1; v = 1, 2
    assert listed(trace, "spikes") == [[False, True], [False, False], [False, True], [False, False]]
    assert listed(trace) == [[256, 384], [192, 320], [384, 704], [128, 192]]


def test_one_step_and_one_sample_are_enough(engine: Engine) -> None:
    nodes: list[Node] = [
        *wire(),
        Lif("spikes", ("wire",), 1),
        Readout("out", ("wire",)),
        Relay("relay", ("wire",)),
    ]
    trace = run(engine, nodes, by_sample([2]))
    assert listed(trace, "spikes") == [[True]]
    assert listed(trace) == [[128]]
    assert listed(trace, "relay") == [[2]]


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1)])
def test_recurrent_population_hears_what_it_sent_a_step_before_in_its_sample(
    engine: Engine, shape: tuple[int, ...]
) -> None:
    ring = 10 * np.roll(np.eye(3, dtype=int), 1, axis=0)  # each neuron excites the next
    wire: Node = Dense("wire", ("frames",), np.eye(3, dtype=int))
    if len(shape) == 3:
        wire = Conv("wire", ("frames",), np.ones((3, 1, 1, 1), int), groups=3)
    nodes = [Input("frames", shape, 4), wire, Recurrent("out", ("wire",), ring, np.array([5]))]
    frames = np.zeros((4, 2, 3), int)
    frames[0, 0, 0] = frames[1, 1, 1] = 9
    spikes = run(engine, nodes, frames.reshape(4, 2, *shape))["out"].reshape(4, 2, 3)
    assert np.argwhere(spikes[:, 0]).tolist() == [[0, 0], [1, 1], [2, 2], [3, 0]]
    # the last spike of the first sample is not heard in the second
    assert np.argwhere(spikes[:, 1]).tolist() == [[1, 1], [2, 2], [3, 0]]
