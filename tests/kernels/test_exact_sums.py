"""Convolutions of integers in float32 are those of float64, however wide the messages are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuroport.kernels.exact_sums import convolve_exactly


def convolve(messages: Tensor, weight: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(messages, weight)


@pytest.mark.parametrize("size", [100, 1 << 12, 1 << 16, (1 << 24) - 1])
def test_sums_are_exact_and_gradients_those_of_the_convolution(size: int) -> None:
    torch.manual_seed(0)
    messages = torch.randint(-size, size + 1, (3, 8, 5, 5)).float()
    # columns that cancel: parts leave 24 bits, sums do not
    messages[:, 4:] = messages[:, :4] + torch.randint(-9, 10, (3, 4, 5, 5))
    half = 2.0 * torch.randint(-127, 128, (6, 4, 1, 1)).float()
    weight = torch.cat([half, -half], 1).requires_grad_()
    messages.requires_grad_()
    got = convolve_exactly(convolve, messages, weight)
    want = convolve(messages.double(), weight.double())
    assert want.abs().max() < 1 << 24
    assert torch.equal(got.double(), want)
    with torch.no_grad():
        assert torch.equal(convolve_exactly(convolve, messages, weight), got)
    grads = torch.autograd.grad(got.sum(), (messages, weight))
    plain = torch.autograd.grad(convolve(messages, weight).sum(), (messages, weight))
    assert all(torch.equal(one, other) for one, other in zip(grads, plain, strict=True))


def test_what_is_no_number_stays_none() -> None:
    messages, weight = torch.ones(1, 2, 3, 3), torch.full((1, 2, 1, 1), float("nan"))
    with torch.no_grad():
        assert convolve_exactly(convolve, messages, weight).isnan().all()
        assert convolve_exactly(convolve, messages * weight[0, 0], weight).isnan().all()
