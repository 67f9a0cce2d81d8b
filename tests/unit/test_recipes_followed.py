"""Shipped recipes on generated data in the files of the real datasets, from training to Lava."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tonic")
pytest.importorskip("aedat")

from benchmarks.recipes import RESULTS, cut, followed, write_data
from neuroport.data.loading import load_data
from neuroport.files import read_json
from neuroport.recipe import load_recipe, shipped

# one of each dataset in files
OF_DATASETS = (
    "ms_resnet20_fashion_mnist",
    "mlf_vgg16_cifar10",
    "ms_resnet20_cifar100",
    "sew_resnet18_imagenet",
    "ms_resnet20_cifar10dvs",
    "ds_resnet20_gesture",
)


@pytest.mark.parametrize("name", OF_DATASETS)
def test_generated_files_are_read_as_those_of_the_dataset(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    write_data(recipe.data.dataset, tmp_path / "data")
    split = load_data(cut(recipe, tmp_path / "data").data)
    assert len(split.train.labels) >= 10
    views = split.test.views(slice(2))
    assert views.shape[1:3] == (2, recipe.data.shape[0])
    assert views.any()


@pytest.mark.parametrize("name", ["ms_resnet20_fashion_mnist", "mlf_vgg16_cifar10"])
def test_a_recipe_is_trained_lowered_and_run_as_in_the_table(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    write_data(recipe.data.dataset, tmp_path / "data")
    small = replace(recipe.network, widths=(4,) * len(recipe.network.widths))
    found = followed(replace(cut(recipe, tmp_path / "data"), network=small), tmp_path, lava=False)
    assert found["positions"] > 50_000
    assert found["spikes"] > 0
    assert found["differing"] == 0


def test_recipes_of_every_dataset_and_family_went_to_lava_and_no_spike_differs() -> None:
    found, every = read_json(RESULTS)["recipes"], shipped()
    assert found.keys() <= every.keys()
    kinds = {(recipe.data.dataset, recipe.network.family) for recipe in every.values()}
    assert {(every[name].data.dataset, every[name].network.family) for name in found} == kinds
    for name, row in found.items():
        assert row["differing"] == 0, name
        assert row["positions"] > 300_000, name
        assert row["steps"] == every[name].data.steps
