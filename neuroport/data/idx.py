"""Read pictures and labels from IDX files, the format of MNIST and Fashion-MNIST, gzipped or not.

A file has two zero bytes, the type of its numbers (8: bytes), the number of its axes, the length of
each axis (4 bytes, the most significant first), and the numbers.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from neuroport.data.dataset_folder import located
from neuroport.data.recipe import DataRecipe
from neuroport.data.samples import Pictures, averaged
from neuroport.errors import FormatError
from neuroport.files import ordinary

MOST_BYTES = 1 << 28  # of a file's numbers; the largest of the published has 47 MB
BYTES = 0x08  # the type of numbers that pictures and labels have
ENDINGS = ("", ".gz")


def idx_folder(recipe: DataRecipe, train: bool) -> Pictures:
    """Read the train or test part of MNIST, Fashion-MNIST or another dataset with that layout.

    Raises:
        StorageError: a file is missing.
        FormatError: a file is not an IDX file of such pictures or labels, or is truncated.
    """
    half = "train" if train else "t10k"
    names = (f"{half}-images-idx3-ubyte", f"{half}-labels-idx1-ubyte")
    folder = located(recipe, recipe.dataset, names, ENDINGS)
    images_file, labels_file = (_there(folder, name) for name in names)
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    side = (recipe.known.height, recipe.known.width)
    if images.shape[1:] != side:
        raise FormatError(
            f"{images_file}: pictures of {' x '.join(map(str, images.shape[1:]))}; those of "
            f"{recipe.dataset} have {side[0]} x {side[1]}"
        )
    if len(images) != len(labels):
        raise FormatError(
            f"{labels_file}: {len(labels)} labels for {len(images)} pictures in {images_file.name}"
            "; get both from one place"
        )
    if len(labels) and labels.max() >= recipe.known.classes:
        raise FormatError(
            f"{labels_file}: class {labels.max()}; {recipe.dataset} has {recipe.known.classes}"
        )
    return Pictures(averaged(images[:, None], recipe.size), labels.astype(np.int64))


def read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """Read the bytes of an IDX file with ``axes`` axes, at most as many as its header states.

    Raises:
        StorageError: there is no such file.
        FormatError: the file has another format, is truncated, or is too long.
    """
    ordinary(path, "an IDX file")
    try:
        with cast("BinaryIO", gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            head = file.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes((0, 0, BYTES, axes)):
                raise FormatError(
                    f"{path}: begins with {head[:4].hex(' ')}, not as an IDX file of bytes with "
                    f"{axes} axes (00 00 08 0{axes}); get it again"
                )
            shape = tuple(int(n) for n in np.frombuffer(head, ">u4", offset=4))
            size = math.prod(shape)
            if size > MOST_BYTES:
                raise FormatError(f"{path}: its head promises {size:,} bytes; get it again")
            content = file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"{path}: not gzip, or truncated ({error}); get it again") from (error)
    if len(content) != size:
        found = f"{len(content):,}" if len(content) < size else f"more than {size:,}"
        raise FormatError(f"{path}: {found} bytes of {size:,} that its head promises; get it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _there(folder: Path, name: str) -> Path:
    """Return the file of that name; the uncompressed one if both exist."""
    return next(folder / f"{name}{end}" for end in ENDINGS if (folder / f"{name}{end}").exists())
