"""The integer grid: what it promises, what it costs, and what has no graph."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.engines.reference import Reference  # noqa: E402
from neuroport.errors import CaptureError, FramesError, IllegalError  # noqa: E402
from neuroport.graph import node as nodes  # noqa: E402
from neuroport.graph.graph import Graph  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif, Mlf  # noqa: E402
from neuroport.nets.stream import per_position  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout, snap_weight  # noqa: E402
from neuroport.quantization.scales import fit_scales, freeze_scales, is_integer  # noqa: E402
from neuroport.recipe import from_dict  # noqa: E402
from neuroport.targets.rules import require_legal  # noqa: E402
from neuroport.training.checkpoint import State, build_network, save_checkpoint  # noqa: E402
from tests.helpers.modules import enliven, frames_for, randomize  # noqa: E402


def currents(graph: Graph) -> dict[str, nodes.Conv]:
    return {node.name: node for node in graph if isinstance(node, nodes.Conv)}


# -- the grid --------------------------------------------------------------------------------


def test_scales_are_chosen_for_arrays_as_for_tensors() -> None:
    nets = [randomize(MsResNet(1, (4, 6, 8)), 0) for _ in range(2)]
    frames = frames_for(nets[0])
    freeze_scales(nets[0], np.asarray(frames))
    freeze_scales(nets[1], torch.as_tensor(frames).float())
    assert fit_scales(nets[0], np.asarray(frames)) == []
    states = [net.state_dict() for net in nets]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


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
        (threshold,) = {int(graph[names[neuron]].threshold[0]) for neuron in neurons}
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
        require_legal(graph, "lava-cpu")
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


@pytest.mark.parametrize("loaded", [False, True])
def test_frames_of_another_size_change_no_network_that_has_its_integers(
    loaded: bool, tmp_path: Path
) -> None:
    network = {"widths": [4, 6, 8], "shortcut": "stride"}
    recipe = from_dict({"data": {"steps": 3, "size": 14}, "network": network})
    net = randomize(build_network(recipe), 0)
    frames = np.zeros((3, 1, 1, 14, 14), int)
    want = port.quantize(net, frames)
    if loaded:
        tensors = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
        metrics = {"phase": "x", "epoch": 1, "loss": 0.0, "accuracy": 0.0, "seconds": 0.0}
        save_checkpoint(tmp_path, State(recipe, 1, [metrics], tensors))
        net = port.load(tmp_path)
    before = copy.deepcopy(net.state_dict())
    for larger, size in (
        ((3, 1, 1, 56, 56), "3 steps of 1x56x56"),
        ((1, 2, 1, 42, 56), "1 step of"),
    ):
        with pytest.raises(FramesError) as caught:
            port.quantize(net, np.zeros(larger, int))
        said = str(caught.value)
        assert f"the calibration has {size}" in said
        assert "has its integers for 3 steps of 1x14x14: these frames need a coarser" in said
        assert "grid of readout" in said
        assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
        assert port.quantize(copy.deepcopy(net), frames).hash == want.hash
    # what fits is one network for all sizes
    assert port.quantize(net, frames[:2, :, :, :8, :8]).steps == 2
    assert port.quantize(net, frames).hash == want.hash
    # and the way that the message tells
    larger_frames = np.zeros((3, 1, 1, 56, 56), int)
    assert fit_scales(net, larger_frames) == ["readout"]
    assert port.quantize(net, larger_frames).hash != want.hash


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


def test_thresholds_that_differ_in_one_stream_are_refused_by_name() -> None:
    net = MsResNet(1, (2, 3, 4))
    net.blocks[1].neuron1.threshold = 0.503
    with pytest.raises(CaptureError, match=r"thresholds \[0\.5, 0\.503\]") as caught:
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
    assert math.log2(neuron.threshold[0]).is_integer()
    assert neuron.threshold[0] * float(net.stem.lsb) == pytest.approx(0.3)


class MultiLevel(nn.Module):
    """Spike shortcuts of multi-level neurons; a dilated convolution; normalized pixels."""

    def __init__(self) -> None:
        super().__init__()
        pixels = {"mean": (0.4, 0.6), "std": (0.2, 0.3)}
        self.stem = GradedConv(2, 4, 3, padding=1, pixels=True, **pixels)
        self.first, self.second, self.third = Mlf(), Mlf((0.6, 1.6)), Mlf()
        self.conv1 = Conv(4, 4, padding=2, dilation=2)
        self.conv2 = Conv(4, 4, groups=2)
        self.readout = Readout(4, 3)

    def forward(self, frames: Tensor) -> Tensor:
        first = self.first(self.stem(frames))
        second = self.second(self.conv1(first))
        out: Tensor = self.readout(self.third(self.conv2(second + first)) + second + first)
        return out


@pytest.mark.parametrize("seed", range(3))
def test_multi_level_neurons_are_populations_that_share_a_dendrite(seed: int) -> None:
    net = randomize(MultiLevel(), seed, wild=0.5)
    frames = frames_for(net, seed, steps=4)
    graph = port.quantize(net, frames)
    levels = [graph[f"first.levels.{k}"] for k in range(3)]
    assert [level.inputs for level in levels] == [("stem.identity",)] * 3
    base = int(levels[0].threshold[0]) // 3
    assert [int(level.threshold[0]) for level in levels] == [3 * base, 8 * base, 13 * base]
    assert graph["conv1"].dilation == (2, 2)
    assert graph["conv2"].inputs == (
        *(f"second.levels.{k}" for k in range(2)),
        *(f"first.levels.{k}" for k in range(3)),
    )
    want = run_module(net, frames)
    assert compare(want, port.run(graph, frames))
    assert compare(want, port.run(port.lower(graph), frames, time_model="chip"))


def test_normalized_pixels_give_a_bias_that_differs_near_the_border() -> None:
    net = randomize(MultiLevel(), 0)
    graph = port.quantize(net, frames_for(net))
    bias = graph["first.levels.0"].bias
    assert bias.shape == graph.facts("first.levels.0").shape
    inner = bias[:, 1:-1, 1:-1]
    assert (inner == inner[:, :1, :1]).all()
    assert (bias[:, 0, 0] != inner[:, 0, 0]).any()


def test_normalization_is_folded_as_torch_computes_it() -> None:
    mean, std = (0.4, 0.6), (0.2, 0.3)
    layer = randomize(GradedConv(2, 4, 3, padding=1, pixels=True, mean=mean, std=std), 0).eval()
    pixels = torch.randint(0, 256, (1, 2, 2, 5, 5)).float()
    shaped = [torch.tensor(values).reshape(-1, 1, 1) for values in (mean, std)]
    plain = GradedConv(2, 4, 3, padding=1, pixels=True).eval()
    state = layer.state_dict()
    plain.load_state_dict({k: v for k, v in state.items() if k not in ("mean", "std")})
    with torch.no_grad():
        real = layer(pixels)
        torch.testing.assert_close(real, plain((pixels / 255 - shaped[0]) / shaped[1] * 255))
        weight, bias = layer.folded()
        bias = layer.carried(weight, bias, -layer.mean, pixels.shape[-2:])
        folded = layer.convolve(pixels / 255, weight) + bias
    torch.testing.assert_close(folded, real, atol=1e-5, rtol=1e-5)


def test_a_projection_with_padding_carries_no_bias_over_the_border() -> None:
    layer = randomize(GradedConv(3, 2, 3, padding=1), 1).eval()
    source = torch.tensor([0.3, -0.2, 0.5])
    with torch.no_grad():
        weight, bias = layer.folded()
        real = layer(source.reshape(-1, 1, 1).expand(1, 1, 3, 4, 4))
        torch.testing.assert_close(
            layer.carried(weight, bias, source, torch.Size((4, 4))), real[0, 0]
        )


@pytest.mark.parametrize(("depth", "widths"), [(18, (64, 128, 256, 512)), (104, (16, 32, 48, 64))])
def test_imagenet_networks_that_project_thrice_fit_the_widths_and_are_one_network(
    depth: int, widths: tuple[int, ...]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 3, 64, 64))
    net = enliven(MsResNet.imagenet(depth, widths), 1, frames)
    graph = port.quantize(net, frames)
    want = run_module(net, frames)
    for found in (port.run(graph, frames, on="fast"), port.run(port.lower(graph), frames)):
        outcome = compare(want, found)
        assert outcome, str(outcome)
        assert not outcome.only_want
    for node in graph.populations:
        assert (want.messages[node.name] != 0).any(), f"{node.name} is silent"


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = GradedConv(2, 4, 3, padding=1, pixels=True)
        self.neuron = Lif()
        self.readout = Readout(4, 3)

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.readout(self.neuron(self.stem(frames)))
        return out


@torch.no_grad()
def test_a_stream_that_projections_alone_read_keeps_its_precision() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 8, 8))
    net = enliven(MsResNet(1, (4, 6, 8), 2, stem="deep"), 1, frames)
    pixels = torch.from_numpy(frames).float()
    real = net.stem(pixels)
    port.quantize(net, frames)
    stream = net.stem(pixels)
    found = stream.value * float(net.stem[2].lsb) + per_position(stream.bias)
    assert float((found - real).std()) < 0.05 * float(real.std())
    for layer in net.stem:
        assert float((layer.folded()[0] / layer.unit()).abs().max()) <= 254


def test_weights_of_single_events_are_not_clipped() -> None:
    net = randomize(Counting(), 0)
    with torch.no_grad():
        net.stem.norm.weight.mul_(255)  # an event drives its neurons as a spike does
    frames = np.random.default_rng(0).integers(0, 2, (3, 2, 2, 8, 8))
    graph = port.quantize(net, frames)
    assert compare(run_module(net, frames), port.run(port.lower(graph), frames))
    real = (net.stem.folded()[0] / net.stem.unit()).detach()
    assert 100 < float(real.abs().max()) <= 254
