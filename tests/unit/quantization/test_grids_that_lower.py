"""What quantization takes, lowering takes too; what it refuses names the cause and the cure."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import CaptureError, FramesError  # noqa: E402
from neuroport.graph import integers  # noqa: E402
from neuroport.graph.node import Lif as LifNode  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout  # noqa: E402
from neuroport.quantization import QuantizationWarning  # noqa: E402
from neuroport.quantization.cost import quantization_cost  # noqa: E402
from neuroport.quantization.scales import fit_scales, freeze_scales  # noqa: E402
from tests.helpers.modules import enliven, randomize  # noqa: E402

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 2, 1, 8, 8))


def trained(seed: int) -> nn.Module:
    return randomize(MsResNet(1, (4, 6, 8)), seed)


def units(net: nn.Module) -> list[float]:
    return [float(m.lsb) for m in net.modules() if isinstance(m, (Conv, Lif, Readout))]


@torch.no_grad()
def moved(net: nn.Module, seed: int, by: float) -> nn.Module:
    """Weights, norms and statistics as an unlucky training may move them on a frozen grid."""
    generator = torch.Generator().manual_seed(seed)

    def factor() -> float:
        return float(by ** (2 * torch.rand((), generator=generator) - 0.3))

    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight *= factor()
            module.bias *= factor()
        if isinstance(module, nn.Linear):
            module.weight *= factor()
            module.bias *= factor()
    return net


@pytest.mark.parametrize("seed", range(6))
def test_weights_that_outgrew_their_grid_get_a_coarser_one_and_lower(seed: int) -> None:
    net = trained(seed)
    frames = torch.from_numpy(FRAMES).float()
    freeze_scales(net, frames)
    moved(net, seed, 3.5)
    before = units(net)
    with pytest.warns(QuantizationWarning, match="evaluate it again") as told:
        graph = port.quantize(net, FRAMES)
    assert "coarser" in str(told[0].message)
    assert max(now / then for now, then in zip(units(net), before, strict=True)) >= 1
    for carrier in ("relay", "unroll"):
        chip = port.lower(graph, carrier=carrier)
        assert port.compare(port.run(net, FRAMES), port.run(chip, FRAMES)).equal
    # once it fits it stays as it is
    then = units(net)
    assert fit_scales(net, frames) == []
    assert port.quantize(net, FRAMES).hash == graph.hash
    assert units(net) == then


def test_a_grid_that_fits_is_left_alone() -> None:
    net = trained(0)
    freeze_scales(net, torch.from_numpy(FRAMES).float())
    before = copy.deepcopy(net.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_scales(net, torch.from_numpy(FRAMES).float()) == []
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("seed", range(4))
def test_only_what_does_not_fit_is_chosen_again(seed: int) -> None:
    net = trained(seed)
    frames = torch.from_numpy(FRAMES).float()
    freeze_scales(net, frames)
    before = {n: float(m.lsb) for n, m in net.named_modules() if isinstance(m, Lif)}
    with torch.no_grad():
        net.blocks[1].conv1.norm.weight *= 40
    assert fit_scales(net, frames) == ["blocks.1.conv1"]
    after = {n: float(m.lsb) for n, m in net.named_modules() if isinstance(m, Lif)}
    assert [n for n in before if before[n] != after[n]] == ["blocks.1.neuron2"]
    assert after["blocks.1.neuron2"] > before["blocks.1.neuron2"]


class Bordered(nn.Module):
    """A projection whose kernel cancels the stream's bias, but for the border."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = GradedConv(1, 2, 3, padding=1, pixels=True)
        self.project = GradedConv(2, 2, 3, padding=1)
        self.neuron, self.readout = Lif(), Readout(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(self.stem(x))
        return self.readout(self.neuron(x))


@torch.no_grad()
def test_biases_at_the_border_count_when_the_grid_is_chosen() -> None:
    net = enliven(Bordered(), 0, FRAMES)
    net.stem.norm.bias.fill_(40.0)
    net.stem.norm.running_mean.zero_()
    net.project.synapse.weight[:, :, 1, 1] -= net.project.synapse.weight.sum((2, 3))
    net.project.norm.weight.fill_(0.05)
    for tensor in (net.project.norm.bias, net.project.norm.running_mean):
        tensor.zero_()
    graph = port.quantize(net, FRAMES)
    bias = graph["neuron"].bias
    inner, whole = np.abs(bias[:, 1:-1, 1:-1]).max(), np.abs(bias).max()
    assert whole > 100 * max(inner, 1)
    assert whole <= integers.BIAS_MAX
    port.lower(graph)


# -- levels ----------------------------------------------------------------------------------


def crowded(biased: bool) -> nn.Module:
    """A stage of many branches, one of them small: its weights are few units of the stream."""
    net = randomize(MsResNet((7, 1), (4, 6)), 0)
    with torch.no_grad():
        for block in net.blocks[:7]:
            block.conv2.norm.weight.fill_(12.0)
            if not biased:
                block.conv2.norm.bias.zero_()
                block.conv2.norm.running_mean.zero_()
        net.blocks[2].conv2.norm.weight.fill_(0.05)
    return net


@pytest.mark.parametrize(
    ("biased", "cause"),
    [
        (False, "the 8 synapses that meet there.*fewer blocks in a stage, smaller weights"),
        (True, "a bias of their neurons takes [0-9]+ of 4095: smaller biases"),
    ],
)
def test_weights_with_few_levels_are_told_with_what_would_give_more(
    biased: bool, cause: str
) -> None:
    net = crowded(biased)
    with pytest.warns(QuantizationWarning) as told:
        graph = port.quantize(net, FRAMES)
    (said,) = {str(warning.message) for warning in told}
    weak = {
        node.name: int(np.abs(node.weight).max()) + 1
        for node in graph
        if node.name.endswith(("conv1", "conv2", "stem", "shortcut"))
        and 0 < np.abs(node.weight).max() < 14
    }
    assert "blocks.2.conv2" in weak
    assert said.startswith(f"{len(weak)} of 18 convolutions have fewer than 15 levels")
    assert f"blocks.2.conv2: {weak['blocks.2.conv2']}" in said
    assert re.search(cause, said)
    cost = quantization_cost(crowded(biased), FRAMES)
    assert cost.few == said
    assert said in str(cost)
    levels = {synapse.name: synapse.levels for synapse in cost.synapses}
    assert weak.items() <= levels.items()
    assert cost.to_dict()["few"] == said


def test_weights_with_enough_levels_are_not_told() -> None:
    net = trained(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = port.quantize(net, FRAMES)
    assert quantization_cost(net, FRAMES).few is None
    assert any(isinstance(node, LifNode) for node in graph)


# -- numbers that are none -------------------------------------------------------------------


def infect(path: str, value: float) -> Callable[[nn.Module], None]:
    def change(net: nn.Module) -> None:
        name, _, last = path.rpartition(".")
        getattr(net.get_submodule(name), last).data.flatten()[0] = value

    return change


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("blocks.1.conv1.synapse.weight", float("nan"), "weight' holds NaN"),
        ("blocks.0.conv2.norm.bias", float("nan"), "norm.bias' holds NaN"),
        ("stem.norm.running_mean", float("inf"), "running_mean' holds infinity"),
        ("blocks.1.shortcut.norm.running_var", -1.0, "'blocks.1.shortcut'.*negative running var"),
        ("readout.synapse.bias", float("-inf"), "'readout.synapse.bias' holds infinity"),
        ("neuron.voltage_decay", float("nan"), "'neuron.voltage_decay' holds NaN"),
    ],
)
def test_numbers_that_are_not_finite_are_named(
    path: str, value: float, said: str, frozen: bool
) -> None:
    net = trained(0)
    if frozen:
        port.quantize(net, FRAMES)
    infect(path, value)(net)
    for do in (port.quantize, quantization_cost):
        with pytest.raises(CaptureError, match=said):
            do(net, FRAMES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda net: net.half(), r"float16.*net\.float\(\)"),
        (lambda net: net.bfloat16(), r"bfloat16.*net\.float\(\)"),
        (lambda net: net.double(), r"float64.*net\.float\(\)"),
        (lambda net: net.to("meta"), "meta device.*to_empty"),
    ],
)
def test_networks_of_another_type_are_refused_with_what_to_write(
    change: Callable[[nn.Module], nn.Module], said: str
) -> None:
    for do in (port.quantize, quantization_cost):
        with pytest.raises(CaptureError, match=said):
            do(change(trained(0)), FRAMES)


