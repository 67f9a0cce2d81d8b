"""Two of DANet's readings are networks that were published before: with equal weights, equal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.nets.baselines import SpikingResNet  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.families import build  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv  # noqa: E402
from neuroport.recipe import load_recipe  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402

MODELS = Path(__file__).resolve().parents[3] / "models"
SHAPE = {"widths": (4, 6, 8), "in_channels": 2, "classes": 5}
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 2, 9, 8))


def layers(parts: Iterable[nn.Module], kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    return [m for part in parts for m in part.modules() if isinstance(m, kinds)]


def of_danet(net: DaNet, kinds: tuple[type[nn.Module], ...] = (Conv,)) -> list[nn.Module]:
    """Its layers, block by block: the branch, then the projection."""
    parts = [net.stem, net.neuron]
    for stage in net.stages:
        for index, block in enumerate(stage.blocks):
            parts += [block, *(stage.projections if index == 0 else ())]
    return [*layers(parts, kinds), net.readout]


def of_resnet(
    net: SpikingResNet | MsResNet, kinds: tuple[type[nn.Module], ...] = (Conv,)
) -> list[nn.Module]:
    """The same of the others."""
    parts = [net.stem, net.neuron]
    for block in net.blocks:
        names = [f"{kind}{number}" for number in (1, 2, 3) for kind in ("conv", "neuron")]
        parts += [*(getattr(block, name) for name in names if hasattr(block, name)), block.shortcut]
    return [*layers(parts, kinds), net.readout]


def copied(source: DaNet, target: nn.Module, kinds: tuple[type[nn.Module], ...] = (Conv,)) -> None:
    for mine, theirs in zip(of_danet(source, kinds), of_resnet(target, kinds), strict=True):
        theirs.load_state_dict(mine.state_dict())


def difference(one: nn.Module, other: nn.Module) -> float:
    x = torch.from_numpy(FRAMES).float()
    return float((one(x) - other(x)).abs().max())


def gradients(net: nn.Module, layers: list[nn.Module]) -> list[Tensor]:
    net.zero_grad()
    net(torch.from_numpy(FRAMES).float()).square().sum().backward()
    return [p.grad for layer in layers for p in layer.parameters()]


CASES = {
    "spike, stage is SEW-ResNet": (
        lambda: DaNet(2, **SHAPE, domain="spike"),
        lambda: SpikingResNet(2, **SHAPE, block="sew"),
    ),
    "spike, stage with bottlenecks is SEW-ResNet with bottlenecks": (
        lambda: DaNet(2, **SHAPE, domain="spike", bottleneck=True),
        lambda: SpikingResNet(2, **SHAPE, block="sew", bottleneck=True),
    ),
    "membrane, stage is MS-ResNet with projections of spikes": (
        lambda: DaNet(2, **SHAPE, domain="membrane"),
        lambda: MsResNet(2, **SHAPE, shortcut="stride", projection="spike"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_with_copied_weights_both_are_one_function_in_both_phases(case: str) -> None:
    make_one, make_other = CASES[case]
    one, other = enliven(make_one(), 3, FRAMES), make_other().eval()
    copied(one, other)
    count = [sum(p.numel() for p in net.parameters() if p.requires_grad) for net in (one, other)]
    assert count[0] == count[1]
    with torch.no_grad():
        assert difference(one, other) == 0.0
        assert one(torch.from_numpy(FRAMES).float()).std() > 0
    each = gradients(one.train(), of_danet(one)), gradients(other.train(), of_resnet(other))
    for mine, theirs in zip(*each, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    copied(one.eval(), other.eval())
    for net in (one, other):
        port.quantize(net, FRAMES)
    with torch.no_grad():
        assert difference(one, other) == 0.0


def test_the_stored_danet_of_spikes_and_stages_is_a_sew_resnet() -> None:
    """Its stored weights in the other's network, in integers: why models/README.md ranks one."""
    one = port.load(MODELS / "danet20_spike_stage_mnist")
    other = build(load_recipe(MODELS / "sew_resnet20_mnist" / "recipe.toml").network, 1, 10).eval()
    assert isinstance(one, DaNet)
    copied(one, other, (Conv, Lif))
    frames = np.load(MODELS / "danet20_spike_stage_mnist" / "frames.npy")[:, :3]
    want = port.run(one, frames, on="module")
    graph = port.quantize(other, frames)
    assert np.array_equal(port.run(graph, frames).predictions, want.predictions)
    with torch.no_grad():
        assert torch.equal(*(net.eval()(torch.from_numpy(frames).float()) for net in (one, other)))
