"""The demo from its command line: whole, again from its checkpoint, and told that it diverged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import neuroport as port
from neuroport.demo import carried
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input
from tests.conftest import Neuroport

pytestmark = [pytest.mark.lava, pytest.mark.slow]
NEUROPORT = [sys.executable, "-c", "from neuroport.cli import main; main()"]


def run_demo(folder: Path, recipe: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [*NEUROPORT, "demo", "--out", str(folder), "--recipe", str(recipe), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Path) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    done = run_demo(folder / "run", tiny_recipe, "--samples", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def test_demo_compares_every_population_and_says_so(demo_folder: Path) -> None:
    said = (demo_folder / "stdout.txt").read_text()
    results = json.loads((demo_folder / "run" / "demo.json").read_text())
    assert said.count("spikes' worth of positions in") == 2
    assert said.count(", 0 differ") >= 2
    assert results["equal"] is True
    for comparison in results["comparisons"]:
        assert comparison["differing"] == 0
        assert comparison["same_predictions"] is True
        assert f"{comparison['positions']:,}" in said
    assert {"float", "quantized", "lava-cpu"} == set(results["accuracy"])


def test_demo_of_a_recipe_without_a_real_valued_phase(tiny_recipe: Path, tmp_path: Path) -> None:
    text = tiny_recipe.read_text()
    assert "[training]\nepochs = 2\n" in text
    path = tmp_path / "integers.toml"
    path.write_text(text.replace("[training]\nepochs = 2\n", "[training]\nepochs = 0\n"))
    done = run_demo(tmp_path / "run", path, "--samples", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "run" / "demo.json").read_text())
    assert set(results["accuracy"]) == {"quantized", "lava-cpu"}


def test_demo_says_what_carries_the_shortcuts(demo_folder: Path) -> None:
    graph, chip = (port.read(demo_folder / "run" / f"{n}.graph") for n in ("quantized", "lowered"))
    said = (demo_folder / "stdout.txt").read_text()
    # two relays for each projection, one for the stem, and the first block's shortcut waits
    assert carried(chip) == "5 relays carry shortcuts, shortcuts wait in 1 synapse"
    assert f"lowered.graph: {carried(chip)}\n" in said
    held = port.lower(graph, carrier="relay", align="relays")
    assert carried(held) == "7 relays carry shortcuts"
    straight = Graph([Input("frames", (2,)), Dense("in", ("frames",), [[2, -2]])], 1)
    assert carried(straight) == "no shortcut has to wait"


def test_demo_writes_every_stage_as_a_file(demo_folder: Path) -> None:
    run = demo_folder / "run"
    names = {path.name for path in run.iterdir()}
    assert {"report.html", "demo.json", "frames.npy", "labels.npy", "recipe.toml"} <= names
    assert [path.name for path in run.glob("*.net")]
    traces = {name: port.Trace.load(run / f"{name}.trace") for name in ("reference", "lava-cpu")}
    assert port.compare(traces["reference"], traces["lava-cpu"])
    spikes = [
        trace for trace in traces["reference"].kinds if traces["reference"].kinds[trace] == "lif"
    ]
    assert all(traces["reference"][name].any() for name in spikes)
    labels = np.load(run / "labels.npy")
    results = json.loads((run / "demo.json").read_text())
    right = 100 * (traces["lava-cpu"].predictions == labels).mean()
    assert results["accuracy"]["lava-cpu"]["percent"] == pytest.approx(right, abs=0.01)


def test_demo_again_trains_nothing_and_keeps_the_weights(
    called: Neuroport, demo_folder: Path, tiny_recipe: Path
) -> None:
    stored = demo_folder / "run" / "checkpoint.safetensors"
    before, written = load_file(stored), stored.stat().st_mtime_ns
    first = json.loads((demo_folder / "run" / "demo.json").read_text())
    run = demo_folder / "run"
    done = called("demo", "--out", run, "--recipe", tiny_recipe, "--samples", 8, "--json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    after = load_file(stored)
    assert stored.stat().st_mtime_ns == written
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert again["graph"] == first["graph"]
    assert again["accuracy"] == first["accuracy"]
