"""Gates of spikes and the masks of attention that are made of them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import CaptureError, LayerError  # noqa: E402
from neuroport.nets.gates import KINDS, ChannelMask, Gate, TokenMask  # noqa: E402
from neuroport.nets.neuron import FORGETS, Lif  # noqa: E402
from neuroport.nets.pooling import MaxPool, SumPool  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 1, 6, 6))
PRODUCTS = {
    "and": lambda a, b: a * b,
    "iand": lambda a, b: (1 - a) * b,
    "or": lambda a, b: torch.maximum(a, b),
}


def spikes(seed: int, channels: int = 4, most: int = 1) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, most + 1, (5, 2, channels, 6, 6))).float()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_a_gate_is_the_product_at_every_step(kind: str, training: bool) -> None:
    a, b = spikes(1), spikes(2)
    gate = Gate(4, kind).train(training)
    assert torch.equal(gate(a, b), PRODUCTS[kind](a, b))


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_is_that_of_the_product(kind: str) -> None:
    a, b = (spikes(seed).requires_grad_() for seed in (1, 2))
    weights = torch.randn(a.shape)
    gate = Gate(4, kind).train()
    found = torch.autograd.grad((gate(a, b) * weights).sum(), (a, b))
    smooth = a + b - a * b if kind == "or" else PRODUCTS[kind](a, b)
    for one, other in zip(
        found, torch.autograd.grad((smooth * weights).sum(), (a, b)), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_of_larger_messages_training_computes_what_evaluation_does(kind: str) -> None:
    a, b = spikes(1, most=3), spikes(2, most=3)
    gate = Gate(4, kind)
    assert torch.equal(gate.train()(a, b), gate.eval()(a, b))


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("training", [False, True])
def test_token_attention_keeps_keys_where_a_head_has_a_query(heads: int, training: bool) -> None:
    q, k = (spikes(seed) * spikes(seed + 10) for seed in (1, 2))
    layer = TokenMask(4, heads, voltage_decay=FORGETS).train(training)
    mask = (q.unflatten(2, (heads, -1)).sum(3, keepdim=True) > 0.5).float()
    expected = (mask * k.unflatten(2, (heads, -1))).flatten(2, 3)
    assert torch.equal(layer(q, k), expected)
    assert 0 < mask.mean() < 1


@pytest.mark.parametrize("training", [False, True])
def test_channel_attention_sums_over_the_whole_map_where_the_window_covers_it(
    training: bool,
) -> None:
    """As in the Spike-driven Transformer: ``q * lif(sum over positions of k * v)``."""
    q, k, v = (spikes(seed) for seed in (1, 2, 3))
    k[:, :, 1] = 0
    layer = ChannelMask(4, 11, threshold=9.5).train(training)
    neuron = Lif(9.5)
    mask = neuron((k * v).sum((3, 4), keepdim=True))
    assert torch.equal(layer(q, k, v), q * mask)
    assert 0 < mask.mean() < 1


def test_what_does_not_divide_and_what_is_even_is_refused() -> None:
    with pytest.raises(LayerError, match="channels 4 are not divided by 3 heads"):
        TokenMask(4, 3)
    with pytest.raises(LayerError, match="window is 4; use an odd one"):
        ChannelMask(4, 4)
    with pytest.raises(LayerError, match="kind is 'xor'; use 'and', 'iand', 'or'"):
        Gate(4, "xor")


class Masked(nn.Module):
    """Token attention in a membrane shortcut, channel attention behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.neuron = GradedConv(1, 4, 3, padding=1, pixels=True), Lif()
        self.q, self.k, self.v = (nn.Sequential(Conv(4, 4, 1, padding=0), Lif()) for _ in range(3))
        self.tokens, self.channels = TokenMask(4, 2), ChannelMask(4, 5, threshold=3.5)
        self.proj, self.again = Conv(4, 4, 1, padding=0), Lif()
        self.inverse = Gate(4, "iand")
        self.readout = Readout(4, 5)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.stem(frames)
        spikes = self.neuron(x)
        q, k, v = self.q(spikes), self.k(spikes), self.v(spikes)
        x = x + self.proj(self.tokens(q, k))
        sent = self.again(x)
        return self.readout(self.inverse(self.channels(q, k, v), sent))


@pytest.mark.lava
def test_masks_are_one_network_from_the_module_to_lava() -> None:
    net = enliven(Masked(), 1, FRAMES)
    graph = port.quantize(net, FRAMES)
    want = port.run(net, FRAMES, on="module")
    chip = port.lower(graph)
    for on, network in (("reference", graph), ("fast", graph), ("lava-cpu", chip)):
        found = port.compare(want, port.run(network, FRAMES, on=on))
        assert found, str(found)
        assert found.populations >= 11
    for node in graph.populations:
        assert (want.messages[node.name] != 0).any(), f"{node.name} is silent"
    mask, k = want["tokens.neuron"], want["k.1"]
    kept = np.repeat(mask, 2, axis=2) * k
    np.testing.assert_array_equal(want["tokens.gate.neuron"], kept)


class Product(nn.Module):
    """What ``how`` makes of the spikes of two neurons, before a readout."""

    def __init__(self, how: object, *parts: nn.Module) -> None:
        super().__init__()
        self.stem, self.neuron = GradedConv(1, 4, 3, padding=1, pixels=True), Lif()
        self.conv, self.again = Conv(4, 4), Lif()
        self.how, self.parts = how, nn.ModuleList(parts)
        self.readout = Readout(4, 5)

    def forward(self, frames: Tensor) -> Tensor:
        one = self.neuron(self.stem(frames))
        other = self.again(self.conv(one))
        return self.readout(self.how(self, one, other))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda _, q, k: q @ k, r"'matmul' in .*product of matrices.*TokenMask and ChannelMask"),
        (lambda _, q, k: torch.einsum("tnchw,tncwv->tnchv", q, k), r"einsum.*TokenMask"),
        (
            lambda _, q, k: F.scaled_dot_product_attention(q, k, k),
            r"'scaled_dot_product_attention' in .*product of matrices",
        ),
        (lambda _, q, k: q * k, r"it multiplies.*use Gate of neuroport\.nets\.gates"),
    ],
)
def test_products_of_spikes_are_refused_by_name_with_what_has_none(how: object, said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        port.quantize(Product(how), FRAMES)


class Pooled(nn.Module):
    """A maximum of currents, as between the stages of Max-ResNet and QKFormer."""

    def __init__(self, pool: object) -> None:
        super().__init__()
        self.stem, self.neuron = GradedConv(1, 4, 3, padding=1, pixels=True), Lif()
        self.conv, self.again = Conv(4, 4), Lif()
        self.pool = pool
        self.readout = Readout(4, 5)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.conv(self.neuron(self.stem(frames)))
        return self.readout(self.again(self.pool(x)))


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1),
        MaxPool(4, 3, 2, 1),
        SumPool(2),
        lambda x: F.max_pool3d(x, (1, 2, 2)),
    ],
)
def test_maxima_of_currents_are_refused_with_the_nearest_exact_thing(pool: object) -> None:
    with pytest.raises(CaptureError, match=r"maximum of currents has no exact form.*neuron"):
        port.quantize(Pooled(pool), FRAMES)
