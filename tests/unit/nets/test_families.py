"""Every family of networks: its integer phase, its graph and what lower makes of it are one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.errors import IllegalError, RecipeError  # noqa: E402
from neuroport.kernels.surrogate import SURROGATES  # noqa: E402
from neuroport.lowering import CARRIERS  # noqa: E402
from neuroport.nets import baselines, danet, ms_resnet  # noqa: E402
from neuroport.nets.activation_recompute import Recomputing, recompute  # noqa: E402
from neuroport.nets.baselines import SpikingResNet  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.e_spikeformer import ESpikeformer  # noqa: E402
from neuroport.nets.families import build  # noqa: E402
from neuroport.nets.gates import Gate  # noqa: E402
from neuroport.nets.mlf_vgg import MlfVgg  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.pooling import MaxPool  # noqa: E402
from neuroport.nets.qkformer import QKFormer  # noqa: E402
from neuroport.nets.recipe import CHOICES, FAMILIES, OF_SOME, NetworkRecipe  # noqa: E402
from neuroport.nets.spike_transformer import SpikeTransformer  # noqa: E402
from neuroport.recipe import Recipe  # noqa: E402
from neuroport.training.checkpoint import build_network, read_checkpoint  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402

WIDTHS = (4, 6, 8)
SHAPE = {"widths": WIDTHS, "in_channels": 2, "classes": 5}
TINY: dict[str, Callable[[], nn.Module]] = {
    "ms_resnet": lambda: MsResNet(1, **SHAPE),
    "ms_resnet by strides": lambda: MsResNet(1, **SHAPE, shortcut="stride"),
    "ms_resnet for events": lambda: MsResNet(
        1, **SHAPE, shortcut="stride", stem_stride=2, first_stride=2
    ),
    "ms_resnet18": lambda: MsResNet.imagenet(18, (3, 4, 5, 6), 2, 5),
    "ms_resnet, projections of spikes": lambda: MsResNet(2, **SHAPE, projection="spike"),
    "ms_resnet, composed": lambda: MsResNet(2, **SHAPE, projection="composed"),
    "ms_resnet with a deep stem": lambda: MsResNet(1, **SHAPE, stem="deep"),
    "ds_resnet of 1": lambda: DsResNet(1, **SHAPE, levels=1),
    "ds_resnet of 2": lambda: DsResNet(2, **SHAPE, levels=2),
    "ds_resnet of 3": lambda: DsResNet(1, **SHAPE, levels=3),
    "ds_resnet of 4": lambda: DsResNet(1, **SHAPE, levels=4),
    "ds_resnet for gestures": lambda: DsResNet(1, **SHAPE, normalize=True),
    "vanilla mlf": lambda: DsResNet(2, **SHAPE, block="vanilla"),
    "mlf vgg": lambda: MlfVgg((1, 2, 1), **SHAPE),
    "plain": lambda: SpikingResNet(2, **SHAPE),
    "tdbn": lambda: SpikingResNet(2, **SHAPE, block="tdbn"),
    "sew": lambda: SpikingResNet(2, **SHAPE, block="sew"),
    "sew, bottlenecks, no leak": lambda: SpikingResNet(
        1,
        **SHAPE,
        block="sew",
        bottleneck=True,
        stem=7,
        stem_stride=2,
        stem_pool=True,
        threshold=1.0,
        voltage_decay=0.0,
        fires_at=True,
    ),
    "sew, iand": lambda: SpikingResNet(1, **SHAPE, block="sew", connect="iand"),
    "sew, and": lambda: SpikingResNet(1, **SHAPE, block="sew", connect="and"),
    "max-resnet": lambda: MsResNet(1, **SHAPE, shortcut="stride", downsampling="max"),
    "e-spikeformer": lambda: ESpikeformer(1, **SHAPE, levels=2, ratio=2),
    "e-spikeformer, re-parameterized": lambda: ESpikeformer(
        1, **SHAPE, ratio=2, levels=2, reparameterize=True
    ),
    "qkformer": lambda: QKFormer(1, **SHAPE, heads=2, ratio=2),
    "spike transformer": lambda: SpikeTransformer(1, **SHAPE, window=3, ratio=2),
    "spike transformer, re-parameterized": lambda: SpikeTransformer(
        1, **SHAPE, window=5, ratio=2, reparameterize=True
    ),
    "da-spike-stage": lambda: DaNet(2, **SHAPE, domain="spike", reach="stage"),
    "da-spike-network": lambda: DaNet(1, **SHAPE, domain="spike", reach="network"),
    "da-membrane-stage": lambda: DaNet(2, **SHAPE, domain="membrane", reach="stage"),
    "da-membrane-network": lambda: DaNet(1, **SHAPE, domain="membrane", reach="network"),
    "da-membrane-stage, bn-lif-conv": lambda: DaNet(2, **SHAPE, order="bn-lif-conv"),
    "da-membrane bottleneck, bn-lif-conv": lambda: DaNet(
        1, (2, 2, 2), 2, 5, "membrane", "network", True, order="bn-lif-conv"
    ),
    "da-spike bottleneck": lambda: DaNet(1, (2, 2, 2), 2, 5, "spike", "network", True),
    "da-spike-fused": lambda: DaNet(1, **SHAPE, domain="spike", reach="fused"),
    "da-membrane-fused": lambda: DaNet(1, **SHAPE, reach="fused"),
    "da-membrane-fused, bn-lif-conv": lambda: DaNet(1, **SHAPE, reach="fused", order="bn-lif-conv"),
    "da-spike-fused bottleneck": lambda: DaNet(1, (2, 2, 2), 2, 5, "spike", "fused", True),
    "da-membrane-fused bottleneck": lambda: DaNet(1, (2, 2, 2), 2, 5, "membrane", "fused", True),
    "da-membrane-fused bottleneck, bn-lif-conv": lambda: DaNet(
        1, (2, 2, 2), 2, 5, "membrane", "fused", True, order="bn-lif-conv"
    ),
    "da-membrane bottleneck": lambda: DaNet(1, (2, 2, 2), 2, 5, "membrane", "network", True),
}


def pixels(seed: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (3, 2, 2, 8, 8))


@pytest.mark.parametrize("name", TINY)
def test_family_is_one_network_from_the_module_to_chip_time(name: str) -> None:
    frames = pixels()
    net = enliven(TINY[name](), len(name), frames)
    graph = port.quantize(net, frames)
    want = run_module(net, frames)
    outcome = compare(want, port.run(graph, frames))
    assert outcome, str(outcome)
    assert not outcome.only_want
    assert not outcome.only_got
    assert compare(want, port.run(graph, frames, on="fast"))
    for node in graph.populations:
        assert (want.messages[node.name] != 0).any(), f"{node.name} is silent"
    carried = []
    for carrier in CARRIERS:
        try:
            lowered = port.lower(graph, carrier=carrier)
        except IllegalError:
            continue
        carried.append(carrier)
        for time in ("ideal", "chip"):
            outcome = compare(want, port.run(lowered, frames, on="fast", time_model=time))
            assert outcome, f"{carrier}, {time}: {outcome}"
            assert not outcome.only_want
    assert carried[:2] == ["relay", "unroll"]


@pytest.mark.parametrize("name", TINY)
def test_every_weight_of_a_family_learns_in_both_phases(name: str) -> None:
    frames = pixels(1)
    net = enliven(TINY[name](), 3, frames)
    labels = torch.tensor([1, 4])
    for integer in (False, True):
        if integer:
            port.quantize(net, frames)
        net.zero_grad()
        loss = nn.functional.cross_entropy(net.train()(torch.from_numpy(frames).float()), labels)
        loss.backward()
        dead = [
            key
            for key, parameter in net.named_parameters()
            if parameter.requires_grad
            and (parameter.grad is None or not parameter.grad.isfinite().all())
        ]
        assert not dead
        moved = sum(float(p.grad.abs().max()) > 0 for p in net.parameters() if p.grad is not None)
        assert moved > 0.6 * sum(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("name", TINY)
def test_recomputed_blocks_give_equal_gradients_and_statistics(name: str) -> None:
    frames = torch.from_numpy(pixels(2)).float()
    first = enliven(TINY[name](), 5, pixels(2))
    second = recompute(copy.deepcopy(first))
    for integer in (False, True):
        runs = []
        for net in (first, second):
            torch.manual_seed(0)  # of dropout
            if integer:
                port.quantize(net, pixels(2))
            net.train().zero_grad()
            for _ in range(2):  # statistics move twice, gradients add up
                nn.functional.cross_entropy(net(frames), torch.tensor([1, 4])).backward()
            runs.append(
                {key: p.grad for key, p in net.named_parameters() if p.grad is not None}
                | dict(net.named_buffers())
            )
        assert runs[0].keys() == runs[1].keys()
        for key, value in runs[0].items():
            assert torch.equal(value, runs[1][key]), key


def test_recomputing_holds_fewer_activations() -> None:
    held = []
    for again in (False, True):
        net = MsResNet(3, **SHAPE).train()
        net = recompute(net) if again else net
        sizes: dict[int, int] = {}

        def keep(x: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[x.data_ptr()] = x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            net(torch.from_numpy(pixels()).float())
        held.append(sum(sizes.values()))
    assert held[1] < held[0] / 2


def test_network_without_blocks_is_refused_by_what_to_use() -> None:
    with pytest.raises(ValueError, match="Chain instead of"):
        recompute(nn.Sequential(nn.Linear(1, 1)))


# -- names -----------------------------------------------------------------------------------


def test_names_of_the_recipe_are_those_of_the_networks() -> None:
    assert set(CHOICES["surrogate"]) == set(SURROGATES)
    depths = {name: FAMILIES[name].depths for name in FAMILIES if FAMILIES[name].depths}
    assert depths.pop("ms_resnet") == tuple(ms_resnet.IMAGENET)
    assert depths == dict.fromkeys(("danet", "plain_resnet", "sew_resnet"), tuple(danet.IMAGENET))
    keys = {key for name in FAMILIES for key in FAMILIES[name].keys}
    assert keys == OF_SOME


FOUR = (2, 3, 4, 5)
NAMED: list[tuple[dict[str, Any], Callable[[], nn.Module]]] = [
    ({"family": "ms_resnet", "blocks": 2}, lambda: MsResNet(2, **SHAPE)),
    ({"stem_stride": 2}, lambda: MsResNet(1, **SHAPE, stem_stride=2)),
    ({"first_stride": 2}, lambda: MsResNet(1, **SHAPE, first_stride=2)),
    ({"shortcut": "stride"}, lambda: MsResNet(1, **SHAPE, shortcut="stride")),
    ({"projection": "spike"}, lambda: MsResNet(1, **SHAPE, projection="spike")),
    ({"projection": "composed"}, lambda: MsResNet(1, **SHAPE, projection="composed")),
    ({"depth": 34, "widths": FOUR}, lambda: MsResNet.imagenet(34, FOUR, 2, 5)),
    ({"depth": 104, "widths": FOUR}, lambda: MsResNet.imagenet(104, FOUR, 2, 5)),
    ({"family": "ds_resnet"}, lambda: DsResNet(1, **SHAPE)),
    ({"family": "ds_resnet", "levels": 2}, lambda: DsResNet(1, **SHAPE, levels=2)),
    ({"family": "ds_resnet", "block": "vanilla"}, lambda: DsResNet(1, **SHAPE, block="vanilla")),
    ({"family": "ds_resnet", "normalize": True}, lambda: DsResNet(1, **SHAPE, normalize=True)),
    ({"family": "mlf_vgg", "levels": 2}, lambda: MlfVgg(1, **SHAPE, levels=2)),
    ({"family": "danet"}, lambda: DaNet(1, **SHAPE)),
    ({"family": "danet", "domain": "spike"}, lambda: DaNet(1, **SHAPE, domain="spike")),
    ({"family": "danet", "reach": "network"}, lambda: DaNet(1, **SHAPE, reach="network")),
    ({"family": "danet", "order": "bn-lif-conv"}, lambda: DaNet(1, **SHAPE, order="bn-lif-conv")),
    (
        {"family": "danet", "depth": 50, "widths": FOUR, "domain": "spike", "reach": "network"},
        lambda: DaNet.imagenet(50, FOUR, 2, 5, "spike", "network"),
    ),
    ({"family": "danet", "reach": "fused"}, lambda: DaNet(1, **SHAPE, reach="fused")),
    ({"downsampling": "max"}, lambda: MsResNet(1, **SHAPE, downsampling="max")),
    (
        {"family": "e_spikeformer", "levels": 4, "ratio": 2, "reparameterize": True},
        lambda: ESpikeformer(1, **SHAPE, ratio=2, reparameterize=True),
    ),
    (
        {"family": "e_spikeformer", "stem_stride": 2},
        lambda: ESpikeformer(1, **SHAPE, levels=3, stem_stride=2),
    ),
    (
        {"family": "qkformer", "heads": 2, "ratio": 3, "stem_stride": 2},
        lambda: QKFormer(1, **SHAPE, heads=2, ratio=3, stem_stride=2),
    ),
    (
        {"family": "spike_transformer", "window": 5, "ratio": 3, "first_stride": 2},
        lambda: SpikeTransformer(1, **SHAPE, window=5, ratio=3, first_stride=2),
    ),
    (
        {"family": "spike_transformer", "reparameterize": True},
        lambda: SpikeTransformer(1, **SHAPE, reparameterize=True),
    ),
    ({"family": "plain_resnet"}, lambda: SpikingResNet(1, **SHAPE)),
    ({"family": "tdbn_resnet"}, lambda: SpikingResNet(1, **SHAPE, block="tdbn")),
    (
        {"blocks": (1, 2, 1, 1), "widths": FOUR, "stem_width": 6, "shortcut": "stride"},
        lambda: MsResNet((1, 2, 1, 1), FOUR, 2, 5, shortcut="stride", stem_width=6),
    ),
    ({"family": "ds_resnet", "blocks": (1, 2, 1)}, lambda: DsResNet((1, 2, 1), **SHAPE)),
    (
        {"family": "plain_resnet", "depth": 18, "widths": FOUR, "threshold": 1.0},
        lambda: SpikingResNet.imagenet(18, FOUR, 2, 5, threshold=1.0),
    ),
    (
        {
            **{"family": "sew_resnet", "depth": 50, "widths": FOUR},
            **{"threshold": 1.0, "voltage_decay": 0.0, "fires": "at"},
        },
        lambda: SpikingResNet.imagenet(
            *(50, FOUR, 2, 5), block="sew", threshold=1.0, voltage_decay=0.0, fires_at=True
        ),
    ),
    (
        {"family": "sew_resnet", "connect": "iand", "recompute": True},
        lambda: SpikingResNet(1, **SHAPE, block="sew", connect="iand"),
    ),
]


@pytest.mark.parametrize(("table", "direct"), NAMED, ids=[str(table) for table, _ in NAMED])
@torch.no_grad()
def test_recipe_builds_the_network_it_names(
    table: dict[str, Any], direct: Callable[[], nn.Module]
) -> None:
    recipe = NetworkRecipe(**{"widths": WIDTHS, "surrogate": "arctan", **table})
    net = build(recipe, in_channels=2, classes=5).eval()
    assert str(net) == str(direct())
    assert net(torch.zeros(2, 3, 2, 32, 32)).shape == (3, 5)
    exact = [m for m in net.modules() if isinstance(m, (Gate, MaxPool))]  # no surrogate is used
    neurons = {m for m in net.modules() if isinstance(m, Lif)} - {each.neuron for each in exact}
    assert {neuron.surrogate for neuron in neurons} == {"arctan"}
    again = {m.recompute for m in net.modules() if isinstance(m, Recomputing)}
    assert again == {recipe.recompute}
    connections = {m.connect for m in net.modules() if isinstance(m, baselines.SewBlock)}
    assert connections <= {recipe.connect}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_colours_are_part_of_the_network_its_state_and_its_integers(family: str) -> None:
    mean, std = (0.4, 0.6), (0.2, 0.3)
    plain = NetworkRecipe(family, widths=WIDTHS)
    coloured = replace(plain, mean=mean, std=std)
    net, bare = (build(each, 2, 5) for each in (coloured, plain))
    frames = np.random.default_rng(3).integers(0, 256, (2, 2, 2, 16, 16))
    enliven(net, 1, frames)
    state = net.state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict"):
        bare.load_state_dict(state)
    bare.load_state_dict(
        {n: t for n, t in state.items() if n.rsplit(".")[-1] not in ("mean", "std")}
    )
    raw = torch.from_numpy(frames).float()
    shift, scale = (torch.tensor(each).reshape(-1, 1, 1) for each in (mean, std))
    want = bare.double().eval()((raw.double() / 255 - shift) / scale * 255)
    got = net.double().eval()(raw.double())
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    net.float()
    graph = port.quantize(net, frames)  # takes raw pixels
    assert compare(port.run(graph, frames), run_module(net, frames))
    for wrong in ({"mean": (0.1,) * 3, "std": std}, {"mean": mean, "std": (1.0,) * 3}):
        with pytest.raises(RecipeError, match="values for frames of 2 channels"):
            build(replace(plain, **wrong), 2, 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_a_recipe_depend_on_its_seed_alone(family: str) -> None:
    nets = [
        build_network(Recipe(seed=seed, network=NetworkRecipe(family, widths=WIDTHS)))
        for seed in (1, 1, 2)
    ]
    one, again, other = ([p for p in net.parameters() if p.requires_grad] for net in nets)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("key", "said"), [("in_channels", 3), ("classes", 11)])
def test_numbers_that_are_not_those_of_the_dataset_are_refused(key: str, said: int) -> None:
    recipe = NetworkRecipe(**{key: said})
    with pytest.raises(RecipeError, match=f"network.{key} is {said}, but the dataset has"):
        build(recipe, 1, 10)
    assert build(replace(recipe, **{key: 0}), 1, 10)


def test_checkpoint_of_before_the_families_loads_and_has_the_recipe_of_now() -> None:
    folder = Path(__file__).parents[3] / "models" / "ms_resnet8_mnist"
    state = read_checkpoint(folder)
    state.load_into(build_network(state.recipe))
    assert state.recipe.network == NetworkRecipe(
        blocks=state.recipe.network.blocks,
        widths=state.recipe.network.widths,
        shortcut=state.recipe.network.shortcut,
    )
