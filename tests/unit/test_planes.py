"""Messages are stored by kernels as torch would store them, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuroport.kernels import fused, why_plain

SHAPES = [(4, 3, 16, 8, 8), (2, 2, 40, 5, 7), (1, 1, 1, 1, 1), (3, 2, 64, 1, 9), (2, 5, 17, 6, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["bytes", "spikes", "floats"])
def test_planes_are_a_copy(shape: tuple[int, ...], kind: str) -> None:
    if why_plain():
        pytest.skip(f"the plain path alone runs here: {why_plain()}")
    generator = torch.Generator().manual_seed(sum(shape))
    low, high = {"bytes": (0, 256), "spikes": (0, 2), "floats": (-(1 << 24) + 1, 1 << 24)}[kind]
    values = torch.randint(low, high, shape, generator=generator)
    given = values.to(torch.float32 if kind == "floats" else torch.uint8)
    given = given.flatten(0, 1).contiguous(memory_format=torch.channels_last).reshape(shape)
    stored = {"bytes": np.uint8, "spikes": np.bool_, "floats": np.int32}[kind]
    wide = np.full((shape[0], shape[1] + 2, *shape[2:]), 77).astype(stored)
    before = wide.copy()
    assert fused.planes(given, wide[:, 1:-1])
    np.testing.assert_array_equal(wide[:, 1:-1], values.numpy().astype(stored))
    np.testing.assert_array_equal(wide[:, [0, -1]], before[:, [0, -1]])


def test_what_lies_otherwise_or_has_another_type_is_left_to_torch() -> None:
    out = np.zeros((2, 3, 4, 5, 6), np.int32)
    lies = torch.zeros(2, 3, 5, 6, 4).permute(0, 1, 4, 2, 3)
    assert not fused.planes(torch.zeros(2, 3, 4, 5, 6), out)
    assert not fused.planes(lies.to(torch.int64), out)
    assert not fused.planes(lies, out.astype(np.float32))
    assert not fused.planes(lies, out.transpose(0, 1, 2, 4, 3))
    assert not fused.planes(lies[..., 0], out[..., 0])
