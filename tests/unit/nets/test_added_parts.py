"""Datasets, families of networks and chips of other packages, added by entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroport.data.loading import load_data
from neuroport.errors import (
    FormatError,
    LayerError,
    NeuroportError,
    NeuroportWarning,
    RecipeError,
)
from neuroport.recipe import from_dict
from neuroport.targets.target import load_target, names
from tests.helpers.distribution import distribution

DATASETS = """
import numpy as np

from neuroport.data.events import EVENT
from neuroport.data.catalog import Dataset
from neuroport.data.samples import Pictures


def stripes(recipe, train):
    labels = np.arange(40 if train else 20) % 4
    images = np.zeros((len(labels), 1, 8, 8), np.uint8)
    for number, label in enumerate(labels):
        images[number, 0, 2 * label] = 255
    return Pictures(images, labels)


class Dots:
    labels = np.arange(40) % 2

    def __init__(self, recipe, train):
        self.half = 0 if train else 100

    def read(self, number):
        events = np.zeros(3, EVENT)
        events["x"], events["t"] = 3 * (number % 2), [0, 10, 20 + self.half]
        return events


class Others:
    labels = np.arange(20) % 4

    def __init__(self, recipe, train):
        pass

    def read(self, number):
        events = np.zeros(4, EVENT)
        events["x"], events["t"] = 1, np.arange(4)
        events["txpy"[number % 4]][2] = [-1, 4, -1, 1][number % 4] if number else 2
        return events


def others(images, labels):
    return Dataset(1, 8, 8, 4, reader=lambda recipe, train: Pictures(images, labels))


IMAGES, LABELS = np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 4
FLOATS = others(IMAGES / 255, LABELS)
LARGE = others(IMAGES.astype(np.int64) + 256, LABELS)
FLAT = others(IMAGES[:, 0], LABELS)
HIGH = others(np.zeros((20, 1, 16, 8), np.uint8), LABELS)
FROM_ONE = others(IMAGES, LABELS + 1)
ONE_HOT = others(IMAGES, np.eye(4)[LABELS])
NAMES = others(IMAGES, ["cat"] * 20)
PAIR = Dataset(1, 8, 8, 4, reader=lambda recipe, train: (IMAGES, LABELS))
HALVES = Dataset(1, 8, 8, 4, reader=lambda recipe: (IMAGES, LABELS), split=True)
OTHERS = Dataset(2, 1, 4, 4, events=True, reader=Others)
STRIPES = Dataset(1, 8, 8, 4, reader=stripes)
DOTS = Dataset(2, 1, 4, 2, events=True, resized=True, reader="their_data:Dots")
"""

FAMILY = """
from torch import nn

from neuroport.nets.ms_resnet import MsResNet
from neuroport.nets.neuron import Lif
from neuroport.nets.recipe import Family
from neuroport.nets.synapse import Conv, Readout


def build(net):
    return MsResNet(net.blocks, net.widths[::-1], net.in_channels, net.classes)


