"""One seed, one file: which is mutated, how, and whether its seal was put right again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from tests.hostile.bombs import BOMBS, bomb, target
from tests.hostile.flips import FLIPS
from tests.hostile.others import OTHERS
from tests.hostile.samples import LAYOUTS, STOCK, image, seal, stock
from tests.hostile.structures import EDITS, Edit, other_field

TRACES = 8  # one file in eight is a trace
BOMB_EVERY = 50


@dataclass(frozen=True)
class Mutation:
    """A file to read.

    Attributes:
        what: ``graph`` or ``trace``.
        kind: how it was mutated, for the table.
        resealed: whether the seal holds nevertheless.
    """

    seed: int
    what: str
    kind: str
    resealed: bool
    content: bytes


def bombs(seeds: Sequence[int]) -> list[str]:
    """The bombs among the files of these seeds."""
    numbers = {seed // BOMB_EVERY for seed in seeds if seed % BOMB_EVERY == BOMB_EVERY - 1}
    return [
        name for place, name in enumerate(BOMBS) if any(n % len(BOMBS) == place for n in numbers)
    ]


def mutation(seed: int) -> Mutation:
    """The file of a seed; the same one on every machine with the same versions."""
    rng = np.random.default_rng(seed)
    if named := bombs([seed]):
        (name,) = named
        return Mutation(seed, target(name), f"bomb: {name}", True, bomb(name))
    what = "trace" if seed % TRACES == 0 else "graph"
    resealed = bool(rng.integers(2))
    layout = LAYOUTS[int(rng.choice(3, p=(0.6, 0.2, 0.2)))]
    kind, content = _mutated(image(what, layout), rng, layout, EDITS)
    return Mutation(seed, what, kind, resealed, seal(content) if resealed else content)


def stock_mutation(seed: int) -> Mutation:
    """A file of lava-dl, mutated: it has neither seal nor hash."""
    edits = {"another field": other_field}
    sound = stock(list(STOCK)[seed % len(STOCK)])
    kind, content = _mutated(sound, np.random.default_rng(seed), "earliest", edits)
    return Mutation(seed, "stock", kind, False, content)


def other_mutation(seed: int) -> Mutation:
    """A file of another kind, mutated: what users write, and what others publish."""
    rng = np.random.default_rng(seed)
    what = list(OTHERS)[seed % len(OTHERS)]
    other = OTHERS[what]
    if rng.integers(5) < 3:
        kind, change = list(other.edits.items())[int(rng.integers(len(other.edits)))]
        return Mutation(seed, what, kind, False, change(rng, other.sound()))
    kind, flip = list(FLIPS.items())[int(rng.integers(len(FLIPS)))]
    content = bytearray(other.sound())
    flip(rng, content)
    return Mutation(seed, what, kind, False, bytes(content))


def _mutated(
    sound: bytes, rng: np.random.Generator, layout: str, edits: dict[str, Edit]
) -> tuple[str, bytes]:
    if rng.integers(5) < 2:
        kind, edit = list(edits.items())[int(rng.integers(len(edits)))]
        return kind, _edited(sound, rng, edit, layout)
    kind, flip = list(FLIPS.items())[int(rng.integers(len(FLIPS)))]
    content = bytearray(sound)
    flip(rng, content)
    return kind, bytes(content)


def _edited(content: bytes, rng: np.random.Generator, edit: Edit, layout: str) -> bytes:
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+", libver=layout) as file:
        edit(rng, file)
    return buffer.getvalue()
