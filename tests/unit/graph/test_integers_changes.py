"""Sigma-delta and resonating neurons against scalar definitions, one Python integer at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neuroport.graph import integers

TOP = 2**23 - 1
COUNT = 400
Arrays = Callable[[Any], Any]


@pytest.fixture(params=["numpy", "torch"])
def arrays(request: pytest.FixtureRequest) -> Arrays:
    """Makes int64 arrays of one of the two libraries."""
    if request.param == "numpy":
        return lambda values: np.asarray(values, np.int64)
    torch = pytest.importorskip("torch")
    return lambda values: torch.as_tensor(np.asarray(values, np.int64))


def states(seed: int, top: int = TOP) -> list[int]:
    rng = np.random.default_rng(seed)
    edges = [0, 1, -1, top, -top, 4095, -4096, 64, -64]
    return edges + [int(n) for n in rng.integers(-top, top + 1, COUNT)]


def columns(results: tuple[Any, ...]) -> list[tuple[int, ...]]:
    found = [np.asarray(result) for result in results]
    assert all(result.dtype.kind in "ib" for result in found), "integers stay integers"
    return list(zip(*(result.astype(int).tolist() for result in found), strict=True))


def change(act: int, residue: int, new: int, threshold: int, shift: int) -> tuple[int, int, int]:
    delta = new - act + residue
    sent = delta if delta >= threshold or -delta >= threshold else 0
    return new, delta - sent, sent // 2**shift


@pytest.mark.parametrize(("threshold", "spike", "state"), [(0, 6, 6), (13, 6, 6), (9, 2, 0)])
def test_delta_sends_what_changed_enough(
    arrays: Arrays, threshold: int, spike: int, state: int
) -> None:
    act, residue, current = states(1), states(2, 5000), states(3, 2**10)
    scale = 2 ** (spike + state)
    found = integers.delta_step(
        arrays(act), arrays(residue), arrays(current), threshold, spike, state
    )
    expected = [
        change(a, r, c * scale, threshold * scale, state)
        for a, r, c in zip(act, residue, current, strict=True)
    ]
    assert columns(found) == expected


@pytest.mark.parametrize(("threshold", "spike", "state"), [(0, 6, 6), (13, 6, 6), (9, 2, 0)])
def test_sigma_delta_rectifies_its_sum_and_bias(
    arrays: Arrays, threshold: int, spike: int, state: int
) -> None:
    sigma, act, residue = states(1, 2**22), states(2, 2**22), states(3, 5000)
    current, bias = states(4, 2**20), states(5, 500)
    scale = 2 ** (spike + state)
    found = integers.sigma_delta_step(
        *(arrays(x) for x in (sigma, act, residue, current, bias)), threshold, spike, state
    )
    expected = [
        (s + c, *change(a, r, max(s + c + b * scale, 0), threshold * scale, state))
        for s, a, r, c, b in zip(sigma, act, residue, current, bias, strict=True)
    ]
    assert columns(found) == expected


def test_a_change_at_the_threshold_is_sent_and_one_below_is_kept(arrays: Arrays) -> None:
    found = integers.delta_step(arrays([0, 0]), arrays([0, 0]), arrays([5, 4]), 5, 0, 0)
    assert columns(found) == [(5, 0, 5), (4, 4, 0)]


def turn(factor: int, x: int) -> int:
    product = factor * x
    return product // 4096 if product >= 0 else -(-product // 4096)


def resonated(re: int, im: int, a: int, b: int, sin: int, cos: int) -> tuple[int, int]:
    real = turn(cos, re) - turn(sin, im) + 64 * a
    imag = turn(sin, re) + turn(cos, im) + 64 * b
    return max(-TOP, min(TOP, real)), max(-TOP, min(TOP, imag))


@pytest.mark.parametrize(("sin", "cos"), [(2103, 3273), (3511, -2027), (1, 4095), (4095, 0)])
def test_resonators_turn_saturate_and_fire(arrays: Arrays, sin: int, cos: int) -> None:
    real, imag = states(1), states(2)
    a_real, a_imag = states(3, 2**17 - 1), states(4, 2**17 - 1)
    given = [arrays(x) for x in (real, imag, a_real, a_imag)]
    threshold = 70
    turned = [resonated(*each, sin, cos) for each in zip(real, imag, a_real, a_imag, strict=True)]
    phase = [
        (r, i, int(r >= threshold and i >= 0 and before < 0))
        for (r, i), before in zip(turned, imag, strict=True)
    ]
    assert columns(integers.resonate_step(*given, sin, cos, threshold)) == phase
    izhikevich = [(0, threshold - 1, 1) if i >= threshold else (r, i, 0) for r, i in turned]
    assert columns(integers.resonate_izhikevich_step(*given, sin, cos, threshold)) == izhikevich
    assert 0 < sum(s for *_, s in phase) < len(phase)


def test_rectified_sum_of_one_is_one(arrays: Arrays) -> None:
    zeros = arrays([0, 0, 0])
    found = integers.sigma_delta_step(zeros, zeros, zeros, arrays([-1, 0, 1]), zeros, 1, 0, 0)
    assert columns(found) == [(-1, 0, 0, 0), (0, 0, 0, 0), (1, 1, 0, 1)]


def test_resonator_fires_from_the_threshold_on_as_its_phase_passes_zero(arrays: Arrays) -> None:
    # no turn and no decay: real' = real, imag' = imag + 64
    real, imag = [70, 69, 70, 70, 70], [-64, -64, -65, -1, 0]
    ones, zeros = arrays([1] * 5), arrays([0] * 5)
    phase = integers.resonate_step(arrays(real), arrays(imag), zeros, ones, 0, 4096, 70)
    assert [s for *_, s in columns(phase)] == [1, 0, 0, 1, 0]
    # at zero before and after: the phase does not pass it
    still = integers.resonate_step(arrays([70]), arrays([0]), arrays([0]), arrays([0]), 0, 4096, 70)
    assert columns(still) == [(70, 0, 0)]
    other = integers.resonate_izhikevich_step(
        zeros, arrays([5, 6, 7, -70, -64]), zeros, ones, 0, 4096, 70
    )
    assert columns(other) == [(0, 69, 0), (0, 69, 1), (0, 69, 1), (0, -6, 0), (0, 0, 0)]
