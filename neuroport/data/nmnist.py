"""N-MNIST's files: a folder per class, a binary file per recording, read through tonic.

An event has 40 bits: x (8), y (8), polarity (1), microseconds (23), the most significant first.
The layout is ``Train/<class>/<number>.bin`` and ``Test/<class>/<number>.bin``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.data.events import Events, as_events
from neuroport.data.samples import Labels
from neuroport.errors import BackendError, FormatError
from neuroport.files import ordinary
from neuroport.hdf5 import short

SIDE = 34  # pixels of the sensor that the files hold
DIGITS = tuple("0123456789")  # names of the folders
MOST_BYTES = 64 << 20  # of a recording; they have some ten thousand


def to_bytes(events: Events) -> bytes:
    """Events as a file of N-MNIST holds them."""
    out = np.empty((len(events), 5), np.uint8)
    t = events["t"]
    out[:, 0], out[:, 1] = events["x"], events["y"]
    out[:, 2] = (events["p"].astype(np.int64) << 7) | (t >> 16)
    out[:, 3], out[:, 4] = (t >> 8) & 255, t & 255
    return out.tobytes()


class Folder:
    """Train or test recordings of N-MNIST (or of files in its format), in the order of their paths.

    Args:
        root: the folder ``NMNIST`` that holds ``Train`` and ``Test``.
        train: whether to read ``Train``.

    Raises:
        BackendError: tonic is not installed.
        FormatError: a recording is not in the folder of a digit.
    """

    def __init__(self, root: Path, train: bool) -> None:
        try:
            from tonic.datasets import NMNIST
        except ImportError as error:
            raise BackendError(
                "recordings are read with the package tonic, which is not installed; "
                "pip install '.[train]' in neuroport's folder"
            ) from error

        class Here(NMNIST):  # type: ignore[misc]
            """tonic's reader on an existing folder; it never downloads."""

            def _check_exists(self) -> bool:
                self.location_on_system = str(root)
                return True

        half = root / ("Train" if train else "Test")
        try:  # tonic takes the last character of a folder's name
            self._dataset: Any = Here(str(root.parent), train=train)
        except ValueError as error:
            raise _misplaced(half) from error
        self._paths = [Path(path) for path in self._dataset.data]
        for path in self._paths:
            if path.parent.name not in DIGITS:
                raise _misplaced(path.parent)

    @property
    def labels(self) -> Labels:
        return np.array(self._dataset.targets, np.int64)

    def read(self, number: int) -> Events:
        """Read the events of a recording.

        Raises:
            FormatError: the file is not a whole number of events, or an event is impossible.
        """
        path = self._paths[number]
        size = os.path.getsize(ordinary(path, "a recording"))
        if size % 5 or size > MOST_BYTES:
            raise FormatError(f"{path}: {size} bytes, not events of 5 bytes each")
        try:
            found = self._dataset[number][0]
        except Exception as error:  # tonic's readers may raise any exception
            raise FormatError(f"{path}: not a recording ({short(error)})") from error
        return as_events(found, path, (SIDE, SIDE), ordered=True)


def _misplaced(place: Path) -> FormatError:
    return FormatError(
        f"{place}: recordings (.bin) that are not in a folder named by their digit, 0 to 9; remove "
        "or rename what is not of N-MNIST"
    )
