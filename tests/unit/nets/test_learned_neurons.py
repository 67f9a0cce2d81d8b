"""Decays and thresholds that are learned: trained as numbers, snapped onto the grid, then fixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.data.samples import Pictures, Split  # noqa: E402
from neuroport.errors import RecipeError  # noqa: E402
from neuroport.nets.baselines import SpikingResNet  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import LEAST_THRESHOLD, Lif, bound, learn  # noqa: E402
from neuroport.recipe import NetworkRecipe, from_dict  # noqa: E402
from neuroport.training.checkpoint import build_network, load, read_checkpoint  # noqa: E402
from neuroport.training.fit import fit  # noqa: E402
from neuroport.training.optimizer import optimizer_of, set_rate  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402

SHAPE: dict[str, Any] = {"widths": (4, 6, 8), "in_channels": 2, "classes": 5}
TINY: dict[str, Callable[[], nn.Module]] = {
    "ms_resnet": lambda: learn(MsResNet(1, **SHAPE), "both"),
    "plain": lambda: learn(SpikingResNet(1, **SHAPE), "both"),
    "sew": lambda: learn(SpikingResNet(1, **SHAPE, block="sew"), "threshold"),
    "danet": lambda: learn(DaNet(1, **SHAPE, domain="spike", reach="network"), "both"),
    "ds_resnet": lambda: learn(DsResNet(1, **SHAPE, levels=3), "decay"),
    "ds_resnet of 1": lambda: learn(DsResNet(1, **SHAPE, levels=1), "both"),
}


def neurons(net: nn.Module) -> list[Lif]:
    return [module for module in net.modules() if isinstance(module, Lif)]


def wander(net: nn.Module, seed: int) -> nn.Module:
    """Neurons as training may leave them, all different."""
    rng = np.random.default_rng(seed)
    for neuron in neurons(net):
        if neuron.voltage_decay.requires_grad:
            neuron.voltage_decay.data.fill_(rng.uniform(1500, 4000))
        if neuron.trained_threshold is not None:
            neuron.threshold = rng.uniform(0.3, 0.9)
    return net


@pytest.mark.parametrize("name", TINY)
def test_network_with_learned_neurons_is_one_network_from_the_module_to_chip_time(
    name: str,
) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 2, 2, 8, 8))
    net = wander(enliven(TINY[name](), len(name), frames), 2)
    before = [(n.threshold, *n.decays) for n in neurons(net)]
    assert len(set(before)) > 3
    graph = port.quantize(net, frames)
    want = run_module(net, frames)
    outcome = compare(want, port.run(graph, frames))
    assert outcome, str(outcome)
    for time in ("ideal", "chip"):
        assert compare(want, port.run(port.lower(graph), frames, on="fast", time_model=time))
    for node in graph.populations:
        assert (want.messages[node.name] != 0).any(), f"{node.name} is silent"
    for neuron, (threshold, *decays) in zip(neurons(net), before, strict=True):
        lsb = neuron.lsb.item()
        assert list(neuron.decays) == decays  # the real phase had them on the grid already
        assert abs(neuron.threshold - threshold) <= 0.51 * lsb
        assert neuron.integer_threshold == pytest.approx(neuron.threshold / lsb, abs=0.02)
        assert not any(p.requires_grad for p in neuron.parameters())


def test_learned_values_stay_in_their_range() -> None:
    neuron = learn(Lif(0.5, 0.75, 0.5), "both")
    assert isinstance(neuron, Lif)
    assert neuron.trained_threshold is not None
    # current and voltage decay that a chip takes, or lowering would refuse what was trained
    for value, decays, threshold in ((-9e9, (1, 0), LEAST_THRESHOLD), (9e9, (4096, 4095), 9e9)):
        for parameter in neuron.parameters():
            parameter.data.fill_(value)
        bound(neuron)
        assert neuron.decays == decays
        assert neuron.threshold == pytest.approx(threshold)
        neuron(torch.ones(3, 1, 1, 2, 2)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in neuron.parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_decay_moves_as_if_it_counted_in_ones_and_is_not_pulled_to_zero(optimizer: str) -> None:
    def moved(momentum: float) -> tuple[float, float]:
        own = {"momentum": momentum} if optimizer == "sgd" else {}
        recipe = from_dict({"training": {"optimizer": optimizer, **own}})
        neuron = learn(Lif(0.5, 0.75), "both")
        chosen = optimizer_of(neuron, recipe)
        set_rate(chosen, 0.01)
        for _ in range(2):
            chosen.zero_grad()
            value = neuron.voltage_decay / 4096 + neuron.trained_threshold
            (0.5 * value.square()).sum().backward()
            chosen.step()
        return neuron.voltage_decay.item() / 4096 - 0.75, neuron.threshold - 0.5

    for momentum in (0.0, 0.9):
        decay, threshold = moved(momentum)
        assert decay == pytest.approx(threshold, rel=1e-3)
        assert decay < -0.01


def test_nothing_learned_changes_no_name_and_no_parameter() -> None:
    plain = build_network(from_dict({}))
    again = learn(build_network(from_dict({})), "none")
    assert plain.state_dict().keys() == again.state_dict().keys()
    assert not [name for name in plain.state_dict() if "trained" in name]
    assert not any(p.requires_grad for n in neurons(again) for p in n.parameters())
    assert len(optimizer_of(plain, from_dict({})).param_groups) == 1


@pytest.fixture(scope="module")
def data() -> Split:
    rng = np.random.default_rng(0)
    pictures = Pictures(
        rng.integers(0, 256, (20, 1, 12, 12)).astype(np.uint8), np.arange(20, dtype=np.int64) % 10
    )
    return Split(pictures, pictures)


class StoppedError(Exception):
    """Raised by a report, as an interruption would be."""


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_learns_then_fixes_and_goes_on_where_it_was_stopped(
    optimizer: str, data: Split, tmp_path: Path
) -> None:
    recipe = from_dict(
        {
            "data": {"steps": 2},
            "network": {"widths": [3, 4, 5], "learn": "both"},
            "training": {
                "epochs": 2,
                "batch": 5,
                "warmup": 0,
                "optimizer": optimizer,
                "learning_rate": 0.1,
                "checkpoint_steps": 3,
            },
            "quantization": {"epochs": 2},
        }
    )
    phases: dict[str, list[Any]] = {}

    def told(event: dict[str, Any]) -> None:
        if "accuracy" in event:
            state = read_checkpoint(tmp_path / "whole").tensors
            kept = {n: t for n, t in state.items() if n.endswith(("_decay", "trained_threshold"))}
            phases.setdefault(event["phase"], []).append(kept)

    fit(recipe, tmp_path / "whole", data=data, report=told)
    start = {f"model.{name}": t for name, t in build_network(recipe).state_dict().items()}
    first = phases["float"][-1]
    for ending in ("voltage_decay", "trained_threshold"):
        assert any(not torch.equal(t, start[n]) for n, t in first.items() if n.endswith(ending))
    for name, value in phases["quantized"][0].items():
        assert torch.equal(phases["quantized"][1][name], value), name  # fixed
        if name.endswith("_decay"):
            assert value == value.round()
    for stop in ((0, 4), (1, 4), (2, 4), (3, 4)):

        def report(event: dict[str, Any], stop: tuple[int, int] = stop) -> None:
            if (event["epoch"], event.get("batch")) == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            fit(recipe, tmp_path / "parts", data=data, report=report)
    fit(recipe, tmp_path / "parts", data=data)
    want, got = (read_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert want.keys() == got.keys()
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name
    frames = np.random.default_rng(1).integers(0, 256, (2, 3, 1, 12, 12))
    net = load(tmp_path / "whole")
    assert compare(run_module(net, frames), port.run(port.quantize(net, frames), frames))


def test_thresholds_of_several_levels_are_refused_with_the_reason() -> None:
    for what in ("threshold", "both"):
        with pytest.raises(RecipeError, match=r"the 3 levels of a neuron share a grid.*'decay'"):
            NetworkRecipe(family="ds_resnet", learn=what)
        with pytest.raises(ValueError, match="the levels share one grid"):
            learn(DsResNet(1, **SHAPE), what)
        assert NetworkRecipe(family="ds_resnet", learn=what, levels=1).learn == what
    assert NetworkRecipe(family="ds_resnet", learn="decay").learn == "decay"
    with pytest.raises(RecipeError, match=r"network\.learn is 'all'"):
        NetworkRecipe(learn="all")
