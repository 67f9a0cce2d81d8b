"""Sweeps: train a recipe at every point of a grid, then quantize and lower each network.

Each point has its own folder with the checkpoint of its training, ``network.graph`` and
``result.json``. Points are trained here, one after the other, or by the workers of a cluster, each
in a child process. An interrupted sweep continues with the missing points. If the worker reaches
the point's folder, it continues within the training.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroport.arguments import is_function, is_path, is_recipe, takes
from neuroport.errors import (
    CompareError,
    FormatError,
    NeuroportError,
    RecipeError,
    StorageError,
)
from neuroport.files import parse_toml, read_json, write_atomic, write_json
from neuroport.nets.recipe import GRAPH
from neuroport.recipe import Recipe, changed
from neuroport.scale.clusters import check, connected, patience_of
from neuroport.scale.shard_folder import ShardFolder
from neuroport.scale.spread import spread
from neuroport.scale.sweep_point import KEPT, RESULT, content_of, point
from neuroport.version import __version__

if TYPE_CHECKING:
    from neuroport.scale.clusters import Cluster

SUMMARY = "sweep.json"
MOST_POINTS = 10_000
MOST_BYTES = 1 << 32  # of a file of a point
Report = Callable[[str], None]


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        keys: the varied keys of the recipe.
        points: for each point ``changes``, ``accuracy`` in percent by phase (``float``,
            ``quantized``) and ``options``: the legal options of lowering, with their costs, the
            best first.
        folder: the folder with one folder per point, ``0001`` and so on.
    """

    keys: tuple[str, ...]
    points: tuple[Mapping[str, Any], ...]
    folder: Path

    def __str__(self) -> str:
        """A table, a line for each point and way to lower it."""
        head = ["point", *self.keys, "float %", "integer %", "lowered", "neurons", "cores"]
        rows = [head]
        for number, found in enumerate(self.points, 1):
            values = [change.partition("=")[2] for change in found["changes"]]
            accuracy = [_percent(found["accuracy"].get(p)) for p in ("float", "quantized")]
            for option in found["options"] or [{}]:
                way = ", ".join(str(option[k]) for k in ("carrier", "align") if option.get(k))
                costs = [f"{option[k]:,}" if k in option else "" for k in ("neurons", "cores")]
                rows.append([f"{number:04d}", *values, *accuracy, way or "refused", *costs])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"keys": list(self.keys), "points": [dict(each) for each in self.points]}


