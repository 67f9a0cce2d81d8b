"""Store graphs as HDF5: versioned, hashed, and with every field checked when it is read.

Layout (``docs/format.md`` is the specification)::

    /                 attributes: format, version, producer, hash
    /graph            attributes: steps, interval
    /graph/00000 ...  attributes: kind, name, inputs (JSON list), the node's integers; `checked`
                                  of a population whose width is declared (version 4)
                      datasets:   weight, bias ... (contiguous, no filters), as
                                  :mod:`neuroport.graph.array_storage` packs them
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.errors import FormatError, GraphError, HashError
from neuroport.files import parse_json, write_atomic
from neuroport.graph.array_storage import TYPES, UNFOLD, Packed, pack
from neuroport.graph.graph import Graph
from neuroport.graph.node import KINDS, Node, find_kind, is_array
from neuroport.version import __version__

FORMAT = "neuroport"
VERSION = 4  # of a graph with declared widths; of others 3, which older readers know
PROVEN = 3
UNPACKED = 2  # up to this version arrays are stored as they are, in the type that bounds them
_NARROW = np.dtype("<i2")  # bounds weights and their delays
_WIDE = np.dtype("<i4")  # everything per channel
CHECKED = "checked"  # attribute: the largest current that is declared of a population
_PAIRS = ("stride", "padding", "dilation")


def fill(graph: Graph, file: h5py.File) -> None:
    """Write ``graph`` and its header into an open file."""
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION if graph.checked else PROVEN
    file.attrs["producer"] = f"neuroport {__version__}"
    file.attrs["hash"] = graph.hash
    group = file.create_group("graph")
    group.attrs["steps"] = graph.steps
    group.attrs["interval"] = graph.interval
    arrays: list[tuple[h5py.Group, str, Packed]] = []
    for index, node in enumerate(graph):
        entry = group.create_group(f"{index:05d}")
        entry.attrs["kind"] = node.kind
        if node.name in graph.checked:
            entry.attrs[CHECKED] = graph.checked[node.name]
        for item in fields(node):
            if is_array(item):
                arrays.append((entry, item.name, node.packed(item.name)))
                _check_range(node, item.name, arrays[-1][-1])
                continue
            value = getattr(node, item.name)
            if item.name == "inputs":
                entry.attrs["inputs"] = hdf5.writable(json.dumps(value), node.name)
            elif item.name in (*_PAIRS, "shape"):
                entry.attrs[item.name] = np.array(value, np.int64)
            elif item.name == "name":
                entry.attrs["name"] = hdf5.writable(value, "name of a node")
            else:
                entry.attrs[item.name] = value
    held = [array for *_, array in arrays]
    for (entry, name, _), packed in zip(arrays, pack(held), strict=True):
        data = entry.create_dataset(name, data=packed.stored)
        if packed.shift:
            data.attrs["shift"] = packed.shift
        if max(packed.repeat) > 1:
            data.attrs["repeat"] = np.array(packed.repeat, np.int64)


def _check_range(node: Node, name: str, array: Packed) -> None:
    if not _fits(array.stored, array.shift, name):
        raise GraphError(
            f"{node.name}: {name} reaches {np.abs(array.unfolded()).max()}, more than a file holds "
            f"({_dtype(name)}); quantize to smaller integers"
        )


def _fits(stored: npt.NDArray[Any], shift: int, name: str) -> bool:
    """Return whether the values lie in the range of their field, without overflow."""
    limits = np.iinfo(_dtype(name))
    low, high = (int(bound(stored, initial=0)) << shift for bound in (np.min, np.max))
    return bool(limits.min <= low and high <= limits.max)


def _dtype(name: str) -> np.dtype[Any]:
    return _NARROW if name in ("weight", "delay") else _WIDE


def save(graph: Graph, path: str | os.PathLike[str]) -> Path:
    """Store a graph, atomically."""
    return write_atomic(path, hdf5.writer(lambda file: fill(graph, file)))


def load(path: str | os.PathLike[str], *, verify: bool = True) -> Graph:
    """Read a graph (a ``.graph`` or a ``.net`` file).

    Args:
        verify: whether to refuse a file whose content does not match its hash.

    Raises:
        StorageError: the file does not exist.
        FormatError: the file does not follow ``docs/format.md``.
        HashError: the format is right, but the content was changed after it was written.
    """

    def build(content: Any) -> Graph:
        graph = _graph(content, path)
        if verify and graph.hash != content["hash"]:
            raise HashError(
                f"{path}: content hash {graph.hash[:12]} does not match the stored "
                f"{content['hash'][:12]}; the file was damaged or edited: export it again"
            )
        return graph

    return hdf5.read(path, "a neuroport network file", lambda file: _read(file, path), build)


def format_of(path: str | os.PathLike[str]) -> str:
    """The ``format`` attribute of a file, empty where there is none."""
    what = "a neuroport network or trace"
    return hdf5.read(path, what, lambda file: hdf5.text(file.attrs.get("format")))


def _read(file: h5py.File, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the plain values of an open file, from which the graph is built, and its hash."""
    hdf5.check_header(file, path, FORMAT, VERSION)
    group = file.get("graph")
    if not isinstance(group, h5py.Group):
        raise FormatError(f"{path}: holds no graph; export the network again")
    steps = _integer(group, "steps", path, "graph")
    interval = _integer(group, "interval", path, "graph")
    limit = os.path.getsize(path)
    version = file.attrs["version"]
    packed = version > UNPACKED
    nodes: dict[str, Any] = {}
    checked: dict[str, int] = {}
    total = 0
    for index in range(len(group)):
        kind, values = _read_node(group, index, path, limit, packed)
        total += sum(Packed(*found).size for found in values["arrays"].values())
        if total > UNFOLD * limit:
            raise FormatError(
                f"{path}: its arrays unfold to more than {UNFOLD} values per byte of the file; "
                "export it again"
            )
        if values["name"] in nodes:  # now: a thousand links to one node must not be followed
            raise FormatError(f"{path}: node name {hdf5.short(values['name'])} is used twice")
        nodes[values["name"]] = (kind, values)
        entry = group[f"{index:05d}"]
        if CHECKED in entry.attrs:
            if version <= PROVEN:
                raise FormatError(
                    f"{path}: graph/{index:05d} has a declared width, which version {version} "
                    "of the format does not support; export it again"
                )
            checked[values["name"]] = _integer(entry, CHECKED, path, f"graph/{index:05d}")
    stored = hdf5.text(file.attrs.get("hash"))
    return {
        "nodes": list(nodes.values()),
        "steps": steps,
        "interval": interval,
        "hash": stored,
        "checked": checked,
    }


