"""The torch modules inside a layer: what people do to them takes effect, or is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import CaptureError, LayerError  # noqa: E402
from neuroport.nets.fused_batchnorm import deferred  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, Direct, GradedConv, Readout  # noqa: E402
from neuroport.quantization.cost import quantization_cost  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 2, 9, 7)).astype(np.uint8)
PIXELS = torch.from_numpy(FRAMES).float()


class Net(nn.Module):
    """Every kind of layer with a synapse; one convolution is joined with its neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = GradedConv(2, 4, 3, padding=1, pixels=True, mean=(0.2, 0.1), std=(0.5, 2.0))
        self.neuron1, self.conv1 = Lif(), deferred(Conv(4, 4, groups=2))
        self.neuron2 = Lif()
        self.project, self.conv2 = GradedConv(4, 6, pool=2), Conv(4, 6, 2, 2, "valid")
        self.direct, self.neuron3, self.readout = Direct(6), Lif(), Readout(6, 5)
        self.neuron4 = Lif()

    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        spikes = self.neuron2(self.conv1(self.neuron1(stream)))
        spikes = self.neuron3(self.conv2(spikes) + self.project(stream))
        return self.readout(spikes + self.neuron4(self.direct(spikes)))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return enliven(Net(), seed, FRAMES)


SYNAPSES = ("stem", "conv1", "project", "conv2", "readout")


def each(net: nn.Module, how: Callable[[nn.Module], object]) -> nn.Module:
    for name in SYNAPSES:
        how(net.get_submodule(name).synapse)
    return net


def pruned(module: nn.Module) -> None:
    prune.l1_unstructured(module, "weight", 0.5)
    prune.random_unstructured(module, "weight", 0.2)  # a container of two


WAYS: dict[str, Callable[[nn.Module], object]] = {
    "prune": pruned,
    "weight_norm": weight_norm,
    "spectral_norm": spectral_norm,
    "parametrized weight_norm": parametrizations.weight_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
    "channels pruned at the norm": lambda module: None,
}


def changed(way: str) -> nn.Module:
    net = each(network(), WAYS[way])
    if way.endswith("norm") and "channels" in way:
        prune.l1_unstructured(net.conv1.norm, "weight", 0.5)
    return net.eval()


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(PIXELS), torch.tensor([0, 1, 2])).backward()
    optimizer.step()


@pytest.mark.filterwarnings("ignore:.*weight_norm:")
@pytest.mark.parametrize("way", WAYS)
def test_weights_that_are_computed_train_in_both_phases_and_are_those_of_the_graph(
    way: str,
) -> None:
    net = changed(way)
    for phase in range(2):
        optimizer = torch.optim.SGD(net.parameters(), 0.05)
        before = {
            name: net.get_submodule(name).synapse.weight.detach().clone() for name in SYNAPSES
        }
        net.train()
        for _ in range(3):
            step(net, optimizer)
        net.eval()(PIXELS)
        for name in SYNAPSES:
            now = net.get_submodule(name).synapse.weight
            assert not torch.equal(before[name], now), (phase, name)
        if phase == 0:
            port.quantize(net, FRAMES)
    graph = port.quantize(net.train(), FRAMES)  # a spectral norm would go on iterating
    assert port.compare(port.run(net, FRAMES), port.run(port.lower(graph), FRAMES)).equal
    if way == "prune":
        for name in ("conv1", "conv2"):
            assert (graph[name].weight == 0).mean() > 0.5
        copied = quantization_cost(net, FRAMES)
        assert copied.samples == 3
    if "channels" in way:
        assert not graph["conv1"].weight[:, 0].any(axis=(1, 2)).all()


@torch.no_grad()
def test_pruned_weights_are_pruned_at_once() -> None:
    net = network()
    before = net(PIXELS)
    prune.custom_from_mask(net.conv1.synapse, "weight", torch.zeros(4, 2, 3, 3))
    after = net(PIXELS)
    assert not torch.equal(before, after)
    silent = copy.deepcopy(network())
    silent.conv1.synapse.weight.zero_()
    assert torch.equal(after, silent(PIXELS))


def biased(net: nn.Module) -> nn.Module:
    for name in SYNAPSES[:-1]:
        layer = net.get_submodule(name)
        old = layer.synapse
        new = nn.Conv2d(
            old.in_channels,
            old.out_channels,
            old.kernel_size,
            old.stride,
            old.padding,
            old.dilation,
            old.groups,
        )
        new.weight = old.weight
        nn.init.uniform_(new.bias, -1, 1)
        layer.synapse = new
    return net


