"""Convolutions whose weights hold their exponents: sums of kernels of eight bits, exactly."""

from __future__ import annotations

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Readout, Relay, Synapse
from neuroport.lowering.exponents import MOST_PARTS, holds_exponent, shifted, split_exponents
from neuroport.lowering.latency import without_lags
from neuroport.targets.rules import too_wide


def network(low: int, high: int, exponent: int) -> Graph:
    """A convolution with these extremes, read by a neuron and a relay."""
    rng = np.random.default_rng(high)
    step = 2 if low < 0 < high or not (low | high) & 1 else 1
    weight = step * rng.integers(low // step, high // step + 1, (3, 2, 3, 3))
    weight[0, 0, 0, :2] = low, high
    nodes = [
        Input("frames", (2, 6, 5), 1),
        Conv("conv", ("frames",), weight, exponent, (2, 1), (1, 1)),
        Lif("lif", ("conv",), 500, 4096, 100),
        Relay("relay", ("conv",), 3),
        Conv("next", ("lif", "relay"), 2 * np.ones((1, 3, 1, 1), np.int64)),
        Lif("second", ("next",), 900),
        Dense("classes", ("second",), 2 * np.ones((2, 15), np.int64)),
        Readout("potential", ("classes",)),
    ]
    return Graph(nodes, 4)


@pytest.mark.parametrize(
    ("low", "high", "exponent", "parts"),
    [(-254, 254, 1, 2), (-254, 254, 3, 8), (-128, 100, 2, 3), (0, 255, 1, 3), (1, 255, 2, 5)],
)
def test_kernels_of_eight_bits_sum_to_the_weights_with_their_exponent(
    low: int, high: int, exponent: int, parts: int
) -> None:
    graph = network(low, high, exponent)
    made = split_exponents(graph)
    kernels = [made[name] for name in made["lif"].inputs]
    assert made["lif"].inputs == made["relay"].inputs
    assert len(kernels) == parts
    total = np.zeros((3, 2, 3, 3), np.int64)
    for kernel in kernels:
        assert isinstance(kernel, Conv)
        assert kernel.exponent == 0
        assert holds_exponent(kernel)
        total += kernel.weight
    conv = graph["conv"]
    assert isinstance(conv, Conv)
    np.testing.assert_array_equal(total, shifted(conv))
    assert not list(too_wide(made))
    frames = np.random.default_rng(0).integers(0, 2, (4, 3, 2, 6, 5))
    want = port.run(graph, frames)
    assert want["lif"].any()
    assert want["relay"].any()
    assert port.compare(want, port.run(made, frames))


def test_what_holds_its_exponent_or_would_be_too_many_stays_as_it_is() -> None:
    assert split_exponents(fitting := network(-60, 62, 2)) is fitting
    far = network(-254, 254, MOST_PARTS.bit_length())
    assert split_exponents(far) is far


def test_a_network_that_was_lowered_by_delays_is_lowered_for_a_chip_by_relays() -> None:
    rng = np.random.default_rng(3)
    eye = np.ones((2, 1, 1, 1), np.int64)
    nodes = [
        Input("frames", (2, 5, 5), 4),
        Conv("stem", ("frames",), 2 * rng.integers(-9, 10, (2, 2, 3, 3)), padding=(1, 1)),
        Lif("one", ("stem",), 60),
        Conv("inner", ("one",), 2 * rng.integers(-9, 10, (2, 2, 3, 3)), padding=(1, 1)),
        Lif("two", ("inner",), 20),
        Conv("outer", ("two",), 2 * rng.integers(-9, 10, (2, 2, 3, 3)), padding=(1, 1)),
        Relay("held", ("stem",)),
        Conv("held.identity", ("held",), eye, groups=2, lag=1),
        Lif("three", ("outer", "held.identity"), 90),
        Dense("classes", ("three",), 2 * rng.integers(-9, 10, (3, 50))),
        Readout("potential", ("classes",)),
    ]
    graph = Graph(nodes, 4)
    assert graph.balanced
    assert without_lags(port.lower(without_lags(graph))).hash != graph.hash
    lowered = port.lower(graph, "loihi2")
    assert lowered.balanced
    assert not any(isinstance(node, Synapse) and node.lag for node in lowered)
    frames = rng.integers(0, 16, (4, 3, 2, 5, 5))
    want = port.run(graph, frames)
    assert want["three"].any()
    assert port.compare(want, port.run(lowered, frames, time_model="chip"))
