"""Accuracy and confusion of the runs of a page, if the classes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.labels import check_labels
from neuroport.reporting.summary import Accuracy, accuracies
from neuroport.runs.accuracy import classes, confusion
from neuroport.runs.trace import Trace

MOST = 20  # classes of a table


@dataclass(frozen=True)
class ClassTable:
    """Accuracy and confusion matrix of one run.

    Attributes:
        accuracy: accuracy, with its 95% interval.
        names: the classes of rows and columns.
        table: number of samples of a class (row) that were classified as a class (column).
        left_out: omitted classes, those with the fewest mistakes.
    """

    accuracy: Accuracy
    correct: int
    names: tuple[int, ...]
    table: tuple[tuple[int, ...], ...]
    left_out: int


def class_tables(
    trace: Trace, got: Trace | None, labels: npt.NDArray[Any] | None
) -> tuple[ClassTable, ...]:
    """Return the table of each run; none without labels.

    Raises:
        FramesError: there are fewer labels than samples, one is no class, or a run has no
        predictions.
    """
    if labels is None:
        return ()
    runs = [("run", trace)] if got is None else [("want", trace), ("got", got)]
    return tuple(_table(name, run, labels[: run.samples]) for name, run in runs)


def _table(name: str, trace: Trace, labels: npt.NDArray[Any]) -> ClassTable:
    answered = classes(trace, labels)
    check_labels(labels, trace)
    predictions = trace.predictions
    correct = int((predictions == labels).sum()) if answered is None else answered.correct or 0
    known, numbered = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    whole = confusion(numbered[len(labels) :], numbered[: len(labels)])
    wrong = whole.sum(0) + whole.sum(1) - 2 * np.diag(whole)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:MOST])
    told = {"percent": 100 * correct / len(labels), "samples": len(labels)}
    (accuracy,) = accuracies({"accuracy": {name: told}})
    return ClassTable(
        accuracy,
        correct,
        tuple(int(c) for c in known[kept]),
        tuple(tuple(int(n) for n in row) for row in whole[np.ix_(kept, kept)]),
        len(known) - len(kept),
    )
