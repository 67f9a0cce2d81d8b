"""Read DVS128 Gesture and CIFAR10-DVS from existing folders, through the package tonic."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.lib.recfunctions  # tonic uses it without importing it

from neuroport.data.events import Events, as_events
from neuroport.data.samples import Labels
from neuroport.errors import BackendError, FormatError
from neuroport.files import ordinary, read_array
from neuroport.hdf5 import short

SIDE = 128  # pixels of both cameras
TRAIN_USERS = 23  # of the 29 of DVS128 Gesture; the others are held out
TRAIN_OF_CLASS = 0.9  # of CIFAR10-DVS: the first 900 of 1,000, by number


class Gesture:
    """DVS128 Gesture: users 1 to 23 or 24 to 29, independent of the folder; sorted by path."""

    def __init__(self, root: Path, train: bool) -> None:
        rows: list[tuple[Path, int, Any, int]] = []
        for half in (True, False):
            dataset = _reader("DVSGesture", root, train=half)
            for number, (path, label, user) in enumerate(
                zip(dataset.data, dataset.targets, dataset.users, strict=True)
            ):
                if (user <= TRAIN_USERS) == train:
                    rows.append((Path(path), label, dataset, number))
        self._rows = sorted(rows, key=lambda row: (row[0].parent.name, row[1], row[0]))

    @property
    def labels(self) -> Labels:
        return np.array([row[1] for row in self._rows], np.int64)

    def read(self, number: int) -> Events:
        path = self._rows[number][0]
        rows = read_array(path, "a recording")
        if rows.ndim != 2 or rows.shape[1] != 4:
            raise FormatError(f"{path}: {rows.shape}, not rows of column, row, polarity and time")
        # not through tonic, which turns every polarity into 0 or 1
        columns = dict(zip("xyp", rows.T, strict=False))
        milliseconds = rows[:, 3].astype(np.float64)
        return as_events({**columns, "t": milliseconds * 1000}, path, (SIDE, SIDE))


class Cifar10Dvs:
    """CIFAR10-DVS: the first 900 recordings of each class by number, or the other 100.

    Raises:
        BackendError: aedat, with which tonic reads these files, is not installed.
    """

    def __init__(self, root: Path, train: bool) -> None:
        if find_spec("aedat") is None:
            raise BackendError(
                "CIFAR10-DVS is read with the package aedat, which is not installed; "
                "pip install aedat"
            )
        self._dataset = _reader("CIFAR10DVS", root)
        rows = [
            (label, _number(Path(path)), own)
            for own, (path, label) in enumerate(
                zip(self._dataset.data, self._dataset.targets, strict=True)
            )
        ]
        self._rows: list[tuple[int, int]] = []
        for label in sorted({row[0] for row in rows}):
            of_class = sorted(row for row in rows if row[0] == label)
            first = round(TRAIN_OF_CLASS * len(of_class))
            chosen = of_class[:first] if train else of_class[first:]
            self._rows += [(label, own) for _, _, own in chosen]

    @property
    def labels(self) -> Labels:
        return np.array([label for label, _ in self._rows], np.int64)

    def read(self, number: int) -> Events:
        own = self._rows[number][1]
        path = Path(self._dataset.data[own])
        ordinary(path, "a recording")
        try:
            found = self._dataset[own][0]
        except Exception as error:  # tonic's readers may raise any exception
            raise FormatError(
                f"{path}: not a recording, or truncated ({type(error).__name__}: {short(error)})"
            ) from error
        return as_events(found, path, (SIDE, SIDE), ordered=True)


def _number(path: Path) -> int:
    """Return the number in a name (``cifar10_airplane_17`` or ``17``), so that 2 precedes 10."""
    digits = path.stem.rpartition("_")[2]
    if not digits.isdecimal():
        raise FormatError(f"{path}: the name of a recording ends with its number")
    return int(digits)


def _reader(name: str, root: Path, **options: Any) -> Any:
    """tonic's dataset on an existing folder; it never downloads."""
    try:
        from tonic import datasets
    except ImportError as error:
        raise BackendError(
            "recordings are read with the package tonic, which is not installed; "
            "pip install '.[train]' in neuroport's folder"
        ) from error

    class Here(getattr(datasets, name)):  # type: ignore[misc]
        def _check_exists(self) -> bool:
            self.location_on_system = str(root)
            return True

    return Here(str(root.parent), **options)
