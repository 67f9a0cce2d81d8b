"""Augmentation: every sample of a batch moved, mirrored, turned and scaled, the same at each step.

Random numbers are drawn only for what the recipe asks for, in a fixed order.
"""

from __future__ import annotations

import numpy as np
import torch

from neuroport.data.samples import Frames
from neuroport.recipe import TrainingRecipe


def augmented(views: Frames, recipe: TrainingRecipe, rng: np.random.Generator) -> Frames:
    """Samples (S, N, C, H, W) as the recipe changes them."""
    views = shifted(views, recipe.shift, rng)
    if recipe.flip:
        mirrored = rng.random(views.shape[1]) < 0.5
        views = np.where(mirrored[:, None, None, None], views[..., ::-1], views)
    if recipe.rotate or recipe.scale:
        views = _turned(views, recipe.rotate, recipe.scale, rng)
    return views


def shifted(views: Frames, most: int, rng: np.random.Generator) -> Frames:
    """Each sample moved by up to ``most`` pixels each way, zeros moving in."""
    if most == 0:
        return views
    height, width = views.shape[3:]
    padded = np.pad(views, ((0, 0), (0, 0), (0, 0), (most, most), (most, most)))
    offsets = rng.integers(0, 2 * most + 1, (views.shape[1], 2))
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
