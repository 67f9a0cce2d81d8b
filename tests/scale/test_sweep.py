"""A sweep trains every point as a training of its own would, wherever it runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
distributed = pytest.importorskip("distributed")

from neuroport.errors import BackendError, CompareError, FormatError, RecipeError  # noqa: E402
from neuroport.files import parse_toml, read_json  # noqa: E402
from neuroport.graph.store import load  # noqa: E402
from neuroport.recipe import Recipe, changed, from_dict  # noqa: E402
from neuroport.scale.sweep import axes_of, changes_of, sweep  # noqa: E402
from neuroport.scale.sweep_point import content_of  # noqa: E402
from neuroport.scale.task import run_shard  # noqa: E402
from neuroport.targets.target import load_target  # noqa: E402
from neuroport.training.checkpoint import read_checkpoint  # noqa: E402
from neuroport.training.fit import fit  # noqa: E402
from neuroport.version import __version__  # noqa: E402
from tests.conftest import TINY, Neuroport  # noqa: E402

GRID = ("seed=1,2",)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Digits, few and small."""
    return from_dict(parse_toml(TINY, "tiny", RecipeError), "tiny")


@pytest.fixture(scope="module")
def swept(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    sweep(recipe, folder, GRID)
    return folder


def weights(folder: Path) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in read_checkpoint(folder).tensors.items()}


def test_a_point_is_what_a_training_of_its_own_gives(
    recipe: Recipe, swept: Path, tmp_path: Path
) -> None:
    fit(changed(recipe, ["seed=2"]), tmp_path)
    assert weights(tmp_path) == weights(swept / "0002")
    found = read_json(swept / "sweep.json")["points"][1]
    assert found["changes"] == ["seed=2"]
    assert found["graph"] == load(swept / "0002" / "network.graph").hash
    assert set(found["accuracy"]) == {"float", "quantized"}
    assert {each["carrier"] for each in found["options"]} >= {"relay", "unroll"}
    assert weights(swept / "0001") != weights(swept / "0002")


def test_a_sweep_goes_on_with_what_it_lacks_and_refuses_what_is_of_another(
    recipe: Recipe, swept: Path
) -> None:
    before = (swept / "0001" / "result.json").stat().st_mtime_ns
    (swept / "0002").rename(swept / "0002.part")  # as if it had been stopped before its last file
    (swept / "0002.part" / "result.json").unlink()
    said: list[str] = []
    found = sweep(recipe, swept, GRID, report=said.append)
    assert [line.split(":")[0] for line in said] == ["point 2 of 2"]
    assert (swept / "0001" / "result.json").stat().st_mtime_ns == before
    assert str(found).splitlines()[0].split()[:2] == ["point", "seed"]
    with pytest.raises(CompareError, match=r"points of another sweep \(of other grid"):
        sweep(recipe, swept, ("seed=1,3",))


def test_workers_of_a_cluster_train_the_same(recipe: Recipe, swept: Path, tmp_path: Path) -> None:
    sweep(recipe, tmp_path / "again", GRID, cluster="local:2")
    assert read_json(tmp_path / "again" / "sweep.json") == read_json(swept / "sweep.json")
    for number in ("0001", "0002"):
        assert weights(tmp_path / "again" / number) == weights(swept / number)
    left = {path.name for path in (tmp_path / "again").iterdir()}
    assert left == {"0001", "0002", "plan.json", "sweep.json"}


def test_a_grid_is_every_combination_the_last_key_fastest() -> None:
    axes = axes_of(["network.widths=[4, 8],[8, 16]", "training.optimizer='sgd'", "seed=1,2"])
    assert changes_of(axes) == [
        ["network.widths=[4, 8]", 'training.optimizer="sgd"', "seed=1"],
        ["network.widths=[4, 8]", 'training.optimizer="sgd"', "seed=2"],
        ["network.widths=[8, 16]", 'training.optimizer="sgd"', "seed=1"],
        ["network.widths=[8, 16]", 'training.optimizer="sgd"', "seed=2"],
    ]


