"""N-MNIST's files: a folder per class, a binary file per recording, read through tonic.

An event has 40 bits: x (8), y (8), polarity (1), microseconds (23), the most significant first.
The layout is ``Train/<class>/<number>.bin`` and ``Test/<class>/<number>.bin``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroport.data.events import EVENT, Events
from neuroport.data.samples import Labels
from neuroport.errors import BackendError, FormatError


def to_bytes(events: Events) -> bytes:
    """Events as a file of N-MNIST holds them."""
    out = np.empty((len(events), 5), np.uint8)
    t = events["t"]
    out[:, 0], out[:, 1] = events["x"], events["y"]
    out[:, 2] = (events["p"].astype(np.int64) << 7) | (t >> 16)
    out[:, 3], out[:, 4] = (t >> 8) & 255, t & 255
    return out.tobytes()


class Folder:
    """Recordings of one half of N-MNIST (or of files in its format), in the order of their paths.

    Args:
        root: the folder ``NMNIST`` that holds ``Train`` and ``Test``.
        train: which of the two.

    Raises:
        BackendError: tonic is not installed.
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
            """tonic's reader on a folder that is there: it never downloads."""

            def _check_exists(self) -> bool:
                self.location_on_system = str(root)
                return True

        self._dataset: Any = Here(str(root.parent), train=train)
        self._paths = [Path(path) for path in self._dataset.data]

    @property
    def labels(self) -> Labels:
        return np.array(self._dataset.targets, np.int64)

    def read(self, number: int) -> Events:
        """Events of a recording.

        Raises:
            FormatError: the file is not a whole number of events, or holds none of the sensor's.
        """
        path = self._paths[number]
        if path.stat().st_size % 5:
            raise FormatError(f"{path}: {path.stat().st_size} bytes, not events of 5 bytes each")
        return as_events(self._dataset[number][0], path)


def as_events(found: Any, path: Path) -> Events:
    """tonic's events, whatever their types, as :data:`EVENT`."""
    events = np.empty(len(found), EVENT)
    try:
        for name in EVENT.names or ():
            events[name] = found[name]
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{path}: not events ({error})") from error
    return events
