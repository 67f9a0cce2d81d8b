"""The network of a recipe of family ``graph``: a graph that is trained further, as a classifier.

The initial graph is stored beside the checkpoint, which holds weights, biases and units, and the
hash of that graph: thresholds and decays are in the graph alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import Tensor

from neuroport.errors import FramesError, NeuroportError, RecipeError, TrainingError
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.store import load, save
from neuroport.recipe import Recipe
from neuroport.training.trainable import SILENT, Trainable

START = "start.graph"


class Classifier(Trainable):
    """A graph that is trained further and returns (N, classes) in real units.

    The output is the potential of its readout after the last step. Without a readout it is the
    number of spikes that the last population sent.

    Raises:
        RecipeError: the recipe's data or its number of classes do not match the graph.
        FramesError: in forward, a count of events is larger than the graph's input permits.
    """

    def __init__(
        self,
        graph: Graph,
        recipe: Recipe,
        units: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        super().__init__(graph, units, recipe.network.surrogate)
        readouts = [name for name in self.outputs if isinstance(graph[name], SILENT)]
        found = readouts or self.outputs
        if len(found) != 1:
            raise RecipeError(
                f"{', '.join(found)}: {len(found)} outputs of the graph, and a classifier has one; "
                "let forward return one"
            )
        (self.answers,) = found
        _check(graph, self.answers, recipe)
        bits = graph.nodes[0].bits  # type: ignore[attr-defined]
        self.most = (1 << bits) - 1 if bits < recipe.data.bits else None

    def forward(self, frames: Tensor) -> Tensor:
        if self.most is not None and not frames.is_meta and (largest := frames.max()) > self.most:
            raise FramesError(
                f"a frame holds {int(largest)}, and a frame of the graph {self.most} at most; make "
                "the graph from frames that reach as high"
            )
        out = self.messages(frames)[self.answers].flatten(2)
        if isinstance(self.start[self.answers], SILENT):
            out = out[-1] * self.unit(self.answers) / (1 << integers.STATE_SHIFT)
        else:
            out = out.sum(0)
        return out.float()


def _check(graph: Graph, answers: str, recipe: Recipe) -> None:
    data, shape = recipe.data, graph.facts(answers).shape
    node: Any = graph.nodes[0]  # its input
    name = "x".join(map(str, data.shape))
    given = "x".join(map(str, node.shape))
    counted = data.known.events and node.bits < data.bits  # small counts need fewer bits
    for has, wanted, what, key in (
        (given, name, "frames of", "data.size and data.dataset"),
        (graph.steps, data.steps, "steps:", "data.steps"),
        (data.bits if counted else node.bits, data.bits, "bits of a pixel:", "data.bits"),
        (math.prod(shape), data.class_count, "classes:", "data.dataset and data.classes"),
    ):
        if has != wanted:
            raise RecipeError(
                f"{what} {wanted} in the recipe, {has} in the graph; change {key}, or make the "
                "graph for such frames"
            )
    if node.signed:
        raise RecipeError("frames of the graph are signed, pixels and counts are not")
    if math.prod(shape[1:]) != 1:
        raise RecipeError(f"{answers} sends feature maps {shape}; let forward return classes")


def begin(graph: Graph, folder: Path) -> None:
    """Store the initial graph of a run."""
    save(graph, folder / START)


def has(folder: Path, graph: Graph) -> bool:
    """Whether the folder holds this initial graph, undamaged."""
    try:
        return os.path.lexists(folder / START) and load(folder / START).hash == graph.hash
    except NeuroportError:
        return False


def given(recipe: Recipe, folder: str | os.PathLike[str], start: str = "") -> Classifier:
    """Return the initial network of the run in a folder.

    Args:
        start: hash of its graph; empty: whatever graph is there.

    Raises:
        TrainingError: the folder has no initial graph, or another one.
        FormatError, HashError: its file was damaged.
        RecipeError: see :class:`Classifier`.
    """
    path = Path(folder) / START
    if not os.path.lexists(path):
        raise TrainingError(
            f"{path} is missing, with which a run of family 'graph' begins; give it: "
            "port.fit(recipe, folder, start=graph), or neuroport train --graph FILE"
        )
    graph = load(path)
    if start and graph.hash != start:
        raise TrainingError(
            f"{path} is not the graph with which this run began (hash {graph.hash[:16]}, not "
            f"{start[:16]}), and its thresholds and decays were not trained with these weights; "
            "give the run its own graph again: port.fit(recipe, folder, start=graph), or neuroport "
            "train --graph FILE"
        )
    return Classifier(graph, recipe)
