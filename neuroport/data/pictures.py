"""Read CIFAR-10 and CIFAR-100 (binary version), and folders of picture files such as ImageNet's."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.data.dataset_folder import located
from neuroport.data.recipe import DataRecipe
from neuroport.data.samples import (
    Frames,
    Labels,
    Pictures,
    Samples,
    Seeds,
    averaged,
    seeded,
)
from neuroport.errors import BackendError, FormatError, StorageError
from neuroport.files import ordinary, read_bytes
from neuroport.hdf5 import short

MOST_BYTES = 1 << 28  # of a CIFAR file; the largest has 154 MB
PIXELS = 3 * 32 * 32
FORMATS = ("JPEG", "PNG")  # those of ImageNet, some of whose .JPEG are PNG
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # or fewer, in Pillow
MOST_PIXELS = 1 << 27
SUFFIXES = (".jpeg", ".jpg", ".png")
OTHER_PICTURES = (".avif", ".bmp", ".gif", ".heic", ".jp2", ".ppm", ".tif", ".tiff", ".webp")
MARGIN = 256 / 224  # ImageNet is tested on the middle 224 pixels of 256


def cifar(recipe: DataRecipe, train: bool) -> Pictures:
    """Read CIFAR: records of one label (two for CIFAR-100: coarse, fine) and 3,072 pixels.

    Raises:
        StorageError: a file is missing.
        FormatError: a file is not a whole number of records, or a label is invalid.
    """
    if recipe.dataset == "cifar10":
        names = [f"data_batch_{n}.bin" for n in range(1, 6)] if train else ["test_batch.bin"]
        folder, labels = "cifar-10-batches-bin", 1
    else:
        names = ["train.bin"] if train else ["test.bin"]
        folder, labels = "cifar-100-binary", 2
    place = located(recipe, folder, tuple(names))
    parts = []
    for name in names:
        content = np.frombuffer(read_bytes(place / name, MOST_BYTES), np.uint8)
        if len(content) == 0 or len(content) % (labels + PIXELS):
            raise FormatError(
                f"{place / name}: {len(content)} bytes, not records of {labels + PIXELS}; "
                "unpack the binary version again"
            )
        records = content.reshape(-1, labels + PIXELS)
        if records[:, labels - 1].max() >= recipe.known.classes:
            raise FormatError(f"{place / name}: class {records[:, labels - 1].max()}")
        parts.append(records)
    records = np.concatenate(parts)
    images = records[:, labels:].reshape(-1, 3, 32, 32)
    return Pictures(averaged(images, recipe.size), records[:, labels - 1].astype(np.int64))


@dataclass(frozen=True)
class Files:
    """Picture files that are read when needed.

    A view is the centre of the picture after its shorter side was resized. A crop is torchvision's
    random resized crop: 8 to 100 % of the area, aspect ratio 3:4 to 4:3.

    Attributes:
        paths: paths of the files.
        labels: their classes.
        size: side of a view and of a crop.
        resize: length to which the shorter side is resized; 0: 256 / 224 of ``size``.
    """

    paths: tuple[Path, ...]
    labels: Labels
    size: int
    resize: int = 0

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        numbers = np.arange(len(self.paths))[chosen]
        return np.stack([self._picture(self.paths[int(n)]) for n in numbers])[None]

    def crops(self, chosen: npt.NDArray[Any] | slice, seeds: Seeds) -> Frames:
        numbers = np.arange(len(self.paths))[chosen]
        pairs = zip(numbers, seeds, strict=True)
        return np.stack([self._crop(self.paths[int(n)], int(seed)) for n, seed in pairs])[None]

    def _crop(self, path: Path, seed: int) -> Frames:
        from torchvision.transforms import RandomResizedCrop

        with seeded(seed):
            return _array(RandomResizedCrop(self.size)(_image(path)))

    def _picture(self, path: Path) -> Frames:
        from PIL import Image

        image = _image(path)
        scale = (self.resize or round(self.size * MARGIN)) / min(image.size)
        wide, high = (max(self.size, round(side * scale)) for side in image.size)
        if wide * high > MOST_PIXELS:
            raise FormatError(
                f"{path}: {image.width} x {image.height} pixels, of which {wide} x {high} would be "
                "made to cut the middle; cut it first"
            )
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = (wide - self.size) // 2, (high - self.size) // 2
        return _array(image.crop((left, top, left + self.size, top + self.size)))


def _image(path: Path) -> Any:
    """Read a picture as JPEG or PNG, by its content; for other formats Pillow may run programs."""
    from PIL import Image

    ordinary(path, "a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # decided below
            with Image.open(path, formats=FORMATS) as file:
                if file.width * file.height > MOST_PIXELS:
                    said = f"{file.width} x {file.height} pixels, more than any of the dataset"
                elif file.mode not in EIGHT_BITS:  # Pillow would cut all values above 255
                    said = f"its pixels are {file.mode!r} of Pillow; convert it to 8 bits"
                else:
                    return file.convert("RGB")
    except Exception as error:  # Pillow's readers may raise any exception
        said = short(error)
    raise FormatError(f"{path}: not a picture (JPEG or PNG), or truncated ({said})")


def _array(image: Any) -> Frames:
    return np.asarray(image, np.uint8).transpose(2, 0, 1)


def folders(recipe: DataRecipe, train: bool) -> Samples:
    """Find pictures in one folder per class; classes are numbered in the order of folder names.

    Raises:
        BackendError: Pillow is not installed.
        StorageError: folders are missing, their number differs from the recipe's classes, or train
            and val have other classes.
        FormatError: a folder holds pictures of a format that is not read.
    """
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise BackendError(
            "pictures are read with Pillow, which is not installed; "
            "pip install '.[train]' in neuroport's folder"
        ) from error
    root = located(recipe, ".", ("train", "val"))
    place = root / ("train" if train else "val")
    classes = _classes(root)
    if len(classes) != recipe.class_count:
        raise StorageError(
            f"{place}: {len(classes)} folders for {recipe.class_count} classes; "
            "set data.classes, or complete the dataset"
        )
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = sorted((place / name).iterdir())
        other = next((p for p in files if p.suffix.lower() in OTHER_PICTURES), None)
        if other is not None:
            raise FormatError(
                f"{other}: only {', '.join(SUFFIXES)} are read; convert it, or move it elsewhere: "
                "the class would lose it silently"
            )
        found = [p for p in files if p.suffix.lower() in SUFFIXES]
        if not found:
            raise StorageError(
                f"{place / name}: holds no picture ({', '.join(SUFFIXES)}); complete the dataset, "
                "or remove the class from train and val"
            )
        paths += found
        labels += [label] * len(found)
    size = recipe.train_size if train and recipe.train_size else recipe.shape[1]
    resize = 0 if train and recipe.train_size else recipe.resize
    return Files(tuple(paths), np.array(labels, np.int64), size, resize)


def _classes(root: Path) -> list[str]:
    """Return the names of the classes, in order; their order in each half is their number.

    Raises:
        StorageError: the halves have other classes, which would then share numbers.
    """
    halves = {half: _folders_in(root / half) for half in ("train", "val")}
    lacks = {
        half: sorted(set(other) - set(halves[half]))
        for half, other in (("train", halves["val"]), ("val", halves["train"]))
    }
    if any(lacks.values()):
        said = " and ".join(f"{half} lacks {_some(lack)}" for half, lack in lacks.items() if lack)
        raise StorageError(
            f"{root}: train and val have other classes: {said}; both need a folder of the same "
            "name for each class"
        )
    return halves["train"]


def _folders_in(place: Path) -> list[str]:
    if not place.is_dir():
        raise StorageError(f"{place}: is no folder; make it one, with a folder for each class")
    return sorted(folder.name for folder in place.iterdir() if folder.is_dir())


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