def test_units_outlive_a_cast_and_its_undoing() -> None:
    net = trained(0)
    graph = port.quantize(net, FRAMES)
    before = units(net)
    assert units(net.float()) == before
    assert port.quantize(net, FRAMES).hash == graph.hash
    assert units(net.half().float()) == before


def test_autocast_changes_no_integer() -> None:
    net = trained(0)
    other = copy.deepcopy(net)
    graph = port.quantize(net, FRAMES)
    with torch.autocast("cpu", torch.bfloat16):
        assert port.quantize(other, FRAMES).hash == graph.hash
        assert port.compare(port.run(net, FRAMES), port.run(graph, FRAMES)).equal
        with torch.no_grad():
            x = torch.from_numpy(FRAMES).float()
            inside = net(x)
    with torch.no_grad():
        assert torch.equal(net(x), inside)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.full(FRAMES.shape, np.nan), "NaN or infinite"),
        (np.where(FRAMES > 100, np.inf, FRAMES), "NaN or infinite"),
        (FRAMES + 1j, "complex"),
        (np.full(FRAMES.shape, "a"), "<U1"),
        (FRAMES[0], "give .T, N, C, H, W."),
        (FRAMES[:, :0], "at least one"),
        (None, "an array .T, N, C, H, W."),
        ([[1], [1, 2]], "is not an array"),
    ],
)
def test_frames_that_are_none_are_refused(frames: object, said: str) -> None:
    for do in (port.quantize, quantization_cost):
        with pytest.raises(FramesError, match=said):
            do(trained(0), frames)


