"""Integer spikes against the equation of their authors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor  # noqa: E402

from neuroport.nets.integer_spikes import integer_spikes  # noqa: E402


def published(x: Tensor, levels: int) -> Tensor:
    """``round(clip(x, 0, D))``; the gradient is 1 where 0 < x < D."""
    clipped = x.clamp(0, levels)
    return clipped + (clipped.round() - clipped).detach()


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_they_are_the_rounded_current_and_so_is_their_gradient(levels: int) -> None:
    rng = np.random.default_rng(levels)
    shape = (1, 2, 4, 16, 16)
    values = rng.uniform(-1.5, levels + 1.5, shape).astype(np.float32)
    x, y = (torch.from_numpy(values).requires_grad_() for _ in range(2))
    weights = torch.from_numpy(rng.normal(size=shape)).float()
    sent, expected = integer_spikes(levels)(x), published(y, levels)
    assert torch.equal(sent, expected)
    assert set(sent.unique().tolist()) == set(range(levels + 1))
    (sent * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(x.grad, y.grad)


@pytest.mark.parametrize("levels", [1, 4])
def test_each_of_several_steps_stands_for_itself(levels: int) -> None:
    rng = np.random.default_rng(levels)
    whole = rng.integers(-6, 4 * levels + 6, (5, 2, 4, 8, 8)) / 4  # 1/4096 of it decides nothing
    x = torch.from_numpy(whole + 0.125).float()
    assert torch.equal(integer_spikes(levels)(x), published(x, levels))


def test_a_current_between_two_integers_exceeds_no_level() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, 3.5]).reshape(1, 1, 4, 1, 1)
    assert integer_spikes(4)(x).flatten().tolist() == [0, 1, 2, 3]
    assert published(x, 4).flatten().tolist() == [0, 2, 2, 4]  # torch rounds to the even one
