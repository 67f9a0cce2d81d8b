"""The zoo: every model's card, weights and network agree, and a model can be remade."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.recipe import from_dict, load_recipe

ROOT = Path(__file__).resolve().parent.parent
DEMO = "ms_resnet8_mnist"
NAMES = sorted(p.parent.name for p in (ROOT / "models").glob("*/recipe.toml"))
ZOO = [name for name in NAMES if (ROOT / "models" / name / "results.json").exists()]
ZOO.remove(DEMO)


@pytest.fixture(scope="module")
def remaking() -> ModuleType:
    spec = importlib.util.spec_from_file_location("remake", ROOT / "models" / "remake.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["remake"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ZOO)
def test_figures_of_a_card_are_those_of_its_results(name: str, remaking: ModuleType) -> None:
    home = ROOT / "models" / name
    results = json.loads((home / "results.json").read_text())
    page = (home / "README.md").read_text()
    found = re.search(f"{remaking.BEGIN}\n(.*?)\n{remaking.END}", page, re.DOTALL)
    assert found is not None
    assert found[1] == remaking.figures(results)
    assert from_dict(results["recipe"]) == load_recipe(home / "recipe.toml")
    held_out = results["recipe"]["data"]["test"] or 10_000  # all, of a complete dataset
    for engine in ("module", "fast"):
        assert results["engines"][engine]["samples"] == held_out
        assert results["engines"][engine]["differing"] == 0
    for engine in (on for on in results["engines"] if on.startswith("lava-cpu")):
        assert results["engines"][engine]["samples"] >= 20
        assert results["engines"][engine]["differing"] == 0


def test_list_of_models_has_all_that_are_made_with_their_figures(remaking: ModuleType) -> None:
    page = (ROOT / "models" / "README.md").read_text()
    assert remaking.listing(ROOT / "models") in page
    assert all(f"[{name}]({name})" in page for name in (*ZOO, DEMO))


@pytest.mark.parametrize("name", ZOO)
def test_stored_weights_and_stored_network_give_the_same_spikes(name: str) -> None:
    home = ROOT / "models" / name
    if not (home / "checkpoint.safetensors").exists():
        assert json.loads((home / "results.json").read_text())["graph"]["parameters"] > 500_000
        return
    frames = np.load(home / "frames.npy")[:, :4]
    want = port.run(port.load(home), frames, on="module")
    chip = port.read(home / "network.net")
    for engine in ("reference", "fast"):
        assert port.compare(want, port.run(chip, frames, on=engine), graph=chip, frames=frames)


def some(name: str) -> Any:
    """One model by default, the others with -m long: 20 samples of each ran when it was made."""
    return pytest.param(name, marks=() if name == "danet20_spike_stage_mnist" else pytest.mark.long)


@pytest.mark.lava
@pytest.mark.parametrize("name", map(some, ZOO))
def test_stored_network_gives_the_same_spikes_on_lava(name: str) -> None:
    home = ROOT / "models" / name
    frames = np.load(home / "frames.npy")[:, :1]
    want = port.run(home / "network.net", frames)
    got = port.run(home / "network.net", frames, on="lava-cpu")
    assert port.compare(want, got)
    assert want.messages.keys() == got.messages.keys()


@pytest.mark.lava
def test_a_model_is_remade_from_its_recipe(tmp_path: Path, remaking: ModuleType) -> None:
    home = tmp_path / "small"
    home.mkdir()
    (home / "recipe.toml").write_text(
        'name = "small"\n[data]\ntrain = 100\ntest = 60\nsteps = 2\n'
        "[network]\nwidths = [2, 3, 4]\n"
        "[training]\nepochs = 1\nbatch = 50\n[quantization]\nepochs = 1\n"
    )
    (home / "README.md").write_text(f"# small\n\n{remaking.BEGIN}\n{remaking.END}\n\nwords\n")
    remaking.remake(home, tmp_path / "runs", lava=52)
    results = json.loads((home / "results.json").read_text())
    assert {e: r["samples"] for e, r in results["engines"].items()} == {
        "reference": 60,
        "module": 60,
        "fast": 60,
        "lava-cpu": 52,
        "lava-cpu fused": 52,
    }
    assert results["engines"]["reference"]["correct"] == results["engines"]["fast"]["correct"]
    assert results["engines"]["fast"]["positions"] > results["engines"]["lava-cpu"]["positions"]
    page = (home / "README.md").read_text()
    assert page.endswith("words\n")
    assert remaking.figures(results) in page
    frames = np.load(home / "frames.npy")
    assert frames.shape == (2, 20, 1, 28, 28)
    want = port.run(port.load(home), frames, on="module")
    assert port.compare(want, port.run(home / "network.net", frames))
