"""SIMULATED events: a still digit seen by an event camera that makes three saccades.

N-MNIST was recorded by a camera that moved along a triangle before a screen. This is a simulation
of such a recording, not N-MNIST: the digits are real, camera and events are computed. A pixel sends
an event (ON or OFF) whenever the logarithm of its brightness has moved by the pixel's own threshold
since its last event. All arithmetic is in integers, so that a seed gives the same events on every
machine.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from neuroport.data.events import EVENT, Events
from neuroport.data.samples import Frames

SENSOR = 34  # pixels along a side, as N-MNIST's
SACCADE = 105_000  # microseconds; three of them make a recording
MOMENTS = 21  # of a saccade at which the brightness is computed; events lie between them
FINE = 16  # positions of the picture per pixel
UNITS = 1024  # brightness levels per unit of the logarithm
THRESHOLD = 0.6  # mean contrast of an event
SPREAD = 0.06  # thresholds of pixels differ by up to this
DARK = 20  # brightness of black, in grey levels: what a screen and its room add
NOISE = 60  # events of a recording that mean nothing, at most
# corners of the triangle, in pixels from the digit's middle (rows, columns): down-right, up-right,
# back to the left, as the events of N-MNIST move
CORNERS = ((-3.5, -3.5), (3.5, 0.0), (-3.5, 3.5), (-3.5, -3.5))

Ints = npt.NDArray[np.int64]


def path() -> Ints:
    """Position of the picture at each moment, (3 * MOMENTS + 1, 2), rows and columns, in FINE."""
    found = []
    for number in range(3 * MOMENTS + 1):
        saccade = min(number // MOMENTS, 2)
        part = (number - saccade * MOMENTS) / MOMENTS
        eased = (1 - math.cos(math.pi * part)) / 2  # from rest to rest
        start, end = CORNERS[saccade], CORNERS[saccade + 1]
        found.append([round(FINE * (a + (b - a) * eased)) for a, b in zip(start, end, strict=True)])
    return np.array(found, np.int64)


def simulate(images: Frames, numbers: npt.NDArray[np.int64], seed: int) -> list[Events]:
    """Events of each digit, in order of time.

    Args:
        images: (N, 1, 28, 28), pixels 0..255.
        numbers: the numbers of the digits. With the seed they determine thresholds and noise, so
            that a digit's recording does not depend on the others.
    """
    random = [np.random.default_rng((seed, int(number))) for number in numbers]
    spread, mean = round(SPREAD * UNITS), round(THRESHOLD * UNITS)
    shape = (SENSOR, SENSOR)
    threshold = np.stack([mean + rng.integers(-spread, spread + 1, shape) for rng in random])
    threshold = threshold.astype(np.int32)
    level = np.array(
        [round(UNITS * math.log((DARK + grey) / DARK)) for grey in range(256)], np.int32
    )
    border = (SENSOR - images.shape[2]) // 2 + 4  # the sensor, and as far as the picture moves
    padded = np.pad(images[:, 0].astype(np.int32), ((0, 0), (border, border), (border, border)))
    positions = path()
    before = _brightness(padded, positions[0], level)
    reference = before.copy()
    parts: list[tuple[npt.NDArray[np.int64], ...]] = []
    for moment in range(1, len(positions)):
        now = _brightness(padded, positions[moment], level)
        start = (moment - 1) * SACCADE // MOMENTS
        length = moment * SACCADE // MOMENTS - start
        _send(parts, before, now, reference, threshold, start, length)
        before = now
    found = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return _recordings(found, random)


def _brightness(
    padded: npt.NDArray[np.int32], position: Ints, level: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Logarithm of the sensor's brightness, (N, 34, 34), bilinear; the rest position is 4."""
    origin = 4 * FINE - position
    (row, down), (column, right) = (divmod(int(value), FINE) for value in origin)
    corner = padded[:, row : row + SENSOR + 1, column : column + SENSOR + 1]
    rows = corner[:, :-1] * (FINE - down) + corner[:, 1:] * down
    both = rows[:, :, :-1] * (FINE - right) + rows[:, :, 1:] * right
    brightness: npt.NDArray[np.int32] = level[(both + FINE * FINE // 2) // (FINE * FINE)]
    return brightness


def _send(
    parts: list[tuple[npt.NDArray[np.int64], ...]],
    before: npt.NDArray[np.int32],
    now: npt.NDArray[np.int32],
    reference: npt.NDArray[np.int32],
    threshold: npt.NDArray[np.int32],
    start: int,
    length: int,
) -> None:
    """Events between two moments, each at the time at which its level was crossed."""
    digit, row, column = np.nonzero(np.abs(now - reference) >= threshold)
    place = (digit, row, column)
    moved = (now[place] - reference[place]).astype(np.int64)
    sign, each = np.sign(moved), threshold[place].astype(np.int64)
    number = np.abs(moved) // each
    which = np.repeat(np.arange(len(number)), number)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number) + 1
    crossed = reference[place][which] + sign[which] * nth * each[which]
    whole = (now[place] - before[place]).astype(np.int64)[which]
    time = start + length * (crossed - before[place][which]) // whole
    on = (sign[which] > 0).astype(np.int64)
    parts.append((digit[which], time, row[which], column[which], on))
    reference[place] += (sign * number * each).astype(np.int32)


def _recordings(
    found: tuple[npt.NDArray[np.int64], ...], random: list[np.random.Generator]
) -> list[Events]:
    order = np.argsort(found[0], kind="stable")
    digit, *columns = (column[order] for column in found)
    bounds = np.searchsorted(digit, np.arange(len(random) + 1))
    recordings = []
    for number, rng in enumerate(random):
        own = slice(bounds[number], bounds[number + 1])
        noise = int(rng.integers(0, NOISE + 1))
        limits = (3 * SACCADE, SENSOR, SENSOR, 2)
        t, y, x, p = (
            np.concatenate([column[own], rng.integers(0, limit, noise)])
            for column, limit in zip(columns, limits, strict=True)
        )
        events = np.empty(len(t), EVENT)
        events["t"], events["y"], events["x"], events["p"] = t, y, x, p
        recordings.append(events[np.lexsort((p, x, y, t))])
    return recordings
