"""From the [data] table of a recipe to samples."""

from __future__ import annotations

from neuroport.data.digits import load_digits
from neuroport.data.samples import Split
from neuroport.recipe import DataRecipe


def load_data(recipe: DataRecipe) -> Split:
    """The samples that a recipe names.

    Raises:
        BackendError: a package that reads them is not installed.
        StorageError: they are not where the recipe says.
    """
    return load_digits(recipe)
