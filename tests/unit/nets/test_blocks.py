"""The blocks of every family against their equations, written out with plain torch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from neuroport.nets.baselines import Parts, PlainBlock, SewBlock, SpikingResNet  # noqa: E402
from neuroport.nets.batchnorm import TdBatchNorm  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet, MlfBlock  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, Direct, GradedConv  # noqa: E402
from tests.helpers.modules import enliven, randomize  # noqa: E402


def spikes_of(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Decay 0.25, hard reset, strictly above the threshold."""
    u = s = torch.zeros_like(x[0])
    out = []
    for t in range(len(x)):
        u = 0.25 * u * (1 - s) + x[t]
        s = (u > threshold).to(x.dtype)
        out.append(s)
    return torch.stack(out)


def mlf(x: Tensor, levels: int = 3) -> Tensor:
    return torch.stack([spikes_of(x, 0.6 + k) for k in range(levels)]).sum(0)


def current(layer: Conv, x: Tensor, stride: int = 1) -> Tensor:
    """Convolution and batch norm of all steps, in evaluation."""
    norm, kernel = layer.norm, layer.synapse.weight
    out = F.conv2d(x.flatten(0, 1), kernel, stride=stride, padding=kernel.shape[-1] // 2)
    mean, var = (v.reshape(-1, 1, 1) for v in (norm.running_mean, norm.running_var))
    if not isinstance(norm, TdBatchNorm):
        unit = (out - mean) / torch.sqrt(var + norm.eps)
    elif norm.inside:
        unit = norm.alpha * norm.threshold * (out - mean) / torch.sqrt(var + norm.eps)
    else:
        unit = norm.alpha * norm.threshold * (out - mean) / (torch.sqrt(var) + norm.eps)
    out = unit * norm.weight.reshape(-1, 1, 1) + norm.bias.reshape(-1, 1, 1)
    return out.unflatten(0, (len(x), -1))


def messages(channels: int, largest: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, largest + 1, (3, 2, channels, 6, 4))).double()


def lively(net: nn.Module, seed: int) -> nn.Module:
    net = randomize(net, seed).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            module.weight.data.mul_(4)
    return net


SHAPES = [(3, 1), (5, 2), (5, 1), (3, 2)]


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["ds", "vanilla"])
@pytest.mark.parametrize(("channels", "stride"), SHAPES)
@torch.no_grad()
def test_mlf_block(channels: int, stride: int, kind: str, levels: int) -> None:
    block = lively(MlfBlock(3, channels, stride, kind, levels, "rectangular"), levels)
    x = messages(3, levels)
    inner = mlf(current(block.conv1, x, stride), levels)
    branch = current(block.conv2, inner)
    same = channels == 3 and stride == 1
    if kind == "ds":
        way = x if same else mlf(current(block.shortcut[0], x, stride), levels)
        expected = mlf(branch, levels) + way
    else:
        way = x if same else current(block.shortcut, x, stride)
        expected = mlf(branch + way, levels)
    assert torch.equal(block(x), expected)
    assert expected.max() >= levels
    assert all(isinstance(m.norm, TdBatchNorm) for m in (block.conv1, block.conv2))


