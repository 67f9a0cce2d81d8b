"""What a network's ``forward`` may say, and what is refused because no graph can hold it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.capture.connectivity import heard  # noqa: E402
from neuroport.capture.native_network import integer_graph  # noqa: E402
from neuroport.engines.reference import Reference  # noqa: E402
from neuroport.errors import CaptureError  # noqa: E402
from neuroport.graph import node as nodes  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout, Relay  # noqa: E402
from tests.helpers.modules import frames_for, randomize  # noqa: E402


class FreeForm(nn.Module):
    """Shortcuts of several spans, in membrane and spike domain, written as one likes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = GradedConv(2, 4, 3, padding=1, pixels=True)
        self.conv1 = Conv(4, 4, groups=2)
        self.conv2 = Conv(4, 4)
        self.conv3 = Conv(4, 4)
        self.conv4 = Conv(4, 6, stride=2)
        self.project = GradedConv(4, 6, stride=2)
        self.again = nn.Identity()
        for index in range(1, 6):
            setattr(self, f"neuron{index}", Lif())
        self.readout = Readout(6, 5)

    def forward(self, frames: Tensor) -> Tensor:
        stream = self.stem(frames)
        first = self.neuron1(stream)
        second = self.neuron2(self.conv1(first))
        inner = self.conv2(second + first)
        third = self.neuron3(inner + stream)
        stream = self.conv3(third + second + first) + self.again(stream)
        stream += inner
        fourth = self.neuron4(stream)
        last = self.conv4(fourth) + self.project(stream)
        out: Tensor = self.readout(self.neuron5(last))
        return out


@pytest.mark.parametrize("seed", range(3))
def test_free_form_network_is_captured_as_it_is_written(seed: int) -> None:
    net = randomize(FreeForm(), seed)
    frames = frames_for(net, seed, steps=4)
    graph = port.quantize(net, frames)
    assert graph["conv3"].inputs == ("neuron3", "neuron2", "neuron1")
    assert graph["neuron4"].inputs == ("conv3", "stem.identity", "conv2")
    assert graph["project.relay_in"].inputs == ("conv3", "stem.identity", "conv2")
    want = run_module(net, frames)
    assert all((want[node.name] != 0).any() for node in graph.populations)
    lowered = port.lower(graph)
    for got in (
        port.run(graph, frames),
        port.run(lowered, frames),
        port.run(lowered, frames, time_model="chip"),
    ):
        outcome = compare(want, got)
        assert outcome, str(outcome)
        assert not outcome.only_want


