"""Check the true classes of samples against the classes that a run can predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.errors import CompareError, FramesError
from neuroport.runs.trace import Trace


def check_labels(
    labels: npt.NDArray[Any], trace: Trace | None = None, about: str = "", first: int = 0
) -> None:
    """Refuse labels that are no class; each would count as a wrong prediction.

    Args:
        labels: integers (N,), or more of them, of the samples of ``trace``.
        trace: the run; None before it, when only negative labels are known to be none.
        about: beginning of error messages, such as the file of the labels.
        first: number of the first sample, for messages.

    Raises:
        FramesError: names the first label that is no class, and the classes.
    """
    classes = None
    if trace is not None:
        labels = labels[: trace.samples]
        try:
            classes = trace.output.shape[1]
        except CompareError:  # no single answer, which whoever takes the accuracy says
            return
    wrong = labels < 0 if classes is None else (labels < 0) | (labels >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        known = "from 0 on" if classes is None else f"0 to {classes - 1}, as the run has {classes}"
        raise FramesError(
            f"{about}label {int(labels[at])} of sample {first + at} is no class; give whole "
            f"numbers {known}"
        )