@pytest.mark.parametrize("norms", ["plain", "tdbn"])
@pytest.mark.parametrize(("channels", "stride"), SHAPES)
@torch.no_grad()
def test_plain_block(channels: int, stride: int, norms: str) -> None:
    block = lively(PlainBlock(3, channels, stride, Parts(norms, 0.5, Lif, False)), 1)
    x = messages(3, 1)
    branch = current(block.conv2, spikes_of(current(block.conv1, x, stride)))
    same = channels == 3 and stride == 1
    assert isinstance(block.shortcut, Direct) == same
    way = x if same else current(block.shortcut, x, stride)
    expected = spikes_of(branch + way)
    assert torch.equal(block(x), expected)
    assert 0 < expected.mean() < 1
    if norms == "tdbn":
        assert block.conv1.norm.alpha == 1
        assert block.conv2.norm.alpha == 0.5**0.5
        assert block.conv1.norm.inside


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
@pytest.mark.parametrize(("channels", "stride"), SHAPES)
@torch.no_grad()
def test_sew_block(channels: int, stride: int, connect: str) -> None:
    block = lively(SewBlock(3, channels, stride, connect, Parts("sew", 0.5, Lif, False)), 2)
    s = messages(3, 1)
    a = spikes_of(current(block.conv2, spikes_of(current(block.conv1, s, stride))))
    if channels != 3 or stride != 1:
        expected_way = spikes_of(current(block.shortcut[0], s, stride))
    else:
        expected_way = s
    expected = {
        "add": a + expected_way,
        "and": a * expected_way,
        "iand": (1 - a) * expected_way,
    }[connect]
    assert torch.equal(block(s), expected)
    assert a.any()
    assert expected.any()


@pytest.mark.parametrize("reach", ["stage", "network"])
@pytest.mark.parametrize("domain", ["spike", "membrane"])
@torch.no_grad()
def test_input_of_a_block_is_the_sum_of_all_outputs_in_its_reach(domain: str, reach: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 8, 8))
    net = enliven(DaNet(2, (3, 4, 5), 2, 4, domain, reach), 1, frames).double()

    def layer(parts: nn.Sequential, x: Tensor, stride: int) -> Tensor:
        first, *others = (part for part in parts if isinstance(part, Conv))
        for conv, step in zip((first, *others), (stride, *(1 for _ in others)), strict=True):
            x = (
                spikes_of(current(conv, x, step))
                if domain == "spike"
                else current(conv, spikes_of(x), step)
            )
        return x

    x = torch.from_numpy(frames).double()
    z = current(net.stem, x / 255)
    z = spikes_of(z) if domain == "spike" else z
    ends: list[Tensor] = []  # what each stage sent on
    for index, stage in enumerate(net.stages):
        stride = 1 if index == 0 else 2
        total = layer(stage.blocks[0], z, stride)
        if index == 0:
            total = total + z
            assert len(stage.projections) == 1
        else:
            reached = ends[::-1] if reach == "network" else ends[-1:]
            assert len(stage.projections) == len(reached)
            for back, (parts, end) in enumerate(zip(stage.projections, reached, strict=True)):
                total = total + layer(parts, end, 2 ** (back + 1))
        z = total + layer(stage.blocks[1], total, 1)
        ends.append(z)
    out = z if domain == "spike" else spikes_of(z)
    logits = F.linear(out.mean((0, 3, 4)), net.readout.synapse.weight, net.readout.synapse.bias)
    torch.testing.assert_close(net(x), logits)
    assert [len(s.projections) for s in net.stages] == (
        [1, 1, 2] if reach == "network" else [1] * 3
    )


def test_a_branch_of_currents_starts_at_nothing_and_one_of_spikes_does_not() -> None:
    for domain, scale in (("spike", 0.5), ("membrane", 0.0)):
        for stage in DaNet(2, domain=domain).stages:
            for block in stage.blocks:
                norms = [part.norm for part in block if isinstance(part, Conv)]
                assert [float(norm.weight[0]) for norm in norms] == [0.5, scale]


@torch.no_grad()
def test_bottleneck_is_1x1_3x3_1x1_with_four_times_the_channels() -> None:
    net = DaNet.imagenet(50, (2, 3, 4, 5), 2, 4, "spike")
    kernels = [
        [c.synapse.weight.shape for c in b if isinstance(c, Conv)] for b in net.stages[1].blocks
    ]
    assert kernels[0] == [(3, 8, 1, 1), (3, 3, 3, 3), (12, 3, 1, 1)]
    assert kernels[1] == [(3, 12, 1, 1), (3, 3, 3, 3), (12, 3, 1, 1)]
    strides = [[c.stride[0] for c in b if isinstance(c, Conv)] for b in net.stages[1].blocks]
    assert strides == [[1, 2, 1], *[[1, 1, 1]] * 3]


