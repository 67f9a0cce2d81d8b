"""The arithmetic against scalar definitions written here, one Python integer at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from neuroport.graph import integers

TOP = 2**23  # half the range of 24 bits
LIMIT = TOP - 1  # the largest voltage
EDGES = (0, 1, 2, 63, 64, 65, 4095, 4096, 4097, TOP - 65, TOP - 64, TOP - 2, TOP - 1, TOP)
STATES = sorted({sign * edge for edge in EDGES for sign in (1, -1)})
RATES = (0, 1, 2, 1024, 2048, 3072, 4094, 4095, 4096)

Arrays = Callable[[Any], Any]


@pytest.fixture(params=["numpy", "torch"])
def arrays(request: pytest.FixtureRequest) -> Arrays:
    """Makes int64 arrays of one of the two libraries."""
    if request.param == "numpy":
        return lambda values: np.asarray(values, np.int64)
    torch = pytest.importorskip("torch")
    return lambda values: torch.as_tensor(np.asarray(values, np.int64))


def decay(x: int, rate: int) -> int:
    exact = Fraction(x * (4096 - rate), 4096)
    return math.floor(exact) if exact >= 0 else math.ceil(exact)


def wrap24(x: int) -> int:
    while x > TOP:
        x -= 2**24
    while x <= -TOP:
        x += 2**24
    return x


def saturate24(x: int) -> int:
    if x > LIMIT:
        return LIMIT
    return -LIMIT if x < -LIMIT else x


def round_shift(x: int, shift: int) -> int:
    return math.floor(Fraction(x, 2**shift) + (Fraction(1, 2) if shift else 0))


def relay(current: int, shift: int, threshold: int) -> int:
    message = round_shift(current, shift)
    return 0 if -threshold <= message <= threshold else message


def lif_step(
    u: int, v: int, current: int, bias: int, current_decay: int, voltage_decay: int, threshold: int
) -> tuple[int, int, bool]:
    u = wrap24(decay(u, current_decay) + 64 * current)
    v = saturate24(decay(v, voltage_decay) + u + 64 * bias)
    return u, v, v > 64 * threshold


def readout_step(v: int, current: int, bias: int) -> int:
    return saturate24(v + wrap24(64 * current) + 64 * bias)


def random_states(count: int, seed: int, top: int = TOP) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(n) for n in rng.integers(-top, top + 1, count)]


def same(result: Any, expected: list[Any]) -> None:
    assert str(result.dtype).endswith(("int64", "bool"))
    assert result.tolist() == expected


@pytest.mark.parametrize("rate", RATES)
def test_decay_is_the_exact_product_truncated_toward_zero(arrays: Arrays, rate: int) -> None:
    states = STATES + random_states(500, rate)
    same(integers.decay(arrays(states), rate), [decay(x, rate) for x in states])


def test_decay_of_negatives_mirrors_positives_instead_of_rounding_down(arrays: Arrays) -> None:
    same(integers.decay(arrays([-1, -3, -5, 5]), 2048), [0, -1, -2, 2])


def test_decay_rates_may_be_arrays(arrays: Arrays) -> None:
    pairs = list(product(STATES, RATES))
    found = integers.decay(arrays([x for x, _ in pairs]), arrays([rate for _, rate in pairs]))
    same(found, [decay(x, rate) for x, rate in pairs])


def test_wrap_keeps_plus_two_to_the_23_and_folds_minus_two_to_the_23(arrays: Arrays) -> None:
    states = [TOP - 1, TOP, TOP + 1, -TOP + 1, -TOP, -TOP - 1, 0, 2**24, -(2**24)]
    expected = [TOP - 1, TOP, -TOP + 1, -TOP + 1, TOP, TOP - 1, 0, 0, 0]
    same(integers.wrap24(arrays(states)), expected)


def test_wrap_is_the_only_congruent_value_in_range(arrays: Arrays) -> None:
    states = STATES + random_states(2000, 1, 2**27)
    same(integers.wrap24(arrays(states)), [wrap24(x) for x in states])


def test_saturation_clips_symmetrically(arrays: Arrays) -> None:
    states = [*STATES, TOP + 1, -TOP - 1, 2**40, -(2**40)]
    same(integers.saturate24(arrays(states)), [saturate24(x) for x in states])
    same(integers.saturate24(arrays([TOP, -TOP])), [8388607, -8388607])


@pytest.mark.parametrize("shift", [0, 1, 2, 7, 23])
def test_rounding_shift_rounds_halves_up(arrays: Arrays, shift: int) -> None:
    half = 2**shift // 2
    states = STATES + [n * half + d for n in range(-5, 6) for d in (-1, 0, 1)]
    same(integers.round_shift(arrays(states), shift), [round_shift(x, shift) for x in states])


def test_halves_of_negatives_round_toward_plus_infinity(arrays: Arrays) -> None:
    states = [-7, -6, -5, -3, -2, -1, 1, 2, 3, 6]
    expected = [-2, -1, -1, -1, 0, 0, 0, 1, 1, 2]
    same(integers.round_shift(arrays(states), 2), expected)


@pytest.mark.parametrize(("shift", "threshold"), product((0, 1, 4), (0, 1, 3)))
def test_relay_drops_messages_up_to_its_threshold(
    arrays: Arrays, shift: int, threshold: int
) -> None:
    states = [*range(-80, 81), *STATES]
    expected = [relay(x, shift, threshold) for x in states]
    same(integers.relay(arrays(states), shift, threshold), expected)
    assert threshold not in [abs(x) for x in expected if x]


def test_lif_fires_strictly_above_the_threshold(arrays: Arrays) -> None:
    zeros = arrays([0, 0, 0])
    u, v, spikes = integers.lif_step(zeros, zeros, arrays([9, 10, 11]), arrays([0]), 4096, 0, 10)
    same(v, [9 * 64, 10 * 64, 11 * 64])
    same(u, [9 * 64, 10 * 64, 11 * 64])
    same(spikes, [False, False, True])


def test_lif_step_is_the_scalar_definition_over_random_runs(arrays: Arrays) -> None:
    rng = np.random.default_rng(5)
    count, steps = 300, 12
    current_decay = rng.choice(RATES, count)
    voltage_decay = rng.choice(RATES, count)
    threshold = 5 * rng.integers(0, 8, count)  # multiples of 5 meet exactly, now and then
    bias = 5 * rng.integers(-4, 5, count)
    currents = 5 * rng.integers(-12, 20, (steps, count))
    u, v = arrays(np.zeros(count)), arrays(np.zeros(count))
    scalars = [(0, 0)] * count
    fired = ties = 0
    for t in range(steps):
        u, v, s = integers.lif_step(
            u,
            v,
            *(arrays(a) for a in (currents[t], bias, current_decay, voltage_decay, threshold)),
        )
        expected = [
            lif_step(*scalars[i], *(int(a[i]) for a in (currents[t], bias)), *parameters)
            for i, parameters in enumerate(
                zip(current_decay.tolist(), voltage_decay.tolist(), threshold.tolist(), strict=True)
            )
        ]
        same(u, [e[0] for e in expected])
        same(v, [e[1] for e in expected])
        same(s, [e[2] for e in expected])
        v = integers.reset(v, s)
        scalars = [(e[0], 0 if e[2] else e[1]) for e in expected]
        same(v, [e[1] for e in scalars])
        fired += sum(e[2] for e in expected)
        ties += sum(e[1] == 64 * h for e, h in zip(expected, threshold.tolist(), strict=True))
    assert fired > 100
    assert ties > 20, "the runs must meet v == threshold"


def test_lif_step_at_the_ends_of_the_state_range(arrays: Arrays) -> None:
    currents = [0, 1, 2**17 - 1, 2**17, 2**17 + 1, -(2**17) + 1, -(2**17), -(2**17) - 1]
    cases = list(product((-LIMIT, -1, 0, 1, LIMIT), currents, (-4095, 0, 4095)))
    for rate in (0, 3072, 4096):
        found = integers.lif_step(
            arrays([c[0] for c in cases]),
            arrays([-c[0] for c in cases]),
            arrays([c[1] for c in cases]),
            arrays([c[2] for c in cases]),
            rate,
            rate // 2,
            2**17 - 1,
        )
        expected = [lif_step(c[0], -c[0], c[1], c[2], rate, rate // 2, 2**17 - 1) for c in cases]
        for part, values in zip(found, zip(*expected, strict=True), strict=True):
            same(part, list(values))


def test_a_current_of_minus_two_to_the_17_wraps_and_fires(arrays: Arrays) -> None:
    zero = arrays([0])
    u, v, spikes = integers.lif_step(zero, zero, arrays([-(2**17)]), zero, 4096, 0, 100)
    same(u, [TOP])
    same(v, [LIMIT])
    same(spikes, [True])


def test_reset_leaves_neurons_that_did_not_fire(arrays: Arrays) -> None:
    v = arrays([700, -700, 0, LIMIT])
    same(integers.reset(v, v > 64), [0, -700, 0, 0])
    same(integers.reset(v, arrays([0, 1, 1, 0])), [700, 0, 0, LIMIT])


def test_readout_integrates_without_leak_and_saturates(arrays: Arrays) -> None:
    currents = [3, -7, 2**17 - 1, 2**17 - 1, 5, -(2**17) + 1, -(2**17) + 1, -(2**17) + 1, 2**17]
    v, scalar = arrays([0]), 0
    reached = []
    for current in currents:
        v, scalar = integers.readout_step(v, arrays([current]), 2), readout_step(scalar, current, 2)
        same(v, [scalar])
        reached.append(scalar)
    assert reached[0] == 5 * 64
    assert max(reached) == LIMIT
    assert min(reached) == -LIMIT


def test_current_into_a_readout_wraps_before_it_is_added(arrays: Arrays) -> None:
    zero = arrays([0])
    for current, expected in ((2**17, LIMIT), (2**17 + 1, 64 - TOP), (-(2**17), LIMIT)):
        same(integers.readout_step(zero, arrays([current]), 0), [expected])
        assert readout_step(0, current, 0) == expected


def test_channels_of_a_bias_broadcast_over_samples_and_positions(arrays: Arrays) -> None:
    shape = (2, 3, 4, 5)
    current = np.random.default_rng(0).integers(-50, 50, shape)
    bias = np.array([5, -6, 7])
    zeros = arrays(np.zeros(shape))
    _, v, _ = integers.lif_step(
        zeros, zeros, arrays(current), arrays(bias.reshape(3, 1, 1)), 4096, 0, 10
    )
    assert v[1, 2, 3, 4] == 64 * (current[1, 2, 3, 4] + 7)
    assert v[0, 1, 0, 0] == 64 * (current[0, 1, 0, 0] - 6)


def test_widths_are_those_of_the_hardware() -> None:
    assert integers.STATE_MAX == 8388607
    assert integers.CURRENT_MAX == integers.THRESHOLD_MAX == 131071
    assert integers.BIAS_MAX == 4095
    assert integers.WEIGHT_MAX == 254
    assert integers.DELAY_MAX == 62
    assert integers.MESSAGE_MAX == 8388607
