"""The integer grid: what it promises, what it costs, and what has no graph."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from networks import frames_for, randomize  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.backends.reference import Reference  # noqa: E402
from neuroport.capture.native import integer_graph  # noqa: E402
from neuroport.errors import CaptureError, IllegalError  # noqa: E402
from neuroport.graph import node as nodes  # noqa: E402
from neuroport.graph.graph import Graph  # noqa: E402
from neuroport.lowering.rules import check  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout, Relay, snap_weight  # noqa: E402
from neuroport.quantization.scales import freeze_scales, is_integer  # noqa: E402


def currents(graph: Graph) -> dict[str, nodes.Conv]:
    return {node.name: node for node in graph if isinstance(node, nodes.Conv)}


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


# -- the grid --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_even_and_fit_eight_bits(seed: int) -> None:
    net = randomize(MsResNet(1 + seed % 2, (4, 6, 8)), seed)
    graph = port.quantize(net, frames_for(net))
    synapses = [node for node in graph if isinstance(node, nodes.Synapse)]
    assert len(synapses) > 10
    for node in synapses:
        if not node.name.endswith(".identity"):
            assert not (node.weight & 1).any(), node.name
            # a projection of the stream leaves bits to its messages
            used = 64 if not node.name.endswith("shortcut") else 31
            assert used <= np.abs(node.weight).max() <= 254, f"{node.name} wastes its bits"


def test_every_weight_is_the_nearest_even_integer_to_its_folded_value() -> None:
    net = randomize(MsResNet(1, (4, 6, 8)), 1)
    found = currents(port.quantize(net, frames_for(net)))
    for name, module in net.named_modules():
        if isinstance(module, Conv):
            scale = module.norm.weight / torch.sqrt(module.norm.running_var + module.norm.eps)
            real = (module.kernel() * scale.reshape(-1, 1, 1, 1)).detach().double().numpy()
            error = found[name].weight * module.unit() - real
            assert np.abs(error).max() <= module.unit() * (1 + 1e-5), name


def streams_of(net: MsResNet) -> list[tuple[list[nn.Module], list[Lif]]]:
    """Synapses and neurons of the three stages and of the currents inside the blocks."""
    stages: list[tuple[list[nn.Module], list[Lif]]] = [([net.stem], [])]
    inner: list[tuple[list[nn.Module], list[Lif]]] = []
    for block in net.blocks:
        # neuron1 and the projection read the stream that exists before the block
        stages[-1][1].append(block.neuron1)
        if isinstance(block.shortcut, GradedConv):
            stages.append(([block.shortcut], []))
        stages[-1][0].append(block.conv2)
        inner.append(([block.conv1], [block.neuron2]))
    stages[-1][1].append(net.neuron)
    return [*stages, *inner]


@pytest.mark.parametrize(("blocks", "seed"), [(1, 0), (2, 1), (3, 2)])
def test_a_stream_has_one_lsb_and_a_threshold_that_is_a_power_of_two(
    blocks: int, seed: int
) -> None:
    net = randomize(MsResNet(blocks, (4, 6, 8)), seed, wild=0.3)
    graph = port.quantize(net, frames_for(net))
    names = {module: name for name, module in net.named_modules()}
    streams = streams_of(net)
    assert sum(len(synapses) for synapses, _ in streams) == 1 + 6 * blocks + 2
    for synapses, neurons in streams:
        (lsb,) = {float(module.lsb) for module in (*synapses, *neurons)}
        (threshold,) = {graph[names[neuron]].threshold for neuron in neurons}
        assert threshold * lsb == pytest.approx(0.5, rel=1e-12)
        if len(synapses) > 1:
            assert threshold & (threshold - 1) == 0
    assert len({float(module.lsb) for (module, *_), _ in streams}) > 1


def test_projection_reads_its_source_in_the_lsb_of_the_source() -> None:
    net = randomize(MsResNet(1, (4, 6, 8)), 0, wild=0.5)
    port.quantize(net, frames_for(net))
    projections = [block.shortcut for block in net.blocks if block.shortcut.__class__ is GradedConv]
    for module, source in zip(projections, (net.stem, projections[0]), strict=True):
        assert float(module.source_lsb) == float(source.lsb)


def real_biases(net: MsResNet) -> dict[str, np.ndarray]:
    """Bias of every neuron, summed as real numbers in float64, in units of the stream's LSB."""

    def folded(module: Conv) -> tuple[np.ndarray, np.ndarray]:
        norm = module.norm
        values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        gamma, beta, mean, var = (v.detach().double().numpy() for v in values)
        scale = gamma / np.sqrt(var + norm.eps)
        kernel = module.kernel().detach().double().numpy() * scale[:, None, None, None]
        return kernel, beta - mean * scale

    stream = folded(net.stem)[1]
    found: dict[str, np.ndarray] = {}
    for index, block in enumerate(net.blocks):
        found[f"blocks.{index}.neuron1"] = stream / float(block.neuron1.lsb)
        found[f"blocks.{index}.neuron2"] = folded(block.conv1)[1] / float(block.neuron2.lsb)
        if isinstance(block.shortcut, GradedConv):
            kernel, bias = folded(block.shortcut)
            stream = kernel.sum((2, 3)) @ stream + bias
        stream = stream + folded(block.conv2)[1]
    found["neuron"] = stream / float(net.neuron.lsb)
    return found


