"""From the [data] table of a recipe to samples."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from neuroport.data import cache, nmnist
from neuroport.data.digits import load_digits
from neuroport.data.events import Binning, Events, Recordings
from neuroport.data.samples import Labels, Split, taking_turns
from neuroport.errors import RecipeError
from neuroport.recipe import DataRecipe


class Source(Protocol):
    """Recordings in a fixed order."""

    @property
    def labels(self) -> Labels: ...

    def read(self, number: int) -> Events: ...


def load_data(recipe: DataRecipe) -> Split:
    """The samples that a recipe names; any prefix of either set is balanced over the classes.

    Raises:
        BackendError: a package that reads them is not installed.
        StorageError: they are not where the recipe says.
        RecipeError: the recipe asks for more samples than there are.
        FormatError: a file is not what its name promises.
    """
    if recipe.dataset == "mnist5k":
        return load_digits(recipe)
    folder = cache.saccades(recipe)
    train, test = (nmnist.Folder(folder, train) for train in (True, False))
    return Split(_recordings(train, recipe, "train"), _recordings(test, recipe, "test"))


def _recordings(source: Source, recipe: DataRecipe, half: str) -> Recordings:
    chosen = _chosen(source.labels, recipe, half)
    known = recipe.known
    binning = Binning(
        recipe.steps,
        recipe.binning,
        recipe.window,
        (known.height, known.width),
        recipe.shape[1:],
    )
    return Recordings(
        lambda number: source.read(int(chosen[number])), source.labels[chosen], binning
    )


def _chosen(labels: Labels, recipe: DataRecipe, half: str) -> npt.NDArray[np.int64]:
    wanted = getattr(recipe, half) or len(labels)
    if wanted > len(labels):
        raise RecipeError(
            f"data.{half} is {wanted}; {recipe.dataset} has {len(labels)} such samples: "
            "use at most as many, or 0 for all"
        )
    return taking_turns(labels, recipe.split_seed)[:wanted]