MANY = [f"seed={','.join(map(str, range(101)))}", f"data.train={','.join(['9'] * 100)}"]


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (["seed"], "write seed=1,2,3"),
        (["seed=1", "seed=2"], "seed is there twice"),
        (["seed="], "no list of values"),
        ([], "the grid is empty"),
        (["training.sped=1,2"], "sped"),
        (["seed=1,true"], "seed"),
        (["seed=1,2,1"], r"points 1 \(seed=1\) and 3 \(seed=1\) of the grid are the same recipe"),
        (["training.learning_rate=1,1.0"], "same recipe; give every value once"),
        (["seed=1979-05-27"], r"seed is '1979-05-27' in the grid \(date\); a recipe holds numbers"),
        (["training.learning_rate=inf"], "learning_rate must be positive, not inf"),
        (["training.learning_rate=nan,0.1"], "learning_rate must be positive, not nan"),
        (['name="\N{GRINNING FACE}","b"'], "name is '\N{GRINNING FACE}'"),
        (['name="\x7f"'], "'name=\"\\\\x7f\"' has values that are not TOML"),
        (['name="\\u007f"'], r"name is '\\x7f'"),
        (["network.widths={a=1}"], "network.widths is {'a': 1}"),
        (["seed=1,x"], "'seed=1,x' has values that are not TOML; separate them by commas"),
        (["seed=1]\nx=[2"], "has values that are not TOML"),
        (["seed=1] # 2"], "has values that are not TOML"),
        ({"seed": 5}, "seed has no list of values"),
        ({"seed": {"a": 1}}, "seed has no list of values"),
        ({"seed": [None]}, r"seed is 'None' in the grid \(NoneType\)"),
        ({"name": ["\udc80"]}, "name is "),
        ("seed=1,2", "the grid is 'seed=1,2'; give a dictionary of lists, or texts"),
        (None, "the grid is None"),
        ([5], "5 is not part of a grid"),
        (MANY, "10,100 points"),
    ],
)
def test_a_grid_that_is_none_is_refused_before_anything_is_made(
    recipe: Recipe, tmp_path: Path, grid: Any, says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        sweep(recipe, tmp_path / "sweep", grid)
    assert not (tmp_path / "sweep").exists()


def test_numbers_of_numpy_are_values_of_a_grid() -> None:
    axes = axes_of({"seed": np.arange(2), "training.learning_rate": [np.float32(0.5)]})
    assert changes_of(axes) == [
        ["seed=0", "training.learning_rate=0.5"],
        ["seed=1", "training.learning_rate=0.5"],
    ]


def test_a_cluster_that_is_none_is_refused_before_anything_is_made(
    recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="give local:N"):
        sweep(recipe, tmp_path / "sweep", GRID, cluster="tcp://")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "{}",
        "[]",
        "null",
        "{",
        "",
        '{"changes": ["seed=2"], "accuracy": {}, "options": []}',
        '{"changes": ["seed=1"], "accuracy": {"float": "high"}, "options": []}',
        '{"changes": ["seed=1"], "accuracy": {"float": -1}, "options": []}',
        '{"changes": ["seed=1"], "accuracy": {"float": NaN}, "options": []}',
        '{"changes": ["seed=1"], "accuracy": [], "options": []}',
        '{"changes": ["seed=1"], "accuracy": {}, "options": [1]}',
        '{"changes": ["seed=1"], "accuracy": {}, "options": null}',
        '{"changes": ["seed=1"], "accuracy": {}, '
        '"options": [{"carrier": "relay", "align": "relays", "neurons": "many"}]}',
    ],
)
def test_the_damaged_result_of_a_point_is_named_before_anything_is_trained(
    recipe: Recipe, swept: Path, tmp_path: Path, damage: str
) -> None:
    folder = Path(shutil.copytree(swept, tmp_path / "sweep"))
    shutil.rmtree(folder / "0002")
    (folder / "0001" / "result.json").write_text(damage)
    with pytest.raises(FormatError, match=r"0001/result\.json: not .* remove the folder .*0001"):
        sweep(recipe, folder, GRID)
    assert not list(folder.glob("0002*"))


TARGET = 'summary = "x"\nbase = "{}"\n'


@pytest.mark.parametrize("cluster", [None, "local:1"])
def test_a_sweep_keeps_to_the_target_with_which_it_began(
    recipe: Recipe, swept: Path, tmp_path: Path, cluster: str | None
) -> None:
    """Not to its path: a file may be edited between two commands, and while one runs."""
    target = tmp_path / "t.toml"
    target.write_text(TARGET.format("lava-cpu"))
    folder = tmp_path / "sweep"
    shutil.copytree(swept, folder)
    (folder / "plan.json").unlink()
    for number in ("0001", "0002"):  # trained, and about to be lowered
        (folder / number / "result.json").unlink()
        (folder / number).rename(folder / f"{number}.part")

    def edit(line: str) -> None:
        target.write_text(TARGET.format("kapoho-point"))

    with pytest.raises(
        CompareError,
        match=r"point .*edited while the sweep ran|edited while the sweep ran, so point",
    ):
        sweep(recipe, folder, GRID, target=str(target), report=edit, cluster=cluster)
    assert len(list(folder.glob("000?"))) == 1
    with pytest.raises(CompareError, match=r"points of another sweep \(of other target\)"):
        sweep(recipe, folder, GRID, target=str(target))
    target.write_text(TARGET.format("lava-cpu").replace("x", "another summary"))
    found = sweep(recipe, folder, GRID, target=str(target))
    assert found.to_dict() == read_json(swept / "sweep.json")


def test_a_worker_with_another_file_of_the_target_is_refused(
    recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "t.toml").write_text(TARGET.format("kapoho-point"))
    job = {
        "version": __version__, "verb": "sweep", "kinds": {}, "recipe": recipe.to_dict(),
        "changes": ["seed=1"], "target": str(tmp_path / "t.toml"),
        "values": content_of(load_target("lava-cpu")),
    }  # fmt: skip
    error = run_shard(job, (), np.zeros((1, 0), np.int32))["error"]
    assert error["final"]
    assert "t.toml was edited while the sweep ran, or is another file" in error["message"]


def test_the_verb_prints_json_and_trains_nothing_again(
    neuroport: Neuroport, tmp_path: Path, swept: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    done = neuroport(
        "sweep", "tiny.toml", "-o", swept, "--grid", "seed=1,2", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    points = json.loads(done.stdout)["points"]
    assert [each["changes"] for each in points] == [["seed=1"], ["seed=2"]]