def test_biases_of_a_stream_are_summed_as_real_numbers_and_rounded_once() -> None:
    net = randomize(MsResNet(3, (4, 6, 8)), 4)
    graph = port.quantize(net, frames_for(net))
    expected = real_biases(net)
    lifs = [node for node in graph if isinstance(node, nodes.Lif)]
    assert {node.name for node in lifs} == set(expected)
    for node in lifs:
        error = np.abs(node.bias - expected[node.name])
        assert error.max() <= 0.5 + 1e-3, node.name
    assert max(np.abs(node.bias).max() for node in lifs) > 20


def test_bias_of_the_readout_counts_positions() -> None:
    net = randomize(MsResNet(1, (4, 6, 8)), 4)
    graph = port.quantize(net, frames_for(net))
    bias = net.readout.synapse.bias.detach().double().numpy() / float(net.readout.lsb)
    found = graph["readout.potential"].bias  # type: ignore[union-attr]
    assert np.abs(found - 4 * bias).max() <= 0.5 + 1e-3
    assert np.abs(found).max() > 4
    weight = graph["readout.synapse"].weight  # type: ignore[union-attr]
    assert weight.shape == (10, 8 * 2 * 2)
    assert (weight.reshape(10, 8, 4) == weight.reshape(10, 8, 4)[:, :, :1]).all()


class SumsForReadout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = GradedConv(1, 2, 3, padding=1, pixels=True)
        self.neurons = nn.ModuleList(Lif() for _ in range(4))
        self.readout = Readout(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        first, second, third, fourth = (neuron(stream) for neuron in self.neurons)
        out: Tensor = self.readout(first + second + third + fourth)
        return out


def test_readout_of_summed_spikes_does_not_saturate() -> None:
    net = randomize(SumsForReadout(), 0)
    with torch.no_grad():
        net.stem.norm.bias.fill_(5)  # every neuron fires in every step
        net.readout.synapse.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]))
        net.readout.synapse.bias.zero_()
    frames = np.zeros((4, 1, 1, 8, 8), int)
    port.quantize(net, frames)
    assert all((run_module(net, frames)[f"neurons.{i}"] == 1).all() for i in range(4))
    logits = net(torch.tensor(frames).float())
    # four sources times two channels
    torch.testing.assert_close(logits, torch.tensor([[8.0, -8.0, 0.0]]), rtol=0.05, atol=0.0)


@pytest.mark.parametrize("wild", [0.5, 1.5, 2.0, 2.5, 3.0])
def test_any_network_is_proven_to_fit_or_refused(wild: float) -> None:
    legal, problems = 0, []
    for seed in range(12):
        net = randomize(MsResNet(1, (2, 3, 4), shortcut=("pool", "stride")[seed % 2]), seed, wild)
        frames = frames_for(net, seed)
        try:
            graph = port.lower(port.quantize(net, frames))
        except IllegalError:
            continue
        except Exception as error:  # anything but a clear refusal is a bug: list them all
            problems.append(f"seed {seed}: {type(error).__name__}: {error}")
            continue
        legal += 1
        check(graph)
        outcome = compare(run_module(net, frames), Reference().run(graph, frames))
        if not outcome:
            problems.append(f"seed {seed}: {outcome}")
        for name, module in net.named_modules():
            if isinstance(module, Conv):
                real, unit = module.folded()[0].detach(), module.unit()
                error = (snap_weight(real, unit) * unit - real).abs().max() / unit
                if error > 1.001:
                    problems.append(f"seed {seed}: {name} is clipped by {error} units")
    assert not problems, "\n".join(problems)
    assert legal > 0


