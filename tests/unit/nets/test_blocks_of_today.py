"""The blocks of today's networks against their papers' equations, written out with plain torch."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.e_spikeformer import ConvBlock  # noqa: E402
from neuroport.nets.integer_spikes import integer_spikes  # noqa: E402
from neuroport.nets.ms_resnet import MembraneBlock  # noqa: E402
from neuroport.nets.qkformer import TokenBlock  # noqa: E402
from neuroport.nets.spike_transformer import MaskedBlock  # noqa: E402
from neuroport.nets.synapse import Conv  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402
from tests.unit.nets.test_blocks import current, lively, messages, spikes_of  # noqa: E402


def real(seed: int, channels: int = 4) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0.4, 0.8, (3, 2, channels, 6, 5)))


def grouped(layer: Conv, x: Tensor) -> Tensor:
    """:func:`current` of a depthwise convolution."""
    kernel, norm = layer.synapse.weight, layer.norm
    pad = kernel.shape[-1] // 2
    out = F.conv2d(x.flatten(0, 1), kernel, padding=pad, groups=len(kernel))
    mean, var = (v.reshape(-1, 1, 1) for v in (norm.running_mean, norm.running_var))
    unit = (out - mean) / torch.sqrt(var + norm.eps)
    shaped = norm.weight.reshape(-1, 1, 1), norm.bias.reshape(-1, 1, 1)
    return (unit * shaped[0] + shaped[1]).unflatten(0, (len(x), -1))


@torch.no_grad()
def test_block_of_e_spikeformer() -> None:
    block = lively(ConvBlock(4, 2, partial(integer_spikes, 4), False, 7), 1)
    x = real(1)[:1]  # at one step, as published

    def sent(y: Tensor) -> Tensor:
        return y.clamp(0, 4).round()

    first, deep, last = (part for part in block.separable if isinstance(part, Conv))
    assert (deep.groups, deep.synapse.kernel_size, first.synapse.out_channels) == (8, (7, 7), 8)
    y = x + current(last, sent(grouped(deep, sent(current(first, sent(x))))))
    one, other = (part for part in block.convolutions if isinstance(part, Conv))
    expected = y + current(other, sent(current(one, sent(y))))
    torch.testing.assert_close(block(x), expected)
    assert (expected - y).abs().max() > 0.1


@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_block_of_qkformer(heads: int) -> None:
    block = lively(TokenBlock(4, heads, 2, "rectangular"), 3)
    x = messages(4, 2)

    def layer(parts: nn.Sequential, y: Tensor) -> Tensor:
        return spikes_of(current(parts[0], y))

    q, k = layer(block.q, x), layer(block.k, x)
    mask = spikes_of(q.unflatten(2, (heads, -1)).sum(3, keepdim=True))
    kept = (mask * k.unflatten(2, (heads, -1))).flatten(2, 3)
    y = x + layer(block.proj, kept)
    expected = y + layer(block.mlp[1], layer(block.mlp[0], y))
    assert torch.equal(block(x), expected)
    assert 0 < mask.mean() < 1
    assert kept.any()


@torch.no_grad()
def test_block_of_the_spike_driven_transformer() -> None:
    block = lively(MaskedBlock(4, 11, 2, False, "rectangular"), 4)  # 11 covers maps of 6 x 5
    x = real(2)
    s = spikes_of(x)
    q, k, v = (spikes_of(current(each[0], s)) for each in (block.q, block.k, block.v))
    mask = spikes_of((k * v).sum((3, 4), keepdim=True))
    y = x + current(block.proj, q * mask)
    one, other = (part for part in block.mlp if isinstance(part, Conv))
    expected = y + current(other, spikes_of(current(one, spikes_of(y))))
    torch.testing.assert_close(block(x), expected)
    assert (q * mask).any()


@torch.no_grad()
def test_block_of_max_resnet_takes_the_maximum_of_spikes() -> None:
    block = lively(MembraneBlock(4, 6, 2, "stride", projection="spike", downsampling="max"), 5)
    x = real(3)
    first = spikes_of(x)
    second = spikes_of(current(block.conv1, first))
    most = F.max_pool2d(second.flatten(0, 1), 3, 2, 1).unflatten(0, (3, -1))
    expected = current(block.conv2, most) + current(block.shortcut, first, 2)
    torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(block.train()(x).shape, expected.shape)
    assert 0 < second.mean() < most.mean()


@torch.no_grad()
def test_maximum_of_currents_is_that_of_spikes_where_a_neuron_has_no_memory() -> None:
    """Why it is the nearest thing to Max-ResNet; with memory it is another network."""
    x = real(4)
    largest = F.max_pool2d(x.flatten(0, 1), 3, 2, 1)
    spikes = (x > 0.5).double()
    after = F.max_pool2d(spikes.flatten(0, 1), 3, 2, 1)
    assert torch.equal((largest > 0.5).double(), after)
    leaky = F.max_pool2d(spikes_of(x).flatten(0, 1), 3, 2, 1)
    assert not torch.equal(spikes_of(largest.unflatten(0, (3, -1))).flatten(0, 1), leaky)


@pytest.mark.parametrize("domain", ["spike", "membrane"])
@torch.no_grad()
def test_fused_reach_adds_what_every_source_sends_to_the_end_of_each_stage(domain: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 8, 8))
    net = enliven(DaNet(2, (3, 4, 5), 2, 4, domain, "fused"), 1, frames).double()
    plain = DaNet(2, (3, 4, 5), 2, 4, domain).double().eval()
    plain.load_state_dict({n: t for n, t in net.state_dict().items() if "fusions" not in n})
    x = torch.from_numpy(frames).double()
    z = plain.stem(x)
    z = plain.neuron(z) if domain == "spike" else z
    sources = [z]  # the stem, then what each stage sent on
    for index, stage in enumerate(plain.stages):
        own = stage([sources[-1]])
        total = own
        branches = [branch[0] for branch in net.fusions[index].branches]
        strides = [1, *(2**back for back in range(1, index + 1)), 2**index]
        for conv, source, stride in zip(branches, [own, *sources[::-1]], strides, strict=True):
            total = total + spikes_of(current(conv, source, stride))
        assert len(branches) == index + 2
        sources.append(total)
    out = sources[-1] if domain == "spike" else plain.neuron(sources[-1])
    logits = F.linear(out.mean((0, 3, 4)), net.readout.synapse.weight, net.readout.synapse.bias)
    torch.testing.assert_close(net(x), logits)