def test_bias_of_a_synapse_is_a_bias_of_the_layer() -> None:
    net = biased(network())
    with torch.no_grad():
        for name in SYNAPSES[:-1]:
            layer = net.get_submodule(name)
            x = torch.rand(2, 1, layer.synapse.in_channels, 8, 8)
            with_bias = layer(x)
            bias, layer.synapse.bias = layer.synapse.bias, None
            scale = layer.norm.weight / torch.sqrt(layer.norm.running_var + layer.norm.eps)
            want = layer(x) + (bias * scale).reshape(-1, 1, 1)
            layer.synapse.bias = bias
            torch.testing.assert_close(with_bias, want)
    graph = port.quantize(net, FRAMES)
    assert port.compare(port.run(net, FRAMES), port.run(port.lower(graph), FRAMES)).equal
    net.train()(PIXELS).sum().backward()
    assert net.conv2.synapse.bias.grad.abs().sum() > 0


def test_classifier_without_a_bias_has_none() -> None:
    net = network()
    net.readout.synapse = nn.Linear(6, 5, bias=False)
    graph = port.quantize(net, FRAMES)
    assert not graph["readout.potential"].bias.any()
    assert port.compare(port.run(net, FRAMES), port.run(port.lower(graph), FRAMES)).equal


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def remade(layer: Conv, kind: type[nn.Conv2d], **more: object) -> nn.Conv2d:
    old = layer.synapse
    geometry = (old.kernel_size, old.stride, old.padding, old.dilation, old.groups)
    new = kind(old.in_channels, old.out_channels, *geometry, bias=False, **more)
    new.weight = old.weight
    return new


@torch.no_grad()
@pytest.mark.parametrize("name", ["stem", "conv1", "project", "conv2"])
def test_synapse_with_a_forward_of_its_own_is_called_in_real_numbers(name: str) -> None:
    layer = network().get_submodule(name)
    x = torch.rand(2, 1, layer.synapse.in_channels, 8, 8)
    raw = layer.unnormalized(x)
    layer.synapse = remade(layer, Doubled)
    torch.testing.assert_close(layer.unnormalized(x), 2 * raw)
    layer.synapse = remade(layer, nn.Conv2d)
    assert torch.equal(layer.unnormalized(x), raw)


def own_forward(layer: nn.Module) -> None:
    layer.synapse = remade(layer, Doubled)


def method(layer: nn.Module) -> None:
    layer.synapse.forward = lambda x: x


def listens(layer: nn.Module) -> None:
    layer.synapse.register_forward_hook(lambda *_: None)


def changes_input(layer: nn.Module) -> None:
    layer.synapse.register_forward_pre_hook(lambda _, args: (args[0] * 2,))


def reflects(layer: nn.Module) -> None:
    layer.synapse = remade(layer, nn.Conv2d, padding_mode="reflect")


def transposes(layer: nn.Module) -> None:
    layer.synapse = nn.ConvTranspose2d(4, 4, 3, 1, 1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (own_forward, "'conv1'.*Doubled.*forward of its own"),
        (method, "'conv1'.*forward of its own"),
        (listens, r"conv1.*hooks.*handle\.remove"),
        (changes_input, r"conv1.*hooks.*handle\.remove"),
        (reflects, "'conv1'.*'reflect'.*zeros"),
        (transposes, "'conv1'.*ConvTranspose2d"),
    ],
)
def test_what_no_graph_holds_is_refused_with_the_layer(
    how: Callable[[nn.Module], None], said: str
) -> None:
    net = network()
    how(net.conv1)
    with pytest.raises(CaptureError, match=said):
        port.quantize(net, FRAMES)
    net = network()
    port.quantize(net, FRAMES)
    how(net.conv1)
    with torch.no_grad(), pytest.raises(CaptureError, match=r"in the integer phase|conv1"):
        net(PIXELS)


def test_hooks_of_a_synapse_hear_its_calls_in_real_numbers() -> None:
    net, heard = network(), []
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda m, *_: heard.append(m))
            module.register_full_backward_hook(lambda m, *_: heard.append(m))
    with torch.no_grad():
        quiet = network()(PIXELS)
        torch.testing.assert_close(net(PIXELS), quiet)
    assert len(heard) == len(set(heard)) == 6
    net.train()(PIXELS).sum().backward()
    assert len(heard) > 12