@torch.no_grad()
def test_integers_of_a_stage_grow_to_its_blocks_and_one_times_the_levels() -> None:
    net = DsResNet(3, (2, 3, 4), 1, 4)
    for module in net.modules():
        if isinstance(module, Conv):  # every level fires in every step
            module.norm.weight.fill_(0)
            module.norm.bias.fill_(5)
    seen = []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, out: seen.append(int(out.max())))
    net.eval()(torch.zeros(2, 1, 1, 8, 8))
    # a projection ends in a neuron of 3 levels, the stem's neuron too
    assert seen == [6, 9, 12] * 3


@torch.no_grad()
def test_normalized_counts_are_those_of_mlf_for_gestures() -> None:
    net = randomize(DsResNet(1, (2, 3, 4), 2, 4, normalize=True), 3).double()
    norm = net.stem.frame_norm
    x = messages(2, 9)
    shaped = [v.clone().reshape(-1, 1, 1) for v in (norm.running_mean, norm.running_var)]
    counts = 0.6 * (x - shaped[0]) / (torch.sqrt(shaped[1]) + 1e-5)
    torch.testing.assert_close(net.stem(x), current(net.stem, counts))
    net.train()
    net.stem(x)
    torch.testing.assert_close(
        norm.running_mean, 0.9 * shaped[0].flatten() + 0.1 * x.mean((0, 1, 3, 4))
    )


@torch.no_grad()
def test_deep_stem_is_three_convolutions_and_one_norm() -> None:
    stem = lively(MsResNet(1, (4, 6, 8), 2, stem="deep", stem_stride=2).stem, 0)
    x = messages(2, 200)
    first, second, third = stem
    y = F.conv2d(x.flatten(0, 1) / 255, first.synapse.weight, first.norm.bias, 2, 1)
    y = F.conv2d(y, second.synapse.weight, second.norm.bias, 1, 1).unflatten(0, (3, -1))
    torch.testing.assert_close(stem(x), current(third, y))
    assert all(isinstance(layer, GradedConv) for layer in stem)


@pytest.mark.parametrize("depth", [18, 34, 104])
def test_every_stage_of_ms_resnet_for_imagenet_starts_with_a_projection(depth: int) -> None:
    net = MsResNet.imagenet(depth, (2, 3, 4, 5))
    projected = [isinstance(block.shortcut, GradedConv) for block in net.blocks]
    firsts = np.cumsum([0, *{18: (2, 2, 2), 34: (3, 4, 6), 104: (3, 8, 32)}[depth]])
    assert np.flatnonzero(projected).tolist() == firsts.tolist()
    pool = 2 if depth == 104 else 1
    assert {net.blocks[i].shortcut.pool for i in firsts} == {(pool, pool)}
    assert {net.blocks[i].shortcut.stride for i in firsts} == {(2, 2)}
    assert net.readout.dropout == (0.2 if depth == 104 else 0.0)


def test_initial_weights_are_kaiming_normal_in_ds_resnet_only_where_they_are_trained() -> None:
    net = DsResNet(2, (16, 32, 64), 3, block="vanilla")
    for name, module in net.named_modules():
        if isinstance(module, Direct):
            assert (module.synapse.weight == 1).all()
            assert not module.synapse.weight.requires_grad
        elif isinstance(module, Conv):
            fan = module.synapse.weight[0].numel()
            found = float(module.synapse.weight.std())
            assert abs(found / (2 / fan) ** 0.5 - 1) < 0.25, name


def test_plain_network_passes_spikes_between_blocks() -> None:
    net = enliven(SpikingResNet(2, (3, 4, 5), 2), 0, np.full((2, 2, 2, 8, 8), 100))
    seen: list[Tensor] = []
    net.blocks[1].register_forward_hook(lambda _, args, out: seen.extend((args[0], out)))
    with torch.no_grad():
        net(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 2, 2, 8, 8))).float())
    assert all(set(x.unique().tolist()) <= {0.0, 1.0} for x in seen)
