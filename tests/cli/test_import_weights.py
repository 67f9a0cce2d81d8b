"""The verb ``import-weights``: from a state dict of others to integers that were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlxtend")

from tests.conftest import Neuroport  # noqa: E402
from tests.helpers import published_weights as published  # noqa: E402

RECIPE = """
name = "theirs"
[data]
steps = 2
size = 14
train = 100
test = 40
[network]
family = "ds_resnet"
widths = [4, 6, 8]
levels = 3
[training]
epochs = 3
batch = 20
"""


def test_weights_come_in_are_quantized_with_their_cost_and_trained_on(
    called: Neuroport, tmp_path: Path
) -> None:
    recipe, file, run = tmp_path / "theirs.toml", tmp_path / "theirs.pth", tmp_path / "run"
    recipe.write_text(RECIPE)
    torch.save(published.drawn(published.mlf(1, (4, 6, 8), 1, 10)), file)
    done = called("import-weights", file, "--recipe", recipe, "-o", run, "--explain")
    assert done.returncode == 0, done.stderr
    assert "voting.bias" in done.stdout
    assert "-> readout.synapse.bias" in done.stdout
    assert f"all 56 entries of {file} (mlf)" in done.stdout
    done = called("quantize", run, "--cost", 10, "--json")
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert plain["cost"]
    options = ("--equalize", "--correct-bias", "--calibration", 8)
    done = called("quantize", run, *options, "--cost", 10, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["hash"] != plain["hash"]
    assert found["cost"]["synapses"] != plain["cost"]["synapses"]
    done = called("quantize", run, "--equalize", "--calibration", 8)
    assert done.returncode == 2
    assert "--calibration is for --widths checked and --correct-bias" in done.stderr
    done = called("quantize", run, "--widths", "checked", "--calibration", 8)
    assert done.returncode == 0, done.stderr
    assert "populations checked, not proven" in done.stdout
    done = called("train", run / "recipe.toml", "-o", run, "--json")
    assert done.returncode == 0, done.stderr
    phases = [metrics["phase"] for metrics in json.loads(done.stdout)["metrics"]]
    assert phases == ["quantized", "quantized"]
    done = called("quantize", run, "--widths", "checked")
    assert done.returncode == 2
    assert "chosen where the integer phase begins" in done.stderr
    done = called("quantize", run, "--correct-bias")
    assert done.returncode == 2
    assert "correct_bias of [quantization] in a recipe" in done.stderr


def test_a_network_is_named_by_family_and_depth_or_by_a_recipe(
    called: Neuroport, tmp_path: Path
) -> None:
    file, run = tmp_path / "theirs.pth", tmp_path / "run"
    torch.save(published.drawn(published.ms_resnet(18, (4, 4, 4, 4), 1000)), file)
    changes = ("--set", "network.widths=[4, 4, 4, 4]", "--set", "data.root='pictures'")
    words = ("import-weights", file, "--family", "ms_resnet", "--depth", 18)
    done = called(*words, "--dataset", "imagenet", *changes, "-o", run, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["recipe"], found["naming"]) == ("ms_resnet18_imagenet", "ms_resnet")
    assert len(found["entries"]) == 128
    for wrong, said in (
        (("--family", "ms_resnet", "--depth", 19), "0 shipped recipes are of family ms_resnet"),
        (("--family", "ms_resnet", "--depth", 20), "choose with --recipe"),
        ((), "name the network: with --recipe, or with --family and --depth"),
        (("--recipe", "demo", "--depth", 18), "--depth and --dataset choose a recipe of --family"),
        (("--recipe", "demo", "--set", "blocks"), "changes no key; tell it as"),
        (("--recipe", "demo"), "does not fit the MsResNet"),
    ):
        done = called("import-weights", file, *wrong, "-o", tmp_path / "other")
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "other").exists()
    assert "nearest is" in done.stderr
    assert len(done.stderr.splitlines()) > 60  # all that does not fit


def test_the_shipped_recipes_are_listed(called: Neuroport) -> None:
    done = called("train", "--list")
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert "ms_resnet, 104 layers, imagenet, 6 steps, 125 epochs" in done.stdout
    listed = json.loads(called("train", "--list", "--json").stdout)
    assert listed["demo"]["data"]["dataset"] == "mnist5k"
    for words in ((), ("demo",)):
        done = called("train", *words)
        assert (done.returncode, "--list prints" in done.stderr) == (2, True)
    for words, named in (
        (("demo",), "RECIPE"),
        (("demo", "-o", "run"), "RECIPE, --out"),
        (("--device", "auto", "--tensorboard"), "--tensorboard, --device"),
    ):
        done = called("train", *words, "--list")
        assert done.returncode == 2
        assert f"trains nothing; leave out {named}, or --list" in done.stderr
        assert done.stdout == ""