def _graph(content: Any, path: str | os.PathLike[str]) -> Graph:
    try:
        nodes = [_node(kind, **values) for kind, values in content["nodes"]]
        return Graph(nodes, content["steps"], content["interval"], content["checked"])
    except (GraphError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: {hdf5.short(error)}; the file is damaged, export it again"
        ) from error


def _node(kind: str, arrays: dict[str, Any], **values: Any) -> Node:
    # held as the file holds them; tuples arrive as lists
    packed = {name: Packed(d, shift, tuple(n)) for name, (d, shift, n) in arrays.items()}
    cls = find_kind(kind)
    assert cls is not None  # its reader knew it
    return cls(**values, **packed)


def _read_node(
    group: h5py.Group, index: int, path: str | os.PathLike[str], limit: int, packed: bool
) -> tuple[str, dict[str, Any]]:
    """Read kind and fields of a node; its arrays as fields of :class:`Packed`."""
    key = f"{index:05d}"
    link = group.get(key, getlink=True)
    entry = group.get(key) if isinstance(link, h5py.HardLink) else None
    if not isinstance(entry, h5py.Group):
        raise FormatError(f"{path}: graph/{key} is missing or not a group; export the file again")
    where = f"graph/{key}"
    kind = hdf5.text(entry.attrs.get("kind"))
    cls = find_kind(kind)
    if cls is None:
        raise FormatError(
            f"{path}: {where} has unknown kind {hdf5.short(kind)}; known: {', '.join(KINDS)}"
        )
    values: dict[str, Any] = {"arrays": {}}
    for item in fields(cls):
        if item.name == "name":
            values["name"] = hdf5.text(entry.attrs.get("name"))
        elif item.name == "inputs":
            values["inputs"] = _names(entry, path, where)
        elif is_array(item):
            found = _array(entry, item.name, f"{path}: {where}/{item.name}", limit, packed)
            values["arrays"][item.name] = found
        elif item.name in (*_PAIRS, "shape"):
            values[item.name] = _sizes(entry, item.name, path, where)
        elif item.type == "bool":
            values[item.name] = bool(_integer(entry, item.name, path, where))
        else:
            values[item.name] = _integer(entry, item.name, path, where)
    return kind, values


