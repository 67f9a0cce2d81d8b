"""Projections of MS-ResNet that read spikes, or are composed with what they read."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neuroport as port
from neuroport.capture.model_size import count
from neuroport.errors import LayerError, RecipeError
from neuroport.graph.node import Conv as ConvNode
from neuroport.graph.node import Lif as LifNode
from neuroport.nets.activation_recompute import recompute
from neuroport.nets.composed import Composed, ComposedStem, compose
from neuroport.nets.families import build
from neuroport.nets.ms_resnet import MembraneBlock, MsResNet
from neuroport.nets.recipe import NetworkRecipe
from neuroport.nets.synapse import Conv, GradedConv
from neuroport.quantization import QuantizationWarning
from neuroport.quantization.scales import freeze_scales
from neuroport.targets.population_demands import rounding
from neuroport.targets.rules import UNPROVEN
from neuroport.targets.target import load_target
from neuroport.targets.verdict import check
from neuroport.training.fit import fit
from tests.helpers.modules import randomize

FRAMES = np.random.default_rng(3).integers(0, 256, (4, 6, 1, 8, 8)).astype(np.uint8)
REAL = torch.from_numpy(FRAMES).float()
WIDTHS = (4, 6, 8)
BOARD = load_target("kapoho-point")
KINDS = ("spike", "composed")


def network(projection: str, stem: str = "coarse", **fields: object) -> MsResNet:
    """A network whose neurons fire and whose norms have seen something; three stages."""
    torch.manual_seed(1)
    recipe = NetworkRecipe(widths=WIDTHS, stem=stem, projection=projection, **fields)  # type: ignore[arg-type]
    net = build(recipe, 1, 10)
    assert isinstance(net, MsResNet)
    gains = {"stem": 2.0, "shortcut": 1.0}  # of others less: a stem has levels of its weights
    with torch.no_grad():
        for name, norm in net.named_modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.fill_(gains.get(name.split(".")[-2], 0.4))
                norm.bias.uniform_(-0.1, 0.2)
        net.train()
        for _ in range(20):
            net(REAL)
    return net.eval()


def rates(trace: port.Trace) -> list[float]:
    return [float(trace[name].mean()) for name, kind in trace.kinds.items() if kind == "lif"]


def composed_of(net: nn.Module) -> list[Composed]:
    return [m for m in net.modules() if isinstance(m, Composed)]


@pytest.mark.parametrize("shortcut", ["pool", "stride"])
@pytest.mark.parametrize("stem", ["rounding", "coarse"])
@pytest.mark.parametrize("projection", KINDS)
def test_module_and_engines_agree(projection: str, stem: str, shortcut: str) -> None:
    net = network(projection, stem, shortcut=shortcut)
    graph = port.quantize(net, FRAMES)
    want = port.run(graph, FRAMES, on="reference")
    assert port.compare(want, port.run(net, FRAMES, on="module")).equal
    assert port.compare(want, port.run(graph, FRAMES, on="fast")).equal
    assert min(rates(want)) > 0


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("projection", KINDS)
def test_with_a_coarse_stem_nothing_rounds_on_the_chip_and_no_rule_is_broken(
    projection: str, blocks: int
) -> None:
    graph = port.quantize(network(projection, blocks=blocks), FRAMES)
    lowered = port.lower(graph, BOARD.name)
    assert rounding(graph) == rounding(lowered) == []
    found = check(lowered, BOARD)
    assert found.refused == 0
    assert {f.rule for f in found.findings if f.severity == UNPROVEN} <= {"dendrite_is_known"}
    assert port.compare(port.run(graph, FRAMES), port.run(lowered, FRAMES)).equal


def test_with_a_rounding_stem_nothing_rounds_but_what_the_stem_sends() -> None:
    found = {
        kind: rounding(port.lower(port.quantize(network(kind, "rounding"), FRAMES), BOARD.name))
        for kind in ("membrane", *KINDS)
    }
    assert len(found["membrane"]) >= 3
    assert len(found["spike"]) == 1
    # into each stage once
    assert len(found["composed"]) == 3
    assert all("stem" in name for name in (*found["spike"], *found["composed"]))


@pytest.mark.lava
@pytest.mark.parametrize("projection", KINDS)
def test_as_lowered_for_the_chip_lava_sends_the_same_spikes(
    projection: str, tmp_path: Path
) -> None:
    graph = port.quantize(network(projection), FRAMES)
    file = port.export(port.lower(graph, BOARD.name), tmp_path / "n.net")
    few = FRAMES[:, :2]
    got = port.run(file, few, on="lava-cpu")
    outcome = port.compare(port.run(graph, few), got)
    assert outcome.equal, str(outcome)
    names = {node.name for node in graph if isinstance(node, LifNode)}
    assert all(got[name].any() for name in names)


# -- spikes ----------------------------------------------------------------------------------


def test_a_projection_of_spikes_averages_them_before_its_1x1_kernel() -> None:
    layer = randomize(Conv(3, 4, 1, padding=0, pool=2), 5).double()
    spikes = (torch.rand(2, 3, 3, 6, 6, dtype=torch.float64) > 0.5).double()
    weight, bias = layer.folded()
    mean = nn.functional.avg_pool2d(spikes.flatten(0, 1), 2)
    want = nn.functional.conv2d(mean, weight[:, :, :1, :1] * 4, bias).unflatten(0, (2, 3))
    torch.testing.assert_close(layer.eval()(spikes), want)
    with pytest.raises(LayerError, match="before a 1x1 kernel"):
        Conv(3, 4, 3, pool=2)


def test_the_projection_reads_what_the_branch_s_first_neuron_sends() -> None:
    block = randomize(MembraneBlock(3, 4, 2, "pool", projection="spike"), 2).eval()
    x = torch.randn(3, 2, 3, 8, 8)
    spikes = block.neuron1(x)
    want = block.conv2(block.neuron2(block.conv1(spikes))) + block.shortcut(spikes)
    assert torch.equal(block(x), want)
    graph = port.quantize(network("spike"), FRAMES)
    readers = [n for n in graph if isinstance(n, ConvNode) and n.name.endswith("shortcut")]
    assert [n.inputs for n in readers] == [("blocks.1.neuron1",), ("blocks.2.neuron1",)]
    assert isinstance(network("spike").blocks[0].shortcut, nn.Identity)


# -- composed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shortcut", "size"), [("pool", (8, 8)), ("stride", (8, 8)), ("stride", (7, 9))]
)
def test_in_real_numbers_composed_projections_are_the_published_network(
    shortcut: str, size: tuple[int, int]
) -> None:
    composed = network("composed", blocks=2, shortcut=shortcut).double()
    published = network("membrane", blocks=2, shortcut=shortcut).double()
    missing, unexpected = published.load_state_dict(composed.state_dict(), strict=False)
    assert not missing
    assert all(".composed." in name for name in unexpected)
    frames = torch.randint(0, 256, (4, 3, 1, *size)).double()
    for each in (composed, published):
        each.stem.mean.fill_(0.3)  # frames whose padding is not their mean
        each.stem.std.fill_(0.5)
    torch.testing.assert_close(composed(frames), published(frames))
    streams: list[list[Tensor]] = []
    for each in (composed, published):
        streams.append([])
        hooks = [
            b.register_forward_hook(lambda *a, to=streams[-1]: to.append(a[2])) for b in each.blocks
        ]
        each(frames)
        assert len(hooks) == 6
    for one, other in zip(*streams, strict=True):
        torch.testing.assert_close(one[0], other)


def test_kernels_grow_by_what_is_averaged_and_strides_multiply() -> None:
    net = network("composed")
    first, second = net.blocks[1].composed, net.blocks[2].composed
    assert list(first) == ["stem", "block0"]
    assert list(second) == ["stem", "block0", "block1"]
    for conv, size, stride in (
        (first["stem"], 4, 2),
        (first["block0"], 4, 2),
        (second["stem"], 6, 4),
        (second["block0"], 6, 4),
        (second["block1"], 4, 2),
    ):
        assert tuple(conv.kernel().shape[2:]) == (size, size)
        assert conv.stride == (stride, stride)
        assert conv.padding == (1, 1)


def test_a_coarse_stem_with_a_mean_is_composed_exactly() -> None:
    net = network("composed")
    net.stem.mean.fill_(0.3)
    net.stem.std.fill_(0.5)
    graph = port.quantize(net, FRAMES)
    biases = [node.bias for node in graph if isinstance(node, LifNode)]
    assert any(bias.ndim == 3 for bias in biases[2:])  # behind a composed stem, too
    want = port.run(graph, FRAMES, on="reference")
    assert port.compare(want, port.run(net, FRAMES, on="module")).equal


def test_a_stem_that_is_lost_in_a_later_stage_is_told() -> None:
    net = network("composed")
    with torch.no_grad():
        net.blocks[2].conv2.norm.weight.fill_(20.0)  # whose range leaves pixels no unit
    with pytest.warns(QuantizationWarning, match=r"levels of weights \(blocks.2.composed.stem: 1"):
        graph = port.quantize(net, FRAMES)
    assert not graph["blocks.2.composed.stem"].weight.any()  # type: ignore[union-attr]
    want = port.run(graph, FRAMES, on="reference")
    assert port.compare(want, port.run(net, FRAMES, on="module")).equal


def test_composed_weights_are_rounded_once_and_train_both_layers() -> None:
    net = network("composed")
    freeze_scales(net, REAL)
    for conv in composed_of(net):
        assert float(conv.lsb) > 0
    net.train()
    net(REAL).sum().backward()
    for layer in (net.stem, *(b.conv2 for b in net.blocks), *(b.shortcut for b in net.blocks[1:])):
        assert bool(layer.synapse.weight.grad.abs().sum() > 0)
        assert bool(layer.norm.weight.grad.abs().sum() > 0)
    assert not any(p.grad is None for p in net.parameters() if p.requires_grad)
    # a composed layer has no weights of its own
    assert sum(len(list(m.parameters())) for m in composed_of(net)) == 0


def test_a_step_of_training_in_integers_moves_what_runs() -> None:
    net = network("composed")
    freeze_scales(net, REAL)
    before = port.quantize(net, FRAMES)
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(net.parameters(), 5.0)
    net.train()
    nn.functional.cross_entropy(net(REAL), torch.arange(6)).backward()
    optimizer.step()
    after = port.quantize(net.eval(), FRAMES)
    assert isinstance(after["blocks.2.composed.stem"], ConvNode)
    assert not np.array_equal(
        before["blocks.2.composed.stem"].weight, after["blocks.2.composed.stem"].weight
    )
    want = port.run(after, FRAMES)
    assert port.compare(want, port.run(net, FRAMES, on="module")).equal


def test_while_real_numbers_are_trained_norms_see_what_is_projected() -> None:
    composed, published = network("composed"), network("membrane")
    composed.train(), published.train()
    assert torch.equal(composed(REAL), published(REAL))
    for key, value in published.state_dict().items():
        assert torch.equal(value, composed.state_dict()[key]), key


@pytest.mark.parametrize("phase", ["real", "integer"])
def test_recomputed_blocks_give_equal_gradients(phase: str) -> None:
    first = network("composed")
    if phase == "integer":
        freeze_scales(first, REAL)
    second = recompute(copy.deepcopy(first))
    found = []
    for net in (first, second):
        net.train()
        net(REAL).square().sum().backward()
        found.append({name: p.grad for name, p in net.named_parameters()})
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], rtol=0, atol=0)


def test_a_copy_is_composed_of_its_own_layers() -> None:
    net = network("composed")
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.blocks[2].shortcut.synapse.weight.zero_()
    assert bool((twin.blocks[2].composed["block1"].kernel() == 0).all())
    assert bool((net.blocks[2].composed["block1"].kernel() != 0).any())


def test_what_one_convolution_does_not_hold_is_refused() -> None:
    with pytest.raises(LayerError, match="cannot be composed"):
        compose({"a": Conv(2, 3)}, GradedConv(3, 4, 3, padding=1))
    with pytest.raises(LayerError, match="cannot be composed"):
        compose({"a": Conv(2, 4, groups=2)}, GradedConv(4, 4))
    with pytest.raises(ValueError, match="projection is 'real'; use membrane, spike, composed"):
        MsResNet(1, (4, 6, 8), projection="real")
    with pytest.raises(ValueError, match="relays round between its convolutions"):
        MsResNet(1, (4, 6, 8), stem="deep", projection="composed")


def test_imagenet_s_strided_projections_are_composed_too() -> None:
    recipe = NetworkRecipe(depth=18, widths=(2, 3, 4, 5), projection="composed")
    torch.manual_seed(0)
    net = build(recipe, 1, 4).eval()
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 1, 64, 64)).astype(np.uint8)
    graph = port.quantize(net, frames)
    assert all("stem" in name for name in rounding(graph))
    stem = next(m for m in net.modules() if isinstance(m, ComposedStem))
    assert tuple(stem.kernel().shape[2:]) == (7, 7)
    assert port.compare(port.run(graph, frames), port.run(net, frames, on="module")).equal


def test_multiplications_of_composed_kernels_are_counted() -> None:
    published, composed = (
        count(MsResNet(1, WIDTHS, projection=kind), (8, 8)) for kind in ("membrane", "composed")
    )
    assert published.parameters == composed.parameters
    assert composed.projection_macs == 0 < published.projection_macs
    # 4x4 kernels of stage 2 on 4x4 maps; of stage 3 6x6 from stage 1, 4x4 from stage 2, on 2x2
    kernels = 16 * (6 * (1 + 4) * 16) + 4 * (8 * (1 + 4) * 36 + 8 * 6 * 16)
    assert composed.macs == published.macs - published.projection_macs + kernels


# -- recipes ---------------------------------------------------------------------------------


def test_a_recipe_chooses_the_projection(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    text = 'name = "r"\n[data]\ndataset = "mnist5k"\n[network]\nprojection = "{}"\n'
    for kind in ("membrane", *KINDS):
        recipe.write_text(text.format(kind))
        assert port.load_recipe(recipe).network == NetworkRecipe(projection=kind)
    recipe.write_text(text.format("real"))
    with pytest.raises(RecipeError, match=r"network\.projection is 'real'; use membrane, spike"):
        port.load_recipe(recipe)
    with pytest.raises(RecipeError, match="projection is 'spike', which has no effect in family"):
        NetworkRecipe(family="danet", projection="spike")
    with pytest.raises(RecipeError, match=r"at network\.depth = 104 the stem is three"):
        NetworkRecipe(depth=104, widths=(8, 8, 8, 8), projection="composed")


@pytest.mark.parametrize(("projection", "stem"), [("spike", "coarse"), ("composed", "rounding")])
def test_both_phases_are_trained_and_what_is_stored_is_what_was_trained(
    projection: str, stem: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'name = "r"\n[data]\ndataset = "mnist5k"\nsteps = 2\ntrain = 40\ntest = 20\n'
        f'[network]\nwidths = [2, 3, 4]\nprojection = "{projection}"\nstem = "{stem}"\n'
        "[training]\nepochs = 1\nbatch = 10\n[quantization]\nepochs = 1\n"
    )
    trained = fit(port.load_recipe(recipe), tmp_path / "run")
    again = port.load(tmp_path / "run")
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 1, 28, 28)).astype(np.uint8)
    graph = port.quantize(again, frames)
    assert graph.hash == port.quantize(trained, frames).hash
    assert all("stem" in name for name in rounding(graph))
    assert port.compare(port.run(graph, frames), port.run(again, frames, on="module")).equal