def test_stream_beyond_17_bits_is_refused_with_its_layers() -> None:
    net = randomize(MsResNet(1, (4, 6, 8)), 0)
    with torch.no_grad():
        net.blocks[0].conv2.norm.weight.mul_(1e4)
    with pytest.raises(IllegalError) as caught:
        port.quantize(net, frames_for(net))
    assert "blocks.0.conv2" in str(caught.value)
    assert "stem" in str(caught.value)


def test_branch_without_weights_quantizes_to_nothing() -> None:
    net = MsResNet(1, (2, 3, 4)).eval()  # gamma is 0 at the end of every branch
    graph = port.lower(port.quantize(net, frames_for(net)))
    assert not graph["blocks.0.conv2"].weight.any()  # type: ignore[union-attr]
    assert compare(run_module(net, frames_for(net)), Reference().run(graph, frames_for(net)))


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-6, 1e-3])
def test_projection_of_nearly_nothing_quantizes_to_nearly_nothing(scale: float) -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    with torch.no_grad():
        net.blocks[1].shortcut.norm.weight.mul_(scale)
    frames = frames_for(net)
    graph = port.lower(port.quantize(net, frames))
    assert compare(run_module(net, frames), Reference().run(graph, frames))


def test_weights_far_above_the_threshold_keep_a_threshold() -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    with torch.no_grad():  # one synapse and one neuron, whose weights are hundreds of thresholds
        net.blocks[0].conv1.norm.weight.mul_(300)
    frames = frames_for(net)
    graph = port.lower(port.quantize(net, frames))
    assert graph["blocks.0.neuron2"].threshold >= 4  # type: ignore[union-attr]
    assert compare(run_module(net, frames), Reference().run(graph, frames))


def test_freezing_is_done_once() -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    assert not is_integer(net)
    first = port.quantize(net, frames_for(net))
    assert is_integer(net)
    with torch.no_grad():  # weights move in quantization-aware training, the grid does not
        net.blocks[0].conv1.synapse.weight.mul_(1.1)
    second = port.quantize(net, frames_for(net))
    assert second.hash != first.hash
    assert second["blocks.0.neuron2"].threshold == first["blocks.0.neuron2"].threshold  # type: ignore[union-attr]


def test_quantizing_twice_gives_the_same_graph_whatever_the_samples() -> None:
    first = port.quantize(randomize(MsResNet(1, (2, 3, 4)), 0), np.zeros((3, 1, 1, 8, 8)))
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    assert port.quantize(net, frames_for(net)).hash == first.hash
    longer = port.quantize(net, frames_for(net, steps=5))
    assert longer.steps == 5


# -- gradients -------------------------------------------------------------------------------


def test_gradients_pass_the_integer_network() -> None:
    net = randomize(MsResNet(1, (4, 6, 8)), 3)
    freeze_scales(net, torch.zeros(3, 1, 1, 8, 8))
    net.train()
    frames = torch.tensor(frames_for(net, samples=4)).float()
    loss = nn.functional.cross_entropy(net(frames), torch.tensor([0, 3, 5, 9]))
    loss.backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name
    assert all(p.grad is None for n, p in net.named_parameters() if n.endswith("decay"))


def test_gradients_of_the_integer_network_are_about_the_real_ones() -> None:
    frames, labels = None, torch.tensor([0, 3, 5, 9] * 4)
    gradients = []
    for integer in (False, True):
        net = randomize(MsResNet(1, (8, 8, 8)), 3)
        frames = torch.tensor(frames_for(net, samples=16)).float()
        if integer:
            freeze_scales(net, frames)
        nn.functional.cross_entropy(net(frames), labels).backward()
        # without the stem, whose gradient runs through every flipped spike
        gradients.append({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, real in gradients[0].items():
        found = gradients[1][name]
        ratio = float(found.norm() / real.norm())
        assert 0.5 < ratio < 2, f"{name}: {ratio}"
        if name.startswith("readout"):
            assert nn.functional.cosine_similarity(real.flatten(), found.flatten(), 0) > 0.95


def test_a_step_of_training_changes_the_integers_and_keeps_them_equal() -> None:
    net = randomize(MsResNet(1, (4, 6, 8)), 5)
    frames = frames_for(net, samples=4)
    before = port.quantize(net, frames)
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.5)
    labels = torch.tensor([0, 3, 5, 9])
    nn.functional.cross_entropy(net(torch.tensor(frames).float()), labels).backward()
    optimizer.step()
    after = port.quantize(net, frames)
    assert after.hash != before.hash
    outcome = compare(run_module(net, frames), Reference().run(port.lower(after), frames))
    assert outcome, str(outcome)


# -- capture ---------------------------------------------------------------------------------


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


class Multiplies(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x) * 2))


