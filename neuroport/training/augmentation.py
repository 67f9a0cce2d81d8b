"""Augmentation: every sample of a batch cut out, recoloured, moved, mirrored, turned and scaled.

What happens to a sample is the same at each of its steps.

Random numbers are drawn only for what the recipe asks for, in a fixed order.
"""

from __future__ import annotations

import numpy as np
import torch

from neuroport.data.samples import Croppable, Frames, Labels, Samples, Seeds, seeded
from neuroport.errors import RecipeError
from neuroport.recipe import Recipe, TrainingRecipe


def training_views(
    samples: Samples, chosen: Labels, recipe: Recipe, rng: np.random.Generator
) -> Frames:
    """The chosen samples (S, N, C, H, W) to train on.

    Raises:
        RecipeError: parts are to be cut out of samples that are not larger than what is shown.
    """
    training = recipe.training
    if training.crop == "resized":
        if not isinstance(samples, Croppable):
            raise RecipeError(
                f"training.crop is 'resized', but {type(samples).__name__} holds no picture files "
                "to cut parts out of; leave it out"
            )
        views = samples.crops(chosen, _seeds(rng, len(chosen)))
    else:
        views = samples.views(chosen)
    if training.auto_augment:
        views = _recoloured(views, recipe.data.known.policy, _seeds(rng, len(chosen)))
    return augmented(views, training, rng)


def _seeds(rng: np.random.Generator, count: int) -> Seeds:
    return rng.integers(0, 1 << 62, count)


def _recoloured(views: Frames, policy: str, seeds: Seeds) -> Frames:
    """torchvision's AutoAugment of pictures (1, N, 3, H, W), its policy that of the dataset."""
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
    """Samples (S, N, C, H, W) moved, mirrored, turned and scaled as the recipe says."""
    views = shifted(views, recipe.shift, rng)
    if recipe.flip:
        mirrored = rng.random(views.shape[1]) < 0.5
        views = np.where(mirrored[:, None, None, None], views[..., ::-1], views)
    if recipe.rotate or recipe.scale:
        views = _turned(views, recipe.rotate, recipe.scale, rng)
    return views


def shifted(views: Frames, most: int, rng: np.random.Generator) -> Frames:
    """Each sample moved by up to ``most`` pixels each way (one row: sideways), zeros moving in."""
    if most == 0:
        return views
    height, width = views.shape[3:]
    padded = np.pad(views, ((0, 0), (0, 0), (0, 0), (most, most), (most, most)))
    offsets = rng.integers(0, 2 * most + 1, (views.shape[1], 2))
    if height == 1:
        offsets[:, 0] = most
    return np.stack(
        [padded[:, n, :, y : y + height, x : x + width] for n, (y, x) in enumerate(offsets)],
        axis=1,
    )


def _turned(views: Frames, degrees: float, scale: float, rng: np.random.Generator) -> Frames:
    """Each sample turned by up to ``degrees`` and scaled by 1 - scale to 1 + scale, bilinear."""
    from torchvision.transforms.functional import InterpolationMode, affine

    angles = rng.uniform(-degrees, degrees, views.shape[1])
    scales = rng.uniform(1 - scale, 1 + scale, views.shape[1])
    changed = [
        affine(
            torch.from_numpy(np.ascontiguousarray(views[:, n])),
            angle=float(angle),
            translate=[0, 0],
            scale=float(factor),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        ).numpy()
        for n, (angle, factor) in enumerate(zip(angles, scales, strict=True))
    ]
    return np.stack(changed, axis=1)