class Listening(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_classifier_with_a_forward_of_its_own_is_refused() -> None:
    net = network()
    net.readout.synapse = Listening(6, 5)
    with pytest.raises(CaptureError, match=r"'readout'.*use nn\.Linear"):
        port.quantize(net, FRAMES)


# -- sizes, norms ----------------------------------------------------------------------------


class Shaped(nn.Module):
    def __init__(self, conv: Conv, channels: int = 6) -> None:
        super().__init__()
        self.stem, self.neuron1 = GradedConv(2, 4, (3, 1), (1, 2), "valid", pixels=True), Lif()
        self.conv, self.neuron2, self.readout = conv, Lif(), Readout(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron2(self.conv(self.neuron1(self.stem(x)))))


SHAPES: dict[str, Callable[[], Conv]] = {
    "row": lambda: Conv(4, 6, (1, 3), padding=(0, 1)),
    "pairs": lambda: Conv(4, 6, (3, 2), (2, 1), (1, 0), dilation=(2, 1)),
    "same": lambda: Conv(4, 6, (5, 3), padding="same", dilation=(1, 2)),
    "valid": lambda: Conv(4, 6, [2, 3], padding="valid", groups=2),
    "string of torch's": lambda: _with_string(),
}


def _with_string() -> Conv:
    conv = Conv(4, 6)
    conv.synapse = nn.Conv2d(4, 6, 3, padding="same", bias=False)
    return conv


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_may_differ_by_axis(shape: str) -> None:
    net = enliven(Shaped(SHAPES[shape]()), 0, FRAMES)
    conv = net.conv
    torchs = nn.Conv2d(
        4,
        6,
        conv.synapse.kernel_size,
        conv.stride,
        "same" if shape == "same" else conv.padding,
        conv.dilation,
        conv.groups,
        bias=False,
    )
    torchs.weight = conv.synapse.weight
    with torch.no_grad():
        x = torch.rand(2, 3, 4, 7, 4)
        want = torchs(x.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(conv.unnormalized(x), want)
    graph = port.quantize(net, FRAMES)
    assert port.compare(port.run(net, FRAMES), port.run(port.lower(graph), FRAMES)).equal


@pytest.mark.lava
def test_sizes_that_differ_by_axis_run_on_lava() -> None:
    net = enliven(Shaped(SHAPES["pairs"]()), 0, FRAMES)
    frames = FRAMES[:, :1]
    chip = port.lower(port.quantize(net, frames))
    assert port.compare(port.run(net, frames), port.run(chip, frames, on="lava-cpu")).equal


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Conv(4, 4, (1, 3)), "padding 1 is as wide as the kernel .1 .* in height"),
        (lambda: Conv(4, 4, 2, padding="same"), "spans 2 in height pads one side more"),
        (lambda: Conv(4, 4, 3, 2, "same"), "'same' has no meaning with stride"),
        (lambda: Conv(4, 4, padding="full"), "padding is 'full'"),
        (lambda: Conv(4, 4, (3, 3, 3)), "kernel_size is .3, 3, 3."),
        (lambda: Conv(4, 4, 2.5), "kernel_size is 2.5"),
        (lambda: Conv(4, 4, stride=0), "stride is 0"),
        (lambda: Conv(4, 4, dilation=(1, True)), "dilation is"),
        (lambda: GradedConv(4, 4, 3, pool=2), "before a 1x1 kernel"),
    ],
)
def test_sizes_that_are_none_are_refused(make: Callable[[], Conv], said: str) -> None:
    with pytest.raises(LayerError, match=said):
        make()


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "sync": nn.SyncBatchNorm,
    "plain": lambda channels: nn.BatchNorm2d(channels, affine=False),
    "none": lambda channels: nn.Identity(),
}


@pytest.mark.parametrize("kind", NORMS)
def test_every_norm_that_has_a_scale_and_shift_is_captured(kind: str) -> None:
    torch.manual_seed(0)
    net = Shaped(Conv(4, 6, norm=NORMS[kind])).eval()
    if kind != "none":
        net.conv.norm.running_mean.uniform_(-0.5, 0.1)
        net.conv.norm.running_var.uniform_(0.01, 0.05)
    net.stem.norm.weight.data.fill_(3)
    graph = port.quantize(net, FRAMES)
    want = port.run(net, FRAMES)
    assert want["neuron2"].any()
    assert port.compare(want, port.run(port.lower(graph), FRAMES)).equal


@pytest.mark.parametrize(
    ("norm", "said"),
    [
        (lambda c: nn.GroupNorm(1, c), "'conv' .Conv.: GroupNorm cannot be folded"),
        (lambda c: nn.InstanceNorm2d(c), "'conv' .Conv.: InstanceNorm2d cannot be folded"),
        (
            lambda c: nn.BatchNorm2d(c, track_running_stats=False),
            "'conv' .Conv.: BatchNorm2d keeps no running statistics",
        ),
    ],
)
def test_a_norm_without_scale_and_shift_is_refused_with_its_layer(
    norm: Callable[[int], nn.Module], said: str
) -> None:
    with pytest.raises(CaptureError, match=said):
        port.quantize(Shaped(Conv(4, 6, norm=norm)), FRAMES)
