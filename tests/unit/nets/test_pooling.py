"""Pools of spikes: what they send, what reads them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import CaptureError, LayerError  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.pooling import AvgPool, SumPool  # noqa: E402
from neuroport.nets.synapse import Conv, Direct, GradedConv, Readout  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 2, 9, 7)).astype(np.uint8)


class Pooled(nn.Module):
    """A stem, a pool, a convolution that reads it, and a shortcut that is pooled as well."""

    def __init__(self, pool: nn.Module, again: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.stem, self.neuron1 = GradedConv(2, 4, 3, padding=1, pixels=True), Lif()
        self.pool, self.conv = pool, Conv(4, 6)
        self.neuron2, self.again = Lif(), again
        self.conv2, self.neuron3 = Conv(6, 6, 1, padding=0, groups=2), Lif()
        self.last, self.readout = last, Readout(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(self.neuron1(self.stem(x))))
        x = self.conv2(self.again(self.neuron2(x)))
        return self.readout(self.last(self.neuron3(x)))


WAYS = {
    "average": (AvgPool(2), AvgPool((2, 1)), nn.Identity()),
    "sum": (SumPool(2), SumPool(2, 1), SumPool(2)),
    "overlapping": (AvgPool(3, 2, 1), SumPool((1, 2), 1), SumPool(1)),
    "twice": (nn.Sequential(AvgPool(2), AvgPool(2)), nn.Identity(), nn.Identity()),
}


def network(way: str) -> nn.Module:
    return enliven(Pooled(*WAYS[way]), 1, FRAMES)


@pytest.mark.parametrize("way", WAYS)
def test_pooled_network_is_the_same_in_module_and_engines(way: str) -> None:
    net = network(way)
    graph = port.quantize(net, FRAMES)
    want = port.run(net, FRAMES)
    for engine in ("reference", "fast"):
        assert port.compare(want, port.run(port.lower(graph), FRAMES, on=engine)).equal
    pooled = [name for name in want.messages if name.endswith(".relay")]
    assert pooled
    assert all(want[name].any() for name in pooled)
    assert max(int(want[name].max()) for name in pooled) > 1
    assert want["neuron3"].any()


@pytest.mark.lava
def test_pooled_network_runs_on_lava() -> None:
    net = network("overlapping")
    frames = FRAMES[:, :1]
    chip = port.lower(port.quantize(net, frames))
    want = port.run(net, frames)
    assert port.compare(want, port.run(chip, frames, on="lava-cpu")).equal


@torch.no_grad()
def test_pool_counts_the_spikes_of_its_window() -> None:
    spikes = (torch.rand(2, 3, 4, 6, 5) < 0.5).float()
    pool = SumPool((2, 3), (2, 1), (1, 1))
    want = F.avg_pool2d(spikes.flatten(0, 1), (2, 3), (2, 1), (1, 1)) * 6
    torch.testing.assert_close(pool(spikes).flatten(0, 1), want)
    average = AvgPool(2)
    assert torch.equal(average(spikes).flatten(0, 1), F.avg_pool2d(spikes.flatten(0, 1), 2))


def test_averages_are_what_the_integers_stand_for() -> None:
    net = network("average")
    graph = port.quantize(net, FRAMES)
    conv = net.conv
    node = graph["conv"]
    current = float(conv.lsb) / 4  # the unit of the stream, for averages of 2 x 2
    assert current == pytest.approx(float(net.neuron2.lsb))
    real = conv.folded()[0].detach().double().numpy() / 4  # per spike of the window
    unit = float(net.neuron2.lsb) * 2.0**node.exponent
    assert np.abs(node.weight * unit - real).max() <= unit * (1 + 1e-5)
    assert np.abs(node.weight).max() >= 64


class Largest(nn.Module):
    """The maximum of spikes, as the refusal of nn.MaxPool2d says."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.neuron1 = GradedConv(2, 4, 3, padding=1, pixels=True), Lif()
        self.pool, self.direct, self.largest = SumPool(2), Direct(4), Lif(threshold=0.5)
        self.readout = Readout(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        return self.readout(self.largest(self.direct(self.pool(spikes))))


@pytest.mark.lava
def test_sum_into_a_neuron_is_the_maximum_of_spikes() -> None:
    net = enliven(Largest(), 0, FRAMES)
    chip = port.lower(port.quantize(net, FRAMES))
    for engine in ("reference", "lava-cpu"):
        trace = port.run(chip, FRAMES, on=engine)
        spikes = torch.from_numpy(trace["neuron1"].astype(np.float32)).flatten(0, 1)
        largest = F.max_pool2d(spikes, 2).unflatten(0, (4, 3)).numpy()
        assert 0.1 < largest.mean() < 1
        np.testing.assert_array_equal(trace["largest"], largest)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (nn.MaxPool2d(2), "'pool' is a MaxPool2d: the maximum is not a sum.*SumPool"),
        (nn.AvgPool2d(2), "'pool' is a AvgPool2d.*neuroport.nets.pooling.AvgPool"),
        (nn.Upsample(scale_factor=2), "'pool' is a Upsample"),
    ],
)
def test_pools_of_torch_are_refused_with_the_way_out(pool: nn.Module, said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        port.quantize(Pooled(pool, nn.Identity(), nn.Identity()), FRAMES)


def test_average_before_a_readout_is_refused() -> None:
    net = Pooled(nn.Identity(), nn.Identity(), AvgPool(2))
    with pytest.raises(CaptureError, match="'readout' averages over the map itself"):
        port.quantize(net, FRAMES)


class Mixed(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        return self.readout(self.neuron2(self.conv(self.pool(spikes) + self.again(spikes))))


def test_averages_and_sums_cannot_be_added() -> None:
    with pytest.raises(CaptureError, match="'conv' reads spikes or averages of 2 units"):
        port.quantize(Mixed(AvgPool(2), SumPool(2), nn.Identity()), FRAMES)
    net = enliven(Mixed(AvgPool(2), AvgPool(2, 2), nn.Identity()), 0, FRAMES)
    graph = port.quantize(net, FRAMES)
    assert port.compare(port.run(net, FRAMES), port.run(port.lower(graph), FRAMES)).equal


class PooledCurrent(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron2(self.conv(self.neuron1(self.pool(self.stem(x))))))


def test_pooling_of_a_current_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"'pool' .* cannot take 'stem'"):
        port.quantize(PooledCurrent(SumPool(2), nn.Identity(), nn.Identity()), FRAMES)


def test_sizes_that_are_none_are_refused() -> None:
    with pytest.raises(LayerError, match="half of the window"):
        SumPool(2, padding=2)
    with pytest.raises(LayerError, match="kernel_size is 0"):
        AvgPool(0)
    with pytest.raises(CaptureError, match="'pool' pools windows"):
        port.quantize(Pooled(AvgPool(20), nn.Identity(), nn.Identity()), FRAMES)


def test_gradients_of_the_integer_phase_reach_through_an_average() -> None:
    net = network("average")
    port.quantize(net, FRAMES)
    net.train()(torch.from_numpy(FRAMES).float()).square().sum().backward()
    for layer in (net.stem, net.conv, net.conv2):
        assert layer.synapse.weight.grad.abs().sum() > 0
