"""Operations of :file:`network.c`: their memory, the order of their weights, and the call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LOAD, SYNAPSE, RELAY, LIF, READOUT = range(5)
BYTES, SHORTS, WORDS = range(3)
SIZE = (1, 2, 4)  # bytes per value of a kind
SOURCES = 32
STEP_ROOM = 32
LINE = 64  # bytes of a cache line
TILE = 16  # largest number of positions that are multiplied together, even if a row has fewer

_LONG, _POINTER = ctypes.c_int64, ctypes.c_void_p


class ValueStruct(ctypes.Structure):
    """``value`` of network.c."""

    _fields_ = [
        (name, _LONG)
        for name in ("offset", "kind", "halo", "height", "width", "channels", "padded")
    ]


class OperationStruct(ctypes.Structure):
    """``operation`` of network.c."""

    _fields_ = [
        *[(name, _LONG) for name in ("what", "out", "sources")],
        *[(name, _LONG * SOURCES) for name in ("source", "exponent")],
        *[(name, _LONG * 2) for name in ("kernel", "stride", "padding", "dilation")],
        ("words", _LONG),
        ("narrow", _LONG),
        ("weight", _POINTER),
        *[(name, _LONG) for name in ("late", "shift", "threshold")],
        *[(name, _POINTER) for name in ("bias", "limit", "keep_u", "keep_v")],
        *[(name, _LONG) for name in ("everywhere", "simple", "decay_shift", "first", "interval")],
        ("record", _POINTER),
        ("samples", _LONG),
        ("past", _LONG),
        ("state", _POINTER),
        ("declared", _LONG),
        ("live", _POINTER),
        ("left", _POINTER),
    ]


@dataclass
class ScratchValue:
    """A value in scratch memory, from the operation that creates it to its last reader.

    Attributes:
        kept: number of runs of one step whose values are kept, zeros at first; 0: none.
        of: the kept value of which this is an earlier one; None: it has its own memory. Offsets of
            both are set before each run.
    """

    shape: tuple[int, int, int]  # channels, height, width
    kind: int
    halo: int
    made: int
    read: int
    kept: int = 0
    of: int | None = None


class Program:
    """Operations, and the positions of their values in memory for ``steps`` steps."""

    def __init__(
        self,
        library: ctypes.CDLL,
        operations: Sequence[OperationStruct],
        places: Sequence[ScratchValue],
    ) -> None:
        self._library = library
        self._lanes = int(library.network_lanes())
        self._places = places
        self.operations = (OperationStruct * len(operations))(*operations)
        self._laid_out: dict[int, tuple[Any, int]] = {}  # number of steps of the last run
        self._scratch = np.empty(0, np.uint8)

    def run(self, steps: int, samples: int, threads: int) -> None:
        """Run samples through all operations, in which frames and records are set."""
        values, size = self.layout(steps)
        threads = min(threads, samples)
        if len(self._scratch) < threads * size + LINE:
            fresh = np.zeros if any(place.kept for place in self._places) else np.empty
            self._scratch = fresh(threads * size + LINE, np.uint8)
        address = self._scratch.ctypes.data
        start = address + -address % LINE
        self._library.network(
            self.operations, len(self.operations), values, start, size, steps, samples, threads
        )

    def layout(self, steps: int) -> tuple[Any, int]:
        """Return all values in memory, and the bytes of a thread's scratch."""
        if steps not in self._laid_out:
            self._laid_out = {steps: self._lay_out(steps)}
        return self._laid_out[steps]

    def _lay_out(self, steps: int) -> tuple[Any, int]:
        """Assign offsets to all values: those that are kept, then the others (first fit)."""
        values = [self._value(place) for place in self._places]
        row = max(value.width * value.padded for value in values)
        low = lines(steps * (STEP_ROOM + row * SIZE[WORDS]))
        for place, value in zip(self._places, values, strict=True):
            if place.kept:
                value.offset, low = low, low + place.kept * size_of(value, steps)
        end = low
        alive: list[tuple[int, int, int]] = []  # first byte, last byte, last reader
        for place, value in zip(self._places, values, strict=True):
            if place.kept or place.of is not None:
                continue
            size = size_of(value, steps)
            alive = sorted(entry for entry in alive if entry[2] >= place.made)
            value.offset = low
            for first, last, _ in alive:
                if value.offset + size <= first:
                    break
                value.offset = max(value.offset, last)
            last = value.offset + size
            alive.append((value.offset, last, place.read))
            end = max(end, last)
        return (ValueStruct * len(values))(*values), lines(end + self._beyond(values))

    def _beyond(self, values: Sequence[ValueStruct]) -> int:
        """Bytes after the last value that a tile may read at the end of a row or of the steps."""
        found = [LINE]
        for operation in self.operations:
            if operation.what == SYNAPSE:
                source, out = values[operation.source[0]], values[operation.out]
                apart = operation.stride[1]
                if out.height * out.width == 1:  # kept from step to step
                    border = 2 * source.halo
                    apart = (source.height + border) * (source.width + border)
                found.append(TILE * apart * source.padded * SIZE[source.kind])
        return max(found)

    def _value(self, place: ScratchValue) -> ValueStruct:
        channels, height, width = place.shape
        padded = -(-channels // self._lanes) * self._lanes
        return ValueStruct(0, place.kind, place.halo, height, width, channels, padded)


def packed(weight: npt.NDArray[Any], kind: int, lanes: int) -> tuple[int, npt.NDArray[Any]]:
    """Return the words per input position, and weights (O, C, H, W) in network.c's order.

    A word holds 4, 2 or 1 channels, depending on ``kind``. For every position of the kernel and
    every word, the words of as many vectors of outputs as fit (4, 2 or 1) are adjacent.
    """
    each = SIZE[WORDS] // SIZE[kind]
    outputs, channels, height, width = weight.shape
    vectors, words = -(-outputs // lanes), -(-channels // each)
    full = np.zeros((vectors * lanes, words * each, height, width), f"i{SIZE[kind]}")
    full[:outputs, :channels] = weight
    split = full.reshape(vectors, lanes, words, each, height, width)
    laid = split.transpose(4, 5, 2, 0, 1, 3)  # height, width, words, vectors, lanes, each
    out, first = [], 0
    while first < vectors:
        deep = next(n for n in (4, 2, 1) if n <= vectors - first)
        out.append(laid[:, :, :, first : first + deep].ravel())
        first += deep
    return words, np.concatenate(out)


def column(structures: Any, field: str) -> npt.NDArray[np.int64]:
    """Return a field of all structures of an array of ctypes; writing to it writes to them."""
    every = np.frombuffer(structures, np.int64).reshape(len(structures), -1)
    return every[:, getattr(structures._type_, field).offset // every.itemsize]


def size_of(value: ValueStruct, steps: int) -> int:
    """Return the bytes of a value of ``steps`` steps, in whole lines of the cache."""
    border = 2 * value.halo
    places: int = (value.height + border) * (value.width + border)
    return lines(steps * places * value.padded * SIZE[value.kind])


def lines(size: int) -> int:
    """Return the bytes of the cache lines that hold ``size`` bytes."""
    return -(-size // LINE) * LINE
