"""IDX files: Fashion-MNIST as its Debian package holds it, and files that are none."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroport.data.catalog import KNOWN
from neuroport.data.loading import load_data
from neuroport.data.recipe import DataRecipe
from neuroport.errors import FormatError, StorageError
from neuroport.recipe import load_recipe

PACKAGED = Path(KNOWN["fashion_mnist"].folder)


def idx(array: np.ndarray) -> bytes:
    """As the format's page describes it."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def written(folder: Path, packed: bool = True, side: int = 28, labels: int = 20) -> dict[str, Any]:
    folder.mkdir(parents=True)
    rng, arrays = np.random.default_rng(0), {}
    for half, count in (("train", 40), ("t10k", 20)):
        arrays[f"{half}-images-idx3-ubyte"] = rng.integers(0, 256, (count, side, side), np.uint8)
        arrays[f"{half}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    arrays["t10k-labels-idx1-ubyte"] = arrays["t10k-labels-idx1-ubyte"][:labels]
    for name, array in arrays.items():
        content = idx(array)
        file = folder / f"{name}.gz" if packed else folder / name
        file.write_bytes(gzip.compress(content) if packed else content)
    return arrays


def recipe(root: Path, **values: Any) -> DataRecipe:
    return DataRecipe(**{"dataset": "mnist", "root": str(root), "train": 0, "test": 0, **values})


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_pictures_and_labels_are_those_of_the_files(
    below: str, packed: bool, tmp_path: Path
) -> None:
    arrays = written(tmp_path / "data" / below, packed)
    split = load_data(recipe(tmp_path / "data"))
    for half, samples in (("train", split.train), ("t10k", split.test)):
        images, labels = (arrays[f"{half}-{kind}-ubyte"] for kind in ("images-idx3", "labels-idx1"))
        views = samples.views(slice(None))
        assert views.shape == (1, len(images), 1, 28, 28)
        found = {
            (view.tobytes(), label) for view, label in zip(views[0], samples.labels, strict=True)
        }
        assert found == {
            (image.tobytes(), label) for image, label in zip(images, labels, strict=True)
        }


@pytest.mark.parametrize("packed", [True, False])
def test_files_that_are_cut_changed_or_foreign_are_named(packed: bool, tmp_path: Path) -> None:
    end = ".gz" if packed else ""
    pack = gzip.compress if packed else bytes
    written(tmp_path / "data", packed)
    images = tmp_path / "data" / f"train-images-idx3-ubyte{end}"
    whole = images.read_bytes()
    plain = gzip.decompress(whole) if packed else whole
    for content, said in (
        (whole[: len(whole) // 2], "truncated" if packed else "bytes of 31,360"),
        (pack(plain[:-1]), "31,359 bytes of 31,360 that its head promises"),
        (pack(plain + b"\0"), "more than 31,360 bytes of 31,360"),
        (pack(b"\0\0\x0d" + plain[3:]), "begins with 00 00 0d 03"),
        (pack(plain[:9]), "get it again"),
        (b"", "get it again"),
        (pack(idx(np.zeros((40, 7, 7), np.uint8))), "pictures of 7 x 7; those of mnist have 28"),
        (pack(struct.pack(">HBB3I", 0, 8, 3, 1 << 20, 28, 28)), "its head promises 822,083,584"),
    ):
        images.write_bytes(content)
        with pytest.raises(FormatError, match=said) as told:
            load_data(recipe(tmp_path / "data"))
        assert images.name in str(told.value)


def test_labels_that_do_not_belong_to_the_pictures_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "data", labels=19)
    with pytest.raises(FormatError, match="19 labels for 20 pictures"):
        load_data(recipe(tmp_path / "data"))
    labels = np.full(20, 10, np.uint8)
    (tmp_path / "data" / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))  # before the packed one
    with pytest.raises(FormatError, match="class 10; mnist has 10"):
        load_data(recipe(tmp_path / "data"))


def test_a_missing_package_is_told_in_one_line_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = replace(KNOWN["fashion_mnist"], folder=str(tmp_path / "nowhere"))
    monkeypatch.setitem(KNOWN.own, "fashion_mnist", known)
    with pytest.raises(StorageError) as told:
        load_data(DataRecipe("fashion_mnist", train=0, test=0))
    said = told.value.message
    assert "apt-get install dataset-fashion-mnist" in said
    assert "train-images-idx3-ubyte" in said
    assert not told.value.detail


@pytest.mark.skipif(
    not PACKAGED.exists(), reason=f"no {PACKAGED}: apt-get install dataset-fashion-mnist"
)
def test_all_of_fashion_mnist_is_read_from_its_package() -> None:
    split = load_data(load_recipe("ms_resnet20_fashion_mnist").data)
    for samples, count in ((split.train, 60_000), (split.test, 10_000)):
        assert np.bincount(samples.labels).tolist() == [count // 10] * 10
    views = split.train.views(slice(None))
    assert views.shape == (1, 60_000, 1, 28, 28)
    # as published for this set
    assert views.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert views.std() / 255 == pytest.approx(0.3530, abs=1e-4)
