"""Samples for training: two sets, read by number, in a fixed order."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from neuroport.errors import RecipeError
from neuroport.files import write_atomic

Frames = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class Samples(Protocol):
    """Labelled samples; the same number is the same sample in every run."""

    @property
    def labels(self) -> Labels:
        """Class of each sample, (N,)."""
        ...

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        """Return the chosen samples, (S, N, C, H, W); S is T, or 1 for still pictures."""
        ...


def spread_over(samples: int, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of up to ``count`` evenly spaced samples, beginning with the first."""
    count = min(count, samples)
    return np.arange(count) * samples // max(count, 1)


Seeds = npt.NDArray[np.int64]  # of what is drawn for each sample, (N,)


@runtime_checkable
class Croppable(Samples, Protocol):
    """Pictures that are larger than the part that is shown."""

    def crops(self, chosen: npt.NDArray[Any] | slice, seeds: Seeds) -> Frames:
        """Return random parts of the chosen samples, resized, (1, N, C, H, W), by seed."""
        ...


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Context in which torch, and so torchvision, draws random numbers from ``seed``."""
    import torch

    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


@dataclass(frozen=True)
class Pictures:
    """Pictures held in memory, (N, C, H, W), and the class of each.

    Raises:
        RecipeError: there are more or fewer of them than labels.
    """

    images: Frames
    labels: Labels

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise RecipeError(
                f"{len(self.images)} pictures have {len(self.labels)} labels; give a label for each"
            )

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        return self.images[chosen][None]


def averaged(images: Frames, size: int) -> Frames:
    """Reduce pictures (N, C, H, W) to side ``size`` by averaging squares, rounded half up.

    ``size`` divides their side; 0 leaves them unchanged.
    """
    side = images.shape[-1]
    if size in (0, side):
        return images
    n, channels = images.shape[:2]
    each = side // size
    squares = images.reshape(n, channels, size, each, size, each).sum((3, 5), dtype=np.int64)
    small: Frames = ((squares + each * each // 2) // (each * each)).astype(np.uint8)
    return small


@dataclass(frozen=True)
class Split:
    """The training samples, and the held-out samples."""

    train: Samples
    test: Samples


def check_labels(labels: Any, classes: int, what: str) -> None:
    """Refuse labels that are no classes; ``what`` names the samples.

    Raises:
        RecipeError: see above.
    """
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        said = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else ""
        raise RecipeError(
            f"{what}: labels are {said or type(labels).__name__}; give an array (N,) of integers, "
            "a class for each sample"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise RecipeError(
            f"{what}: labels are {labels.min()} to {labels.max()}, and {classes} classes are 0 to "
            f"{classes - 1}; number them so, or change the number of classes"
        )


def check_views(views: Any, what: str) -> None:
    """Refuse samples that are not 8-bit integers; ``what`` names them.

    Raises:
        RecipeError: see above.
    """
    kind = getattr(views, "dtype", type(views).__name__)
    if kind != np.uint8 or views.ndim != 5:
        shape = f" {views.shape}" if hasattr(views, "shape") else ""
        raise RecipeError(
            f"{what} are {kind}{shape}; give 8-bit integers (np.uint8), pixels 0 to 255 or counts, "
            "(S, N, C, H, W)"
        )


def over_time(views: Frames, steps: int) -> Frames:
    """Return frames (T, N, C, H, W) without copying; a picture is repeated at each of T steps.

    Raises:
        RecipeError: see :func:`check_steps`.
    """
    check_steps(len(views), steps)
    return np.broadcast_to(views, (steps, *views.shape[1:])) if len(views) == 1 else views


def check_steps(found: int, steps: int) -> None:
    """Refuse samples of another number of steps than T.

    Raises:
        RecipeError: they are neither pictures nor T steps.
    """
    if found not in (1, steps):
        raise RecipeError(
            f"samples have {found} steps, and {steps} are asked for (data.steps); give {steps} of "
            "them, or 1, which is shown at every step: (S, N, C, H, W)"
        )


def frames_of(samples: Samples, chosen: npt.NDArray[Any] | slice, steps: int) -> Frames:
    """Return frames (T, N, C, H, W) of the chosen samples."""
    return over_time(samples.views(chosen), steps)


def taking_turns(labels: Labels, seed: int) -> npt.NDArray[np.int64]:
    """Return a shuffled order in which classes alternate, so that every prefix is balanced."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    # position of a sample within its class, in the shuffled order
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        rank[of_class] = np.arange(len(of_class))
    return order[np.argsort(rank[order], kind="stable")]


def save_array(path: Path, array: npt.NDArray[Any]) -> Path:
    """Write an array as ``.npy``, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    return write_atomic(path, buffer.getvalue())