@takes(recipe=is_recipe, folder=is_path, target=is_path, report=is_function)
def sweep(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    grid: Mapping[str, Sequence[Any]] | Sequence[str],
    *,
    target: str = "lava-cpu",
    cluster: Cluster | None = None,
    report: Report | None = None,
) -> Sweep:
    """Train ``recipe`` at every point of a grid, and return the accuracies and costs.

    Args:
        folder: folder for the points and ``sweep.json``; an interrupted sweep continues there.
        grid: values of keys of the recipe, ``{"training.learning_rate": [0.1, 0.05]}``, or the same
            as texts, ``["training.learning_rate=0.1,0.05", "seed=1,2,3"]``.
        target: chip or board for which each network is lowered, with every option that it permits.
        cluster: see :func:`neuroport.record`; ``None``: one point after the other, here.
        report: called with one line per finished point.

    Raises:
        RecipeError: a key does not exist, or a point is not a valid recipe or the same as another;
            raised before training.
        TargetError: there is no such target.
        CompareError: the folder holds points of another sweep, or the target's file was edited
            while the sweep ran.
        FormatError: the result of a point in the folder was damaged; raised before training.
        BackendError: see :func:`neuroport.record`.
        NeuroportError: training, quantizing or lowering a point failed.
    """
    from neuroport.targets.target import load_target, names

    content = content_of(load_target(target))
    if target not in names():
        target = os.path.abspath(target)  # as workers find it
    check(cluster)
    axes = axes_of(grid)
    changes = changes_of(axes)
    if recipe.network.family == GRAPH:
        raise RecipeError(
            f"{recipe.name} trains a graph on, which a sweep is not given; use another family"
        )
    _check_points(recipe, changes)  # before anything is trained
    plan: dict[str, Any] = {
        "recipe": recipe.to_dict(),
        "name": recipe.name,
        "grid": {key: [_toml(key, value) for value in values] for key, values in axes.items()},
        "target": {"name": target, "values": content},
        "shards": len(changes),
    }
    points = _Points(Path(folder), plan)
    there = points.done()
    for number in there:
        points.result(number, changes[number - 1])  # refused before anything is trained
    say = report or (lambda _: None)

    def unchanged(number: int) -> None:
        """Refuse a point that may have been lowered for what the target's file holds now."""
        if content_of(load_target(target)) != content:
            raise CompareError(
                f"{target} was edited while the sweep ran, so point {number} is not kept; restore "
                "the file and give the same command again, or begin another sweep elsewhere"
            )

    def told(number: int) -> None:
        found = points.result(number, changes[number - 1])
        values = ", ".join(f"{phase} {_percent(a)} %" for phase, a in found["accuracy"].items())
        say(f"point {number} of {points.shards}: {' '.join(changes[number - 1])}: {values}")

    if cluster is None:
        for number in range(1, points.shards + 1):
            if number not in there:
                place = points.place(number)
                point(plan["recipe"], changes[number - 1], place, target, recipe.name)
                unchanged(number)
                os.replace(place, points.path(number))
                told(number)
    elif len(there) < points.shards:

        def job(number: int) -> tuple[dict[str, Any], Any]:
            about: dict[str, Any] = {
                "version": __version__,
                "verb": "sweep",
                "kinds": {},
                "target": target,
                "values": content,
            }
            about |= {"recipe": plan["recipe"], "changes": changes[number - 1]}
            return about | points.told(points.place(number)), np.zeros((1, 0), np.int32)

        def kept(number: int) -> None:
            try:
                unchanged(number)
            except NeuroportError:
                os.replace(points.path(number), points.place(number))
                raise
            told(number)

        with connected(cluster) as client:
            spread(client, (), job, points, there, kept, patience=patience_of(cluster))
    found = [points.result(number, each) for number, each in enumerate(changes, 1)]
    done = Sweep(tuple(axes), tuple(found), points.folder)
    write_json(points.folder / SUMMARY, done.to_dict())
    return done


def axes_of(grid: Mapping[str, Sequence[Any]] | Sequence[str]) -> dict[str, list[Any]]:
    """The values of each key, in the order in which they were given.

    Raises:
        RecipeError: a text that is no ``KEY=VALUE,VALUE``, a key that is there twice, no value.
    """
    found: dict[str, list[Any]] = {}
    if isinstance(grid, (str, bytes)) or not isinstance(grid, Iterable):
        raise RecipeError(
            f"the grid is {grid!r:.100}; give a dictionary of lists, or texts: ['seed=1,2,3']"
        )
    told = grid.items() if isinstance(grid, Mapping) else [_axis(text) for text in grid]
    for key, values in told:
        if key in found:
            raise RecipeError(f"{key} is there twice in the grid; give all its values at once")
        many = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
        if not many or not len(list(values)):
            raise RecipeError(f"{key} has no list of values in the grid; use {key}=1,2")
        found[key] = list(values)
    if not found:
        raise RecipeError("the grid is empty; give a key of the recipe with values, as seed=1,2,3")
    return found


