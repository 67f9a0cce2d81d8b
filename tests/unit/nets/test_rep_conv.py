"""Re-parameterized convolutions: what is trained as several is one."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import CaptureError, LayerError  # noqa: E402
from neuroport.graph.node import Conv as ConvNode  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.rep_conv import RepConv  # noqa: E402
from neuroport.nets.synapse import GradedConv, Readout  # noqa: E402
from tests.helpers.modules import enliven, randomize  # noqa: E402

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 2, 1, 7, 6))
SHAPES = [
    {},
    {"hidden": 6},
    {"stride": 2},
    {"kernel_size": 5, "inner_norm": False},
    {"separable": False},
    {"separable": False, "inner_norm": False, "hidden": 2, "stride": 2},
]


def drawn(seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (3, 4, 4, 7, 6))).float()


def in_a_row(layer: RepConv, x: Tensor) -> Tensor:
    """As its authors write it: one after the other, padded with what the norm makes of zero."""
    y = layer.inner(F.conv2d(x.flatten(0, 1), layer.synapse.weight))
    around = torch.zeros(y.shape[1])
    if isinstance(layer.inner, nn.BatchNorm2d):
        around = layer.inner.eval()(torch.zeros(1, y.shape[1], 1, 1)).flatten().detach()
        layer.inner.train(layer.training)
    pad = layer.padding[0]
    padded = (
        around.reshape(-1, 1, 1)
        .expand(len(y), -1, y.shape[2] + 2 * pad, y.shape[3] + 2 * pad)
        .clone()
    )
    padded[:, :, pad:-pad, pad:-pad] = y
    y = layer.spatial(padded)
    y = y if layer.pointwise is None else layer.pointwise(y)
    return layer.norm(y).unflatten(0, (len(x), -1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_trains_as_its_parts_in_a_row(shape: dict[str, int]) -> None:
    one, other = (randomize(RepConv(4, 5, **shape), 1).train() for _ in range(2))
    weights = None
    results = []
    for layer, call in ((one, one), (other, lambda x: in_a_row(other, x))):
        out = call(drawn())
        weights = torch.randn(out.shape) if weights is None else weights
        (out * weights).sum().backward()
        results.append(out.detach())
        assert all(p.grad is not None for p in layer.parameters())
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-3)
    for mine, theirs in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_in_evaluation_it_is_one_convolution_with_a_bias(shape: dict[str, int]) -> None:
    layer = randomize(RepConv(4, 5, **shape), 2)
    weight, bias = layer.folded()
    x = drawn(1)
    one = F.conv2d(x.flatten(0, 1), weight, bias, layer.stride, layer.padding)
    torch.testing.assert_close(layer(x).flatten(0, 1), one, rtol=1e-5, atol=1e-5)


class Net(nn.Module):
    def __init__(self, **shape: int) -> None:
        super().__init__()
        self.stem, self.neuron1 = GradedConv(1, 4, 3, padding=1, pixels=True), Lif()
        self.conv, self.neuron2 = RepConv(4, 5, **shape), Lif()
        self.readout = Readout(5, 3)

    def forward(self, frames: Tensor) -> Tensor:
        return self.readout(self.neuron2(self.conv(self.neuron1(self.stem(frames)))))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_graph_holds_one_convolution_which_is_the_module(shape: dict[str, int]) -> None:
    net = enliven(Net(**shape), 3, FRAMES)
    graph = port.quantize(net, FRAMES)
    assert [node.name for node in graph if isinstance(node, ConvNode)].count("conv") == 1
    assert graph["conv"].weight.shape == net.conv.folded()[0].shape
    want = port.run(net, FRAMES, on="module")
    assert port.compare(want, port.run(graph, FRAMES)).equal
    assert want["neuron2"].any()
    net.train()(torch.from_numpy(FRAMES).float()).square().sum().backward()
    assert all(p.grad is not None for p in net.conv.parameters())


def test_what_is_hooked_or_even_is_refused() -> None:
    with pytest.raises(LayerError, match="kernel_size is 4; use an odd one"):
        RepConv(4, 5, 4)
    net = enliven(Net(), 3, FRAMES)
    net.conv.spatial.register_forward_hook(lambda *_: None)
    with pytest.raises(CaptureError, match=r"'conv\.spatial' has forward hooks"):
        port.quantize(net, FRAMES)
