"""The integer functions against Lava's own neuron processes, driven directly, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from neuroport.graph import integers

pytestmark = pytest.mark.lava

STEPS, NEURONS = 80, 48
Array = npt.NDArray[np.int64]


def currents(top: int, seed: int) -> Array:
    """Random integers (N, T): dense, of both extremes, small, of single units, and rare."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-top, top + 1, (NEURONS, STEPS))
    x[:8] = rng.choice([-top, 0, top], (8, STEPS))
    x[8:16] //= 1000
    x[16:24] = rng.choice([-1, 0, 1], (8, STEPS))
    x[24:32] *= rng.random((8, STEPS)) < 0.1
    return x


def on_lava(process: Any, inputs: list[tuple[Any, Array]]) -> Array:
    """What a Lava process sends (N, T) when its in-ports receive ``inputs``."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    for port, data in inputs:
        Source(data=data.astype(np.int32)).s_out.connect(port)
    sink = Sink(shape=(NEURONS,), buffer=STEPS)
    process.s_out.connect(sink.a_in)
    try:
        process.run(RunSteps(STEPS), Loihi2SimCfg(select_tag="fixed_pt"))
        return np.asarray(sink.data.get()).astype(np.int64)
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("threshold", "spike_exponent", "state_exponent"),
    [(0, 6, 6), (13, 6, 6), (5, 3, 0), (100, 0, 0)],
)
def test_delta_step_is_lavas_delta(
    threshold: int, spike_exponent: int, state_exponent: int
) -> None:
    from lava.proc.sdn.process import Delta

    x = currents(2**22 >> (spike_exponent + state_exponent), threshold)
    process = Delta(
        shape=(NEURONS,), vth=threshold, spike_exp=spike_exponent, state_exp=state_exponent
    )
    found = on_lava(process, [(process.a_in, x)])
    act = residue = np.zeros(NEURONS, np.int64)
    mine = np.zeros_like(found)
    for t in range(STEPS):
        act, residue, mine[:, t] = integers.delta_step(
            act, residue, x[:, t], threshold, spike_exponent, state_exponent
        )
    assert np.any(mine)
    np.testing.assert_array_equal(mine, found)


@pytest.mark.parametrize(
    ("threshold", "spike_exponent", "state_exponent"),
    [(0, 6, 6), (13, 6, 6), (1, 0, 6), (5, 3, 0), (7, 6, 2)],
)
def test_sigma_delta_step_is_lavas_sigma_delta(
    threshold: int, spike_exponent: int, state_exponent: int
) -> None:
    from lava.proc.sdn.process import SigmaDelta

    x = currents(2**19, threshold)
    bias = np.random.default_rng(7).integers(-80, 81, NEURONS)
    process = SigmaDelta(
        shape=(NEURONS,),
        vth=threshold,
        bias=bias,
        spike_exp=spike_exponent,
        state_exp=state_exponent,
    )
    found = on_lava(process, [(process.a_in, x)])
    sigma = act = residue = np.zeros(NEURONS, np.int64)
    mine = np.zeros_like(found)
    for t in range(STEPS):
        sigma, act, residue, mine[:, t] = integers.sigma_delta_step(
            sigma, act, residue, x[:, t], bias, threshold, spike_exponent, state_exponent
        )
    assert np.any(mine)
    np.testing.assert_array_equal(mine, found)


def test_sigma_step_is_lavas_sigma() -> None:
    from lava.proc.sdn.process import Sigma

    x = currents(2**23, 3)
    process = Sigma(shape=(NEURONS,))
    found = on_lava(process, [(process.a_in, x)])
    sigma = np.zeros(NEURONS, np.int64)
    for t in range(STEPS):
        sigma = integers.sigma_step(sigma, x[:, t])
        np.testing.assert_array_equal(sigma, found[:, t])


@pytest.mark.parametrize(
    ("threshold", "period", "alpha", "top"),
    [
        (1.1, 7, 0.05, 20),
        (25, 11, 0.05, 400),
        (25, 11, 0.05, 2**17 - 1),  # states saturate
        (100, 3, 0.01, 2**15),  # a negative cosine
        (0, 2.5, 0.1, 50),
    ],
)
@pytest.mark.parametrize("kind", ["phase", "izhikevich"])
def test_resonate_steps_are_lavas_resonate_and_fire(
    kind: str, threshold: float, period: float, alpha: float, top: int
) -> None:
    from lava.proc.rf.process import RF
    from lava.proc.rf_iz.process import RF_IZ

    a_real, a_imag = currents(top, 1), currents(top, 2)
    process = (RF if kind == "phase" else RF_IZ)(
        shape=(NEURONS,), vth=threshold, period=period, alpha=alpha, state_exp=6, decay_bits=12
    )
    sin, cos = int(process.sin_decay.init), int(process.cos_decay.init)
    found = on_lava(process, [(process.a_real_in, a_real), (process.a_imag_in, a_imag)])
    step = integers.resonate_step if kind == "phase" else integers.resonate_izhikevich_step
    real = imag = np.zeros(NEURONS, np.int64)
    mine = np.zeros_like(found)
    for t in range(STEPS):
        real, imag, mine[:, t] = step(
            real, imag, a_real[:, t], a_imag[:, t], sin, cos, int(threshold * 64)
        )
    assert mine.any()
    assert not mine.all()
    np.testing.assert_array_equal(mine, found)
