"""Augmentation: crop, recolour, shift, mirror, rotate and scale the samples of a batch.

A change applies to all steps of a sample. The random numbers are drawn first, for the whole batch,
and the process that reads a sample applies them. The result therefore does not depend on the number
of processes.

Random numbers are drawn only for changes that the recipe asks for, in a fixed order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from neuroport.data.loading import check_fitting
from neuroport.data.samples import Croppable, Frames, Labels, Samples, Seeds, check_views, seeded
from neuroport.errors import RecipeError
from neuroport.recipe import Recipe, TrainingRecipe

MIXED = "mixup"  # the share of a sample in its mixture
Drawn = dict[str, npt.NDArray[Any]]  # each array has one row per sample of a batch


def training_views(
    samples: Samples, chosen: Labels, recipe: Recipe, rng: np.random.Generator
) -> Frames:
    """Return the chosen samples (S, N, C, H, W), augmented for training.

    Raises:
        RecipeError: crops are requested of samples that are not larger than a frame.
    """
    return changed_views(samples, chosen, recipe, draw(recipe.training, len(chosen), rng))


def draw(training: TrainingRecipe, count: int, rng: np.random.Generator) -> Drawn:
    """Draw the changes of ``count`` samples."""
    drawn: Drawn = {}
    if training.crop == "resized":
        drawn["crop"] = _seeds(rng, count)
    if training.auto_augment:
        drawn["colours"] = _seeds(rng, count)
    return drawn | _drawn_changes(training, count, rng)


def part_of(drawn: Drawn, part: slice | Labels) -> Drawn:
    """Return the changes of some samples of the batch."""
    return {name: rows[part] for name, rows in drawn.items()}


def changed_views(samples: Samples, chosen: Labels, recipe: Recipe, drawn: Drawn) -> Frames:
    """Return the chosen samples (S, N, C, H, W) with the drawn changes.

    Raises:
        RecipeError: see :func:`training_views`; or samples are not those of the recipe.
    """
    training = recipe.training
    if training.crop == "resized":
        if not isinstance(samples, Croppable):
            raise RecipeError(
                f"training.crop is 'resized', but {type(samples).__name__} holds no picture files "
                "to cut parts out of; leave it out"
            )
        views = samples.crops(chosen, drawn["crop"])
    else:
        views = samples.views(chosen)
    check_views(views, "samples")
    check_fitting(views, recipe.data)
    if training.auto_augment:
        views = _recoloured(views, recipe.data.known.policy, drawn["colours"])
    return _changed(views, training, drawn)


def _seeds(rng: np.random.Generator, count: int) -> Seeds:
    return rng.integers(0, 1 << 62, count)


def _recoloured(views: Frames, policy: str, seeds: Seeds) -> Frames:
    """Apply torchvision's AutoAugment to pictures (1, N, 3, H, W), with the dataset's policy."""
    from PIL import Image
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    change = AutoAugment(AutoAugmentPolicy(policy))
    changed = []
    for picture, seed in zip(views[0].transpose(0, 2, 3, 1), seeds, strict=True):
        with seeded(int(seed)):
            image = change(Image.fromarray(np.ascontiguousarray(picture)))
        changed.append(np.asarray(image, np.uint8).transpose(2, 0, 1))
    return np.stack(changed)[None]


def augmented(views: Frames, recipe: TrainingRecipe, rng: np.random.Generator) -> Frames:
    """Shift, mirror, rotate and scale samples (S, N, C, H, W) as the recipe says."""
    return _changed(views, recipe, _drawn_changes(recipe, views.shape[1], rng))


def _drawn_changes(recipe: TrainingRecipe, count: int, rng: np.random.Generator) -> Drawn:
    drawn: Drawn = {}
    if recipe.shift:
        drawn["shift"] = rng.integers(0, 2 * recipe.shift + 1, (count, 2))
    if recipe.flip:
        drawn["flip"] = rng.random(count)
    if recipe.rotate or recipe.scale:
        drawn["angle"] = rng.uniform(-recipe.rotate, recipe.rotate, count)
        drawn["scale"] = rng.uniform(1 - recipe.scale, 1 + recipe.scale, count)
    if recipe.cutout:
        drawn["cutout"] = rng.random((count, 2))
    if recipe.mixup:
        drawn[MIXED] = np.full(count, rng.beta(recipe.mixup, recipe.mixup))
    return drawn


def _changed(views: Frames, recipe: TrainingRecipe, drawn: Drawn) -> Frames:
    if recipe.shift:
        views = _moved(views, recipe.shift, drawn["shift"])
    if recipe.flip:
        mirrored = drawn["flip"] < 0.5
        views = np.where(mirrored[:, None, None, None], views[..., ::-1], views)
    if recipe.rotate or recipe.scale:
        views = _turned(views, drawn)
    if recipe.cutout:
        views = _blanked(views, recipe.cutout, drawn["cutout"])
    if recipe.mixup:
        views = _mixed(views, drawn[MIXED])
    return views


def _mixed(views: Frames, shares: npt.NDArray[np.float64]) -> Frames:
    """Each sample's share of itself, and the rest of its partner, see :func:`partners`."""
    share = shares[:, None, None, None].astype(np.float32)
    mixed: Frames = np.rint(views * share + partners(views, 1) * (1 - share)).astype(np.uint8)
    return mixed


def partners(rows: Any, axis: int = 0) -> Any:
    """What samples are mixed with: those that are read together, last to first."""
    return np.flip(rows, axis) if isinstance(rows, np.ndarray) else rows.flip(axis)


def shifted(views: Frames, most: int, rng: np.random.Generator) -> Frames:
    """Shift samples by up to ``most`` pixels per axis (one row: sideways), filled with zeros."""
    if most == 0:
        return views
    return _moved(views, most, rng.integers(0, 2 * most + 1, (views.shape[1], 2)))


def _moved(views: Frames, most: int, offsets: Labels) -> Frames:
    height, width = views.shape[3:]
    padded = np.pad(views, ((0, 0), (0, 0), (0, 0), (most, most), (most, most)))
    if height == 1:
        offsets[:, 0] = most
    return np.stack(
        [padded[:, n, :, y : y + height, x : x + width] for n, (y, x) in enumerate(offsets)],
        axis=1,
    )


def _blanked(views: Frames, side: int, centres: npt.NDArray[np.float64]) -> Frames:
    """Blank a square anywhere in each sample; a part of it may lie outside.

    Args:
        centres: rows and columns as fractions, (N, 2).
    """
    views = views.copy()
    for n, centre in enumerate(centres):
        places = (
            int(at * length) - side // 2 for at, length in zip(centre, views.shape[3:], strict=True)
        )
        rows, columns = (slice(max(0, place), max(0, place + side)) for place in places)
        views[:, n, :, rows, columns] = 0
    return views


def _turned(views: Frames, drawn: Drawn) -> Frames:
    """Rotate and scale each sample, bilinear."""
    from torchvision.transforms.functional import InterpolationMode, affine

    changed = [
        affine(
            torch.from_numpy(np.ascontiguousarray(views[:, n])),
            angle=float(angle),
            translate=[0, 0],
            scale=float(factor),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        ).numpy()
        for n, (angle, factor) in enumerate(zip(drawn["angle"], drawn["scale"], strict=True))
    ]
    return np.stack(changed, axis=1)
