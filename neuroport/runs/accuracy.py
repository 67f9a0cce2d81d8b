"""The classes that a run predicts, and their accuracy."""

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
        population: the population that gives the answer; if it is not a readout, its spikes are
            counted.
        readout: whether it is a readout.
        predictions: the predicted class of each sample, in order.
        ties: samples for which several classes share the largest output; the lowest is predicted.
        correct: number of predictions that equal the labels; None without labels.
    """

    population: str
    readout: bool
    predictions: tuple[int, ...]
    ties: int
    correct: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Percentage of correct predictions; None without labels."""
        return None if self.correct is None else 100 * self.correct / len(self.predictions)

    def lines(self) -> Iterator[str]:
        """Lines of text for a terminal."""
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
    """Return the classes that ``trace`` predicts, or None if no population gives an answer.

    Args:
        labels: the true classes (N,), or more of them; None if they are not known.
        about: beginning of error messages, such as the file of the labels.

    Raises:
        FramesError: there are fewer labels than samples, or the run has no single answer.
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
    """Return the confusion matrix: true classes are rows, predicted classes are columns.

    Raises:
        FramesError: the numbers of labels and predictions differ, or a label is not a class.
    """
    found, wanted = np.asarray(predictions).ravel(), np.asarray(labels).ravel()
    if found.shape != wanted.shape:
        raise FramesError(f"{len(wanted)} labels for {len(found)} predictions; give one for each")
    whole = all(each.dtype.kind in "iu" for each in (found, wanted))
    if not len(found) or not whole or min(found.min(), wanted.min()) < 0:
        raise FramesError("labels and predictions are classes: whole numbers from 0 on")
    size = int(max(found.max(), wanted.max())) + 1
    table = np.zeros((size, size), np.int64)
    np.add.at(table, (wanted, found), 1)
    return table


def load_labels(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Load classes (N,) from a ``.npy`` file.

    Raises:
        StorageError: there is no such file.
        FormatError, FramesError: the file does not hold whole numbers (N,).
    """
    truth = read_array(path, "labels")
    if truth.ndim != 1 or truth.dtype.kind not in "iu":
        raise FramesError(
            f"{path}: {truth.dtype} {truth.shape}; labels are integers (N,), a class each"
        )
    return truth
