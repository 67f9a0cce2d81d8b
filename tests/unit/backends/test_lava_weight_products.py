"""Products of fused processes are the reference's to the last bit, where sums are largest too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from neuroport.backends.executor import Starts
from neuroport.backends.lava_cpu.fused_state import HeldSynapse, RunningSynapse
from neuroport.backends.lava_cpu.weight_products import products
from neuroport.backends.reference import output
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Relay

RNG = np.random.default_rng(7)


def weights(*shape: int, top: int = 127) -> np.ndarray:
    return 2 * RNG.integers(-top, top + 1, shape)


CONVOLUTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({"weight": weights(6, 4, 3, 3), "padding": (1, 1)}, "_Windows"),
    "strides": ({"weight": weights(6, 4, 3, 2), "stride": (2, 3), "padding": (0, 2)}, "_Windows"),
    "dilation": ({"weight": weights(5, 4, 2, 3), "dilation": (3, 2), "exponent": 4}, "_Windows"),
    "groups": ({"weight": weights(8, 2, 3, 3), "groups": 2, "padding": (2, 1)}, "_Windows"),
    "few outputs": ({"weight": weights(3, 4, 3, 3), "padding": (1, 1)}, "_Matrix"),
    "pooling": ({"weight": weights(4, 1, 2, 2), "groups": 4, "stride": (2, 2)}, "_Matrix"),
    "scaled": ({"weight": weights(4, 1, 1, 1), "groups": 4, "exponent": 2}, "_Scaled"),
    "identity": ({"weight": np.ones((4, 1, 1, 1), np.int64), "groups": 4}, "_Scaled"),
    "one tap": ({"weight": weights(6, 4, 1, 1)}, "_Windows"),
    "one tap, strides": ({"weight": weights(4, 1, 1, 1), "groups": 4, "stride": (2, 2)}, "_Matrix"),
}


@pytest.mark.parametrize("bits", [1, 14, 23])  # float32, float64, float64 at its widest messages
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_is_the_references(name: str, bits: int) -> None:
    fields, kind = CONVOLUTIONS[name]
    node = Conv("c", ("i",), **fields)
    graph = Graph([Input("i", (4, 9, 8), bits, signed=bits > 1), node, Relay("r", ("c",))], 1)
    ((delay, product),) = products(graph, node)
    assert (delay, type(product).__name__) == (0, kind)
    facts = graph.facts("i")
    low, high = int(facts.low.min()), int(facts.high.max())
    for messages in (RNG.integers(low, high + 1, (4, 9, 8)), RNG.choice([low, high], (4, 9, 8))):
        want = output(node, messages[None, None], Starts(0, 1)).reshape(-1)
        got = product(messages.reshape(-1).astype(np.int32))
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, want)


def test_a_sum_beyond_float32_is_exact() -> None:
    """2**24 + 1 would be 2**24; every second sum of this kind would be wrong."""
    node = Dense("d", ("i",), np.array([[2, 1]]))
    graph = Graph([Input("i", (2,), 23), node, Relay("r", ("d",))], 1)
    ((_, product),) = products(graph, node)
    assert product(np.array([8_388_607, 3], np.int32)).tolist() == [16_777_217]


def test_no_float_is_taken_where_none_holds_the_sums() -> None:
    """Graded messages of 23 bits through 2**21 weights of 2**9 and more: sums beyond 2**53."""
    weight = np.full((1, 1 << 12), 1 << 20)
    node = Dense("d", ("i",), weight)
    graph = Graph([Input("i", (1 << 12,), 23), node, Relay("r", ("d",))], 1)
    ((_, product),) = products(graph, node)
    messages = np.full(1 << 12, 8_388_607, np.int32)
    messages[0] -= 1
    want = (1 << 20) * ((8_388_607 << 12) - 1)
    assert want > 1 << 54
    assert product(messages).tolist() == [want]


@pytest.mark.parametrize("lag", [0, 2])
def test_delays_and_lags_of_a_synapse_are_the_references(lag: int) -> None:
    delay = RNG.integers(0, 4, (5, 12))
    node = Dense("d", ("i", "i"), weights(5, 12), 1, delay, lag)
    graph = Graph([Input("i", (12,), 8), node, Relay("r", ("d",))], 6, 8)
    held = HeldSynapse((0, 0), tuple(products(graph, node)), 5, lag, interval=8, offset=1)
    running = RunningSynapse(held)
    messages = RNG.integers(0, 256, (24, 12))  # three samples
    want = output(node, 2 * messages[:, None], Starts(0, 8))[:, 0]
    got = []
    for step, row in enumerate(messages):
        got.append(running.give())
        running.take([row.astype(np.int32)], step + 1)
    np.testing.assert_array_equal(got[1 + lag :], want[: -1 - lag])
    assert not np.any(got[: 1 + lag])
