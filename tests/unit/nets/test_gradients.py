"""The neuron's backward pass against plain autograd, step by step, and its surrogates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor  # noqa: E402

from neuroport.kernels.surrogate import SURROGATES  # noqa: E402
from neuroport.nets.neuron import Lif, Mlf, learn  # noqa: E402
from neuroport.nets.stream import Stream  # noqa: E402

FORMULAS: dict[str, Callable[[float], float]] = {
    "rectangular": lambda d: float(abs(d) < 0.5),
    "triangular": lambda d: max(0.0, 1 - abs(d)),
    "sigmoid": lambda d: 4 * math.exp(-4 * d) / (1 + math.exp(-4 * d)) ** 2,
    "arctan": lambda d: 1 / (1 + (math.pi * d) ** 2),
    "slayer": lambda d: math.exp(-abs(d)) / 2,
}


def test_every_surrogate_is_its_formula() -> None:
    assert set(FORMULAS) == set(SURROGATES)
    distances = [-1.5, -0.5, -0.25, 0.0, 0.125, 0.5, 0.75, 3.0]
    for name, formula in FORMULAS.items():
        found = SURROGATES[name](torch.tensor(distances, dtype=torch.float64))
        np.testing.assert_allclose(found, [formula(d) for d in distances], rtol=1e-12)


def test_slayer_surrogate_is_that_of_lava_dl() -> None:
    spike = pytest.importorskip("lava.lib.dl.slayer.spike.spike")
    voltage = torch.linspace(-3, 3, 61, dtype=torch.float64)
    found = SURROGATES["slayer"](voltage - 0.5)
    torch.testing.assert_close(found, spike._spike_backward(voltage, 0.5, 1.0, 1.0))


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, surrogate: str) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return grad * SURROGATES[ctx.surrogate](distance), None


def stepwise(
    x: Tensor, threshold: Any, keep_u: Any, keep_v: Any, surrogate: str, detach: bool
) -> Tensor:
    """The neuron as plain autograd sees it; only the spike has a gradient of its own."""
    u = v = s = torch.zeros_like(x[0])
    spikes = []
    for t in range(len(x)):
        u = keep_u * u + x[t]
        v = keep_v * v * (1 - (s.detach() if detach else s)) + u
        s = _Spike.apply(v - threshold, surrogate)
        spikes.append(s)
    return torch.stack(spikes)


def currents(seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(-6, 14, (5, 2, 2, 3, 3)) / 8)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize(("current_decay", "voltage_decay"), [(1.0, 0.75), (0.5, 0.25)])
def test_gradient_is_that_of_plain_autograd_step_by_step(
    current_decay: float, voltage_decay: float, surrogate: str, detach: bool
) -> None:
    grad = torch.tensor(np.random.default_rng(3).normal(size=(5, 2, 2, 3, 3)))
    x, want = currents(4).requires_grad_(), currents(4).requires_grad_()
    neuron = Lif(0.75, voltage_decay, current_decay, surrogate, detach_reset=detach)
    found = neuron(x)
    expected = stepwise(want, 0.75, 1 - current_decay, 1 - voltage_decay, surrogate, detach)
    assert torch.equal(found, expected)
    found.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x.grad, want.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("surrogate", ["rectangular", "sigmoid"])
@pytest.mark.parametrize(("current_decay", "voltage_decay"), [(1.0, 0.75), (0.5, 0.25)])
def test_gradients_of_decays_and_threshold_are_those_of_plain_autograd(
    current_decay: float, voltage_decay: float, surrogate: str, detach: bool
) -> None:
    grad = torch.tensor(np.random.default_rng(3).normal(size=(5, 2, 2, 3, 3)))
    neuron = Lif(0.75, voltage_decay, current_decay, surrogate, detach)
    learn(neuron, "both")
    found = neuron.double()(currents(4))
    decays = [
        torch.tensor([4096 * decay], dtype=torch.float64, requires_grad=True)
        for decay in (current_decay, voltage_decay)
    ]
    threshold = torch.tensor([0.75], dtype=torch.float64, requires_grad=True)
    keep_u, keep_v = (1 - decay / 4096 for decay in decays)
    expected = stepwise(currents(4), threshold, keep_u, keep_v, surrogate, detach)
    assert torch.equal(found, expected)
    found.backward(grad)
    expected.backward(grad)
    assert neuron.trained_threshold is not None
    for got, want in (
        (neuron.voltage_decay, decays[1]),
        (neuron.trained_threshold, threshold),
        *([(neuron.current_decay, decays[0])] if current_decay < 1 else []),
    ):
        assert float(want.grad.abs()) > 1e-6
        torch.testing.assert_close(got.grad, want.grad, rtol=1e-10, atol=1e-14)
    # a current without memory has none to learn
    assert neuron.current_decay.requires_grad == (current_decay < 1)


def test_only_what_is_to_be_learned_gets_a_gradient() -> None:
    wanted = {
        "none": set(),
        "decay": {"current_decay", "voltage_decay"},
        "threshold": {"trained_threshold"},
        "both": {"current_decay", "voltage_decay", "trained_threshold"},
    }
    for what, names in wanted.items():
        neuron = learn(Lif(0.75, 0.25, 0.5), what)
        neuron(currents(4).float().requires_grad_()).sum().backward()
        assert {name for name, p in neuron.named_parameters() if p.grad is not None} == names
        assert neuron.state_dict().keys() - Lif().state_dict().keys() == names & {
            "trained_threshold"
        }


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("surrogate", ["rectangular", "arctan"])
def test_integer_gradient_is_the_real_one_where_both_are_exact(
    surrogate: str, detach: bool
) -> None:
    lsb = 2.0**-10
    grad = torch.tensor(np.random.default_rng(5).normal(size=(4, 2, 2, 3, 3)))
    bias = torch.tensor([0.125, -0.25], dtype=torch.float64)
    real, real_bias = currents(6)[:4].requires_grad_(), bias.clone().requires_grad_()
    neuron = Lif(0.75, surrogate=surrogate, detach_reset=detach)
    spikes = neuron(real + real_bias.reshape(-1, 1, 1))
    spikes.backward(grad)
    neuron.lsb.fill_(lsb)
    value = (currents(6)[:4] / lsb).requires_grad_()
    value_bias = bias.clone().requires_grad_()
    integer = neuron(Stream(value, value_bias))
    integer.backward(grad)
    assert torch.equal(integer, spikes)
    torch.testing.assert_close(value.grad / lsb, real.grad)
    torch.testing.assert_close(value_bias.grad, real_bias.grad)


def test_detaching_the_reset_changes_the_gradient() -> None:
    found = []
    for detach in (True, False):
        x = currents(7).requires_grad_()
        Lif(detach_reset=detach)(x).sum().backward()
        assert x.grad is not None
        found.append(x.grad)
    assert (found[0] != found[1]).any()


def test_gradient_of_a_multi_level_neuron_passes_its_resets() -> None:
    x, want = (2 * currents(8)).requires_grad_(), (2 * currents(8)).requires_grad_()
    found = Mlf()(x)
    expected = sum(
        stepwise(want, threshold, 0, 0.25, "rectangular", False) for threshold in (0.6, 1.6, 2.6)
    )
    assert torch.equal(found, expected)
    assert found.max() == 3
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(x.grad, want.grad)


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_levels_are_nested(levels: int) -> None:
    neuron = Mlf([0.6 + k for k in range(levels)])
    x = torch.from_numpy(np.random.default_rng(levels).normal(0.5, 1.5, (12, 50, 4, 10, 10)))
    spikes = [level(x) for level in neuron.levels]
    for lower, upper in itertools.pairwise(spikes):
        assert (upper <= lower).all()
    assert spikes[-1].any()
