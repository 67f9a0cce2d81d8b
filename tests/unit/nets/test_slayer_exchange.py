"""Weights between SLAYER's blocks and neuroport's layers: the same spikes on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from neuroport.errors import CaptureError

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.slayer import from_slayer, to_slayer  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, snap_weight  # noqa: E402
from tests.helpers import slayer_networks as networks  # noqa: E402

HERE = {"delay_shift": False}
BLOCKS = {
    "conv": lambda: networks.cuba("Conv", 2, 6, 3, weight_scale=4, **HERE),
    "uneven": lambda: networks.cuba(
        "Conv", 2, 4, (3, 2), (2, 1), (0, 1), (1, 2), 2, weight_scale=5, **HERE
    ),
    "norm": lambda: networks.cuba("Conv", 2, 6, 3, neuron=networks.MEAN, weight_scale=4, **HERE),
    "weight norm": lambda: networks.cuba("Conv", 2, 6, 3, weight_scale=4, weight_norm=True, **HERE),
    "other scale": lambda: networks.cuba(
        "Conv", 2, 6, 3, neuron={"scale": 32}, weight_scale=4, **HERE
    ),
    "dense": lambda: networks.cuba("Dense", 20, 12, weight_scale=3, **HERE),
    "masked": lambda: networks.cuba(
        "Dense", 20, 12, mask=torch.rand(12, 20) < 0.5, weight_scale=4, **HERE
    ),
    "high": lambda: networks.cuba(
        "Dense", 20, 12, neuron={"threshold": 63.98}, weight_scale=60, **HERE
    ),
}


def ours(net: Any, x: Any) -> Any:
    """What neuroport's layers send for SLAYER's frames, as SLAYER has it."""
    maps = x if x.ndim == 5 else x[:, :, None, None]
    with torch.no_grad():
        return net(maps.movedim(-1, 0)).movedim(0, -1).reshape(len(x), -1, x.shape[-1])


@pytest.mark.parametrize("case", BLOCKS)
def test_layers_made_of_a_block_send_its_spikes(case: str) -> None:
    torch.manual_seed(6)
    block = BLOCKS[case]()
    x = networks.spikes(networks.ROW if block.synapse.in_channels == 20 else networks.IMAGE)
    networks.ready(block, x)
    if case == "high":
        block.synapse.weight.data.clamp_(-3.9, 3.9)
    with torch.no_grad():
        want = block(x)
    assert want.any()
    assert torch.equal(ours(from_slayer(block), x), want.flatten(1, -2))


@pytest.mark.parametrize("case", BLOCKS)
def test_weights_come_back_as_they_went(case: str) -> None:
    torch.manual_seed(6)
    block = BLOCKS[case]()
    x = networks.spikes(networks.ROW if block.synapse.in_channels == 20 else networks.IMAGE)
    networks.ready(block, x)
    block.synapse.weight.data.clamp_(-3.9, 3.9)
    there = from_slayer(block)
    back = to_slayer(*there, delay_shift=False).eval()
    maps = x if x.ndim == 5 else x[:, :, None, None]
    with torch.no_grad():
        assert torch.equal(back(maps).flatten(1, -2), block(x).flatten(1, -2))
    again = from_slayer(back)
    for there_layer, layer in zip(there, again, strict=True):
        scale = float(layer.lsb / there_layer.lsb)
        for (name, values), other in zip(
            there_layer.named_parameters(), layer.parameters(), strict=True
        ):
            if name == "synapse.weight":
                values = snap_weight(values * scale, layer.unit())
                other = snap_weight(other, layer.unit())
            elif name == "norm.bias":
                values, other = values / there_layer.lsb, other / layer.lsb
            else:
                values, other = values.round(), other.round()
            assert torch.equal(values, other), name


def layers(lsb: float) -> tuple[Any, Any]:
    torch.manual_seed(7)
    conv, lif = Conv(2, 4, 3, stride=2, groups=2), Lif(0.6, 0.3, 0.7)
    conv.norm.weight.data.uniform_(0.2, 0.6)
    conv.norm.bias.data.uniform_(-0.1, 0.1)
    conv.norm.running_mean.uniform_(-0.1, 0.1)
    conv.eval()
    for layer in (conv, lif):
        layer.lsb.fill_(lsb)
    return conv, lif


@pytest.mark.parametrize("lsb", [0.6 / 128, 0.6 / 37, 1 / 300])
def test_block_made_of_layers_sends_their_spikes(lsb: float) -> None:
    conv, lif = layers(lsb)
    x = networks.spikes(networks.IMAGE)
    block = to_slayer(conv, lif, delay_shift=False).eval()
    with torch.no_grad():
        want, got = ours(torch.nn.Sequential(conv, lif), x), block(x)
    assert 0.02 < want.mean() < 0.6
    assert torch.equal(got.flatten(1, -2), want)
    shifting = to_slayer(conv, lif).eval()
    with torch.no_grad():
        assert torch.equal(shifting(x)[..., 1:], got[..., :-1])


def test_block_made_of_untrained_layers_has_their_numbers_and_trains() -> None:
    conv, lif = layers(0.0)
    block = to_slayer(conv, lif)
    assert torch.allclose(block.synapse.weight[..., 0], conv.folded()[0])
    assert torch.allclose(-block.neuron.norm.running_mean, conv.folded()[1])
    assert block.neuron.threshold == int(0.6 * 64) / 64
    block(networks.spikes(networks.IMAGE)).sum().backward()
    assert block.synapse.weight.grad.abs().sum() > 0


def test_equality_ends_where_float32_takes_reaching_a_threshold_for_passing_it() -> None:
    """At 64, SLAYER's neuron fires when it reaches its threshold; the hardware's does not."""
    spikes = []
    for threshold in (63, 64):
        neuron = {"threshold": threshold, "current_decay": 1, "voltage_decay": 0}
        block = slayer.block.cuba.Dense(neuron, 1, 1, delay_shift=False)
        block.synapse.weight.data.fill_(1.0)
        spikes.append(int(block(torch.ones(1, 1, threshold)).sum()))
    assert spikes == [0, 1]
    with pytest.raises(CaptureError, match="keep it below 4096"):
        from_slayer(block)
    conv, lif = layers(0.6 / 5000)
    conv.norm.weight.data.fill_(1e-3)
    with pytest.raises(CaptureError, match="has the threshold 5000"):
        to_slayer(conv, lif)


def extreme() -> Any:
    block = networks.cuba("Dense", 20, 12)
    block.synapse.weight.data.fill_(-9)
    return block


def biased() -> Any:
    block = networks.cuba("Conv", 2, 3, 3)
    block.synapse.bias = torch.nn.Parameter(torch.ones(3))
    return block


def other_constants() -> Any:
    block = networks.cuba("Dense", 20, 12)
    block.neuron.threshold_eps = 0.5
    return block


def left_over() -> Any:
    block = networks.cuba("Dense", 20, 12)
    block.neuron.current_state = torch.ones(2, 12)
    return block


REFUSED = {
    "bias": (biased, "sends other spikes than its weights and constants say"),
    "epsilon": (other_constants, "sends other spikes than its weights and constants say"),
    "states": (left_over, r"holds states of an earlier run \(current_state\); set them to zeros"),
    "pool": (lambda: networks.cuba("Pool", 2), "is not a Dense or Conv"),
    "resonator": (lambda: slayer.block.rf.Dense(dict(networks.RESONATOR), 20, 9), "is not a Dense"),
    "delay": (lambda: networks.cuba("Dense", 20, 9, delay=True), "axonal delays"),
    "own decays": (
        lambda: networks.cuba("Dense", 20, 9, neuron={"shared_param": False}),
        "their own",
    ),
    "scaling": (lambda: networks.cuba("Dense", 20, 9, neuron=networks.SCALE), "WgtScaleBatchNorm"),
    "-256": (extreme, "not even in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_blocks_that_the_layers_cannot_be_are_refused(case: str) -> None:
    make, why = REFUSED[case]
    with pytest.raises(CaptureError, match=why):
        from_slayer(make())


def test_layers_that_a_block_cannot_be_are_refused() -> None:
    conv, lif = layers(0.0)
    conv.norm.weight.data.fill_(100)
    with pytest.raises(CaptureError, match="SLAYER's end at 254"):
        to_slayer(conv, lif)
    with pytest.raises(CaptureError, match="reads graded values"):
        to_slayer(GradedConv(2, 4, pixels=True), lif)
