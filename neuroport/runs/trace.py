"""Traces, the results of engines: messages of every population or their number, and provenance.

On disk a trace of messages has version 2; one that holds counts has version 3.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.arguments import whole_number
from neuroport.display import Shown, View
from neuroport.errors import CompareError, FormatError, HashError, StorageError
from neuroport.files import parse_json, write_atomic
from neuroport.graph.kinds.base import POTENTIAL, SPIKES, Node, Population
from neuroport.graph.node import find_kind
from neuroport.version import __version__

HASHED_LATER = 2  # pieces that are in memory until they are hashed
LINE = 64  # bytes of a cache line
FORMAT = "neuroport-trace"
VERSION = 3
WITHOUT_COUNTS = 2


def is_spiking(kind: str) -> bool:
    """Whether populations of this kind send spikes, 0 or 1."""
    found = find_kind(kind)
    return found is not None and found.emits == SPIKES


def is_readout(kind: str) -> bool:
    """Whether this is a kind of readout, which sends no messages but gives a potential."""
    found = find_kind(kind)
    return found is not None and found.gives == POTENTIAL


def is_population(kind: str) -> bool:
    """Whether this is a kind of population, which a trace records."""
    found = find_kind(kind)
    return found is not None and issubclass(found, Population)


def dtype_of(kind: str) -> np.dtype[Any]:
    """Return the type of a trace's array for populations of this kind."""
    return np.dtype("?") if is_spiking(kind) else np.dtype("<i4")


