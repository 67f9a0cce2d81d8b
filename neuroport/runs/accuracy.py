"""The classes that a run predicts, and how many of them are right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.errors import CompareError, FramesError
from neuroport.files import read_array
from neuroport.runs.trace import Trace, is_readout


@dataclass(frozen=True, slots=True)
class Classes:
    """The class of every sample of a run.

    Attributes:
        population: which answers; spikes are counted where it is no readout.
        readout: whether it is one.
        predictions: the classes, of the first sample first.
        ties: samples of which several classes share the largest output; the lowest is predicted.
        correct: predictions that are those of the labels; None without labels.
    """

    population: str
    readout: bool
    predictions: tuple[int, ...]
    ties: int
    correct: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Correct predictions in percent; None without labels."""
        return None if self.correct is None else 100 * self.correct / len(self.predictions)

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        samples = len(self.predictions)
        counted = "" if self.readout else f" by the spikes of {self.population}"
        if self.correct is None:
            yield f"classes{counted} {' '.join(map(str, self.predictions[:50]))}"
        else:
            yield f"accuracy {self.accuracy:.1f} % ({self.correct} of {samples}){counted}"
        if self.ties:
            yield f"{self.ties} of {samples} samples have several largest: the lowest class counts"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {"predictions": list(self.predictions)}
        if self.correct is not None:
            found["accuracy"] = self.accuracy
        if self.ties:
            found["ties"] = self.ties
        return found


def classes(trace: Trace, labels: npt.NDArray[Any] | None, about: str = "") -> Classes | None:
    """The classes that ``trace`` predicts; None where nothing in it is an answer.

    Args:
        labels: the true classes (N,) or more; None where they are not known.
        about: what messages begin with, such as the file of the labels.

    Raises:
        FramesError: fewer labels than samples, or labels of a run without one answer.
    """
    try:
        name, answers = trace.answer
    except CompareError as error:
        if labels is not None:
            raise FramesError(f"{about}labels need one answer; {error.message}") from error
        return None
    readout = is_readout(trace.kinds[name])
    if not readout and answers.shape[1] < 2:
        return None
    correct = None
    if labels is not None:
        truth = labels[: trace.samples]
        if len(truth) != trace.samples:
            raise FramesError(f"{about}{len(truth)} labels for {trace.samples} samples")
        correct = int((trace.predictions == truth).sum())
    predictions = tuple(trace.predictions.tolist())
    return Classes(name, readout, predictions, int(trace.ties.sum()), correct)


def confusion(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """How many samples of each class (row) were predicted as each class (column).

    Raises:
        FramesError: not as many labels as predictions, or one that is no class.
    """
    found, wanted = np.asarray(predictions).ravel(), np.asarray(labels).ravel()
    if found.shape != wanted.shape:
        raise FramesError(f"{len(wanted)} labels for {len(found)} predictions; give one for each")
    if not len(found) or min(found.min(), wanted.min()) < 0 or wanted.dtype.kind not in "iu":
        raise FramesError("labels and predictions are classes: whole numbers from 0 on")
    size = int(max(found.max(), wanted.max())) + 1
    table = np.zeros((size, size), np.int64)
    np.add.at(table, (wanted, found), 1)
    return table


def load_labels(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Classes (N,) from a ``.npy`` file.

    Raises:
        StorageError: no such file.
        FormatError, FramesError: it does not hold whole numbers (N,).
    """
    truth = read_array(path, "labels")
    if truth.ndim != 1 or truth.dtype.kind not in "iu":
        raise FramesError(
            f"{path}: {truth.dtype} {truth.shape}; labels are integers (N,), a class each"
        )
    return truth