def test_frames_may_be_tensors_that_require_a_gradient() -> None:
    want = port.quantize(trained(0), FRAMES).hash
    given = torch.from_numpy(FRAMES).float().requires_grad_()
    assert port.quantize(trained(0), given).hash == want
    assert port.quantize(trained(0), given.detach().bfloat16()).hash == want


def test_blocks_whose_shortcut_is_of_another_size_name_the_cure() -> None:
    frames = np.zeros((2, 1, 1, 9, 7), np.uint8)
    with pytest.raises(port.NeuroportError, match=r"strides divide.*shortcut=.stride."):
        port.quantize(MsResNet(1, (4, 6), 1, 4).eval(), frames)
    with pytest.raises(port.NeuroportError, match="strides divide"):
        MsResNet(1, (4, 6), 1, 4).train()(torch.from_numpy(frames).float())
    net = randomize(MsResNet(1, (4, 6), 1, 4, shortcut="stride"), 0)
    graph = port.quantize(net, frames)
    assert port.compare(port.run(net, frames), port.run(port.lower(graph), frames)).equal


class Spiking(nn.Module):
    """A network that returns spikes: the class is the channel with the most."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.neuron = GradedConv(1, 4, 3, padding=1, pixels=True), Lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.stem(x))


def test_cost_of_a_network_that_returns_spikes_counts_them() -> None:
    net = enliven(Spiking(), 0, FRAMES)
    with torch.no_grad():
        counted = net(torch.from_numpy(FRAMES).float()).sum((0, 3, 4)).argmax(1).numpy()
    cost = quantization_cost(net, FRAMES, counted)
    assert cost.real_correct == 2
    assert cost.samples == 2