@dataclass(frozen=True, eq=False)
class Trace(Shown):
    """Messages of every population of a network on some frames.

    Attributes:
        messages: name -> (T, N, *shape): spikes (bool), graded messages or potentials (int32),
            in the order in which data flows. With ``record="counts"`` only readouts keep steps;
            from a chip, only the potential after a sample's last step: (1, N, *shape).
        kinds: name -> kind of population, such as ``lif``, ``relay`` or ``readout``.
        provenance: graph hash, frames hash, engine, versions, seconds.
        counts: name -> nonzero messages of each sample, int32: per neuron (N, *shape), per
            channel (N, C) or per layer (N, 1), according to ``granularity``.
        granularity: one counter per ``neuron``, ``channel`` or ``layer``.
        counted_steps: steps T of the counts; 0 without counts.
    """

    messages: dict[str, npt.NDArray[Any]]
    kinds: dict[str, str]
    provenance: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    granularity: str = "neuron"
    counted_steps: int = 0

    def __repr__(self) -> str:
        return f"<{self._headline()}>"

    def _headline(self) -> str:
        where = f" on {engine}" if (engine := self.provenance.get("engine")) else ""
        return (
            f"Trace of {len(self.kinds)} populations{where}: {self.samples} samples of "
            f"{self.steps} steps"
        )

    def view(self) -> View:
        rows = []
        for name, kind in self.kinds.items():
            shape = (self.counts if name in self.counts else self.messages)[name].shape
            neurons = shape[1:] if name in self.counts else shape[2:]
            rate = ""
            if is_spiking(kind) and (name in self.messages or self.granularity == "neuron"):
                positions = self.steps * self.samples * int(np.prod(neurons))
                rate = f"{self.sent(name) / positions:.2%}"
            sent = "" if is_readout(kind) else f"{self.sent(name):,}"
            rows.append((name, kind, "x".join(map(str, neurons)), sent, rate))
        columns = ("population", "kind", "shape", "nonzero messages", "neurons that fire, a step")
        return View(self._headline(), columns, rows, numbers=(3, 4))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name in self.counts:
            raise CompareError(
                f"{name}: the trace holds only how many messages there were; read them in .counts, "
                "or run with record='messages'"
            )
        if name not in self.messages:
            raise CompareError(
                f"the trace has no population {name!r:.100}; it has {', '.join(self.kinds)}"
            )
        return self.messages[name]

    def part(self, first: int, last: int) -> Trace:
        """Return samples ``first`` to ``last - 1``, at most up to the end of the trace.

        The provenance is that of all samples.

        Raises:
            CompareError: no sample lies there.
        """
        first, last = part_of(self.samples, first, last)
        return replace(
            self,
            messages={name: array[:, first:last] for name, array in self.messages.items()},
            counts={name: array[first:last] for name, array in self.counts.items()},
        )

    def sent(self, name: str) -> int:
        """Return the number of nonzero messages of a population, over all samples."""
        counts = self.counts.get(name)
        return int(np.count_nonzero(self[name]) if counts is None else counts.sum(dtype=np.int64))

    @property
    def output(self) -> npt.NDArray[Any]:
        """The network's answer, (N, classes).

        This is the potential of the readout after the last step. Without a readout it is the
        output of the last population, summed over the steps: the spike counts of a rate classifier.

        Raises:
            CompareError: there are several readouts or last populations, or it was not recorded or
                sends feature maps.
        """
        return self.answer[1]

    @property
    def answer(self) -> tuple[str, npt.NDArray[Any]]:
        """Return the population that gives the answer, and :attr:`output`."""
        names = [name for name, kind in self.kinds.items() if is_readout(kind)]
        if len(names) == 1:
            final: npt.NDArray[Any] = self.messages[names[0]][-1]
            return names[0], final.reshape(len(final), -1)
        last = self.provenance.get("outputs", [])
        what = f"{len(names)} readouts in the trace"
        if names or len(last) != 1:
            ends = f" and {len(last)} last populations" if not names and last else ""
            raise CompareError(f"{what}{ends}; read the one you mean by name")
        return last[0], self._summed(last[0], what)

    def _summed(self, name: str, what: str) -> npt.NDArray[Any]:
        """Sum a population's messages over the steps, (N, neurons)."""
        if name not in self.kinds:
            raise CompareError(f"{what}, and its last population, {name}, was not recorded")
        if name in self.counts:
            if self.granularity != "neuron" or not is_spiking(self.kinds[name]):
                raise CompareError(
                    f"{what}, and of {name} only messages per {self.granularity} were counted; "
                    "run with record='messages' (leave out --record)"
                )
            sums: npt.NDArray[Any] = self.counts[name].astype(np.int64)
        else:
            sums = self.messages[name].sum(0, dtype=np.int64)
        if np.prod(sums.shape[2:]) != 1:
            raise CompareError(
                f"{what}, and its last population, {name}, sends feature maps {sums.shape[1:]}; "
                f"read trace[{name!r}]"
            )
        return sums.reshape(len(sums), -1)

    @property
    def ties(self) -> npt.NDArray[np.bool_]:
        """Whether several classes share the largest output, (N,); the lowest is predicted."""
        answers = self.output
        ties: npt.NDArray[np.bool_] = (answers == answers.max(1, keepdims=True)).sum(1) > 1
        return ties

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """The class with the largest :attr:`output`, (N,); the lowest if several are equal."""
        classes: npt.NDArray[np.int64] = self.output.argmax(1)
        return classes

    @property
    def steps(self) -> int:
        """Steps T of a sample."""
        return self.counted_steps or len(next(iter(self.messages.values()), ()))

    @property
    def samples(self) -> int:
        """Number of samples N."""
        for counts in self.counts.values():
            return len(counts)
        for messages in self.messages.values():
            return int(messages.shape[1])
        return 0

    def fill(self, file: h5py.File) -> None:
        """Write the trace into an open file, spikes as bits."""
        about = f"{self.counted_steps} {self.granularity}" if self.counts else ""
        write_arrays(file, self.provenance, self._stored(), about)

    def _stored(self) -> Iterator[StoredArray]:
        for name in self.kinds if self.counts else self.messages:
            kind = self.kinds[name]
            array = self.counts[name] if name in self.counts else self.messages[name]
            spikes = is_spiking(kind) and name not in self.counts
            data = (
                np.packbits(array) if spikes else array.astype(narrowest(array.min(), array.max()))
            )
            yield StoredArray(name, kind, array.shape, data.dtype, data.shape, [(..., data)])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Store as HDF5, atomically.

        Raises:
            StorageError: the file cannot be written, or could not give this trace back.
        """
        check_storable(self)
        return write_atomic(path, hdf5.writer(self.fill))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a stored trace.

        Raises:
            FormatError: the file is not a trace, truncated, newer, or inconsistent.
            HashError: its content does not match its hash.
        """
        return hdf5.read(
            path,
            "a neuroport trace",
            lambda file: read_header(file, path),
            lambda content: _trace(content, path),
        )


