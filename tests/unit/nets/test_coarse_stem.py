"""A stem so coarse that pixels times weights are on their stream's grid: no relay rounds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import neuroport as port
from neuroport.data.loading import load_data, with_bits
from neuroport.errors import FramesError, IllegalError, LayerError, RecipeError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Relay
from neuroport.nets.families import build
from neuroport.nets.recipe import NetworkRecipe
from neuroport.nets.synapse import GradedConv, coarsen_stem
from neuroport.quantization.scales import STEM, freeze_scales
from neuroport.targets.rules import UNPROVEN
from neuroport.targets.target import load_target
from neuroport.targets.verdict import check

FRAMES = np.random.default_rng(3).integers(0, 256, (4, 6, 1, 8, 8)).astype(np.uint8)
WIDTHS = (4, 6, 8)
FAMILIES = [
    {"family": "sew_resnet"},
    {"family": "ms_resnet"},
    {"family": "ds_resnet", "levels": 2},
    {"family": "danet", "domain": "membrane"},
    {"family": "danet", "domain": "spike"},
]


def network(stem: str, bits: int = 8, **fields: object) -> nn.Module:
    torch.manual_seed(1)
    recipe = NetworkRecipe(widths=WIDTHS, stem=stem, **fields)  # type: ignore[arg-type]
    net = build(recipe, 1, 10, bits)
    frames = FRAMES if bits == 8 else with_bits(FRAMES, bits)
    with torch.no_grad():  # norms that have seen something, so that biases and weights differ
        net.train()
        for _ in range(3):
            net(torch.from_numpy(frames).float())
    return net.eval()


def stem_of(graph: Graph) -> Conv:
    (node,) = [n for n in graph if isinstance(n, Conv) and graph.input.name in n.inputs]
    return node


@pytest.mark.parametrize("fields", FAMILIES, ids=lambda f: "-".join(map(str, f.values())))
def test_module_and_engines_agree_and_nothing_rounds_behind_the_stem(
    fields: dict[str, object],
) -> None:
    net = network("coarse", **fields)
    graph = port.quantize(net, FRAMES)
    stem = stem_of(graph)
    readers = [node for node in graph if stem.name in node.inputs]
    assert readers
    assert not any(isinstance(node, Relay) and node.name.endswith("relay_out") for node in readers)
    want = port.run(graph, FRAMES, on="reference")
    assert port.compare(want, port.run(net, FRAMES, on="module")).equal
    assert port.compare(want, port.run(graph, FRAMES, on="fast")).equal
    assert any(want[name].any() for name, kind in want.kinds.items() if kind == "lif")


@pytest.mark.parametrize("fields", FAMILIES[::4], ids=["sew", "danet-spike"])
def test_as_lowered_for_a_chip_no_neuron_rounds_and_spikes_are_the_same(
    fields: dict[str, object],
) -> None:
    target = load_target("kapoho-point")
    rounding, coarse = (
        port.quantize(network(stem, **fields), FRAMES) for stem in ("rounding", "coarse")
    )
    lowered = port.lower(coarse, target.name)
    found = check(lowered, target)
    assert found
    assert {f.rule for f in found.findings if f.severity == UNPROVEN} <= {"dendrite_is_known"}
    before = check(port.lower(rounding, target.name), target)
    assert "neuron_exists" in {f.rule for f in before.findings}
    assert port.compare(port.run(coarse, FRAMES), port.run(lowered, FRAMES)).equal


def test_a_stem_before_neurons_of_its_own_has_the_levels_that_were_asked_for() -> None:
    stem = stem_of(port.quantize(network("coarse", family="sew_resnet"), FRAMES))
    largest = int(np.abs(stem.weight).max())
    assert STEM - 2 <= largest <= STEM + 2
    assert len(np.unique(stem.weight)) > STEM // 2


def test_the_value_is_weight_times_pixel_with_no_shift() -> None:
    net = network("coarse", family="sew_resnet")
    freeze_scales(net, torch.from_numpy(FRAMES).float())
    (stem,) = [m for m in net.modules() if isinstance(m, GradedConv)]
    x = torch.from_numpy(FRAMES[:1]).float()
    weight = stem_of(port.quantize(net, FRAMES)).weight
    want = torch.nn.functional.conv2d(
        x[0].double(), torch.from_numpy(weight.copy()).double(), padding=stem.padding
    )
    assert torch.equal(stem(x).value[0].double(), want)


def test_training_goes_on_in_the_grid_of_a_coarse_stem() -> None:
    net = network("coarse", family="sew_resnet")
    freeze_scales(net, torch.from_numpy(FRAMES).float())
    (stem,) = [m for m in net.modules() if isinstance(m, GradedConv)]
    net.train()
    net(torch.from_numpy(FRAMES).float()).sum().backward()
    gradient = stem.synapse.weight.grad
    assert gradient is not None
    assert bool(gradient.abs().sum() > 0)


def test_a_projection_of_a_stream_cannot_go_without_its_relay() -> None:
    with pytest.raises(LayerError, match="only pixels may go without"):
        GradedConv(2, 4, rounds=False)


def test_a_stem_of_which_nothing_would_be_left_is_refused() -> None:
    net = coarsen_stem(network("rounding", family="ms_resnet"))
    (stem,) = [m for m in net.modules() if isinstance(m, GradedConv) and m.pixels]
    with torch.no_grad():
        stem.norm.weight.mul_(1e-6)
    with pytest.raises(IllegalError, match="all of them round to 0; let it round"):
        port.quantize(net, FRAMES)


def test_a_recipe_chooses_the_stem(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[data]\ndataset = "mnist5k"\n[network]\nstem = "coarse"\n')
    assert port.load_recipe(recipe).network.stem == "coarse"
    assert port.load_recipe(recipe).network == NetworkRecipe(stem="coarse")
    recipe.write_text('name = "r"\n[data]\ndataset = "mnist5k"\n[network]\nstem = "fine"\n')
    with pytest.raises(RecipeError, match=r"network\.stem is 'fine'; use 'rounding' or 'coarse'"):
        port.load_recipe(recipe)


@pytest.mark.filterwarnings("ignore::neuroport.quantization.QuantizationWarning")
@pytest.mark.parametrize("family", ["ms_resnet", "ds_resnet"])
def test_pixels_of_four_bits_are_exact_and_leave_weights_more_levels(family: str) -> None:
    fields = {"projection": "composed"} if family == "ms_resnet" else {"levels": 2}
    frames = with_bits(FRAMES, 4)
    assert frames.max() == 15
    assert np.abs(frames / 15 - FRAMES / 255).max() <= 0.5 / 15
    net = network("coarse", 4, family=family, **fields)
    graph = port.quantize(net, frames)
    assert graph.input.bits == 4
    want = port.run(graph, frames)
    assert want[graph.populations[0].name].mean() > 0
    assert port.compare(want, port.run(net, frames)).equal
    with pytest.raises(FramesError, match="15"):
        port.run(graph, FRAMES)

    def levels(graph: Graph) -> int:
        stems = [n for n in graph if isinstance(n, Conv) and graph.input.name in n.inputs]
        return min(int(np.abs(n.weight).max()) << n.exponent for n in stems)

    assert levels(graph) >= levels(
        port.quantize(network("coarse", family=family, **fields), FRAMES)
    )


def test_bits_of_pixels_are_a_choice_of_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[data]\nbits = 4\ntrain = 100\ntest = 20\n')
    data = port.load_recipe(recipe).data
    views = load_data(data).test.views(slice(0, 20))
    assert views.dtype == np.uint8
    assert views.max() == 15
    assert np.array_equal(
        views, with_bits(load_data(replace(data, bits=8)).test.views(slice(0, 20)), 4)
    )
    for text, says in (
        ("[data]\nbits = 9", "data.bits is 9; use 1 to 8"),
        ('[data]\ndataset = "saccades"\nbits = 4', "counts of events"),
        (
            '[data]\ndataset = "cifar10"\nroot = "x"\nbits = 4\n[training]\nauto_augment = true',
            "takes pixels of 8",
        ),
    ):
        recipe.write_text(f'name = "r"\n{text}\n')
        with pytest.raises(RecipeError, match=says):
            port.load_recipe(recipe)
