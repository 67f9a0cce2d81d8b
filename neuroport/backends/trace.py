"""What an engine returns: the messages of every population, and where they came from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

import neuroport
from neuroport import hdf5
from neuroport.errors import CompareError, FormatError
from neuroport.files import write_atomic
from neuroport.graph.node import KIND, Node

FORMAT = "neuroport-trace"
VERSION = 1
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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Store as HDF5 (spikes as bits), atomically."""

        def fill(file: h5py.File) -> None:
            file.attrs["format"] = FORMAT
            file.attrs["version"] = VERSION
            file.attrs["provenance"] = json.dumps(self.provenance)
            for index, (name, array) in enumerate(self.messages.items()):
                kind = self.kinds[name]
                data = np.packbits(array) if is_spiking(kind) else _narrowest(array)
                entry = file.create_dataset(f"{index:05d}", data=data)
                entry.attrs["name"] = name
                entry.attrs["kind"] = kind
                entry.attrs["shape"] = np.array(array.shape, np.int64)

        return write_atomic(path, hdf5.image(fill))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a stored trace.

        Raises:
            FormatError: the file is not a trace, truncated, newer, or inconsistent.
        """
        return hdf5.read(path, "a neuroport trace", lambda file: cls._read(file, path))

    @classmethod
    def _read(cls, file: h5py.File, path: str | os.PathLike[str]) -> Trace:
        messages: dict[str, npt.NDArray[Any]] = {}
        kinds: dict[str, str] = {}
        hdf5.check_header(file, path, FORMAT, VERSION)
        provenance = json.loads(str(file.attrs["provenance"]))
        limit = os.path.getsize(path)
        for index in range(len(file)):
            key = f"{index:05d}"
            data = hdf5.plain_array(file, key, f"{path}: population {key}", limit)
            about = file[key].attrs
            name, kind = str(about["name"]), str(about["kind"])
            shape = tuple(int(n) for n in about["shape"])
            if kind not in DTYPES or min(shape, default=-1) < 0:
                raise FormatError(f"{path}: population {name!r} has kind {kind!r}, shape {shape}")
            count = math.prod(shape)
            if is_spiking(kind):
                if data.dtype != np.uint8 or data.size != (count + 7) // 8:
                    raise FormatError(f"{path}: population {name!r} does not fill {shape}")
                data = np.unpackbits(data, count=count)
            if data.size != count:
                raise FormatError(f"{path}: population {name!r} does not fill {shape}")
            messages[name], kinds[name] = data.astype(DTYPES[kind]).reshape(shape), kind
        return cls(messages, kinds, provenance)


def _narrowest(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in the smallest signed integers that hold them."""
    low, high = int(array.min()), int(array.max())
    for kind in (np.int8, np.int16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array


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