def test_real_valued_network_has_no_integer_graph() -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    with pytest.raises(CaptureError, match=r"blocks\.0\.neuron1.*real-valued"):
        integer_graph(net, torch.zeros(3, 1, 1, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


class Layers(nn.Module):
    """Layers for the forwards below."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = GradedConv(1, 2, 3, padding=1, pixels=True)
        self.neuron1, self.neuron2, self.neuron3 = Lif(), Lif(), Lif()
        self.conv1, self.conv2 = Conv(2, 2), Conv(2, 2)
        self.project = GradedConv(2, 2)
        self.readout, self.readout2 = Readout(2, 3), Readout(2, 3)
        self.dropout = nn.Dropout(0.5)
        self.pool = nn.AvgPool2d(2)
        self.scale = nn.Parameter(torch.ones(1))
        self.linear = nn.Linear(4, 4)


class Multiplies(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x) * 2))


class Subtracts(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x) - self.project(self.stem(x))))


class DropsOut(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(nn.functional.dropout(self.neuron1(self.stem(x)), 0.5))


class Pools(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.pool(self.neuron1(self.stem(x))))


class AppliesFunction(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(torch.relu(self.stem(x))))


class AppliesMethod(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x).abs()))


class LayerOfTorch(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.linear(self.stem(x))))


class UsesParameter(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x) + self.scale))


class AddsConstant(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x) + 1.0))


class AddsScaled(Layers):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        branch = self.conv1(self.neuron1(stream))
        return self.readout(self.neuron2(torch.add(branch, stream, alpha=2)))


class Chunks(Layers):
    def forward(self, x: Tensor) -> Tensor:
        top, bottom = self.stem(x).chunk(2, 3)
        return self.readout(self.neuron1(top + bottom))


class Concatenates(Layers):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        return self.readout(self.neuron1(torch.cat([stream, stream], 3)))


class Slices(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x)[..., :2]))


class TakesTwo(Layers):
    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x)))


class ReturnsASum(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        return self.readout(spikes) + self.readout2(spikes)


class NamesArgument(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(x=self.stem(x)))


class Branches(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.readout(self.neuron1(self.stem(x)))
        return self.readout(self.neuron2(self.stem(x)))


class NeuronOnFrames(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron2(x))


class NeuronOnSpikes(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron2(self.neuron1(self.stem(x))))


class NeuronOnBoth(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        return self.readout(self.neuron2(self.conv1(spikes) + spikes))


class ConvOnFrames(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.conv1(x)))


class ConvOnCurrent(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.conv1(self.stem(x))))


class ProjectionOnSpikes(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron2(self.project(self.neuron1(self.stem(x)))))


class StemOnSpikes(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron2(self.stem(self.neuron1(self.project(x)))))


class ReadoutOnCurrent(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.stem(x))


class TwiceTheFrames(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x + x)))


class TwiceTheCurrent(Layers):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        return self.readout(self.neuron1(stream + stream))


class TwiceTheSpikes(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        return self.readout(self.neuron2(self.conv1(spikes + spikes)))


class Upsamples(Layers):
    def forward(self, x: Tensor) -> Tensor:
        larger = torch.repeat_interleave(self.neuron1(self.stem(x)), 2, 3)
        return self.readout(self.neuron2(self.conv1(larger)))


REFUSED: dict[type[Layers], str] = {
    Multiplies: "mul",
    Subtracts: "sub",
    DropsOut: "draws random numbers",
    Pools: "pool",
    AppliesFunction: "relu",
    AppliesMethod: "abs",
    LayerOfTorch: r"made \(instead of a layer of torch use one of neuroport.nets.synapse",
    UsesParameter: "scale",
    AddsConstant: r"'neuron1'.*reads what 'add' in `return .* \+ 1.0\)\)`",
    AddsScaled: r"'neuron2'.*reads what 'add' in .*alpha=2",
    Chunks: r"reads what 'chunk' in `top, bottom = self.stem\(x\).chunk\(2, 3\)`",
    Concatenates: "cat",
    Slices: "getitem",
    Upsamples: "'repeat_interleave' in .*no synapse of a chip's convolutions repeats messages",
    TakesTwo: r"takes 'labels' besides the frames",
    ReturnsASum: "returns a sum",
    TwiceTheFrames: "'stem' adds 'input' to itself",
    TwiceTheCurrent: "'neuron1' adds 'stem' to itself",
    TwiceTheSpikes: "'conv1' adds 'neuron1' to itself",
    NamesArgument: "neuron1",
    Branches: r"asks for the values of a signal \(bool, `if x.sum\(\) > 0:` \(.*capture.py:\d+",
    NeuronOnFrames: r"'neuron2' \(Lif\) cannot take 'input'",
    NeuronOnSpikes: r"'neuron2' \(Lif\) cannot take 'neuron1'",
    NeuronOnBoth: r"'neuron2' \(Lif\) cannot take 'neuron1'",
    ConvOnFrames: r"'conv1' \(Conv\) cannot take 'input'",
    ConvOnCurrent: r"'conv1' \(Conv\) cannot take 'stem'",
    ProjectionOnSpikes: r"'project' \(GradedConv\) cannot take 'neuron1'",
    StemOnSpikes: r"'project' \(GradedConv\) cannot take 'input'",
    ReadoutOnCurrent: r"'readout' \(Readout\) cannot take 'stem'",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_forward_that_has_no_graph_is_refused_by_name(kind: type[Layers]) -> None:
    with pytest.raises(CaptureError, match=REFUSED[kind]):
        port.quantize(kind(), np.zeros((2, 1, 1, 4, 4), int))


class BySamples(Layers):
    """A branch that the test decides on."""

    def __init__(self, decide: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.decide = decide

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        if self.decide(x, spikes):
            spikes = self.neuron2(self.conv1(spikes))
        return self.readout(spikes)


BRANCHES = r"forward branches on the number of samples \(`.*` \(.*test_capture.py:\d+\)\)"
TRIED = r"'conv1' .*where it called 'readout' with other values \(tried with {}\)"
BY_SAMPLES: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "fewer than 3": (lambda x, _: x.shape[1] < 3, BRANCHES),
    "more than 300": (lambda _, spikes: spikes.size(1) > 300, BRANCHES),
    "exactly 200": (lambda x, _: x.size(dim=1) == 200, BRANCHES),
    "an even number": (lambda x, _: x.shape[1] % 2, BRANCHES),
    "at most 4": (lambda x, _: min(x.shape[1], 4) == 4, BRANCHES),
    "computed": (lambda x, _: 1 - 2 * x.shape[1] // 3 < -5, BRANCHES),
    "values": (lambda _, spikes: spikes.numel() > 8000, BRANCHES),
    "a shape": (lambda x, _: x.shape[1:3] == (7, 1), BRANCHES),
    "samples of a sum": (lambda x, _: x.sum((2, 3, 4)).shape[1] > 2, TRIED.format("3 samples")),
    "samples of a step": (lambda x, _: len(x[0]) > 4, TRIED.format("5 samples")),
    "half of them": (lambda x, _: x.shape[1] / 2 > 1, TRIED.format("3 samples")),
}


@pytest.mark.parametrize("case", BY_SAMPLES)
def test_forward_that_depends_on_the_number_of_samples_is_refused(case: str) -> None:
    decide, said = BY_SAMPLES[case]
    net = randomize(BySamples(decide), 0)
    with pytest.raises(CaptureError, match=said):
        port.quantize(net, frames_for(net))


def collects(x: Tensor, spikes: Tensor) -> bool:
    """What only collects, shapes or means that every number of samples alike."""
    steps, samples, *_ = x.shape
    total = torch.zeros(spikes.shape) + spikes.reshape(steps, samples, -1).sum().item()
    rates = [total.sum() / samples, spikes.sum().item() / spikes.numel()]
    assert spikes.shape[:2] == (steps, samples) != (steps, 0.5)
    assert samples > 0
    copied = copy.deepcopy(spikes.shape[1])
    return bool(rates) and type(copied) is int


def test_forward_that_uses_the_number_of_samples_as_a_size_is_captured() -> None:
    net = randomize(BySamples(collects), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    assert [node.name for node in graph.populations][1:3] == ["neuron1", "neuron2"]
    assert compare(run_module(net, frames), Reference().run(graph, frames))


class Writes(Layers):
    """A convolution that is called once or twice, between what the test writes and undoes."""

    def __init__(self, change: Callable[[Any], None], undo: Callable[[Any], None]) -> None:
        super().__init__()
        self.change, self.undo, self.twice = change, undo, True

    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        if self.twice:
            stream = self.conv1(self.neuron1(stream)) + stream
        self.change(self)
        stream = self.conv1(self.neuron1(stream)) + stream
        self.undo(self)
        return self.readout(self.neuron3(stream))


def negate(net: Any) -> None:
    net.conv1.synapse.weight.data.mul_(-1)


def negate_in_numpy(net: Any) -> None:
    net.conv1.synapse.weight.detach().numpy()[...] *= -1


def mirror(net: Any) -> None:
    weight = net.conv1.synapse.weight.data
    weight.copy_(weight.flip(-1))


def replace_by_negative(net: Any) -> None:
    net.conv1.synapse.weight = nn.Parameter(-net.conv1.synapse.weight)


def shift_mean(sign: int) -> Callable[[Any], None]:
    return lambda net: net.conv1.norm.running_mean.add_(sign)


def pad(mode: int) -> Callable[[Any], None]:
    return lambda net: setattr(net.conv1.synapse, "padding", (mode, mode))


def threshold(value: float) -> Callable[[Any], None]:
    return lambda net: setattr(net.neuron1, "threshold", value)


def decay(value: float) -> Callable[[Any], None]:
    return lambda net: net.neuron1.voltage_decay.data.fill_(value)


CHANGED: dict[str, tuple[str, Callable[[Any], None], Callable[[Any], None]]] = {
    "data": ("conv1.synapse.weight", negate, negate),
    "numpy": ("conv1.synapse.weight", negate_in_numpy, negate_in_numpy),
    "an order": ("conv1.synapse.weight", mirror, mirror),
    "another parameter": ("conv1.synapse.weight", replace_by_negative, replace_by_negative),
    "a mean": ("conv1.norm.running_mean", shift_mean(1), shift_mean(-1)),
    "a padding": ("conv1.synapse.padding", pad(2), pad(1)),
    "a threshold": ("neuron1._threshold", threshold(0.25), threshold(0.5)),
    "a decay": ("neuron1.voltage_decay", decay(1024), decay(3072)),
}


@pytest.mark.parametrize("twice", [True, False], ids=["between calls", "for the only call"])
@pytest.mark.parametrize("case", CHANGED)
def test_forward_that_changes_weights_is_refused_with_its_line(case: str, twice: bool) -> None:
    changed, change, undo = CHANGED[case]
    net = randomize(Writes(change, undo), 0)
    net.twice = twice
    line = "stream = self.conv1(self.neuron1(stream)) + stream"
    with pytest.raises(CaptureError) as told:
        port.quantize(net, frames_for(net))
    assert f"forward changes the weights of the network, '{changed}', before `{line}`" in str(
        told.value
    )


def test_forward_may_note_on_a_layer_what_no_layer_reads() -> None:
    def note(net: Any) -> None:
        net.neuron1.calls = getattr(net.neuron1, "calls", 0) + 1
        net.conv1.synapse.last = torch.ones(net.neuron1.calls)

    net = randomize(Writes(note, nothing), 0)
    frames = frames_for(net)
    want = port.quantize(copy.deepcopy(net), frames)
    assert port.quantize(net, frames).hash == want.hash
    assert port.quantize(net, frames).hash == want.hash  # once more, with the notes


def nothing(net: Any) -> None:
    """Change nothing."""


def test_weights_that_forward_leaves_changed_are_refused() -> None:
    with pytest.raises(CaptureError, match=r"'conv1.synapse.weight', and leaves it so"):
        port.quantize(randomize(Writes(nothing, negate), 0), frames_for(Layers()))


def test_forward_that_restores_weights_before_a_call_is_captured() -> None:
    net = randomize(Writes(lambda net: [negate(net), negate(net)][0], nothing), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    assert compare(run_module(net, frames), Reference().run(graph, frames))


def test_hook_that_lives_in_forward_alone_is_refused() -> None:
    class Hooks(Residual):
        def forward(self, x: Tensor) -> Tensor:
            handle = self.project.relay_out.register_forward_hook(lambda _, __, out: -out)
            try:
                return super().forward(x)
            finally:
                handle.remove()

    with pytest.raises(CaptureError, match=r"'project.relay_out._forward_hooks', before `out: "):
        port.quantize(randomize(Hooks(), 0), frames_for(Hooks()))


class OwnConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x)


class OwnConvolution(Conv):
    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return super().convolve(x.flip(0), weight)


class OwnProjection(GradedConv):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + x)


class OwnLif(Lif):
    def forward(self, x: Tensor) -> Tensor:
        return 1 - super().forward(x)


class OwnReadout(Readout):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[1:])


class OwnRelay(Relay):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


class OwnCall(Relay):
    def __call__(self, x: Tensor) -> Tensor:
        return -super().__call__(x)


class OwnIntegers(Conv):
    def _integer(self, x: Tensor) -> Any:
        return super()._integer(1 - x)


class OwnDecays(Lif):
    @property
    def decays(self) -> tuple[int, int]:
        return 4096, 0


class OwnBound(Lif):
    def bound(self) -> None:
        """Limit no value that is trained."""


class OwnIdentity(nn.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


class Residual(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        stream = self.conv1(self.neuron1(stream)) + self.again(stream)
        out: Tensor = self.readout(self.neuron2(self.project(stream)))
        return out


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("conv1", OwnConv(2, 2)),
        ("conv1", OwnConvolution(2, 2)),
        ("project", OwnProjection(2, 2)),
        ("neuron1", OwnLif()),
        ("readout", OwnReadout(2, 3)),
        ("project.relay_out", OwnRelay()),
        ("project.relay_out", OwnCall()),
        ("conv1", OwnIntegers(2, 2)),
        ("neuron1", OwnDecays()),
        ("again", OwnIdentity()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_layer_with_a_forward_of_its_own_is_refused_by_name(name: str, own: nn.Module) -> None:
    net = Residual()
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, own)
    with pytest.raises(CaptureError, match=rf"'{name}' \({type(own).__name__}\) has its own"):
        port.quantize(net, frames_for(net))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("neuron1", "forward"),
        ("neuron1", "_call_impl"),
        ("project.relay_out", "_call_impl"),
        ("conv1.norm", "_call_impl"),
        ("conv1", "convolve_integers"),
    ],
)
def test_method_replaced_on_one_layer_is_refused_by_name(name: str, method: str) -> None:
    net = Residual()
    setattr(net.get_submodule(name), method, lambda x, *_: -x)
    with pytest.raises(
        CaptureError, match=rf"'{name}'.*has its own '{method}' \(<lambda>, .*py:\d+"
    ):
        port.quantize(net, frames_for(net))


def test_subclass_that_computes_as_its_class_is_captured() -> None:
    net = Residual()
    net.neuron1 = OwnBound()
    port.quantize(randomize(net, 0), frames_for(net))


class DropsOutByModule(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        return self.readout(self.dropout(spikes))


NEGATE: dict[str, Callable[[Any], Any]] = {
    "forward": lambda net: setattr(net.dropout, "forward", lambda x: 1 - x),
    "_call_impl": lambda net: setattr(net.dropout, "_call_impl", lambda x: 1 - x),
    "pre-hook": lambda net: net.dropout.register_forward_pre_hook(lambda _, x: (1 - x[0],)),
    "hook": lambda net: net.dropout.register_forward_hook(lambda _, __, out: 1 - out),
    "network": lambda net: setattr(net, "forward", lambda x: net.readout(1 - net.neuron1(x))),
}
ADD: dict[str, Callable[[Any], Any]] = {
    "forward": lambda net: setattr(net.dropout, "forward", lambda x: x + add(net, x)),
    "_call_impl": lambda net: setattr(net.dropout, "_call_impl", lambda x: x + add(net, x)),
    "pre-hook": lambda net: net.dropout.register_forward_pre_hook(
        lambda _, x: (x[0] + add(net, x[0]),)
    ),
    "hook": lambda net: net.dropout.register_forward_hook(lambda _, __, out: out + add(net, out)),
    "network": lambda net: setattr(net, "forward", partial(followed, net)),
}


def add(net: Any, spikes: Tensor) -> Tensor:
    return net.neuron2(net.conv1(spikes))


def followed(net: Any, x: Tensor) -> Tensor:
    spikes = net.neuron1(net.stem(x))
    return net.readout(spikes + add(net, spikes))


@pytest.mark.parametrize("case", NEGATE)
def test_module_that_is_followed_is_refused_where_it_changes_values(case: str) -> None:
    net = randomize(DropsOutByModule(), 0)
    NEGATE[case](net)
    with pytest.raises(CaptureError, match=r"test_capture.py:\d+"):
        port.quantize(net, frames_for(net))


@pytest.mark.parametrize("case", ADD)
def test_override_of_a_module_that_is_followed_is_followed(case: str) -> None:
    net = randomize(DropsOutByModule(), 0)
    frames = frames_for(net)
    ADD[case](net)
    graph = port.quantize(net, frames)
    assert graph["readout.synapse"].inputs == ("neuron1", "neuron2")
    assert compare(run_module(net, frames), Reference().run(graph, frames))


class OneByForward(Residual):
    """A residual network of which ``call`` calls one layer."""

    def __init__(self, name: str, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.name, self.call = name, call

    def layer(self, name: str, x: Tensor) -> Tensor:
        own = getattr(self, name)
        return self.call(own, x) if name == self.name else own(x)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.layer("stem", x)
        spikes = self.layer("neuron1", stream)
        stream = self.layer("conv1", spikes) + self.layer("project", stream)
        return self.layer("readout", self.layer("neuron2", stream))


def by_forward(layer: nn.Module, x: Tensor) -> Tensor:
    return layer.forward(x)


def checkpointed(layer: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(layer.forward, x, use_reentrant=False)


@pytest.mark.parametrize("options", [{}, {"correct_bias": True}, {"widths": "checked"}])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        *((name, by_forward) for name in ("stem", "neuron1", "conv1", "project", "readout")),
        ("neuron2", checkpointed),
    ],
)
def test_call_of_a_layer_by_its_forward_is_refused_with_the_line(
    name: str, call: Callable[..., Tensor], options: dict[str, Any]
) -> None:
    """Corrections and ranges are measured by hooks, which do not run there, and missed it."""
    net = randomize(OneByForward(name, call), 0)
    line = rf"block '{name}' is called by .forward in `return .*\.forward.*test_capture.py:\d+"
    with pytest.raises(CaptureError, match=line):
        port.quantize(net, frames_for(net), **options)


class Part(nn.Module):
    """A module of the user's own, whose forward is followed however it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.neuron = Conv(2, 2), Lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.conv(x))


class OwnPart(Part):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Wraps(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Parts(Layers):
    def __init__(self, call: Callable[[Any, Tensor], Tensor], part: nn.Module) -> None:
        super().__init__()
        self.call, self.part = call, part

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.call(self.part, self.neuron1(self.stem(x))))


PARTS: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[], nn.Module]]] = {
    "super": (lambda part, x: part(x), OwnPart),
    "forward": (lambda part, x: part.forward(x), OwnPart),
    "a wrapper": (lambda part, x: part(x), lambda: Wraps(Part())),
    "a wrapped layer": (lambda part, x: part.neuron(part.conv.forward(x)), lambda: WrapsConv()),
    "sequential": (lambda part, x: part(x), lambda: nn.Sequential(Conv(2, 2), Lif())),
    "checkpoint": (lambda part, x: checkpoint(part, x, use_reentrant=False), Part),
    "checkpointed layers": (
        lambda part, x: part.neuron(checkpoint(part.conv, x, use_reentrant=False)),
        Part,
    ),
    "pruned": (lambda part, x: part(x), lambda: pruned(Part())),
    "__call__": (lambda part, x: part.neuron.__call__(part.conv.__call__(x)), Part),
}


