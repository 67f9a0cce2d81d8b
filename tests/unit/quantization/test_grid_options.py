"""Equalized channels and corrected biases: what is exact, who agrees, and who refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.capture.connectivity import evaluating, heard, wiring  # noqa: E402
from neuroport.errors import CaptureError, FramesError, IllegalError, RecipeError  # noqa: E402
from neuroport.graph import store  # noqa: E402
from neuroport.graph.node import Lif as LifNode  # noqa: E402
from neuroport.kernels.torch_neurons import real_forward  # noqa: E402
from neuroport.nets.baselines import SpikingResNet  # noqa: E402
from neuroport.nets.batchnorm_lif import NormLif  # noqa: E402
from neuroport.nets.composed import Composed  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.grid_options import is_corrected, is_equalized, set_grid_options  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.stream import Stream  # noqa: E402
from neuroport.nets.synapse import Conv, Direct, GradedConv, Readout  # noqa: E402
from neuroport.quantization.scales import freeze_scales  # noqa: E402
from neuroport.recipe import from_dict  # noqa: E402
from neuroport.targets.rules import refusals  # noqa: E402
from neuroport.targets.target import load_target  # noqa: E402
from neuroport.training.checkpoint import build_network  # noqa: E402
from tests.helpers.modules import StrongAndWeak, enliven, frames_for  # noqa: E402

SHAPE: dict[str, Any] = {"widths": (4, 6, 8), "in_channels": 2, "classes": 5}
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "ms": lambda: MsResNet(1, **SHAPE),
    "ms, composed": lambda: MsResNet(1, **SHAPE, projection="composed"),
    "ds": lambda: DsResNet(1, **SHAPE, levels=3),
    "sew": lambda: SpikingResNet(1, **SHAPE, block="sew"),
    "danet": lambda: DaNet(1, **SHAPE, order="bn-lif-conv"),
}
BOTH = {"equalize": True, "correct_bias": True}


def example(family: str) -> tuple[nn.Module, np.ndarray]:
    """A network whose channels differ, and frames."""
    net = FAMILIES[family]()
    frames = frames_for(net, steps=4, samples=6)
    enliven(net, 0, frames)
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Conv) and not isinstance(module, (Composed, Direct)):
                spread = torch.from_numpy(rng.uniform(0.1, 1, len(module.synapse.weight))).float()
                if isinstance(module.norm, nn.BatchNorm2d):
                    module.norm.weight.mul_(spread)
                else:
                    module.synapse.weight.mul_(spread.reshape(-1, 1, 1, 1))
    return net, frames


def synapses(net: nn.Module, kind: type[nn.Module] = Conv) -> list[Any]:
    return [module for module in net.modules() if isinstance(module, kind)]


# -- exactness ---------------------------------------------------------------------------------


def stream(scale: Tensor, steps: int = 6) -> tuple[Tensor, Tensor, float]:
    """Spikes and voltages of neurons under a membrane shortcut, all of channel c times scale[c].

    Two convolutions and their norms meet, at the second neuron with the current of the first.
    """
    torch.manual_seed(0)
    convs = [Conv(8, len(scale), 3, padding=1).eval() for _ in range(2)]
    spikes = (torch.rand(steps, 4, 8, 6, 6) < 0.4).float()
    total = torch.zeros(())
    with torch.no_grad():
        for conv in convs:
            for values in (conv.norm.weight, conv.norm.bias, conv.norm.running_mean):
                values.uniform_(-1, 1)
            for values in (conv.norm.weight, conv.norm.bias):
                values.mul_(scale)
            total = total + conv(spikes)
        each = scale.reshape(-1, 1, 1)
        voltage, fired = real_forward(total, 0.3, 0.6, 0.5 * each)  # type: ignore[arg-type]
    return fired, voltage, float(fired.mean())


def test_spikes_of_channels_times_powers_of_two_are_equal_bit_for_bit() -> None:
    powers = 2.0 ** torch.tensor([0, 1, 2, 3, 8, -1, -4, 20])
    (want, plain, rate), (got, scaled, _) = stream(torch.ones(8)), stream(powers)
    assert 0.1 < rate < 0.9
    assert torch.equal(want, got)
    assert torch.equal(plain * powers.reshape(-1, 1, 1), scaled)


def test_of_other_factors_no_voltage_is_exact() -> None:
    """So equal spikes would be luck, and the grid has powers of two only."""
    thirds = torch.full((8,), 1 / 3)
    (_, plain, _), (_, scaled, _) = stream(torch.ones(8)), stream(thirds)
    assert torch.allclose(plain / 3, scaled, atol=1e-6)
    assert (plain / 3 != scaled).float().mean() > 0.3


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_real_valued_network_is_not_touched(family: str) -> None:
    net, frames = example(family)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        want = net(torch.from_numpy(frames).float())
    port.quantize(net, frames, **BOTH)
    weights = {name for name, _ in net.named_parameters()}
    assert all(torch.equal(before[name], net.state_dict()[name]) for name in weights)
    for module in net.modules():
        if isinstance(module, (Conv, Lif, Readout)):
            module.lsb.zero_()
    with torch.no_grad():
        assert torch.equal(net(torch.from_numpy(frames).float()), want)


@pytest.mark.parametrize("widths", ["proven", "checked"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_stream_has_one_unit_per_channel_and_thresholds_of_as_many(
    family: str, widths: str
) -> None:
    net, frames = example(family)
    plain = port.quantize(copy.deepcopy(net), frames, widths=widths)
    graph = port.quantize(net, frames, widths=widths, equalize=True)
    assert any(conv.finer.any() for conv in synapses(net))
    streams: dict[str, Tensor] = {}

    def hear(name: str, _: nn.Module, args: Any, output: Any) -> None:
        streams[name] = args[0].finer
        assert isinstance(args[0], Stream)

    neurons = [item for item in net.named_modules() if isinstance(item[1], Lif)]
    with torch.no_grad(), heard(net, neurons, hear):
        net(torch.from_numpy(frames[:, :1]).float())
    layers = {layer.name: layer for layer in wiring(net, frames.shape)}
    for name, finer in streams.items():
        for source in layers[name].inputs:
            synapse = layers[source].synapse
            assert synapse is not None
            assert torch.equal(synapse.finer, finer)
        factor = 2 ** finer.numpy()
        before, after = (g.expect(name, LifNode).threshold for g in (plain, graph))
        if isinstance(layers[name].module, NormLif):  # rounded down in finer units
            assert (before * factor <= after).all()
            assert (after < (before + 1) * factor).all()
        else:
            assert np.array_equal(
                np.broadcast_to(before, factor.shape) * factor, after * (np.ones_like(factor))
            )


def test_weights_of_weak_channels_have_more_levels_and_no_weight_is_clipped() -> None:
    net, frames = example("sew")
    coarse, fine = (
        port.quantization_cost(net, frames, equalize=equalize) for equalize in (False, True)
    )
    assert [s.largest for s in coarse.synapses] == [s.largest for s in fine.synapses]
    assert sum(s.clipped for s in fine.synapses) == 0
    assert all(s.error <= 1.001 for s in fine.synapses)
    conv, plain = copy.deepcopy(net), copy.deepcopy(net)
    port.quantize(plain, frames)
    port.quantize(conv, frames, equalize=True)
    one, other = plain.blocks[0].conv2, conv.blocks[0].conv2
    assert other.finer.any()
    for channel, k in enumerate(other.finer.tolist()):
        largest = float(one.folded()[0][channel].abs().max()) / one.unit()
        assert largest * 2**k <= 254
        # as fine as the weights allow, or bias, range and threshold of its stream
        assert 0 <= k <= np.log2(254 / largest)


def test_gradients_are_those_of_the_plain_grid_where_both_grids_hold_the_network() -> None:
    """Even weights of the coarser grid, no truncated decay: the same spikes, in other units."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv(3, 4, 3, padding=1, norm=nn.Identity)
            self.neuron = Lif(1.0, 0.5)
            self.conv.synapse.weight.data.copy_(
                torch.from_numpy(np.random.default_rng(0).integers(-15, 16, (4, 3, 3, 3)) / 32)
            )

        def forward(self, x: Tensor) -> Tensor:
            spikes: Tensor = self.neuron(self.conv(x))
            return spikes

    spikes = (torch.rand(4, 2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    found = []
    for finer in (None, torch.tensor([0, 1, 2, 3])):
        net = Net()
        if finer is not None:
            set_grid_options(net, equalize=True)
            net.conv.finer.copy_(finer)
        for layer in (net.conv, net.neuron):
            layer.lsb.fill_(1 / 64)
        fired = net(spikes)
        (fired * torch.arange(fired.numel()).reshape(fired.shape)).sum().backward()
        found.append((fired.detach(), net.conv.synapse.weight.grad))
    (want, gradient), (got, other) = found
    assert 0.05 < float(want.mean()) < 0.95
    assert torch.equal(want, got)
    assert gradient.abs().max() > 0
    assert torch.allclose(gradient, other, rtol=1e-5)


# -- bias correction ---------------------------------------------------------------------------


def means(net: nn.Module, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Mean current of each trained synapse per channel, bias included, in real units."""
    found: dict[str, np.ndarray] = {}

    def hear(name: str, module: Any, args: Any, output: Any) -> None:
        if not isinstance(output, Stream):
            found[name] = output.double().mean((0, 1, 3, 4)).numpy()
            return
        factor = 1.0 if output.factor is None else output.factor.double()
        real = output.value.double() * float(module.lsb) / factor
        bias = output.bias.double().reshape(len(output.bias), *(output.bias.shape[1:] or (1, 1)))
        found[name] = (real + bias).mean((0, 1, 3, 4)).numpy()

    convs = [item for item in net.named_modules() if isinstance(item[1], Conv)]
    with torch.no_grad(), evaluating(net), heard(net, convs, hear):
        net(torch.from_numpy(frames).float())
    return found


@pytest.mark.parametrize("equalize", [False, True])
@pytest.mark.parametrize("family", ["ds", "ms", "sew"])
def test_corrected_currents_have_the_means_of_the_real_network(family: str, equalize: bool) -> None:
    net, frames = example(family)
    want = means(net, frames)
    plain = copy.deepcopy(net)
    port.quantize(plain, frames, equalize=equalize)
    port.quantize(net, frames, equalize=equalize, correct_bias=True)
    before, after = means(plain, frames), means(net, frames)
    wrong = [max(np.abs(found[n] - want[n]).max() for n in want) for found in (before, after)]
    assert wrong[0] > 1e-3
    assert wrong[1] < 1e-5 * max(np.abs(each).max() for each in want.values())


def test_only_biases_change_and_they_stay_integers() -> None:
    net, frames = example("ms")
    plain = port.quantize(copy.deepcopy(net), frames)
    graph = port.quantize(net, frames, correct_bias=True)
    moved = set()
    for one, other in zip(plain, graph, strict=True):
        for field in one.__dataclass_fields__:
            before, after = getattr(one, field), getattr(other, field)
            if not np.array_equal(before, after):
                moved.add((one.kind, field))
    assert moved == {("lif", "bias"), ("readout", "bias")}


def test_gates_and_spikes_that_are_passed_on_keep_their_biases() -> None:
    net = SpikingResNet(1, **SHAPE, block="sew", connect="and")
    frames = frames_for(net, steps=4, samples=6)
    port.quantize(enliven(net, 0, frames), frames, correct_bias=True)
    fixed = [c for c in synapses(net) if not c.synapse.weight.requires_grad]
    assert fixed
    assert not any(conv.correction.any() for conv in fixed)
    assert all(conv.correction.any() for conv in synapses(net) if conv not in fixed)


# -- engines, targets, files -------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_module_and_engines_agree_and_so_does_the_lowered_network(family: str) -> None:
    net, frames = example(family)
    graph = port.quantize(net, frames, **BOTH)
    want = port.run(graph, frames)
    for got in (port.run(net, frames), port.run(graph, frames, on="fast")):
        assert port.compare(want, got)
    assert port.compare(want, port.run(port.lower(graph), frames, time_model="chip"))


def test_files_hold_an_equalized_and_corrected_network(tmp_path: Path) -> None:
    net, frames = example("ms")
    graph = port.quantize(net, frames, **BOTH)
    assert store.load(store.save(graph, tmp_path / "a.graph")).hash == graph.hash
    chip = port.lower(graph)
    assert port.read(port.export(chip, tmp_path / "a.net")).hash == chip.hash
    state = net.state_dict()
    again = MsResNet(1, **SHAPE)
    set_grid_options(again, True, True)
    again.load_state_dict(state)
    assert port.quantize(again.eval(), frames).hash == graph.hash


def test_chips_of_one_threshold_per_population_refuse_what_is_equalized_only() -> None:
    net, frames = example("sew")
    rules = []
    for options in ({}, {"correct_bias": True}, {"equalize": True}):
        graph = port.quantize(copy.deepcopy(net), frames, **options)
        rules.append({found.rule for found in refusals(graph, load_target("loihi2"))})
    assert rules[0] == rules[1]
    assert rules[2] - rules[0] == {"constants_are_shared"}
    with pytest.raises(IllegalError, match="constants_are_shared"):
        port.lower(graph, "loihi2")


def test_a_network_without_options_has_no_trace_of_them() -> None:
    net, frames = example("ms")
    names = set(net.state_dict())
    graph = port.quantize(net, frames, equalize=False, correct_bias=False)
    assert set(net.state_dict()) == names
    assert not is_equalized(net)
    assert not is_corrected(net)
    other, _ = example("ms")
    assert port.quantize(other, frames).hash == graph.hash


def test_zeros_of_a_recipes_network_are_the_plain_grid() -> None:
    """A recipe's network has the buffers before the integer phase, and they are 0."""
    net, frames = example("ms")
    plain = port.quantize(copy.deepcopy(net), frames)
    freeze_scales(net, torch.from_numpy(frames).float())
    set_grid_options(net, True, True)
    assert port.quantize(net, frames).hash == plain.hash


def test_a_recipe_trains_and_loads_them(tmp_path: Path) -> None:
    recipe = from_dict(
        {
            "data": {"train": 40, "test": 20, "steps": 2},
            "network": {"blocks": 1, "widths": [3, 4, 5]},
            "training": {"epochs": 1, "batch": 20},
            "quantization": {"epochs": 1, **BOTH},
        }
    )
    net = port.fit(recipe, tmp_path)
    assert is_equalized(net)
    assert any(conv.finer.any() for conv in synapses(net))
    assert any(conv.correction.any() for conv in synapses(net))
    again = port.load(tmp_path)
    frames = np.zeros((2, 1, 1, 28, 28))
    assert port.quantize(again, frames).hash == port.quantize(net, frames).hash


# -- what is refused ---------------------------------------------------------------------------


def test_a_correction_without_samples_is_refused() -> None:
    net, frames = example("ms")
    with pytest.raises(FramesError, match="give some dozens of training samples"):
        port.quantize(net, np.zeros_like(frames), correct_bias=True)
    port.quantize(net, np.zeros_like(frames), equalize=True)  # needs none


def test_options_are_chosen_once_and_have_two_values() -> None:
    net, frames = example("ms")
    for name in ("equalize", "correct_bias"):
        with pytest.raises(CaptureError, match=f"{name} is 'yes'; use True or False"):
            port.quantize(net, frames, **{name: "yes"})
    graph = port.quantize(net, frames, equalize=True)
    assert port.quantize(net, frames, equalize=True).hash == graph.hash
    for options in ({"equalize": False}, {"correct_bias": True}):
        with pytest.raises(CaptureError, match="chosen where the integer phase begins"):
            port.quantize(net, frames, **options)


def test_a_graph_that_is_trained_further_takes_none() -> None:
    for name in ("equalize", "correct_bias"):
        with pytest.raises(RecipeError, match=f"quantization.{name} is True, which has no effect"):
            from_dict(
                {
                    "network": {"family": "graph"},
                    "training": {"epochs": 0},
                    "quantization": {name: True},
                }
            )


def test_the_cost_names_them_where_weights_have_few_levels() -> None:
    net = StrongAndWeak().eval()  # the weak synapse has few levels left
    frames = frames_for(net, steps=4, samples=6)
    for options, named in (
        ({}, "equalize=True and correct_bias=True recover"),
        ({"equalize": True}, "without training, correct_bias=True recover"),
        (BOTH, None),
    ):
        loses = port.quantization_cost(net, frames, **options).loses
        assert loses is not None
        assert ("recover" in loses) == (named is not None)
        assert named is None or named in loses


def test_a_recipes_network_is_built_with_them() -> None:
    net = build_network(from_dict({"quantization": BOTH}))
    assert is_equalized(net)
    assert is_corrected(net)
    assert isinstance(net.stem, GradedConv)
