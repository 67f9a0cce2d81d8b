"""Read the Spiking Heidelberg Digits: spoken digits as spikes of 700 channels, in two HDF5 files.

``spikes/times`` (seconds) and ``spikes/units`` (channel) have one row of variable length per
recording, and ``labels`` has one class per recording. A child process with limits of time and
memory reads the files, as all HDF5 files. The events equal those of the package tonic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.data.events import EVENT, Events
from neuroport.data.samples import Labels
from neuroport.errors import FormatError

CHANNELS = 700
CLASSES = 20
SECONDS = 3600  # of a recording at most; they take one or two
FILES = ("shd_train.h5", "shd_test.h5")


class Shd:
    """Train or test recordings, in the order of the file, all in memory.

    Raises:
        StorageError: there is no such file.
        FormatError: the file is truncated, or not in this format.
    """

    def __init__(self, path: Path) -> None:
        found: dict[str, Any] = hdf5.read(
            path, "a file of the Spiking Heidelberg Digits", lambda file: _content(file, path)
        )
        self._times, self._units = found["times"], found["units"]
        self._ends = found["ends"]
        self._labels: Labels = found["labels"].astype(np.int64)

    @property
    def labels(self) -> Labels:
        return self._labels

    def read(self, number: int) -> Events:
        part = slice(self._ends[number - 1] if number else 0, self._ends[number])
        events = np.zeros(part.stop - part.start, EVENT)
        events["x"] = self._units[part]
        events["t"] = self._times[part].astype(np.float64) * 1e6
        events["p"] = 1
        return events


def _content(file: h5py.File, path: Path) -> dict[str, Any]:
    times, units = _rows(file, "times", "f", path), _rows(file, "units", "iu", path)
    labels = file["labels"][()]
    lengths = [len(row) for row in times]
    if labels.dtype.kind not in "iu" or labels.shape != (len(times),) or len(times) == 0:
        raise _refusal(path, f"labels are {labels.dtype} {labels.shape} for {len(times)} rows")
    if not 0 <= labels.min() <= labels.max() < CLASSES:
        raise _refusal(path, f"labels reach from {labels.min()} to {labels.max()}")
    if lengths != [len(row) for row in units]:
        raise _refusal(path, "rows of spikes/times and spikes/units differ in length")
    every, channels = np.concatenate(times), np.concatenate(units)
    if len(every) and not (every.min() >= 0 and every.max() <= SECONDS):  # NaN is neither
        raise _refusal(path, f"times are not all finite and positive, {SECONDS} s at most")
    if len(channels) and not 0 <= channels.min() <= channels.max() < CHANNELS:
        raise _refusal(path, f"channels reach from {channels.min()} to {channels.max()}")
    return {"times": every, "units": channels, "ends": np.cumsum(lengths), "labels": labels}


def _rows(file: h5py.File, name: str, kinds: str, path: Path) -> list[npt.NDArray[Any]]:
    data = file[f"spikes/{name}"]
    base = h5py.check_vlen_dtype(data.dtype)
    if base is None or np.dtype(base).kind not in kinds or data.ndim != 1:
        raise _refusal(path, f"spikes/{name} is {data.dtype} {data.shape}, not rows of numbers")
    return list(data[()])


def _refusal(path: Path, said: str) -> FormatError:
    return FormatError(
        f"{path}: not a file of the Spiking Heidelberg Digits ({hdf5.short(Exception(said))}); "
        "unpack it again"
    )
