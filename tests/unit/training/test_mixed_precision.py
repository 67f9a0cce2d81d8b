"""Mixed precision: convolutions of training steps in bfloat16, all else in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.data.samples import Pictures, Split  # noqa: E402
from neuroport.nets.families import build  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout, convolve_in  # noqa: E402
from neuroport.recipe import NetworkRecipe, Recipe, from_dict  # noqa: E402
from neuroport.training.checkpoint import read_checkpoint  # noqa: E402
from neuroport.training.fit import fit  # noqa: E402

FRAMES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 2, 8, 8))).float()


def lowered(family: str = "ms_resnet", **table: Any) -> nn.Module:
    torch.manual_seed(0)
    net = build(NetworkRecipe(family, widths=(4, 6, 8), **table), 2, 5)
    return convolve_in(net, torch.bfloat16)


@pytest.mark.parametrize(
    ("family", "table"), [("ms_resnet", {}), ("ds_resnet", {"normalize": True}), ("danet", {})]
)
def test_neurons_norms_and_the_classifier_see_float32(family: str, table: dict[str, Any]) -> None:
    net = lowered(family, **table).train()
    seen: list[Any] = []
    for module in net.modules():
        if isinstance(module, (Lif, nn.BatchNorm2d, Readout)):
            module.register_forward_hook(lambda m, x, out: seen.extend((x[0].dtype, out.dtype)))
    net(FRAMES).sum().backward()
    assert len(seen) > 20
    assert set(seen) == {torch.float32}
    kinds = {p.grad.dtype for p in net.parameters() if p.grad is not None}
    assert kinds == {torch.float32}


def test_convolution_is_that_of_rounded_factors_in_training_alone() -> None:
    torch.manual_seed(0)
    conv = Conv(2, 4, norm=nn.Identity)  # what comes out is the convolution
    graded = GradedConv(2, 4, 3, norm=nn.Identity)
    for layer in (conv, graded):
        convolve_in(layer, torch.bfloat16)
        x = torch.randn(2, 3, 2, 8, 8)
        flat, weight = x.flatten(0, 1), layer.kernel()

        def convolved(
            x: Tensor, weight: Tensor, layer: Conv = layer, shape: Any = x.shape[:2]
        ) -> Tensor:
            return F.conv2d(x, weight, padding=layer.padding).unflatten(0, shape)

        exact = convolved(flat, weight)
        rounded = convolved(flat.bfloat16().float(), weight.bfloat16().float()).bfloat16().float()
        got = layer.train()(x)
        torch.testing.assert_close(got, rounded, rtol=2**-7, atol=1e-6)
        assert not torch.equal(got, exact)
        torch.testing.assert_close(layer.eval()(x), exact)


def test_integer_phase_computes_in_float32() -> None:
    net = lowered().eval()
    port.quantize(net, FRAMES.numpy())
    exact = net(FRAMES)
    found = net.train()(FRAMES)
    assert torch.equal(found, exact)


def recipe_of(**training: Any) -> Recipe:
    return from_dict(
        {
            "data": {"steps": 2},
            "network": {"widths": [4, 6, 8]},
            "training": {"batch": 10, "warmup": 0, "shift": 0, "precision": "bfloat16", **training},
            "quantization": {"epochs": 1},
        }
    )


@pytest.fixture(scope="module")
def data() -> Split:
    """Ten classes; each has a bright row of its own."""
    labels = np.arange(40, dtype=np.int64) % 10
    images = np.random.default_rng(0).integers(0, 60, (40, 1, 12, 12)).astype(np.uint8)
    images[np.arange(40), 0, labels + 1] = 255
    return Split(Pictures(images, labels), Pictures(images, labels))


def test_training_lowers_the_loss_and_differs_from_that_in_float32(
    data: Split, tmp_path: Path
) -> None:
    losses = {}
    for precision in ("bfloat16", "float32"):
        fit(recipe_of(epochs=12, precision=precision), tmp_path / precision, data=data)
        losses[precision] = [m["loss"] for m in read_checkpoint(tmp_path / precision).metrics]
    assert min(losses["bfloat16"]) < 0.93 * losses["bfloat16"][0]
    assert min(losses["bfloat16"]) < 1.05 * min(losses["float32"])
    assert losses["bfloat16"] != losses["float32"]


class StoppedError(Exception):
    """Raised by a report, as an interruption would be."""


def test_training_goes_on_with_equal_bits(data: Split, tmp_path: Path) -> None:
    recipe = recipe_of(epochs=2, checkpoint_steps=1)
    for stop in ((0, 2), (1, 3), (2, 2)):

        def report(told: dict[str, Any], stop: tuple[int, int] = stop) -> None:
            if (told["epoch"], told.get("batch")) == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            fit(recipe, tmp_path / "parts", data=data, report=report)
    for name in ("parts", "whole"):
        fit(recipe, tmp_path / name, data=data)
    want, got = (read_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert want.keys() == got.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in want.items())
