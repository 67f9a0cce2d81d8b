"""What an engine returns: the messages of every population, and where they came from."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

import neuroport
from neuroport import hdf5
from neuroport.errors import CompareError, FormatError, HashError
from neuroport.files import write_atomic
from neuroport.graph.node import KIND, Node

FORMAT = "neuroport-trace"
VERSION = 2
DTYPES: dict[str, np.dtype[Any]] = {
    "lif": np.dtype("?"),
    "relay": np.dtype("<i4"),
    "readout": np.dtype("<i4"),
    "recurrent": np.dtype("?"),
    "delta": np.dtype("<i4"),
    "sigmadelta": np.dtype("<i4"),
    "sigma": np.dtype("<i4"),
    "resonator": np.dtype("?"),
}
READOUTS = ("readout", "sigma")


def is_spiking(kind: str) -> bool:
    """Whether populations of this kind send spikes, 0 or 1."""
    return DTYPES[kind] == np.bool_


@dataclass(frozen=True, eq=False)
class Trace:
    """Messages of every population of a network on some frames.

    Attributes:
        messages: name -> (T, N, *shape): spikes (bool), graded messages or potentials (int32),
            in the order in which data flows. With ``record="counts"`` only readouts keep steps.
        kinds: name -> kind of population, such as ``lif``, ``relay`` or ``readout``.
        provenance: graph hash, frames hash, engine, versions, seconds.
    """

    messages: dict[str, npt.NDArray[Any]]
    kinds: dict[str, str]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.messages[name]

    @property
    def output(self) -> npt.NDArray[Any]:
        """Potential of the readout after the last step, (N, classes)."""
        names = [name for name, kind in self.kinds.items() if kind in READOUTS]
        if len(names) != 1:
            raise CompareError(f"{len(names)} readouts in the trace; read the one you mean by name")
        final: npt.NDArray[Any] = self.messages[names[0]][-1]
        return final.reshape(len(final), -1)

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """Class of the largest potential, (N,)."""
        classes: npt.NDArray[np.int64] = self.output.argmax(1)
        return classes

    @property
    def steps(self) -> int:
        """Steps T of a sample."""
        return len(next(iter(self.messages.values())))

    @property
    def samples(self) -> int:
        """Number of samples N."""
        return int(next(iter(self.messages.values())).shape[1])

    def fill(self, file: h5py.File) -> None:
        """Write everything into an open file, spikes as bits."""
        provenance = hdf5.writable(json.dumps(self.provenance), "provenance")
        stored: list[_Stored] = []
        for name, array in self.messages.items():
            kind = self.kinds[name]
            data = np.packbits(array) if is_spiking(kind) else _narrowest(array)
            stored.append((hdf5.writable(name, "population"), kind, array.shape, data))
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["provenance"] = provenance
        file.attrs["hash"] = _digest(provenance, stored)
        for index, (name, kind, shape, data) in enumerate(stored):
            entry = file.create_dataset(f"{index:05d}", data=data)
            entry.attrs["name"] = name
            entry.attrs["kind"] = kind
            entry.attrs["shape"] = np.array(shape, np.int64)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Store as HDF5, atomically."""
        return write_atomic(path, hdf5.image(self.fill))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a stored trace.

        Raises:
            FormatError: the file is not a trace, truncated, newer, or inconsistent.
            HashError: it is a trace, but not the one that was written.
        """
        return hdf5.read(
            path,
            "a neuroport trace",
            lambda file: _read(file, path),
            lambda content: _trace(content, path),
        )


_Stored: TypeAlias = tuple[str, str, tuple[int, ...], npt.NDArray[Any]]  # name, kind, shape, data


def _digest(provenance: str, stored: Sequence[_Stored]) -> str:
    """SHA-256 over everything in a trace, as it is stored."""
    digest = hashlib.sha256(repr(provenance).encode())
    for name, kind, shape, data in stored:
        digest.update(f"|{name!r}|{kind}|{tuple(shape)}|{data.dtype.str}{data.shape}=".encode())
        digest.update(data.tobytes())
    return digest.hexdigest()


def _read(file: h5py.File, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Plain values of an open file, checked one by one."""
    hdf5.check_header(file, path, FORMAT, VERSION)
    limit = os.path.getsize(path)
    stored: dict[str, _Stored] = {}
    for index in range(len(file)):
        key = f"{index:05d}"
        where = f"{path}: population {key}"
        data = hdf5.plain_array(file, key, where, limit)
        about = file[key].attrs
        name, kind = hdf5.text(about.get("name")), hdf5.text(about.get("kind"))
        if not name or name in stored:
            raise FormatError(f"{where}: its name {hdf5.short(name)} is empty or used twice")
        shape = about.get("shape")
        if not isinstance(shape, np.ndarray) or shape.dtype.kind != "i" or not 2 <= shape.size <= 8:
            raise FormatError(f"{where}: shape is {hdf5.short(shape)}, expected (T, N, neurons...)")
        sizes = tuple(int(n) for n in shape.ravel())
        if kind not in DTYPES or min(sizes) < 1:
            raise FormatError(f"{where}: has kind {hdf5.short(kind)}, shape {sizes}")
        count = math.prod(sizes)
        if data.dtype.str not in (("|u1",) if is_spiking(kind) else ("|i1", "<i2", "<i4")):
            raise FormatError(f"{where}: {data.dtype} holds no messages of kind {kind!r}")
        if data.shape != (((count + 7) // 8,) if is_spiking(kind) else sizes):
            raise FormatError(f"{where}: data {data.shape} does not fill {sizes}")
        stored[name] = (name, kind, sizes, data)
    if not stored:
        raise FormatError(f"{path}: a trace without populations; write the file again")
    texts = {name: hdf5.text(file.attrs.get(name)) for name in ("provenance", "hash")}
    return {**texts, "stored": list(stored.values())}


def _trace(content: Any, path: str | os.PathLike[str]) -> Trace:
    """The trace of what :func:`_read` returned."""
    stored, provenance = content["stored"], json.loads(content["provenance"])
    if not isinstance(provenance, dict):
        raise FormatError(f"{path}: its provenance is no JSON object; write the file again")
    if _digest(content["provenance"], stored) != content["hash"]:
        raise HashError(
            f"{path}: the content does not match its hash; the file was damaged or edited, or is "
            "of an older neuroport: run the network again"
        )
    messages: dict[str, npt.NDArray[Any]] = {}
    for name, kind, shape, data in stored:
        values = np.unpackbits(data, count=math.prod(shape)) if is_spiking(kind) else data
        messages[name] = values.astype(DTYPES[kind]).reshape(shape)
    return Trace(messages, {name: kind for name, kind, _, _ in stored}, provenance)


def _narrowest(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in the smallest signed integers that hold them."""
    low, high = int(array.min()), int(array.max())
    for kind in (np.int8, np.int16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array.astype(np.int32)


def empty_messages(
    populations: tuple[Node, ...], shapes: Mapping[str, tuple[int, ...]], steps: int, samples: int
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Arrays for an engine to fill, and the kinds that go with them."""
    kinds = {node.name: KIND[type(node)] for node in populations}
    arrays = {
        name: np.zeros((steps, samples, *shapes[name]), DTYPES[kind])
        for name, kind in kinds.items()
    }
    return arrays, kinds


def versions(*packages: str) -> dict[str, str]:
    """Installed versions, for a trace's provenance."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"neuroport": neuroport.__version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