@dataclass(frozen=True)
class StoredArray:
    """The data of a population in a file.

    Attributes:
        shape: (T, N, *shape), of counts (N, *counters).
        dtype, held: type and shape of the data; spikes are one row of bits, eight per byte.
        pieces: the data in order, each piece with its position in an array of shape ``held``.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    held: tuple[int, ...]
    pieces: Iterable[tuple[Any, npt.NDArray[Any]]]

    @property
    def heading(self) -> bytes:
        """Return the text before the data in a population's part of the hash."""
        about = f"|{self.name!r}|{self.kind}|{tuple(self.shape)}|{self.dtype.str}{self.held}="
        return about.encode()


def check_storable(trace: Trace) -> None:
    """Refuse a trace that its file would not give back, such as one that a user made.

    Raises:
        StorageError: names the population.
    """
    arrays = {**trace.messages, **trace.counts}
    if not arrays:
        raise StorageError("a trace without populations cannot be stored; give it some")
    for name in trace.kinds if trace.counts else arrays:
        kind = trace.kinds.get(name)
        if not isinstance(kind, str) or not is_population(kind):
            raise StorageError(
                f"{name}: its kind is {kind!r:.100}, which no population has; put that of its node "
                "into kinds, such as 'lif'"
            )
        counted = name in trace.counts
        if trace.counts and counted == is_readout(kind):
            raise StorageError(
                f"{name}: a trace of counts holds the messages of readouts and the counts of all "
                "others; make it with record='counts'"
            )
        if name not in arrays:
            raise StorageError(f"{name}: the trace has no array of it; take it out of kinds")
        _check_values(name, arrays[name], is_spiking(kind) and not counted)
        if counted:
            _check_granularity(arrays[name].shape, trace.granularity, name)
    if trace.counts:
        _counted(f"{trace.counted_steps} {trace.granularity}", "the trace")