class Subtracts(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x) - self.project(self.stem(x))))


class DropsOut(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.dropout(self.neuron1(self.stem(x))))


class Pools(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.pool(self.neuron1(self.stem(x))))


class AppliesFunction(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(torch.relu(self.stem(x))))


class AppliesMethod(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x).abs()))


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


class Counts(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x))) if len(x) > 1 else x


class TakesTwo(Layers):
    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.readout(self.neuron1(self.stem(x)))


class TakesAnOption(Layers):
    def forward(self, x: Tensor, skip: bool = False) -> Tensor:
        return self.readout(self.neuron1(self.stem(x)))


class ChangesSpikesUnderAnotherName(Layers):
    def forward(self, x: Tensor) -> Tensor:
        spikes = both = self.neuron1(self.stem(x))
        both += self.neuron2(self.conv1(spikes))  # of tensors, `spikes` is changed as well
        return self.readout(self.neuron3(self.conv2(spikes)))


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


class CallsTwice(Layers):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        once = self.conv1(self.neuron1(stream))
        return self.readout(self.neuron2(once + self.conv1(self.neuron3(stream))))


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


REFUSED: dict[type[Layers], str] = {
    Multiplies: "mul",
    Subtracts: "sub|'stem' is called twice",
    DropsOut: "dropout",
    Pools: "pool",
    AppliesFunction: "relu",
    AppliesMethod: "abs",
    UsesParameter: "scale",
    AddsConstant: "AddsConstant",
    AddsScaled: "AddsScaled",
    Chunks: "chunk",
    Concatenates: "cat",
    Slices: "getitem",
    Counts: r"Counts\.forward cannot be traced",
    TakesTwo: "takes 'labels' besides the frames",
    TakesAnOption: "takes 'skip' besides the frames",
    ChangesSpikesUnderAnotherName: r"write a = a \+ b instead",
    ReturnsASum: "returns a sum",
    TwiceTheFrames: "'stem' adds 'input' to itself",
    TwiceTheCurrent: "'neuron1' adds 'stem' to itself",
    TwiceTheSpikes: "'conv1' adds 'neuron1' to itself",
    NamesArgument: "neuron1",
    Branches: r"Branches\.forward cannot be traced",
    CallsTwice: "layer 'conv1' is called twice",
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


def test_forward_replaced_on_one_layer_is_refused_by_name() -> None:
    net = Residual()
    net.neuron1.forward = lambda x: x
    with pytest.raises(CaptureError, match=r"'neuron1'.*has its own 'forward'"):
        port.quantize(net, frames_for(net))


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


CAPTURED = [AddsInPlace, DependsOnTheMode, HookedContainer]


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
    node = currents(graph)["conv2"]
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


def test_thresholds_that_differ_in_one_stream_are_refused_by_name() -> None:
    net = MsResNet(1, (2, 3, 4))
    net.blocks[1].neuron1.threshold = 0.75
    with pytest.raises(CaptureError, match=r"thresholds \[0\.5, 0\.75\]") as caught:
        port.quantize(net, np.zeros((2, 1, 1, 8, 8), int))
    assert "stem" in str(caught.value)
    assert "blocks.0.conv2" in str(caught.value)
    assert "blocks.2" not in str(caught.value)


def test_threshold_of_a_whole_stream_may_be_any_number() -> None:
    net = randomize(MsResNet(1, (2, 3, 4)), 0)
    for module in net.modules():
        if isinstance(module, Lif):
            module.threshold = 0.3
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    outcome = compare(run_module(net, frames), Reference().run(graph, frames))
    assert outcome, str(outcome)
    neuron = graph["blocks.0.neuron1"]
    assert isinstance(neuron, nodes.Lif)
    assert math.log2(neuron.threshold).is_integer()
    assert neuron.threshold * float(net.stem.lsb) == pytest.approx(0.3)
