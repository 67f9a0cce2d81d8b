"""The result of minimizing: small networks and frames on which two runs differ."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.compare import Divergence
from neuroport.errors import IllegalError
from neuroport.files import write_atomic
from neuroport.graph.graph import Graph
from neuroport.graph.store import save
from neuroport.netx import export


@dataclass(frozen=True, eq=False)
class Minimized:
    """A small case in which two runs differ.

    Attributes:
        graph, other: networks of the two runs; the same object if only the engines differ.
        frames: frames of both runs.
        first: where the runs of the small case first differ.
        before, after: (nodes, weights) of the larger network.
        tests: number of cases that were run.
        interrupted: whether the user ended the search, so that the case may not be the smallest.
    """

    graph: Graph
    other: Graph
    frames: npt.NDArray[Any]
    first: Divergence
    before: tuple[int, int]
    after: tuple[int, int]
    tests: int
    interrupted: bool = False

    def __str__(self) -> str:
        steps, samples = self.frames.shape[:2]
        entries = int(np.prod(self.frames.shape[2:]))
        (nodes, weights), (few, light) = self.before, self.after
        return (
            f"{nodes} nodes and {many(weights, 'weight')} became {few} nodes and "
            f"{many(light, 'weight')}: {many(samples, 'sample')} of {many(steps, 'step')}, "
            f"{many(entries, 'input')} ({self.tests} runs"
            f"{', interrupted' if self.interrupted else ''})\n{self.graph}\n"
            f"first divergence: {self.first}"
        )

    def save(self, path: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write the network to ``path``, the frames beside it (``.npy``).

        The network of the second run, if it is another one, becomes ``NAME.other.net``.
        """
        target, other, frames = files_of(path)
        written = [_write(self.graph, target)]
        if self.other is not self.graph:
            written.append(_write(self.other, other))
        content = io.BytesIO()
        np.save(content, self.frames)
        written.append(write_atomic(frames, content.getvalue()))
        return tuple(written)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "before": {"nodes": self.before[0], "weights": self.before[1]},
            "after": {"nodes": self.after[0], "weights": self.after[1]},
            "samples": self.frames.shape[1],
            "steps": self.frames.shape[0],
            "tests": self.tests,
            "interrupted": self.interrupted,
            "first": str(self.first),
        }


def files_of(path: str | os.PathLike[str]) -> tuple[Path, Path, Path]:
    """Return the files of a case: its network, that of the second run if it is another, frames."""
    target = Path(path)
    other = target.with_suffix(f".other{target.suffix}")
    return target, other, target.with_suffix(".npy")


def many(number: int, noun: str) -> str:
    """``1 weight``, ``2 weights``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _write(graph: Graph, path: Path) -> Path:
    try:
        return export(graph, path)
    except IllegalError:
        return save(graph, path)  # what cannot run on Lava can still be read and run here