def _axis(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not equals or not key.strip():
        raise RecipeError(f"{text!r:.100} is not part of a grid; write seed=1,2,3")
    try:
        found = parse_toml(f"values = [\n{values}\n]", text, RecipeError)
    except RecipeError:  # it tells a line and a column of what the user did not write
        found = {}
    if found.keys() != {"values"}:
        raise RecipeError(
            f"{text!r:.100} has values that are not TOML; separate them by commas, and write "
            "numbers, true or false, lists as [1, 2], and texts in quotes"
        )
    return key.strip(), list(found["values"])


def _toml(key: str, value: Any) -> str:
    """Write a value of the grid as TOML.

    Raises:
        RecipeError: it is nothing that a recipe holds.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(key, each) for each in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{_toml(key, str(k))} = {_toml(key, each)}" for k, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value):
        # TOML has no pairs of \\u for a character, and no bare DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise RecipeError(
        f"{key} is {str(value)!r:.100} in the grid ({type(value).__name__}); a recipe holds "
        "numbers, texts, true or false, and lists"
    )


def changes_of(axes: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """What each point changes of the recipe, as ``key=value`` in TOML; the last key varies fastest.

    Raises:
        RecipeError: more points than anybody trains, or a value that no recipe holds.
    """
    count = int(np.prod([float(len(values)) for values in axes.values()]))
    if count > MOST_POINTS:
        raise RecipeError(f"the grid has {count:,} points; use at most {MOST_POINTS:,}")
    texts = [[f"{key}={_toml(key, value)}" for value in values] for key, values in axes.items()]
    return [list(each) for each in itertools.product(*texts)]


def _check_points(recipe: Recipe, changes: Sequence[Sequence[str]]) -> None:
    """Refuse points that are no recipes, or that would be trained twice.

    Raises:
        RecipeError: names the point.
    """
    numbers: dict[Recipe, int] = {}
    for number, each in enumerate(changes, 1):
        first = numbers.setdefault(changed(recipe, each), number)
        if first != number:
            raise RecipeError(
                f"points {first} ({' '.join(changes[first - 1])}) and {number} ({' '.join(each)}) "
                "of the grid are the same recipe; give every value once"
            )


class _Points(ShardFolder):
    """The folder of a sweep, with a folder for each point that is done."""

    word, run = "point", "sweep"

    def path(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def place(self, number: int) -> Path:
        """Where a point is trained."""
        return self.folder / f"{number:04d}.part"

    def result(self, number: int, changes: Sequence[str]) -> dict[str, Any]:
        """Return what came of a finished point.

        Raises:
            FormatError: it is not the result of this point.
        """
        path = self.path(number) / RESULT
        try:
            found = read_json(path)
        except (FormatError, StorageError):
            found = None
        if not _is_result(found) or found["changes"] != list(changes):
            raise FormatError(
                f"{path}: not the result of point {number} ({' '.join(changes)}), but missing, "
                f"edited or damaged; remove the folder {path.parent} and give the same command "
                "again, which trains that point anew"
            )
        result: dict[str, Any] = found
        return result

    def keep(self, number: int, content: bytes) -> None:
        """Store the files of a point that a worker sent.

        Raises:
            FormatError: it sent something else.
        """
        made = Path(tempfile.mkdtemp(prefix=f"{number:04d}-", dir=self.folder))
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for item in archive.infolist():
                    if item.filename not in KEPT or item.file_size > MOST_BYTES:
                        raise FormatError(
                            f"a worker sent {item.filename!r:.100}, no file of a point"
                        )
                    write_atomic(made / item.filename, archive.read(item))
            os.chmod(made, 0o755)
            os.replace(made, self.path(number))
        finally:
            shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(self.place(number), ignore_errors=True)


def _is_result(found: Any) -> bool:
    """Whether this is what :func:`~neuroport.scale.sweep_point.point` writes."""
    if not isinstance(found, dict) or not {"changes", "accuracy", "options"} <= found.keys():
        return False
    accuracy, options = found["accuracy"], found["options"]
    return (
        isinstance(accuracy, dict)
        and all(_is_number(value, 100) for value in accuracy.values())
        and isinstance(options, list)
        and all(map(_is_option, options))
    )


def _is_option(option: Any) -> bool:
    return (
        isinstance(option, dict)
        and isinstance(option.get("carrier"), str)
        and isinstance(option.get("align"), str)
        and all(_is_number(option[key]) for key in ("neurons", "cores") if key in option)
    )


def _is_number(value: Any, most: float = math.inf) -> bool:
    return type(value) in (int, float) and 0 <= value <= most and math.isfinite(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
