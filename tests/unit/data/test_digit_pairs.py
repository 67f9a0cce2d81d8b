"""Pairs of coloured digits: what a class means, and on what a picture depends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuroport.data import digit_pairs
from neuroport.data.digit_pairs import COOL, WARM, DigitPairs, write_cifar100
from neuroport.data.digits import all_digits
from neuroport.data.loading import load_data
from neuroport.data.recipe import DataRecipe
from neuroport.errors import StorageError


def recipe(**values: object) -> DataRecipe:
    return DataRecipe(**{"dataset": "digit_pairs", "train": 300, "test": 100, **values})  # type: ignore[arg-type]


def test_a_class_is_the_warm_digit_then_the_cool_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float]] = []

    def placed(rng: np.random.Generator, number: int) -> np.ndarray:
        seen.append((int(all_digits()[1][number]), 0.0))
        return np.zeros((32, 32))

    def colour(hue: float) -> np.ndarray:
        seen[-1] = (seen[-1][0], hue)
        return np.zeros(3)

    monkeypatch.setattr(digit_pairs, "_placed", placed)
    monkeypatch.setattr(digit_pairs, "_colour", colour)
    pictures = DigitPairs(100, 0, True)
    first = []
    for number, label in enumerate(pictures.labels):
        seen.clear()
        pictures.views(slice(number, number + 1))
        (warm,) = [digit for digit, hue in seen if WARM[0] <= hue <= WARM[1]]
        (cool,) = [digit for digit, hue in seen if COOL[0] <= hue <= COOL[1]]
        assert label == 10 * warm + cool
        first.append(WARM[0] <= seen[0][1] <= WARM[1])
    assert 30 < sum(first) < 70  # either of them lies in front


def test_the_ink_of_a_digit_is_its_picture_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digit_pairs, "TURN", 0.0)
    monkeypatch.setattr(digit_pairs, "SCALES", (1.0, 1.0))
    monkeypatch.setattr(digit_pairs, "FARTHEST", 0.0)
    ink = digit_pairs._placed(np.random.default_rng(0), 7)
    np.testing.assert_allclose(ink[2:30, 2:30], all_digits()[0][7, 0] / 255, atol=1e-12)
    assert not ink[:2].any()
    assert not ink[30:].any()


def test_every_class_comes_equally_often_and_any_number_of_pictures_can_be_had() -> None:
    split = load_data(recipe(train=1_000_000))
    assert set(np.bincount(split.train.labels)) == {10_000}
    assert set(np.bincount(split.test.labels)) == {1}
    few, many = DigitPairs(10, 3, True), DigitPairs(10**6, 3, True)
    np.testing.assert_array_equal(few.views(slice(None)), many.views(np.arange(10)))
    assert not np.array_equal(few.views(slice(None)), DigitPairs(10, 4, True).views(slice(None)))


def test_test_pictures_have_digits_that_no_training_picture_has() -> None:
    train, test = (np.concatenate(digit_pairs._digits(half)) for half in (True, False))
    assert not set(train) & set(test)
    assert (len(train), len(test)) == (4000, 1000)
    assert set(np.bincount(all_digits()[1][test])) == {100}


def test_the_files_are_cifar100_and_hold_the_same_pictures(tmp_path: Path) -> None:
    write_cifar100(tmp_path, 300, 100, seed=5)
    read = load_data(recipe(dataset="cifar100", root=str(tmp_path), train=0, test=0))
    drawn = load_data(recipe(split_seed=5))
    for one, other in ((read.train, drawn.train), (read.test, drawn.test)):
        images, wanted = one.views(slice(None))[0], other.views(slice(None))[0]
        found = {(v.tobytes(), int(n)) for v, n in zip(images, one.labels, strict=True)}
        assert found == {(v.tobytes(), int(n)) for v, n in zip(wanted, other.labels, strict=True)}


def test_pictures_are_averaged_to_a_smaller_side() -> None:
    whole = DigitPairs(3, 0, False).views(slice(None))[0].astype(int)
    half = load_data(recipe(size=16)).test.views(slice(3))[0]
    assert half.shape == (3, 3, 16, 16)
    squares = whole.reshape(3, 3, 16, 2, 16, 2).sum((3, 5))
    np.testing.assert_array_equal(half, (squares + 2) // 4)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_drawn(
    tmp_path: Path,
) -> None:
    (tmp_path / "cifar-100-binary").write_text("a file")
    with pytest.raises(StorageError, match="cifar-100-binary"):
        write_cifar100(tmp_path, 10**9)