def _check_values(name: str, array: npt.NDArray[Any], spikes: bool) -> None:
    """Refuse an array that would be stored with other values, or could not be read.

    Raises:
        StorageError: names the population.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        held = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise StorageError(f"{name}: its messages are {held!s:.100}; give integers in an array")
    if not 2 <= array.ndim <= (8 if spikes else 5) or 0 in array.shape:
        raise StorageError(
            f"{name}: its shape is {array.shape}, which no trace in a file has; give messages "
            "(T, N, neurons...)"
        )
    if array.dtype == bool or (not spikes and np.can_cast(array.dtype, np.int32)):
        return  # what engines give: nothing to look through
    limits = np.iinfo(np.int32)
    low, high = (0, 1) if spikes else (limits.min, limits.max)
    good = (array >= low) & (array <= high)
    if array.dtype.kind == "f":
        good &= array == np.floor(array)
    if not good.all():
        raise StorageError(
            f"{name}: holds {array[~good].flat[0]}, and a file holds "
            + ("0 and 1 of its kind" if spikes else "whole numbers of 32 bits")
            + "; correct it, or keep the array with numpy.save"
        )


def part_of(samples: int, first: int, last: int) -> tuple[int, int]:
    """The bounds of a part of a trace; those past its end are clipped, as in a slice.

    Raises:
        CompareError: they are no whole numbers from 0 on, or no sample lies between them.
    """
    whole = whole_number(0, CompareError)
    first, last = whole(first, "first"), whole(last, "last")
    if first >= min(last, samples):
        raise CompareError(
            f"no sample lies from {first} to {last} (without it) of a trace of {samples}; use "
            f"0 <= first < last, and first below {samples}"
        )
    return first, min(last, samples)


def begun_digest(provenance: str, about: str) -> Any:
    """Begin the SHA-256 of a trace; the arrays must still be added.

    ``about`` is empty without counts.
    """
    return hashlib.sha256((repr(provenance) + about).encode())


def write_arrays(
    file: h5py.File, provenance: dict[str, Any], arrays: Iterable[StoredArray], about: str
) -> None:
    """Write arrays into an open file; ``about`` holds the counted steps and the granularity.

    Raises:
        StorageError: the provenance, or a name, cannot be stored.
    """
    told = hdf5.writable(_json(provenance), "provenance")
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION if about else WITHOUT_COUNTS
    file.attrs["provenance"] = told
    if about:
        file.attrs["counted"] = about
    digest = begun_digest(told, about)
    with ThreadPoolExecutor(1) as beside:  # the hash of a piece, while it is written
        hashed: deque[Future[None]] = deque()
        for index, each in enumerate(arrays):
            entry = file.create_dataset(f"{index:05d}", each.held, each.dtype)
            entry.attrs["name"] = hdf5.writable(each.name, "population")
            entry.attrs["kind"] = each.kind
            entry.attrs["shape"] = np.array(each.shape, np.int64)
            hashed.append(beside.submit(digest.update, each.heading))
            for place, piece in each.pieces:
                hashed.append(beside.submit(digest.update, np.ascontiguousarray(piece)))
                entry[place] = piece
                while len(hashed) > HASHED_LATER:
                    hashed.popleft().result()
    file.attrs["hash"] = digest.hexdigest()


def _json(provenance: dict[str, Any]) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):  # a number of NumPy
            return value.item()
        raise TypeError(f"{value!r:.100} is no text, number, list or dictionary")

    try:
        return json.dumps(provenance, default=plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise StorageError(
            f"the provenance cannot be stored as JSON ({error}); give plain values"
        ) from error


def read_header(
    file: h5py.File, path: str | os.PathLike[str], *, data: bool = True
) -> dict[str, Any]:
    """Read the plain values of an open file, and check each of them.

    With ``data`` each population has its array; otherwise the array's position in the file.
    """
    hdf5.check_header(file, path, FORMAT, VERSION)
    limit = os.path.getsize(path)
    about = hdf5.text(file.attrs.get("counted")) if file.attrs["version"] == VERSION else ""
    steps, granularity = _counted(about, path) if file.attrs["version"] == VERSION else (0, "")
    stored: dict[str, tuple[Any, ...]] = {}
    for index in range(len(file)):
        key = f"{index:05d}"
        where = f"{path}: population {key}"
        array = hdf5.plain_array(file, key, where, limit) if data else None
        dtype, held, offset = hdf5.located(file, key, where, limit)
        told = file[key].attrs
        name, kind = hdf5.text(told.get("name")), hdf5.text(told.get("kind"))
        if not name or name in stored:
            raise FormatError(f"{where}: its name {hdf5.short(name)} is empty or used twice")
        shape = told.get("shape")
        if not isinstance(shape, np.ndarray) or shape.dtype.kind != "i" or not 2 <= shape.size <= 8:
            raise FormatError(f"{where}: shape is {hdf5.short(shape)}, expected (T, N, neurons...)")
        sizes = tuple(int(n) for n in shape.ravel())
        if not is_population(kind) or min(sizes) < 1:
            raise FormatError(f"{where}: has kind {hdf5.short(kind)}, shape {sizes}")
        counted = steps > 0 and not is_readout(kind)
        bits = is_spiking(kind) and not counted
        if dtype not in (("|u1",) if bits else ("|i1", "<i2", "<i4")):
            what = "counts" if counted else "messages"
            raise FormatError(f"{where}: {np.dtype(dtype)} holds no {what} of kind {kind!r}")
        if held != (((math.prod(sizes) + 7) // 8,) if bits else sizes):
            raise FormatError(f"{where}: data {held} does not fill {sizes}")
        if steps and not counted and sizes[0] not in (steps, 1):  # 1: after the last step
            raise FormatError(f"{where}: {sizes[0]} steps, where {steps} were counted")
        if counted:
            _check_granularity(held, granularity, where)
            if array is not None:
                check_counts(array, steps, granularity, where)
        stored[name] = (name, kind, sizes, array if data else [dtype, list(held), offset])
    if not stored:
        raise FormatError(f"{path}: a trace without populations; write the file again")
    if steps and len({sizes[is_readout(kind)] for _, kind, sizes, _ in stored.values()}) != 1:
        raise FormatError(f"{path}: its populations have unequal numbers of samples")
    texts = {name: hdf5.text(file.attrs.get(name)) for name in ("provenance", "hash")}
    return {**texts, "about": about, "stored": list(stored.values())}


def _counted(about: str, path: str | os.PathLike[str]) -> tuple[int, str]:
    """Return steps and granularity of a trace of counts."""
    steps, _, granularity = about.partition(" ")
    good = len(steps) < 10 and steps.isascii() and steps.isdigit() and int(steps) > 0
    if not good or granularity not in ("neuron", "channel", "layer"):
        raise FormatError(f"{path}: counted {hdf5.short(about)}, expected steps and granularity")
    return int(steps), granularity


def _check_granularity(held: tuple[int, ...], granularity: str, where: str) -> None:
    """Refuse counts whose shape does not match their granularity."""
    flat = granularity == "neuron" or len(held) == 2
    if not flat or (granularity == "layer" and held[1] != 1):
        raise FormatError(f"{where}: {held} is not the shape of counts per {granularity}")


def check_counts(
    data: npt.NDArray[np.integer[Any]], steps: int, granularity: str, where: str
) -> None:
    """Refuse impossible counts."""
    most = steps if granularity == "neuron" else np.iinfo(np.int32).max
    if int(data.min()) < 0 or int(data.max()) > most:
        raise FormatError(f"{where}: counts span {data.min()}..{data.max()}, not 0..{most}")


def _trace(content: Any, path: str | os.PathLike[str]) -> Trace:
    """Build the trace from the result of :func:`read_header`."""
    stored, provenance, about = content["stored"], read_provenance(content, path), content["about"]
    digest = begun_digest(content["provenance"], about)
    for name, kind, shape, data in stored:
        digest.update(StoredArray(name, kind, tuple(shape), data.dtype, data.shape, ()).heading)
        digest.update(np.ascontiguousarray(data))
    check_digest(digest, content, path)
    steps, granularity = counted_by(about, path)
    messages: dict[str, npt.NDArray[Any]] = {}
    counts: dict[str, npt.NDArray[np.int32]] = {}
    for name, kind, shape, data in stored:
        if steps and not is_readout(kind):
            counts[name] = data.astype("<i4")
            continue
        values = np.unpackbits(data, count=math.prod(shape)) if is_spiking(kind) else data
        messages[name] = values.astype(dtype_of(kind)).reshape(shape)
    kinds = {name: kind for name, kind, _, _ in stored}
    return Trace(messages, kinds, provenance, counts, granularity, steps)


def read_provenance(content: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the provenance from the result of :func:`read_header`."""
    provenance = parse_json(content["provenance"], f"{path}: its provenance")
    if not isinstance(provenance, dict):
        raise FormatError(f"{path}: its provenance is not a JSON object; write the file again")
    return provenance