class Shared(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.blocks = sum(net.stages)
        self.stem = Conv(net.in_channels, net.widths[0], 3, padding=1)
        self.neuron, self.last = Lif(), Lif()
        self.conv = Conv(net.widths[0], net.widths[0], 3, padding=1)
        self.readout = Readout(net.widths[0], net.classes)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(self.blocks):
            x = x + self.conv(self.neuron(x))
        return self.readout(self.last(x))


SHARED = Family(Shared)
REVERSED = Family(build)
STRANGE = Family(build, keys=("strangeness",))
"""

CHIP = """
summary = "half of a Loihi 2"
base = "loihi2"

[cores]
value = 60
source = "their measurement"
confidence = "recalled"
"""


def add(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: str, *entries: str) -> None:
    """Install a distribution with a dataset, a family and a chip, and some of their entries."""
    sources = {
        "their_data.py": DATASETS,
        "their_family.py": FAMILY,
        "their_chips/__init__.py": "",
        "their_chips/half-loihi.toml": CHIP,
    }
    for module in ("their_data", "their_family", "their_chips"):  # of a test before
        monkeypatch.delitem(sys.modules, module, raising=False)
    lines = "\n".join([f"[{group}]", *entries, ""])
    monkeypatch.syspath_prepend(distribution(tmp_path / "site", lines, sources))


def test_pictures_of_another_package_are_taken_by_a_recipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(monkeypatch, tmp_path, "neuroport.datasets", "stripes = their_data:STRIPES")
    recipe = from_dict({"data": {"dataset": "stripes", "train": 12, "test": 0, "steps": 3}}).data
    assert (recipe.shape, recipe.class_count) == ((1, 8, 8), 4)
    found = load_data(recipe)
    assert (len(found.train.labels), len(found.test.labels)) == (12, 20)
    assert np.bincount(found.train.labels).tolist() == [3, 3, 3, 3]
    rows = found.train.views(slice(None))[0, :, 0, :, 0].argmax(1)
    assert rows.tolist() == (2 * found.train.labels).tolist()
    with pytest.raises(RecipeError, match="binning, window and gain are for events; stripes has"):
        from_dict({"data": {"dataset": "stripes", "gain": 2}})


def test_recordings_of_another_package_are_binned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(monkeypatch, tmp_path, "neuroport.datasets", "dots = their_data:DOTS")
    table = {"dataset": "dots", "train": 10, "test": 10, "steps": 2, "window": 15}
    found = load_data(from_dict({"data": table, "network": {"shortcut": "stride"}}).data)
    views = found.train.views(slice(4))
    assert views.shape == (2, 4, 2, 1, 4)
    for number, label in enumerate(found.train.labels[:4]):
        assert views[:, number, 0, 0, 3 * label].tolist() == [2, 1]
    assert found.test.views(slice(4)).sum() == 4 * 2  # the last event comes after the last step


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("FLOATS", r"'given', training samples are float64 .*np.uint8"),
        ("LARGE", r"training samples are int64 .*np.uint8"),
        ("FLAT", r"training samples are uint8 \(1, 1, 8, 8\); give 8-bit"),
        ("HIGH", r"are \(1, 1, 1, 16, 8\); give \(1, N, 1, 8, 8\), or 3 steps"),
        ("FROM_ONE", r"labels are 1 to 4, and 4 classes are 0 to 3; number them so"),
        ("ONE_HOT", r"labels are float64 \(20, 4\); give an array"),
        ("NAMES", r"labels are list; give an array"),
        ("PAIR", r"training samples are tuple; give Pictures"),
        ("HALVES", r"training samples are NoneType; give Pictures"),
    ],
)
def test_samples_of_another_package_that_are_not_those_of_the_recipe_are_refused(
    name: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(monkeypatch, tmp_path, "neuroport.datasets", f"given = their_data:{name}")
    recipe = from_dict({"data": {"dataset": "given", "train": 12, "test": 0, "steps": 3}}).data
    with pytest.raises(RecipeError, match=why):
        load_data(recipe)


def test_pictures_of_another_package_that_ignore_the_size_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(monkeypatch, tmp_path, "neuroport.datasets", "stripes = their_data:STRIPES")
    recipe = from_dict({"data": {"dataset": "stripes", "train": 12, "test": 12, "size": 4}}).data
    with pytest.raises(RecipeError, match=r"give \(1, N, 1, 4, 4\), .*averaged\(images, recipe"):
        load_data(recipe)


def test_an_impossible_event_of_another_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(monkeypatch, tmp_path, "neuroport.datasets", "others = their_data:OTHERS")
    table = {"dataset": "others", "train": 0, "test": 0, "steps": 2}
    recipe = from_dict({"data": table, "network": {"shortcut": "stride"}})
    found: Any = load_data(recipe.data)
    for number, what in ((1, "column"), (2, "polarity of event 2 is -1"), (3, "row"), (4, "time")):
        with pytest.raises(FormatError, match=rf"recording {number}: the {what}"):
            found.train.whole.views(slice(number, number + 1))


def test_a_dataset_of_a_package_that_is_not_there_is_unknown() -> None:
    with pytest.raises(RecipeError, match=r"data.dataset is 'stripes'; known: 'mnist5k', "):
        from_dict({"data": {"dataset": "stripes"}})


def test_what_is_no_dataset_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add(monkeypatch, tmp_path, "neuroport.datasets", "odd = their_data:stripes")
    with pytest.raises(RecipeError, match=r"dataset 'odd' is <function .*; a package adds a"):
        from_dict({"data": {"dataset": "odd"}})


def test_a_family_of_another_package_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from neuroport.nets.families import build
    from neuroport.nets.ms_resnet import MsResNet

    add(monkeypatch, tmp_path, "neuroport.families", "reversed = their_family:REVERSED")
    recipe = from_dict({"network": {"family": "reversed", "widths": [3, 4, 5], "learn": "decay"}})
    built = build(recipe.network, 2, 7)
    assert isinstance(built, MsResNet)
    shapes = [tuple(p.shape) for p in built.parameters() if p.dim() == 4]
    assert shapes == [
        tuple(p.shape) for p in MsResNet(1, (5, 4, 3), 2, 7).parameters() if p.dim() == 4
    ]
    with pytest.raises(RecipeError, match=r"network.levels is 2, which .* in family 'reversed'"):
        from_dict({"network": {"family": "reversed", "levels": 2}})


def test_a_checkpoint_of_a_family_that_shares_layers_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from neuroport.nets.families import build
    from neuroport.training.checkpoint import State, read_checkpoint, save_checkpoint

    add(monkeypatch, tmp_path, "neuroport.families", "shared = their_family:SHARED")
    recipe = from_dict({"network": {"family": "shared", "blocks": 20, "widths": [2, 2, 2]}})
    own = build(recipe.network, 1, 10).state_dict()
    (tmp_path / "run").mkdir()
    save_checkpoint(
        tmp_path / "run", State(recipe, 0, [], {f"model.{n}": each for n, each in own.items()})
    )
    found = read_checkpoint(tmp_path / "run")
    assert found.recipe == recipe
    assert all(torch.equal(found.tensors[f"model.{name}"], each) for name, each in own.items())


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        ({"stem": "coarse"}, RecipeError, "no layer of family 'shared' takes pixels; leave it out"),
        ({"recompute": True}, LayerError, "Shared has no blocks to recompute; hold them in a"),
    ],
)
def test_a_key_without_effect_on_a_family_of_another_package_is_refused(
    given: dict[str, Any],
    error: type[NeuroportError],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pytest.importorskip("torch")
    from neuroport.nets.families import build

    add(monkeypatch, tmp_path, "neuroport.families", "shared = their_family:SHARED")
    recipe = from_dict({"network": {"family": "shared", **given}})
    with pytest.raises(error, match=why):
        build(recipe.network, 1, 10)


def test_a_family_whose_keys_no_recipe_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    add(monkeypatch, tmp_path, "neuroport.families", "strange = their_family:STRANGE")
    with pytest.raises(RecipeError, match=r"family 'strange' is Family\(.*whose keys are some of"):
        from_dict({"network": {"family": "strange"}})
    with pytest.raises(RecipeError, match=r"network.family is 'reversed'; known: 'ms_resnet', "):
        from_dict({"network": {"family": "reversed"}})


def test_a_folder_of_chips_of_another_package_is_listed_and_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = names()
    add(monkeypatch, tmp_path, "neuroport.targets", "theirs = their_chips")
    assert set(names()) - set(before) == {"half-loihi"}
    found = load_target("half-loihi")
    assert (found["cores"], found["chips"]) == (60, 1)
    assert found.values["cores"].source == "their measurement"
    assert found.values["neurons"] == load_target("loihi2").values["neurons"]


def test_a_chip_with_our_name_is_ignored_and_a_broken_folder_left_out_with_warnings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(monkeypatch, tmp_path, "neuroport.targets", "theirs = their_chips", "gone = no_such_chips")
    with pytest.warns(NeuroportWarning, match=r"'gone' of the package theirs cannot be imported"):
        assert "half-loihi" in names()
    (tmp_path / "site" / "their_chips" / "loihi2.toml").write_text(CHIP)
    with pytest.warns(NeuroportWarning) as told:
        assert load_target("loihi2").capacity == 120
    said = [str(each.message) for each in told]
    assert any("gone" in each for each in said)
    assert any("target 'loihi2' in" in each and "is ignored" in each for each in said)


KEPT = """
import sys
import numpy as np
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input
from neuroport.graph.store import save
from their_neuron import SoftLif
weight = np.full((2, 3), 4)
nodes = [Input("frames", (3,)), Dense("d", ("frames",), weight), SoftLif("n", ("d",), 9)]
print(save(Graph(nodes, 2), "net.graph"), Graph(nodes, 2).hash)
"""
FOUND = """
import sys
import neuroport as port
graph = port.read("net.graph")
print(graph.hash, graph["n"].kind, "their_neuron" in sys.modules)
"""


def test_a_file_with_a_neuron_of_another_package_is_read_where_nobody_imported_it(
    tmp_path: Path, root: Path
) -> None:
    source = (root / "tests" / "kinds" / "soft_lif.py").read_text()
    files = {"their_neuron.py": source}
    entry = "[neuroport.kinds]\nsoftlif = their_neuron:"
    sites = {
        name: distribution(tmp_path / name, entry + name, files) for name in ("SoftLif", "integers")
    }
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "their_neuron.py").write_text(source)

    def told(program: str, site: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{site}"},
            capture_output=True,
            text=True,
            check=False,
        )

    kept = told(KEPT, bare)
    assert kept.returncode == 0, kept.stderr
    found = told(FOUND, sites["SoftLif"])
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [kept.stdout.split()[1], "softlif", "True"]
    for site, why in (
        (bare, "unknown kind 'softlif'; known: "),
        (sites["integers"], "which is not"),
    ):
        refused = told(FOUND, site)
        assert refused.returncode == 1
        assert why in refused.stderr
