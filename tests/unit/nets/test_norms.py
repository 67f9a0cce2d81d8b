"""Batch norms against their equations, and folded as the networks that hold them compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.errors import CaptureError  # noqa: E402
from neuroport.nets.batchnorm import BiasNorm, TdBatchNorm, folding  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout  # noqa: E402
from tests.helpers.modules import frames_for, randomize  # noqa: E402


def feature_maps(seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.3, 2, (6, 3, 4, 5)))


def filled(norm: nn.Module) -> nn.Module:
    return randomize(norm, 1).double()


def written_out(x: Tensor, norm: TdBatchNorm, mean: Tensor, var: Tensor) -> Tensor:
    """MLF's ``tdBatchNorm``, position by position."""
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        root = math.sqrt(var[c] + norm.eps) if norm.inside else math.sqrt(var[c]) + norm.eps
        unit = norm.alpha * norm.threshold * (x[:, c] - mean[c]) / root
        out[:, c] = unit if norm.weight is None else unit * norm.weight[c] + norm.bias[c]
    return out


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_td_batch_norm_is_its_equation(training: bool, inside: bool, affine: bool) -> None:
    norm = filled(TdBatchNorm(3, 0.6, 0.7, inside, affine)).train(training)
    norm.eps = 0.1  # type: ignore[assignment]  # large enough to be missed
    x = feature_maps()
    mean, var = norm.running_mean, norm.running_var
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    expected = written_out(x, norm, mean, var).detach()
    torch.testing.assert_close(norm(x).detach(), expected, rtol=1e-12, atol=1e-12)


def test_running_statistics_move_as_those_of_torch() -> None:
    own, torchs = filled(TdBatchNorm(3)).train(), filled(nn.BatchNorm2d(3)).train()
    for seed in range(3):
        own(feature_maps(seed))
        torchs(feature_maps(seed))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(own, name), getattr(torchs, name))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_gradients_of_td_batch_norm_are_those_of_its_equation(inside: bool, affine: bool) -> None:
    norm = filled(TdBatchNorm(3, 0.6, 0.7, inside, affine)).train()
    norm.eps = 0.1  # type: ignore[assignment]
    x = feature_maps().requires_grad_()
    wanted = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape).square()
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    root = torch.sqrt(var + norm.eps) if inside else torch.sqrt(var) + norm.eps
    unit = 0.7 * 0.6 * (x - mean.reshape(-1, 1, 1)) / root.reshape(-1, 1, 1)
    by_hand = unit
    if affine:
        by_hand = unit * norm.weight.reshape(-1, 1, 1) + norm.bias.reshape(-1, 1, 1)
    leaves = [x, *norm.parameters()]
    want = torch.autograd.grad((by_hand * wanted).sum(), leaves)
    got = torch.autograd.grad((norm(x) * wanted).sum(), leaves)
    for one, other in zip(want, got, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_a_silent_channel_has_a_finite_gradient() -> None:
    norm = TdBatchNorm(2).train()
    x = torch.zeros(4, 2, 3, 3)
    x[:, 1] = torch.rand(4, 3, 3)
    x.requires_grad_()
    norm(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        nn.BatchNorm2d,
        partial(nn.BatchNorm2d, affine=False),
        nn.SyncBatchNorm,
        lambda channels: nn.Identity(),
        TdBatchNorm,
        partial(TdBatchNorm, affine=False),
        partial(TdBatchNorm, alpha=0.5**0.5, inside=True),
        BiasNorm,
    ],
)
@torch.no_grad()
def test_folding_is_the_norm_in_evaluation(make: Callable[[int], nn.Module]) -> None:
    norm = filled(make(3)).eval()
    if isinstance(norm, nn.BatchNorm2d):
        norm.eps = 0.1
    scale, shift = folding(norm, torch.empty(3, 1))
    x = feature_maps()
    torch.testing.assert_close(scale[:, None, None] * x + shift[:, None, None], norm(x))


def test_another_norm_is_refused() -> None:
    with pytest.raises(CaptureError, match="GroupNorm cannot be folded"):
        folding(nn.GroupNorm(1, 3), torch.empty(3, 1))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = GradedConv(1, 4, 3, padding=1, pixels=True, norm=BiasNorm)
        self.neuron = Lif(0.6)
        self.conv = Conv(4, 4, norm=TdBatchNorm)
        self.last = Lif(0.6)
        self.readout = Readout(4, 3)

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.readout(self.last(self.conv(self.neuron(self.stem(frames)))))
        return out


def test_network_with_other_norms_spikes_as_its_module() -> None:
    net = randomize(Normed(), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    want = run_module(net, frames)
    assert compare(want, port.run(graph, frames))
    assert want.messages["last"].mean() > 0.02
    assert graph["neuron"].bias.any()  # type: ignore[union-attr]


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_a_norm_with_a_forward_of_its_own_is_refused_by_name() -> None:
    net = randomize(Normed(), 0)
    net.conv.norm = OwnNorm(4)
    with pytest.raises(CaptureError, match=r"conv\.norm"):
        port.quantize(net, frames_for(net))
