"""A norm before a neuron: absorbed exactly, learnable in both phases, equal on every engine."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import neuroport as port  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.graph.node import Lif as LifNode  # noqa: E402
from neuroport.nets.batchnorm_lif import SMALLEST, NormLif, PositiveNorm  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.stream import Stream  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402


def neuron(seed: int = 0) -> NormLif:
    torch.manual_seed(seed)
    made = NormLif(3).double().eval()
    with torch.no_grad():
        made.norm.weight.uniform_(-2, 2)
        made.norm.bias.uniform_(-1, 1)
        made.norm.running_mean.uniform_(-1, 1)
        made.norm.running_var.uniform_(0.2, 3)
    return made


def test_norm_is_absorbed_into_threshold_and_bias_of_each_channel() -> None:
    made = neuron()
    x = torch.randn(6, 4, 3, 5, 5, dtype=torch.float64)
    _, thresholds, bias = made.absorbed()
    found = [Lif(float(thresholds[c]))(x[:, :, c] + bias[c]) for c in range(3)]
    want = made(x)
    assert 0.05 < float(want.mean()) < 0.95
    assert torch.equal(torch.stack(found, 2), want)


def test_gain_is_positive_and_not_below_its_floor() -> None:
    norm = PositiveNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-2.0, 0.0, 0.5]))
    assert norm.gain().tolist() == [2.0, pytest.approx(SMALLEST), 0.5]


def test_norm_of_the_training_phase_is_torchs_but_for_the_sign() -> None:
    norm, plain = PositiveNorm(2), torch.nn.BatchNorm2d(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-2.0, 0.5]))
        plain.weight.copy_(torch.tensor([2.0, 0.5]))
    x = torch.randn(6, 2, 3, 3)
    assert torch.equal(norm(x), plain(x))
    assert torch.equal(norm.running_var, plain.running_var)


def test_thresholds_on_a_fine_grid_are_those_of_real_numbers() -> None:
    made = neuron(1)
    lsb = 2.0**-12
    value = torch.randint(-6000, 6000, (4, 3, 3, 4, 4)).double()
    want = made(value * lsb)
    made.lsb.fill_(lsb)
    got = made(Stream(value, torch.zeros(3, dtype=torch.float64)))
    assert float((got != want).double().mean()) < 0.002


def test_gradients_of_the_integer_phase_follow_those_of_the_real_one() -> None:
    made = neuron(2)
    made.surrogate = "arctan"
    lsb = 2.0**-12
    value = torch.randint(-6000, 6000, (3, 4, 3, 4, 4)).double()
    pull = torch.randn(value.shape, dtype=torch.float64)
    grads = []
    for integer in (False, True):
        made.zero_grad()
        made.lsb.fill_(lsb if integer else 0)
        x = (value if integer else value * lsb).clone().requires_grad_()
        out = made(Stream(x, torch.zeros(3, dtype=torch.float64)) if integer else x)
        (out * pull).sum().backward()
        assert x.grad is not None
        grads.append((x.grad / (lsb if integer else 1), made.norm.weight.grad, made.norm.bias.grad))
    for real, whole in zip(*grads, strict=True):
        assert real is not None
        assert whole is not None
        similarity = torch.nn.functional.cosine_similarity(real.flatten(), whole.flatten(), 0)
        assert float(similarity) > 0.98


def test_thresholds_per_channel_are_one_network_up_to_lava() -> None:
    pytest.importorskip("lava")
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 8, 8))
    net = enliven(DaNet(1, (3, 4, 5), 2, 5, order="bn-lif-conv"), 1, frames)
    graph = port.quantize(net, frames)
    neurons = [node for node in graph if isinstance(node, LifNode)]
    assert all(len(node.threshold) > 1 for node in neurons)
    assert any(len(np.unique(node.threshold)) > 1 for node in neurons)
    want = run_module(net, frames)
    chip = port.lower(graph)
    for engine in ("reference", "fast", "lava-cpu"):
        outcome = port.compare(want, port.run(chip, frames, on=engine))
        assert outcome, f"{engine}: {outcome}"
        assert not outcome.only_want
    assert all((want.messages[node.name] != 0).any() for node in neurons)


def test_order_is_refused_where_spikes_are_summed() -> None:
    with pytest.raises(ValueError, match="domain='membrane'"):
        DaNet(1, domain="spike", order="bn-lif-conv")