def check_digest(digest: Any, content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuse a trace whose content does not match its hash."""
    if digest.hexdigest() != content["hash"]:
        raise HashError(
            f"{path}: the content does not match its hash; the file was damaged or edited, or is "
            "of an older neuroport: run the network again"
        )


def counted_by(about: str, path: str | os.PathLike[str]) -> tuple[int, str]:
    """Return the counted steps (0 without counts) and the granularity."""
    return _counted(about, path) if about else (0, "neuron")


def narrowest(low: int, high: int) -> np.dtype[Any]:
    """Return the smallest signed integer type that holds values from ``low`` to ``high``."""
    for kind in (np.int8, np.int16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.int32)


def empty_array(shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array that begins with a cache line, so that an engine can write whole lines."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + size].view(dtype).reshape(shape)


def empty_messages(
    populations: tuple[Node, ...], shapes: Mapping[str, tuple[int, ...]], steps: int, samples: int
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return empty arrays for an engine to fill, and the kinds of the populations."""
    kinds = {node.name: node.kind for node in populations}
    arrays = {
        name: empty_array((steps, samples, *shapes[name]), dtype_of(kind))
        for name, kind in kinds.items()
    }
    return arrays, kinds


def versions(*packages: str) -> dict[str, str]:
    """Return installed versions, for a trace's provenance."""
    known = {package: _version(package) for package in packages}
    return {"neuroport": __version__, **{name: v for name, v in known.items() if v is not None}}


@cache
def _version(package: str) -> str | None:
    """Return a package's version, or None if it is not installed; cached, because it is slow."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
