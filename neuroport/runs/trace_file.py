"""Traces on disk, of any number of samples: written and read some samples at a time.

A file that was written part by part is the one that :meth:`~neuroport.runs.trace.Trace.save` writes
of the whole. It appears under its name when it is complete, and not before.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.arguments import is_path, whole_number
from neuroport.errors import CompareError, FormatError, StorageError
from neuroport.files import check_file, write_atomic
from neuroport.runs.trace import (
    StoredArray,
    Trace,
    begun_digest,
    check_counts,
    check_digest,
    check_storable,
    counted_by,
    dtype_of,
    is_readout,
    is_spiking,
    narrowest,
    part_of,
    read_header,
    read_provenance,
    write_arrays,
)

PIECE = 1 << 24  # bytes that are copied at once
SMALL = 1 << 20  # bytes; smaller pieces are written together
PART = 1 << 28  # bytes of memory for the messages of some samples


@dataclass(frozen=True)
class _Region:
    """Where an array of a trace lies in a file.

    Attributes:
        shape: (T, N, *shape), of counts (N, *counters).
        dtype: of the data; spikes are bits, eight in a byte.
        offset: of its first byte in the file.
    """

    kind: str
    shape: tuple[int, ...]
    counted: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def bits(self) -> bool:
        return is_spiking(self.kind) and not self.counted

    @property
    def held(self) -> tuple[int, ...]:
        """Shape of the data in the file."""
        return ((math.prod(self.shape) + 7) // 8,) if self.bits else self.shape

    @property
    def nbytes(self) -> int:
        return math.prod(self.held) * self.dtype.itemsize

    @property
    def size(self) -> tuple[int, int, int]:
        """Steps, samples, values of a sample at a step; counts are of one step."""
        steps, samples, *rest = (1, *self.shape) if self.counted else self.shape
        return steps, samples, math.prod(rest)

    def read(self, file: int, first: int, last: int) -> npt.NDArray[Any]:
        """The samples ``first`` to ``last - 1``, as a trace has them."""
        steps, samples, each = self.size
        number = (last - first) * each
        rows = [self._row(file, (step * samples + first) * each, number) for step in range(steps)]
        kind = np.dtype("<i4") if self.counted else dtype_of(self.kind)
        found: npt.NDArray[Any] = np.concatenate(rows).astype(kind, copy=False)
        shape = self.shape[1:] if self.counted else self.shape[2:]
        return found.reshape(*([] if self.counted else [steps]), last - first, *shape)

    def _row(self, file: int, at: int, number: int) -> npt.NDArray[Any]:
        if not self.bits:
            width = self.dtype.itemsize
            return np.frombuffer(_read(file, number * width, self.offset + at * width), self.dtype)
        whole, ahead = divmod(at, 8)
        data = _read(file, (ahead + number + 7) // 8, self.offset + whole)
        return np.unpackbits(np.frombuffer(data, np.uint8))[ahead : ahead + number]

    def write(self, file: int, first: int, array: npt.NDArray[Any]) -> None:
        """Put samples, from ``first`` on, into a file that held zeros there."""
        steps, samples, each = self.size
        rows = array.reshape(steps, -1)
        for step in range(steps):
            at = (step * samples + first) * each
            if not self.bits:
                data = np.ascontiguousarray(rows[step], self.dtype).tobytes()
                _write(file, data, self.offset + at * self.dtype.itemsize)
                continue
            whole, ahead = divmod(at, 8)
            row = np.packbits(np.concatenate([np.zeros(ahead, bool), rows[step]]))
            for end in {0, len(row) - 1}:  # bytes that other samples have bits in
                row[end] |= _read(file, 1, self.offset + whole + end)[0]
            _write(file, row.tobytes(), self.offset + whole)

    def pieces(self, file: int, dtype: np.dtype[Any]) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
        """All of the data as ``dtype``, with its place in an array of the shape that is held."""
        held = self.held
        steps = held[:1] if len(held) > 2 and not self.counted else ()  # then sample by sample
        rows = held[len(steps)]
        width = math.prod(held[len(steps) + 1 :]) * self.dtype.itemsize
        many = max(1, PIECE // width)
        for step in range(*steps) if steps else (None,):
            for first in range(0, rows, many):
                count = min(many, rows - first)
                at = ((step or 0) * rows + first) * width
                data = np.frombuffer(_read(file, count * width, self.offset + at), self.dtype)
                place: Any = slice(first, first + count)
                shape = (count, *held[len(steps) + 1 :])
                yield (
                    place if step is None else (step, place),
                    data.reshape(shape).astype(dtype, copy=False),
                )

    def of(self, samples: int) -> tuple[int, ...]:
        """The shape with another number of samples."""
        axis = 0 if self.counted else 1
        return (*self.shape[:axis], samples, *self.shape[axis + 1 :])

    def rows(self, file: int, step: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The values at a step, of some samples at a time, as the file holds them: how many, and
        their data (bits from the first one of a byte on)."""
        _, samples, each = self.size
        many = max(1, PIECE // (each * self.dtype.itemsize))
        for first in range(0, samples, many):
            at, number = (step * samples + first) * each, min(many, samples - first) * each
            whole, ahead = divmod(at, 8)
            if not self.bits or ahead:
                values = self._row(file, at, number)
                yield number, np.packbits(values) if self.bits else values
            else:
                data = _read(file, (number + 7) // 8, self.offset + whole)
                yield number, np.frombuffer(data, np.uint8)


def _read(file: int, number: int, at: int) -> bytes:
    parts = []
    while number > 0:
        piece = os.pread(file, min(number, 1 << 30), at)
        if not piece:
            raise FormatError("a trace ended while it was read; write the file again")
        parts.append(piece)
        number, at = number - len(piece), at + len(piece)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done


class TraceWriter:
    """Collects a run part by part, and writes its trace when all samples are complete.

    It is a context manager. Until then the data are in an unnamed file in the folder of ``path``,
    which the system removes however this process ends; a run in one part stays in memory.

    Args:
        path: the file to write.
        samples: number of all samples.

    Raises:
        StorageError: the folder is not writable, or the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str], samples: int) -> None:
        self.path, self.samples = check_file(path), samples
        self.done = 0
        self._whole: Trace | None = None
        self._scratch: IO[bytes] | None = None
        self._regions: dict[str, _Region] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._about = ""

    def append(self, part: Trace) -> None:
        """Append the next samples.

        Raises:
            CompareError: the part belongs to another run: other populations, shapes or recording.
            StorageError: the disk is full, or a file cannot hold the part.
        """
        check_storable(part)
        try:
            self._append(part)
        except OSError as error:
            raise StorageError(
                f"{self.path}: cannot write ({error.strerror or error}); nothing was changed: free "
                "space or choose another folder"
            ) from error

    def _append(self, part: Trace) -> None:
        about = f"{part.counted_steps} {part.granularity}" if part.counts else ""
        arrays = {n: part.counts[n] if n in part.counts else part.messages[n] for n in part.kinds}
        if self.done == 0 and part.samples == self.samples:
            self._whole, self.done = part, part.samples
            return
        regions = _placed(part, arrays)
        if self._scratch is None:
            self._about = about
            self._open(regions)
        assert self._scratch is not None
        alike = _layout(about, regions) == _layout(self._about, self._regions)
        if not alike or self.done + part.samples > self.samples:
            raise CompareError(
                f"{self.path}: samples from {self.done} on were recorded in another way than those "
                "before; record all parts of a trace alike"
            )
        for name, array in arrays.items():
            region = self._regions[name]
            region.write(self._scratch.fileno(), self.done, array)
            low, high = self._spans.get(name, (0, 0) if region.bits else (array.min(), array.max()))
            if not region.bits:
                self._spans[name] = min(low, int(array.min())), max(high, int(array.max()))
        self.done += part.samples

    def _open(self, regions: dict[str, _Region]) -> None:
        offset = 0
        for name, region in regions.items():
            whole = replace(region, shape=region.of(self.samples), offset=offset)
            self._regions[name] = whole
            offset += whole.nbytes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115 - see close
        self._scratch.truncate(offset)

    def finish(self, provenance: dict[str, Any]) -> Path:
        """Write the file atomically; ``provenance`` is that of all samples."""
        if self._whole is not None:
            return replace(self._whole, provenance=provenance).save(self.path)
        if self._scratch is None or self.done != self.samples:
            raise CompareError(
                f"{self.path}: {self.done} of {self.samples} samples are there; add the others"
            )
        file = self._scratch.fileno()

        def stored() -> Iterator[StoredArray]:
            for name, region in self._regions.items():
                dtype = region.dtype if region.bits else narrowest(*self._spans[name])
                pieces = region.pieces(file, dtype)
                yield StoredArray(name, region.kind, region.shape, dtype, region.held, pieces)

        filled = hdf5.writer(lambda into: write_arrays(into, provenance, stored(), self._about))
        return write_atomic(self.path, filled)

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the temporary file, or the memory."""
        self._whole = None
        if self._scratch is not None:
            self._scratch.close()


def write_joined(
    parts: Sequence[StoredTrace], path: str | os.PathLike[str], provenance: dict[str, Any]
) -> Path:
    """Write the samples of all parts, in order, as one trace; no other copy of them is made.

    The file is the one that :class:`TraceWriter` writes of the same samples.

    Args:
        provenance: that of all samples.

    Raises:
        CompareError: the parts belong to different runs: other populations, shapes or recording.
        FormatError: a part holds counts that are none.
        StorageError: the folder is not writable, or the disk is full.
    """
    first = parts[0]
    for part in parts:
        if part.layout != first.layout:
            raise CompareError(
                f"{part.path} was recorded in another way than {first.path}; record all parts of a "
                "trace alike"
            )
    samples = sum(part.samples for part in parts)

    def stored() -> Iterator[StoredArray]:
        for name, region in first._regions.items():
            regions = [part._regions[name] for part in parts]
            widest = max((each.dtype for each in regions), key=lambda dtype: dtype.itemsize)
            whole = replace(region, shape=region.of(samples), dtype=widest)
            files = [part._number for part in parts]
            pieces = _gathered(_joined(whole, list(zip(regions, files, strict=True))))
            if whole.counted:
                where = f"{path}: population {name!r}"
                pieces = _possible(pieces, first.counted_steps, first.granularity, where)
            yield StoredArray(name, region.kind, whole.shape, widest, whole.held, pieces)

    filled = hdf5.writer(lambda into: write_arrays(into, provenance, stored(), first._about))
    return write_atomic(check_file(path), filled)


def _joined(
    whole: _Region, parts: Sequence[tuple[_Region, int]]
) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
    """The data of ``whole``, from the regions and files of its parts, with their places in it."""
    steps, _, each = whole.size
    if whole.bits:
        yield from _packed(
            row for step in range(steps) for part, file in parts for row in part.rows(file, step)
        )
        return
    for step in range(steps):
        done = 0
        for part, file in parts:
            for number, values in part.rows(file, step):
                place = slice(done, done + number // each)
                data = values.astype(whole.dtype, copy=False)
                shape = (number // each, *whole.held[1 if whole.counted else 2 :])
                yield place if whole.counted else (step, place), data.reshape(shape)
                done = place.stop


def _packed(
    rows: Iterator[tuple[int, npt.NDArray[Any]]],
) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Bits behind each other, in whole bytes, with their places."""
    at, left = 0, np.zeros(0, np.uint8)
    for number, data in rows:
        if len(left) or number % 8:
            bits = np.concatenate([left, np.unpackbits(data, count=number)])
            end = len(bits) // 8 * 8
            data, left = np.packbits(bits[:end]), bits[end:]
        if len(data):
            yield slice(at, at + len(data)), data
            at += len(data)
    if len(left):
        yield slice(at, at + 1), np.packbits(left)


def _gathered(
    pieces: Iterator[tuple[Any, npt.NDArray[Any]]],
) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
    """The same data, with small pieces, which lie behind each other, put together."""
    held: list[tuple[Any, npt.NDArray[Any]]] = []
    nbytes = 0
    for place, data in pieces:
        if held and (nbytes + data.nbytes > SMALL or _step(place) != _step(held[0][0])):
            yield _one(held)
            held, nbytes = [], 0
        held.append((place, data))
        nbytes += data.nbytes
    if held:
        yield _one(held)


def _possible(
    pieces: Iterator[tuple[Any, npt.NDArray[Any]]], steps: int, granularity: str, where: str
) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
    """The same counts, each checked."""
    for place, counts in pieces:
        check_counts(counts, steps, granularity, where)
        yield place, counts


def _step(place: Any) -> int | None:
    return place[0] if isinstance(place, tuple) else None


def _one(pieces: list[tuple[Any, npt.NDArray[Any]]]) -> tuple[Any, npt.NDArray[Any]]:
    (first, data), (last, _) = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return first, data
    whole = np.concatenate([data for _, data in pieces])
    if isinstance(first, tuple):
        return (first[0], slice(first[1].start, last[1].stop)), whole
    return slice(first.start, last.stop), whole


def _placed(part: Trace, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, _Region]:
    """How the arrays of a trace lie in a scratch file, whose place and samples are not yet told."""
    return {
        name: _Region(
            part.kinds[name],
            array.shape,
            name in part.counts,
            np.dtype("u1" if is_spiking(part.kinds[name]) and name not in part.counts else "<i4"),
            0,
        )
        for name, array in arrays.items()
    }


def _layout(about: str, regions: dict[str, _Region]) -> tuple[Any, ...]:
    """What traces of one run share, whatever their number of samples."""
    return about, {name: (region.kind, region.of(0)) for name, region in regions.items()}


class StoredTrace:
    """A trace in a file, from which some samples at a time are read; a context manager.

    ::

        with StoredTrace("lava.trace") as stored:
            for part in stored.parts():
                print(part.samples, part.predictions)

    Attributes:
        kinds, provenance, granularity, counted_steps: see
            :class:`~neuroport.runs.trace.Trace`.
        samples, steps: numbers of samples and steps.

    Args:
        path: the file.
        verified: its content is known to match its hash, for this process has just written it.

    Raises:
        FormatError, HashError: see :meth:`~neuroport.runs.trace.Trace.load`.
        StorageError: no such file; from what reads samples: the trace was closed.
    """

    def __init__(self, path: str | os.PathLike[str], *, verified: bool = False) -> None:
        self.path = Path(is_path(path, "path"))
        content: dict[str, Any] = hdf5.read(
            path, "a neuroport trace", lambda file: read_header(file, path, data=False)
        )
        self.provenance = read_provenance(content, path)
        self._about = content["about"]
        self.counted_steps, self.granularity = counted_by(self._about, path)
        self._regions: dict[str, _Region] = {}
        for name, kind, shape, (dtype, _, offset) in content["stored"]:
            counted = self.counted_steps > 0 and not is_readout(kind)
            region = _Region(kind, tuple(shape), counted, np.dtype(dtype), offset)
            self._regions[name] = region
        self.kinds = {name: region.kind for name, region in self._regions.items()}
        first = next(iter(self._regions.values()))
        steps, self.samples, _ = first.size
        self.steps = self.counted_steps or steps
        self._file = open(path, "rb")  # noqa: SIM115 - see close
        try:
            if len({region.size[1] for region in self._regions.values()}) != 1:
                raise FormatError(f"{path}: its populations have unequal numbers of samples")
            if not verified:
                self._verify(content)
        except BaseException:
            self.close()
            raise

    def _verify(self, content: dict[str, Any]) -> None:
        digest = begun_digest(content["provenance"], self._about)
        for name, region in self._regions.items():
            about = StoredArray(name, region.kind, region.shape, region.dtype, region.held, ())
            digest.update(about.heading)
            for at in range(0, region.nbytes, PIECE):
                number = min(PIECE, region.nbytes - at)
                digest.update(_read(self._number, number, region.offset + at))
        check_digest(digest, content, self.path)

    def __repr__(self) -> str:
        return f"<StoredTrace {self.path}: {self.samples} samples of {self.steps} steps>"

    @property
    def _number(self) -> int:
        """The open file's number.

        Raises:
            StorageError: the trace was closed.
        """
        if self._file.closed:
            raise StorageError(
                f"{self.path}: the trace was closed, and no sample can be read any more; open it "
                "again: StoredTrace(path)"
            )
        return self._file.fileno()

    def part(self, first: int, last: int) -> Trace:
        """Read samples ``first`` to ``last - 1``, at most up to the end of the trace.

        The provenance is that of all samples.

        Raises:
            CompareError: no sample lies there.
            StorageError: the trace was closed.
        """
        first, last = part_of(self.samples, first, last)
        messages: dict[str, npt.NDArray[Any]] = {}
        counts: dict[str, npt.NDArray[np.int32]] = {}
        for name, region in self._regions.items():
            found = region.read(self._number, first, last)
            if region.counted:
                where = f"{self.path}: population {name!r}"
                check_counts(found, self.counted_steps, self.granularity, where)
                counts[name] = found
            else:
                messages[name] = found
        return Trace(
            messages, self.kinds, self.provenance, counts, self.granularity, self.counted_steps
        )

    def parts(self, samples: int | None = None) -> Iterator[Trace]:
        """Yield all samples, ``samples`` at a time; None: as many as take some hundred megabytes.

        Raises:
            CompareError: ``samples`` is no whole number from 1 on.
            StorageError: the trace was closed.
        """
        many = max(1, PART // self.bytes_per_sample)
        if samples is not None:
            many = whole_number(1, CompareError)(samples, "samples")
        return (self.part(at, at + many) for at in range(0, self.samples, many))

    @property
    def layout(self) -> tuple[Any, ...]:
        """What traces of one run share, whatever their number of samples."""
        return _layout(self._about, self._regions)

    @property
    def bytes_per_sample(self) -> int:
        """Memory of one sample, in bytes."""
        total = 0
        for region in self._regions.values():
            steps, _, each = region.size
            total += steps * each * (1 if region.bits else 4)
        return total

    def load(self) -> Trace:
        """Read the complete trace into memory."""
        return self.part(0, self.samples)

    def __enter__(self) -> StoredTrace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no sample can be read any more."""
        self._file.close()
