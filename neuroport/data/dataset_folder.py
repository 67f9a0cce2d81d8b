"""Find the folder of a dataset; only the folder that the recipe names is searched."""

from __future__ import annotations

from pathlib import Path

from neuroport.data.recipe import DataRecipe
from neuroport.errors import StorageError
from neuroport.files import expanded


def located(
    recipe: DataRecipe, folder: str, needed: tuple[str, ...], endings: tuple[str, ...] = ("",)
) -> Path:
    """Return the folder of a dataset: ``root/folder``, or ``root`` if that is the folder itself.

    Args:
        needed: names that the folder must contain.
        endings: endings that these names may have.

    Raises:
        StorageError: the folder lacks a name; the error states the expected layout and the
            publisher of the dataset.
    """
    known = recipe.known
    root = expanded(recipe.root or known.folder)
    for place in (root / folder, root):
        if all(any((place / f"{name}{end}").exists() for end in endings) for name in needed):
            return place.resolve()
    if not recipe.root:
        raise StorageError(
            f"{recipe.dataset} is not in {known.folder}; get it with: {known.package}, or name in "
            f"data.root a folder with {known.layout}"
        )
    raise StorageError(
        f"data.root is {recipe.root!r}, which does not hold {recipe.dataset}: expected "
        f"{known.layout}; it is published at {known.published}, and nothing is downloaded for you"
    )
