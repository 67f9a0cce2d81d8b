"""Load the samples that the [data] table of a recipe describes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuroport.data import nmnist, shd, simulated_cache, tonic_readers
from neuroport.data.catalog import KNOWN
from neuroport.data.dataset_folder import located
from neuroport.data.events import Binning, Events, Recordings, as_events
from neuroport.data.pictures import Files
from neuroport.data.recipe import DataRecipe
from neuroport.data.samples import (
    Croppable,
    Frames,
    Labels,
    Samples,
    Seeds,
    Split,
    check_labels,
    check_views,
    frames_of,
    spread_over,
    taking_turns,
)
from neuroport.errors import RecipeError
from neuroport.registry import loaded


class Source(Protocol):
    """Recordings in a fixed order."""

    @property
    def labels(self) -> Labels: ...

    def read(self, number: int) -> Events: ...


@dataclass(frozen=True)
class Chosen:
    """Some samples of a set, renumbered."""

    whole: Samples
    numbers: npt.NDArray[np.int64]

    @property
    def labels(self) -> Labels:
        return self.whole.labels[self.numbers]

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        return self.whole.views(self.numbers[chosen])


class ChosenFiles(Chosen):
    """Some of a set of picture files."""

    whole: Croppable

    def crops(self, chosen: npt.NDArray[Any] | slice, seeds: Seeds) -> Frames:
        return self.whole.crops(self.numbers[chosen], seeds)


def with_bits(frames: Frames, bits: int) -> Frames:
    """Round frames of 8-bit pixels to fewer bits."""
    most = (1 << bits) - 1
    rounded: Frames = ((frames.astype(np.uint16) * most + 127) // 255).astype(np.uint8)
    return rounded


@dataclass(frozen=True)
class Coarse:
    """Pictures whose pixels have fewer bits than 8: 0 to ``2**bits - 1``."""

    whole: Samples
    bits: int

    @property
    def labels(self) -> Labels:
        return self.whole.labels

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        return with_bits(self.whole.views(chosen), self.bits)


class CoarseFiles(Coarse):
    """The same for picture files."""

    whole: Croppable

    def crops(self, chosen: npt.NDArray[Any] | slice, seeds: Seeds) -> Frames:
        return with_bits(self.whole.crops(chosen, seeds), self.bits)


def load_data(recipe: DataRecipe) -> Split:
    """Load the samples of a recipe; every prefix of either set is balanced over the classes.

    Raises:
        BackendError: a package that reads them is not installed.
        StorageError: the dataset is not in the recipe's folder.
        RecipeError: the recipe asks for more samples than there are, or the reader of another
            package gives none that the recipe describes.
        FormatError: a file does not have the format that its name implies.
    """
    split = _halves(recipe)
    if recipe.bits == 8:
        return split
    coarse = CoarseFiles if recipe.known.files else Coarse
    return Split(coarse(split.train, recipe.bits), coarse(split.test, recipe.bits))


def as_evaluated(samples: Samples, recipe: DataRecipe) -> Samples:
    """Return training samples in the size of the held-out ones, from which they may differ.

    A grid that is chosen from samples belongs to the size at which the network is evaluated.

    Raises:
        RecipeError: ``data.train_size`` is another size, and the samples are not neuroport's.
    """
    if not recipe.train_size:
        return samples
    if isinstance(samples, (Chosen, Coarse)):
        return replace(samples, whole=as_evaluated(samples.whole, recipe))
    if isinstance(samples, Files):
        return replace(samples, size=recipe.shape[1], resize=recipe.resize)
    if recipe.train_size == recipe.shape[1]:
        return samples
    raise RecipeError(
        f"data.train_size is {recipe.train_size}, and {type(samples).__name__} cannot be read in "
        f"the {recipe.shape[1]} pixels of the evaluation, for which the grid is chosen; leave "
        "data.train_size out"
    )


def calibration_frames(train: Samples, recipe: DataRecipe, count: int) -> Frames:
    """Return frames (T, N, C, H, W) of up to ``count`` evenly spaced training samples.

    They have the size of the evaluation, see :func:`as_evaluated`.
    """
    seen = as_evaluated(train, recipe)
    return frames_of(seen, spread_over(len(seen.labels), count), recipe.steps)


def _halves(recipe: DataRecipe) -> Split:
    if recipe.known.split:
        split: Split = loaded(recipe.known.reader)(recipe)
        if _is_added(recipe):
            for half in ("train", "test"):
                _check(getattr(split, half, None), recipe, half == "train")
        return split
    kind = ChosenFiles if recipe.known.files else Chosen
    train, test = (
        kind(whole, _chosen(whole.labels, recipe, half))
        for half, whole in (("train", _whole(recipe, True)), ("test", _whole(recipe, False)))
    )
    return Split(train, test)


def _whole(recipe: DataRecipe, train: bool) -> Samples:
    found = loaded(recipe.known.reader)(recipe, train)
    if recipe.known.events and _is_added(recipe):
        check_labels(getattr(found, "labels", None), recipe.class_count, _named(recipe, train))
        found = _CheckedSource(found, recipe)
    samples: Samples = _recordings(found, recipe) if recipe.known.events else found
    if _is_added(recipe):
        _check(samples, recipe, train)
    return samples


def _is_added(recipe: DataRecipe) -> bool:
    """Whether another package reads the dataset."""
    return recipe.dataset not in KNOWN.own


def _named(recipe: DataRecipe, train: bool) -> str:
    return f"dataset {recipe.dataset!r}, {'training' if train else 'test'} samples"


@dataclass(frozen=True)
class _CheckedSource:
    """Recordings of another package, of which every event is possible."""

    source: Source
    recipe: DataRecipe

    @property
    def labels(self) -> Labels:
        return self.source.labels

    def read(self, number: int) -> Events:
        known = self.recipe.known
        where = f"dataset {self.recipe.dataset!r}, recording {number}"
        return as_events(self.source.read(number), where, (known.height, known.width))


def _check(samples: Any, recipe: DataRecipe, train: bool) -> None:
    """Refuse samples of another package that are not what the recipe describes.

    Of the samples themselves, the first is read.

    Raises:
        RecipeError: see above.
    """
    what, size = _named(recipe, train), recipe.shape
    if not callable(getattr(samples, "views", None)):
        raise RecipeError(
            f"{what} are {type(samples).__name__}; give Pictures or other Samples of "
            "neuroport.data.samples"
        )
    check_labels(getattr(samples, "labels", None), recipe.class_count, what)
    views = samples.views(slice(1))
    check_views(views, what)
    if recipe.known.files and train and recipe.train_size:
        size = (size[0], recipe.train_size, recipe.train_size)
    if views.shape[2:] != size or len(views) not in (1, recipe.steps):
        wanted = ", ".join(map(str, size))
        follow = "; the reader follows data.size, too: averaged(images, recipe.size) of "
        follow += "neuroport.data.samples makes pictures smaller"
        raise RecipeError(
            f"{what} are {views.shape}; give (1, N, {wanted}), or {recipe.steps} steps of them"
            f"{follow if recipe.size else ''}"
        )


def check_fitting(views: Frames, data: DataRecipe) -> None:
    """Refuse samples for which the network of a recipe is not made.

    Raises:
        RecipeError: they have other channels, or larger values.
    """
    if views.shape[2] != data.shape[0]:
        raise RecipeError(
            f"samples have {views.shape[2]} channels, {views.shape}, and those of the recipe's "
            f"dataset, {data.dataset}, have {data.shape[0]}; give such samples, or name a dataset "
            "with as many channels (data.dataset)"
        )
    most = (1 << data.bits) - 1
    if data.bits < 8 and views.size and views.max() > most:
        raise RecipeError(
            f"samples reach {views.max()}, and pixels of {data.bits} bits are 0 to {most}; give "
            "such samples, or change data.bits"
        )


def saccades(recipe: DataRecipe, train: bool) -> Source:
    """Recordings of the simulated saccades."""
    return nmnist.Folder(simulated_cache.saccades(recipe), train)


def nmnist_folder(recipe: DataRecipe, train: bool) -> Source:
    """Recordings of N-MNIST."""
    return nmnist.Folder(located(recipe, "NMNIST", ("Train", "Test")), train)


def gesture(recipe: DataRecipe, train: bool) -> Source:
    """Recordings of DVS128 Gesture."""
    needed = ("ibmGestureTrain", "ibmGestureTest")
    return tonic_readers.Gesture(located(recipe, "DVSGesture", needed), train)


def cifar10_dvs(recipe: DataRecipe, train: bool) -> Source:
    """Recordings of CIFAR10-DVS."""
    return tonic_readers.Cifar10Dvs(located(recipe, "CIFAR10DVS", ("airplane", "truck")), train)


def shd_half(recipe: DataRecipe, train: bool) -> Source:
    """Recordings of the Spiking Heidelberg Digits."""
    return shd.Shd(located(recipe, "SHD", shd.FILES) / shd.FILES[0 if train else 1])


def _recordings(source: Source, recipe: DataRecipe) -> Recordings:
    sensor = (recipe.known.height, recipe.known.width)
    channels, *size = recipe.shape
    binning = Binning(
        recipe.steps,
        recipe.binning,
        recipe.window,
        sensor,
        (size[0], size[1]),
        recipe.gain,
        channels,
    )
    return Recordings(source.read, source.labels, binning)


def _chosen(labels: Labels, recipe: DataRecipe, half: str) -> npt.NDArray[np.int64]:
    wanted = getattr(recipe, half) or len(labels)
    if wanted > len(labels) or wanted == 0:
        raise RecipeError(
            f"data.{half} is {wanted}; {recipe.dataset} has {len(labels)} such samples: "
            "use at most as many, or 0 for all"
        )
    return taking_turns(labels, recipe.split_seed)[:wanted]
