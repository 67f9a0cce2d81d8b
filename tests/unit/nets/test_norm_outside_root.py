"""The norm of MLF's official code, where the fused kernels cannot run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuroport.nets.batchnorm import TdBatchNorm


def wanted(x: torch.Tensor, norm: TdBatchNorm) -> torch.Tensor:
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    unit = norm.alpha * norm.threshold * (x - mean) / (var.sqrt() + norm.eps)
    return unit * norm.weight.reshape(-1, 1, 1) + norm.bias.reshape(-1, 1, 1)


def test_a_torch_that_refuses_an_eps_of_zero_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.nn.functional.batch_norm of torch 2.4 to 2.12 refuses it in inference, too."""
    plain = torch.nn.functional.batch_norm

    def strict(*given: Any, eps: float = 1e-5, **named: Any) -> torch.Tensor:
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive, but got {eps}")
        return plain(*given, eps=eps, **named)

    monkeypatch.setattr(torch.nn.functional, "batch_norm", strict)
    torch.manual_seed(0)
    norm = TdBatchNorm(5, threshold=0.6, alpha=0.7).double().train()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (3 * torch.randn(4, 5, 3, 2).double() + 1).requires_grad_()
    out = norm(x)
    torch.testing.assert_close(out, wanted(x, norm))
    factors = torch.randn_like(out)
    got = torch.autograd.grad((out * factors).sum(), (x, norm.weight, norm.bias))
    want = torch.autograd.grad((wanted(x, norm) * factors).sum(), (x, norm.weight, norm.bias))
    torch.testing.assert_close(got, want)
