"""Crops and AutoAugment are torchvision's, drawn for each sample, and a resume draws them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from PIL import Image  # noqa: E402
from torchvision import transforms  # noqa: E402

from neuroport.data.loading import as_evaluated, calibration_frames, load_data  # noqa: E402
from neuroport.data.samples import Croppable, Pictures, Split, spread_over  # noqa: E402
from neuroport.errors import RecipeError  # noqa: E402
from neuroport.recipe import Recipe, from_dict  # noqa: E402
from neuroport.training.augmentation import training_views  # noqa: E402
from neuroport.training.checkpoint import read_checkpoint  # noqa: E402
from neuroport.training.fit import calibration, fit  # noqa: E402
from neuroport.training.loading import Reading  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of six pictures of several sizes."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("pictures")
    for half in ("train", "val"):
        for name in ("n01", "n02"):
            (folder / half / name).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 256, (6 + number, 9, 3)).astype(np.uint8)
                image = Image.fromarray(pixels).resize((50 + 9 * number, 44))
                image.save(folder / half / name / f"{number}.png")
    return folder


def recipe_of(root: Path, **training: Any) -> Recipe:
    return from_dict(
        {
            "data": {
                "dataset": "imagenet", "root": str(root), "size": 16, "classes": 2, "steps": 1,
                "train": 0, "test": 0,
            },
            "network": {"widths": [2, 2, 2]},
            "training": {"epochs": 2, "batch": 4, "shift": 0, **training},
            "quantization": {"epochs": 1},
        }
    )  # fmt: skip


def test_crop_and_auto_augment_are_those_of_torchvision_with_the_seed_of_the_sample(
    root: Path,
) -> None:
    recipe = recipe_of(root, crop="resized", auto_augment=True)
    samples = load_data(recipe.data).train
    assert isinstance(samples, Croppable)
    chosen = np.array([3, 0, 3])
    before = torch.get_rng_state()
    found = training_views(samples, chosen, recipe, np.random.default_rng(7))
    assert torch.equal(torch.get_rng_state(), before)
    rng = np.random.default_rng(7)
    cuts, colours = rng.integers(0, 1 << 62, 3), rng.integers(0, 1 << 62, 3)
    auto = transforms.AutoAugment(transforms.AutoAugmentPolicy.IMAGENET)
    for n, number in enumerate(chosen):
        path = samples.whole.paths[samples.numbers[number]]  # type: ignore[attr-defined]
        with torch.random.fork_rng():
            torch.manual_seed(int(cuts[n]))
            image = transforms.RandomResizedCrop(16)(Image.open(path).convert("RGB"))
            torch.manual_seed(int(colours[n]))
            expected = np.asarray(auto(image)).transpose(2, 0, 1)
        assert np.array_equal(found[0, n], expected)
    assert not np.array_equal(found[0, 0], found[0, 2])  # the same sample, drawn twice


def test_evaluation_sees_the_middle(root: Path) -> None:
    plain, cut = (load_data(recipe_of(root, **t).data).test for t in ({}, {"crop": "resized"}))
    everything = slice(None)
    assert np.array_equal(plain.views(everything), cut.views(everything))


def test_pictures_are_tested_at_another_size_than_they_are_trained_on(root: Path) -> None:
    recipe = recipe_of(root, crop="resized")
    data = replace(recipe.data, size=32, resize=40, train_size=16)
    split = load_data(data)
    assert isinstance(split.train, Croppable)
    assert split.train.crops(slice(1), np.zeros(1, np.int64)).shape == (1, 1, 3, 16, 16)
    (view,) = split.test.views(slice(1))[0]
    image = Image.open(split.test.whole.paths[split.test.numbers[0]])  # type: ignore[attr-defined]
    wide = image.resize((round(image.width * 40 / 44), 40), Image.Resampling.BILINEAR)
    left = (wide.width - 32) // 2
    assert np.array_equal(view, np.asarray(wide)[4:36, left : left + 32].transpose(2, 0, 1))
    with pytest.raises(RecipeError, match="less than the 32 pixels that are cut out"):
        replace(data, resize=24)
    with pytest.raises(RecipeError, match=r"data\.train_size is 8, which is for picture files"):
        from_dict({"data": {"dataset": "cifar10", "root": "x", "train_size": 8}})
    with pytest.raises(RecipeError, match="frames of 18 x 18 reach stage"):
        replace(recipe, data=replace(data, train_size=18))


@pytest.mark.parametrize("bits", [8, 4])
def test_grid_is_chosen_from_training_pictures_in_the_size_of_the_evaluation(
    bits: int, root: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(root)
    data = replace(recipe.data, size=32, resize=40, train_size=16, bits=bits)
    recipe = replace(recipe, data=data, quantization=replace(recipe.quantization, widths="checked"))
    split = load_data(data)
    assert split.train.views(slice(1)).shape == (1, 1, 3, 16, 16)
    want = load_data(replace(data, train_size=0)).train.views(slice(None))
    assert want.shape == (1, 12, 3, 32, 32)
    assert np.array_equal(as_evaluated(split.train, data).views(slice(None)), want)
    found = calibration_frames(split.train, data, 5)
    assert np.array_equal(found, want[:, spread_over(12, 5)])
    seen = calibration(Reading(torch.device("cpu")), split, recipe)
    assert np.array_equal(seen.numpy(), want)
    with pytest.raises(
        RecipeError, match="train_size is 16, and Pictures cannot be read in the 32"
    ):
        as_evaluated(Pictures(want[0], split.train.labels), data)
    held = Pictures(want[0], split.train.labels)
    with pytest.raises(RecipeError, match="train_size is 16, and Pictures cannot be read"):
        fit(recipe, tmp_path / "run", data=Split(held, held))
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_pictures_in_memory_have_nothing_to_cut_a_part_out_of(root: Path) -> None:
    pictures = Pictures(np.zeros((4, 3, 16, 16), np.uint8), np.zeros(4, np.int64))
    recipe = recipe_of(root, crop="resized")
    with pytest.raises(RecipeError, match="Pictures holds no picture files"):
        training_views(pictures, np.arange(2), recipe, np.random.default_rng(0))


def test_cifar_has_its_own_policy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32)).astype(np.uint8)
    pictures = Pictures(images, np.zeros(8, np.int64))
    found = []
    for dataset in ("cifar10", "imagenet"):
        recipe = from_dict(
            {"data": {"dataset": dataset, "root": "x"}, "training": {"auto_augment": True}}
        )
        rng = np.random.default_rng(0)
        found.append(training_views(pictures, np.arange(8), recipe, rng))
        assert found[-1].shape == (1, 8, 3, 32, 32)
        assert found[-1].dtype == np.uint8
    assert not np.array_equal(*found)


class StoppedError(Exception):
    """Raised by a report, as an interruption would be."""


def test_training_goes_on_with_equal_bits(root: Path, tmp_path: Path) -> None:
    recipe = recipe_of(root, crop="resized", auto_augment=True, flip=True, checkpoint_steps=1)
    for stop in ((0, 3), (1, 2), (2, 2)):

        def report(told: dict[str, Any], stop: tuple[int, int] = stop) -> None:
            if (told["epoch"], told.get("batch")) == stop:
                raise StoppedError

        with pytest.raises(StoppedError):
            fit(recipe, tmp_path / "parts", report=report)
    for name in ("parts", "whole"):
        fit(recipe, tmp_path / name)
    want, got = (read_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert want.keys() == got.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in want.items())
    fit(recipe_of(root, flip=True), tmp_path / "plain")
    plain = read_checkpoint(tmp_path / "plain").tensors
    assert any(not torch.equal(plain[name], tensor) for name, tensor in want.items())
