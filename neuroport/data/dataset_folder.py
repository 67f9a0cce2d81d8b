"""Where a dataset lies: in the folder that the recipe names, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from neuroport.data.recipe import DataRecipe
from neuroport.errors import StorageError
from neuroport.files import expanded


def located(recipe: DataRecipe, folder: str, needed: tuple[str, ...]) -> Path:
    """The folder of a dataset: ``root/folder``, or ``root`` where that is the folder itself.

    Args:
        needed: what must lie in it.

    Raises:
        StorageError: it does not; says which layout is expected and who publishes the dataset.
    """
    root = expanded(recipe.root)
    for place in (root / folder, root):
        if all((place / name).exists() for name in needed):
            return place.resolve()
    known = recipe.known
    raise StorageError(
        f"data.root is {recipe.root!r}, which does not hold {recipe.dataset}: expected "
        f"{known.layout}; it is published at {known.published}, and nothing is downloaded for you"
    )
