"""Bin events into frames: counts per step, polarity and pixel."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.data.samples import Frames, Labels
from neuroport.errors import FormatError
from neuroport.hdf5 import short

EVENT = np.dtype([("x", np.int32), ("y", np.int32), ("t", np.int64), ("p", np.int8)])
MOST = 255  # elements of a frame have 8 bits; larger counts are limited to 255
KEPT = 2 << 30  # frames of a dataset are kept in memory if they need at most this many bytes

LATEST = 1 << 53  # microseconds; clocks that count from 1970 have reached a fifth of it

Events = npt.NDArray[Any]  # of EVENT: column, row, microseconds, polarity (0 OFF, 1 ON)


def as_events(
    found: Any,
    path: Path | str,
    sensor: tuple[int, int],
    polarities: tuple[int, ...] = (0, 1),
    ordered: bool = False,
) -> Events:
    """Convert a reader's events to :data:`EVENT` and check that every event is possible.

    Args:
        sensor: rows and columns of the sensor.
        polarities: the possible polarities.
        ordered: whether times must not decrease in this format.

    Raises:
        FormatError: an event is impossible; the error names the file, the event and the reason.
    """
    try:
        events: Events = np.empty(len(found["t"]), EVENT)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise FormatError(f"{path}: not events ({short(error)})") from error
    limits = {"x": (0, sensor[1] - 1), "y": (0, sensor[0] - 1), "t": (0, LATEST)}
    limits["p"] = (min(polarities), max(polarities))
    for name, (low, high) in limits.items():
        try:
            values = np.asarray(found[name])
            wrong = ~((values >= low) & (values <= high))  # NaN lies between no numbers
            if name != "t":
                wrong |= values != np.floor(values)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise FormatError(f"{path}: not events ({short(error)})") from error
        if wrong.any():
            at = int(wrong.argmax())
            raise FormatError(
                f"{path}: {MEANING[name]} of event {at} is {values[at]}, not {low} to {high}; the "
                "recording is damaged, or of another sensor"
            )
        events[name] = values
    back = np.flatnonzero(np.diff(events["t"]) < 0)
    if ordered and len(back):
        at = int(back[0]) + 1
        raise FormatError(
            f"{path}: time runs back at event {at}, from {events['t'][at - 1]} to "
            f"{events['t'][at]} us; the recording is damaged"
        )
    return events


MEANING = {"x": "the column", "y": "the row", "t": "the time, us,", "p": "the polarity"}


@dataclass(frozen=True)
class Binning:
    """Rules that bin events into T frames.

    Args:
        steps: T.
        by: ``time`` (windows of equal length) or ``count`` (groups of equally many events).
        window: length of a window in microseconds, from a recording's first event on; later events
            are dropped. 0 divides the recording's own length by T.
        sensor: rows and columns of the sensor.
        size: rows and columns of a frame; a pixel sums the sensor's pixels that it covers.
        gain: value that an event adds to a frame.
        channels: 2 for both polarities, 1 if events have none.
    """

    steps: int
    by: str
    window: int
    sensor: tuple[int, int]
    size: tuple[int, int]
    gain: int = 1
    channels: int = 2

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the frames of a recording, (T, channels, H, W)."""
        return (self.steps, self.channels, *self.size)

    def frames(self, events: Events) -> Frames:
        """Return gain times counts (T, channels, H, W), OFF then ON, at most 255."""
        height, width = self.size
        shape = self.shape
        if len(events) == 0:
            return np.zeros(shape, np.uint8)
        step = self._steps_of(events["t"])
        row = events["y"].astype(np.int64) * height // self.sensor[0]
        column = events["x"].astype(np.int64) * width // self.sensor[1]
        channel = events["p"] if self.channels == 2 else 0
        place = ((step * self.channels + channel) * height + row) * width + column
        inside = (step < self.steps) & (row >= 0) & (row < height)
        inside &= (column >= 0) & (column < width)
        counts = np.bincount(place[inside], minlength=int(np.prod(shape)))
        return np.minimum(counts * self.gain, MOST).astype(np.uint8).reshape(shape)

    def _steps_of(self, t: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if self.by == "count":
            rank = np.empty(len(t), np.int64)
            rank[np.argsort(t, kind="stable")] = np.arange(len(t))
            return rank * self.steps // len(t)
        since = t.astype(np.int64) - int(t.min())
        if self.window:
            return since // self.window
        return since * self.steps // (int(since.max()) + 1)


@dataclass(frozen=True)
class Recordings:
    """Samples that are recordings of events and are read when needed.

    Args:
        read: function that returns the events of recording number i.
        labels: class of each recording.
    """

    read: Callable[[int], Events]
    labels: Labels
    binning: Binning
    _kept: _Kept | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_kept", _Kept.of(len(self.labels), self.binning.shape))

    def __reduce__(self) -> tuple[Any, ...]:
        return Recordings, (self.read, self.labels, self.binning)

    def views(self, chosen: npt.NDArray[Any] | slice) -> Frames:
        numbers = np.arange(len(self.labels))[chosen]
        return np.stack([self._frames(int(number)) for number in numbers], axis=1)

    def _frames(self, number: int) -> Frames:
        kept = self._kept
        if kept is not None and kept.there[number]:
            found: Frames = kept.frames[number]
            return found
        frames = self.binning.frames(self.read(number))
        if kept is not None:
            kept.frames[number] = frames
            kept.there[number] = (
                True  # written last, because other processes read the frames once this is set
            )
        return frames


@dataclass(frozen=True)
class _Kept:
    """8-bit frames of a dataset in memory that is shared with forked processes."""

    frames: Frames  # (N, T, channels, H, W)
    there: npt.NDArray[np.bool_]  # (N,)

    @classmethod
    def of(cls, count: int, shape: tuple[int, ...]) -> _Kept | None:
        """Allocate memory for a dataset; None if it needs more than the limit."""
        size = count * math.prod(shape)
        if not 0 < size <= KEPT:
            return None
        try:  # the system allocates pages only when they are written
            room = [np.frombuffer(mmap.mmap(-1, n), np.uint8) for n in (size, count)]
        except (OSError, ValueError):
            return None
        return cls(room[0].reshape(count, *shape), room[1].view(np.bool_))
