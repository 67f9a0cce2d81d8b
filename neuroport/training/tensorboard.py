"""Metrics as TensorBoard events, beside the JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuroport.errors import BackendError, StorageError
from neuroport.training.checkpoint import CHECKPOINT, read_checkpoint
from neuroport.training.fit import Report
from neuroport.training.metrics import epoch_of

FOLDER = "tensorboard"


@contextmanager
def board(folder: Path) -> Iterator[Report]:
    """Return a report for :func:`~neuroport.training.fit.fit` that writes ``folder/tensorboard``.

    Every epoch of the run appears once, as ``loss/float``, ``accuracy/quantized``,
    ``gradient/blocks.0`` and so on, including the epochs before an interruption: when the training
    starts, or has nothing left to do, the events are written again from the checkpoint.

    Raises:
        BackendError: the package tensorboard is not installed.
        StorageError: the events cannot be written.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise BackendError(
            "events are written with the package tensorboard, which is not installed; "
            "pip install '.[tensorboard]' in neuroport's folder"
        ) from error
    place = folder / FOLDER
    writer: Any = None

    def report(told: dict[str, Any]) -> None:
        nonlocal writer
        try:
            if writer is None:
                for old in place.glob("events.out.tfevents.*"):
                    old.unlink()
                writer = SummaryWriter(str(place))  # type: ignore[no-untyped-call]
                there = (folder / CHECKPOINT).is_file()
                add(*(read_checkpoint(folder, check_recipe=False).metrics if there else ()))
            elif "accuracy" in told:
                add(told)
        except OSError as error:
            raise StorageError(
                f"{place}: cannot write ({error.strerror or error}); free space, or train without "
                "--tensorboard"
            ) from error

    def add(*metrics: dict[str, Any]) -> None:
        for each in metrics:
            for tag, value in epoch_of(each, str(folder)).scalars().items():
                writer.add_scalar(tag, value, each["epoch"])
        writer.flush()

    try:
        yield report
        if writer is None:  # all epochs were done before
            report({})
    finally:
        if writer is not None:
            writer.close()