class WrapsConv(Part):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Wraps(self.conv)  # type: ignore[assignment]


def pruned(part: Part) -> Part:
    """With hooks on the convolution of a layer."""
    prune.random_unstructured(part.conv.synapse, "weight", 0.5)
    return part


@pytest.mark.parametrize("case", PARTS)
@pytest.mark.parametrize("options", [{}, {"correct_bias": True, "widths": "checked"}])
def test_forward_of_a_module_that_is_no_layer_may_be_called(
    case: str, options: dict[str, Any]
) -> None:
    call, part = PARTS[case]
    net = randomize(Parts(call, part()), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames, **options)
    assert len(graph.populations) == 4  # input and readout, too
    assert compare(run_module(net, frames), Reference().run(graph, frames))


class LeavesOutInIntegers(Residual):
    """A forward that is another in its integer phase."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stem.lsb > 0:
            return self.readout(self.neuron1(self.stem(x)))
        return super().forward(x)


def test_correction_of_a_layer_that_is_not_called_in_integers_is_refused() -> None:
    net = randomize(LeavesOutInIntegers(), 0)
    with pytest.raises(CaptureError, match=r"'conv1' in this run, .* real numbers as in integers"):
        port.quantize(net, frames_for(net), correct_bias=True)


def test_recording_tells_which_call_a_run_leaves_out() -> None:
    net = Residual()
    calls = [f"neuron{index}" for index in (1, 2, 3)]
    modules = [(name, net.get_submodule(name)) for name in calls]
    found: list[str] = []
    x = torch.zeros(2, 1, 1, 4, 4)
    with heard(net, modules, lambda name, *_: found.append(name), calls[:2]):
        net(x)
        net.forward = lambda x: net.neuron1(net.stem(x))  # type: ignore[method-assign]
        with pytest.raises(CaptureError, match="does not call 'neuron2' in this run"):
            net(x)
    assert found == ["neuron1", "neuron2", "neuron1"]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("name", ["", "conv1", "neuron1", "again", "project.relay_in"])
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hook_on_what_tracing_does_not_enter_is_refused_by_name(name: str, register: str) -> None:
    net = Residual()
    handle = getattr(net.get_submodule(name), register)(lambda *_: None)
    with pytest.raises(CaptureError, match=f"'{name or 'Residual'}' has forward hooks"):
        port.quantize(net, frames_for(net))
    handle.remove()
    port.quantize(randomize(net, 0), frames_for(net))


class AddsInPlace(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        current = self.conv1(spikes)
        spikes += self.neuron2(current)
        current += self.conv2(spikes)
        return self.readout(self.neuron3(current))


class DependsOnTheMode(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(x))
        if self.training:
            spikes = spikes + self.neuron2(self.conv1(spikes))
        return self.readout(spikes)


class HookedContainer(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(self.stem)
        self.body.register_forward_hook(lambda _, __, out: out + self.conv1(self.neuron2(out)))

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.body(x)))


class Counts(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x))) if len(x) > 1 else x


class TakesAnOption(Layers):
    def forward(self, x: Tensor, skip: bool = False) -> Tensor:
        return self.readout(self.neuron1(self.stem(x)))


class ChangesSpikesUnderAnotherName(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = both = self.neuron1(self.stem(x))
        both += self.neuron2(self.conv1(spikes))  # of tensors, `spikes` is changed as well
        return self.readout(self.neuron3(self.conv2(spikes)))


class AddsToACopyInPlace(Layers):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        total = stream.clone()
        total.add_(self.conv1(self.neuron1(stream)))
        return self.readout(self.neuron2(total))


class CallsTwice(Layers):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        once = self.conv1(self.neuron1(stream))
        return self.readout(self.neuron2(once + self.conv1(self.neuron3(stream))))


CAPTURED = [
    AddsToACopyInPlace,
    CallsTwice,
    ChangesSpikesUnderAnotherName,
    TakesAnOption,
    Counts,
    AddsInPlace,
    DependsOnTheMode,
    HookedContainer,
]


@pytest.mark.parametrize("kind", CAPTURED, ids=lambda kind: kind.__name__)
def test_unusual_forward_is_captured_as_it_runs(kind: type[Layers]) -> None:
    net = randomize(kind(), 0).train()
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    want = run_module(net, frames)
    assert all((want[node.name] != 0).any() for node in graph.populations)
    outcome = compare(want, Reference().run(graph, frames))
    assert outcome, str(outcome)
    outcome = compare(want, port.run(port.lower(graph), frames, time_model="chip"))
    assert outcome, str(outcome)


def test_every_module_keeps_its_own_mode() -> None:
    net = Residual().train()
    net.conv1.norm.eval()  # frozen statistics, as in fine-tuning
    before = [module.training for module in net.modules()]
    port.quantize(net, frames_for(net))
    assert [module.training for module in net.modules()] == before


class Shaped(nn.Module):
    """Two residual additions around a convolution of any shape."""

    def __init__(self, groups: int, dilation: int, stride: int) -> None:
        super().__init__()
        shape = {"groups": groups, "dilation": dilation, "padding": dilation}
        self.stem = GradedConv(2, 4, 3, padding=1, pixels=True)
        self.neuron1, self.neuron2, self.neuron3, self.neuron4 = (Lif() for _ in range(4))
        self.conv1 = Conv(4, 4, **shape)
        self.conv2 = Conv(4, 8, stride=stride, **shape)
        self.conv3 = Conv(8, 8, **shape)
        self.project = GradedConv(4, 8, stride=stride)
        self.readout = Readout(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        stream = stream + self.conv1(self.neuron1(stream))
        inner = self.neuron3(self.conv2(self.neuron2(stream)))
        out: Tensor = self.readout(self.neuron4(self.conv3(inner) + self.project(stream)))
        return out


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolution_of_any_shape_spikes_as_its_module(
    groups: int, dilation: int, stride: int
) -> None:
    net = randomize(Shaped(groups, dilation, stride), groups + dilation + stride)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    node = graph["conv2"]
    assert isinstance(node, nodes.Conv)
    assert node.groups == groups
    assert node.dilation == (dilation, dilation)
    assert node.stride == (stride, stride)
    want = run_module(net, frames)
    assert all((want[node.name] != 0).any() for node in graph.populations)
    for got in (
        Reference().run(graph, frames),
        port.run(port.lower(graph), frames, time_model="chip"),
    ):
        outcome = compare(want, got)
        assert outcome, str(outcome)
        assert not outcome.only_want


class LeavesLayersAside(Layers):
    """Leaves a readout and neurons unused."""

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x)))


def test_layers_that_are_not_used_are_left_out() -> None:
    net = randomize(LeavesLayersAside(), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    assert [node.name for node in graph.populations] == [
        "stem.relay_out",
        "neuron1",
        "readout.potential",
    ]
    assert compare(run_module(net, frames), Reference().run(graph, frames))


class DeadEnd(Layers):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        self.conv1(self.neuron2(stream))
        return self.readout(self.neuron1(stream))


def test_currents_that_no_neuron_reads_are_refused_by_name() -> None:
    with pytest.raises(CaptureError, match="conv1"):
        port.quantize(DeadEnd(), np.zeros((2, 1, 1, 4, 4), int))