def _integer(entry: h5py.Group, name: str, path: Any, where: str) -> int:
    value = entry.attrs.get(name)
    if not isinstance(value, (np.integer, np.bool_)):
        raise FormatError(
            f"{path}: {where} attribute {name} is {hdf5.short(value)}, expected an integer"
        )
    return int(value)


def _names(entry: h5py.Group, path: Any, where: str) -> tuple[str, ...]:
    try:
        names = parse_json(hdf5.text(entry.attrs.get("inputs")), where)
    except FormatError:
        names = None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise FormatError(f"{path}: {where} attribute inputs is not a JSON list of names")
    return tuple(names)


def _sizes(entry: h5py.Group, name: str, path: Any, where: str) -> tuple[int, ...]:
    value = entry.attrs.get(name)
    wanted = "1 to 3" if name == "shape" else "2"
    good = isinstance(value, np.ndarray) and value.dtype.kind == "i" and value.ndim == 1
    if not good or not (1 <= len(value) <= 3 if name == "shape" else len(value) == 2):
        raise FormatError(
            f"{path}: {where} attribute {name} is {hdf5.short(value)}, expected {wanted} integers"
        )
    if np.abs(value).max() > 1 << 20:
        raise FormatError(
            f"{path}: {where} attribute {name} is {hdf5.short(value)}; sizes end at 2**20"
        )
    return tuple(int(n) for n in value)


def _array(
    entry: h5py.Group, name: str, where: str, limit: int, packed: bool
) -> tuple[npt.NDArray[Any], int, tuple[int, ...]]:
    """Read the fields of a :class:`Packed`: stored array, shift and repeats."""
    data = hdf5.plain_array(entry, name, where, limit)
    if not packed:
        if data.dtype != _dtype(name):
            raise FormatError(f"{where} is {data.dtype}, expected {_dtype(name)}")
        return data, 0, (1,) * data.ndim
    if data.dtype not in TYPES:
        raise FormatError(f"{where} is {data.dtype}, expected a signed little-endian integer")
    attributes = entry[name].attrs
    shift = attributes.get("shift", np.int64(0))
    if not isinstance(shift, np.integer) or not 0 <= shift < 64:
        raise FormatError(f"{where} attribute shift is {hdf5.short(shift)}, expected 0 to 63")
    repeat = attributes.get("repeat", np.ones(data.ndim, np.int64))
    good = isinstance(repeat, np.ndarray) and repeat.dtype.kind == "i"
    if not good or repeat.shape != (data.ndim,) or (repeat < 1).any():
        raise FormatError(
            f"{where} attribute repeat is {hdf5.short(repeat)}, expected {data.ndim} positive "
            "integers, one per axis"
        )
    if not _fits(data, int(shift), name):
        raise FormatError(f"{where} holds values beyond {_dtype(name)}; export it again")
    return data, int(shift), tuple(int(n) for n in repeat)
