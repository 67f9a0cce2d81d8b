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
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroport.arguments import is_path, is_recipe, takes
from neuroport.errors import FormatError, RecipeError
from neuroport.files import parse_toml, read_json, write_atomic, write_json
from neuroport.nets.recipe import GRAPH
from neuroport.recipe import Recipe, changed
from neuroport.scale.clusters import connected
from neuroport.scale.shard_folder import ShardFolder
from neuroport.scale.spread import spread
from neuroport.scale.sweep_point import KEPT, RESULT, point
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


@takes(recipe=is_recipe, folder=is_path)
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
        RecipeError: a key does not exist, or a point is not a valid recipe; raised before training.
        TargetError: there is no such target.
        CompareError: the folder holds points of another sweep.
        BackendError: see :func:`neuroport.record`.
        NeuroportError: training, quantizing or lowering a point failed.
    """
    from neuroport.targets.target import load_target

    load_target(target)
    target = os.path.abspath(target) if os.path.exists(target) else target  # as workers find it
    axes = axes_of(grid)
    changes = changes_of(axes)
    if recipe.network.family == GRAPH:
        raise RecipeError(
            f"{recipe.name} trains a graph on, which a sweep is not given; use another family"
        )
    for each in changes:
        changed(recipe, each)  # refused before anything is trained
    plan: dict[str, Any] = {
        "recipe": recipe.to_dict(),
        "name": recipe.name,
        "grid": {key: [json.dumps(value) for value in values] for key, values in axes.items()},
        "target": target,
        "shards": len(changes),
    }
    points = _Points(Path(folder), plan)
    say = report or (lambda _: None)

    def told(number: int) -> None:
        found = read_json(points.path(number) / RESULT)
        values = ", ".join(f"{phase} {_percent(a)} %" for phase, a in found["accuracy"].items())
        say(f"point {number} of {points.shards}: {' '.join(changes[number - 1])}: {values}")

    if cluster is None:
        for number in range(1, points.shards + 1):
            if number not in points.done():
                place = points.place(number)
                point(plan["recipe"], changes[number - 1], place, target, recipe.name)
                os.replace(place, points.path(number))
                told(number)
    elif len(points.done()) < points.shards:

        def job(number: int) -> tuple[dict[str, Any], Any]:
            about: dict[str, Any] = {
                "version": __version__,
                "verb": "sweep",
                "kinds": {},
                "target": target,
            }
            about |= {"recipe": plan["recipe"], "changes": changes[number - 1]}
            return about | points.told(points.place(number)), np.zeros((1, 0), np.int32)

        with connected(cluster) as client:
            spread(client, (), job, points, told)
    found = [read_json(points.path(number) / RESULT) for number in range(1, points.shards + 1)]
    done = Sweep(tuple(axes), tuple(found), points.folder)
    write_json(points.folder / SUMMARY, done.to_dict())
    return done


def axes_of(grid: Mapping[str, Sequence[Any]] | Sequence[str]) -> dict[str, list[Any]]:
    """The values of each key, in the order in which they were given.

    Raises:
        RecipeError: a text that is no ``KEY=VALUE,VALUE``, a key that is there twice, no value.
    """
    found: dict[str, list[Any]] = {}
    told = grid.items() if isinstance(grid, Mapping) else [_axis(text) for text in grid]
    for key, values in told:
        if key in found:
            raise RecipeError(f"{key} is there twice in the grid; give all its values at once")
        if isinstance(values, (str, bytes)) or not list(values):
            raise RecipeError(f"{key} has no list of values in the grid; use {key}=1,2")
        found[key] = list(values)
    if not found:
        raise RecipeError("the grid is empty; give a key of the recipe with values, as seed=1,2,3")
    return found


def _axis(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{text!r:.100} is not part of a grid; write seed=1,2,3")
    found = parse_toml(f"values = [{values}]", text, RecipeError)["values"]
    return key.strip(), list(found)


def changes_of(axes: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """What each point changes of the recipe, as ``key=value`` in TOML; the last key varies fastest.

    Raises:
        RecipeError: more points than anybody trains.
    """
    count = int(np.prod([float(len(values)) for values in axes.values()]))
    if count > MOST_POINTS:
        raise RecipeError(f"the grid has {count:,} points; use at most {MOST_POINTS:,}")
    texts = [[f"{key}={json.dumps(value)}" for value in values] for key, values in axes.items()]
    return [list(each) for each in itertools.product(*texts)]


class _Points(ShardFolder):
    """The folder of a sweep, with a folder for each point that is done."""

    word, run = "point", "sweep"

    def path(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def place(self, number: int) -> Path:
        """Where a point is trained."""
        return self.folder / f"{number:04d}.part"

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


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
