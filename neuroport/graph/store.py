"""Graphs as HDF5: versioned, hashed, and trusted only after every field was checked.

Layout (``docs/format.md`` is the specification)::

    /                 attributes: format, version, producer, hash
    /graph            attributes: steps, interval
    /graph/00000 ...  attributes: kind, name, inputs (JSON list), the node's integers
                      datasets:   weight, bias ... (int16 or int32, contiguous, no filters)
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

import neuroport
from neuroport import hdf5
from neuroport.errors import FormatError, GraphError, HashError
from neuroport.files import write_atomic
from neuroport.graph.graph import Graph
from neuroport.graph.node import KIND, NODE_TYPES, Node, is_array

FORMAT = "neuroport"
VERSION = 2
_NARROW = np.dtype("<i2")  # weights and their delays
_WIDE = np.dtype("<i4")  # everything per channel
_PAIRS = ("stride", "padding", "dilation")


def fill(graph: Graph, file: h5py.File) -> None:
    """Write ``graph`` and its header into an open file."""
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    file.attrs["producer"] = f"neuroport {neuroport.__version__}"
    file.attrs["hash"] = graph.hash
    group = file.create_group("graph")
    group.attrs["steps"] = graph.steps
    group.attrs["interval"] = graph.interval
    for index, node in enumerate(graph):
        entry = group.create_group(f"{index:05d}")
        entry.attrs["kind"] = KIND[type(node)]
        for item in fields(node):
            value = getattr(node, item.name)
            if isinstance(value, np.ndarray):
                entry.create_dataset(item.name, data=_narrow(node, item.name, value))
            elif item.name == "inputs":
                entry.attrs["inputs"] = hdf5.writable(json.dumps(value), node.name)
            elif item.name in (*_PAIRS, "shape"):
                entry.attrs[item.name] = np.array(value, np.int64)
            elif item.name == "name":
                entry.attrs["name"] = hdf5.writable(value, "name of a node")
            else:
                entry.attrs[item.name] = value


def _narrow(node: Node, name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    narrow: npt.NDArray[Any] = value.astype(_dtype(name))
    if not np.array_equal(narrow, value):
        raise GraphError(
            f"{node.name}: {name} reaches {np.abs(value).max()}, more than a file holds "
            f"({narrow.dtype}); quantize to smaller integers"
        )
    return narrow


def _dtype(name: str) -> np.dtype[Any]:
    return _NARROW if name in ("weight", "delay") else _WIDE


def save(graph: Graph, path: str | os.PathLike[str]) -> Path:
    """Store a graph, atomically."""
    return write_atomic(path, hdf5.image(lambda file: fill(graph, file)))


def load(path: str | os.PathLike[str], *, verify: bool = True) -> Graph:
    """Read a graph (a ``.graph`` or a ``.net`` file).

    Args:
        verify: refuse a file whose content does not match the hash stored in it.

    Raises:
        StorageError: no such file.
        FormatError: anything in it that is not as ``docs/format.md`` says.
        HashError: everything is, but the content was changed after it was written.
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
    """Plain values of an open file: what the graph is built from, and the hash beside it."""
    hdf5.check_header(file, path, FORMAT, VERSION)
    group = file.get("graph")
    if not isinstance(group, h5py.Group):
        raise FormatError(f"{path}: holds no graph; export the network again")
    steps = _integer(group, "steps", path, "graph")
    interval = _integer(group, "interval", path, "graph")
    limit = os.path.getsize(path)
    nodes: dict[str, Any] = {}
    for index in range(len(group)):
        kind, values = _read_node(group, index, path, limit)
        if values["name"] in nodes:  # now: a thousand links to one node must not be followed
            raise FormatError(f"{path}: node name {hdf5.short(values['name'])} is used twice")
        nodes[values["name"]] = (kind, values)
    stored = hdf5.text(file.attrs.get("hash"))
    return {"nodes": list(nodes.values()), "steps": steps, "interval": interval, "hash": stored}


def _graph(content: Any, path: str | os.PathLike[str]) -> Graph:
    try:
        nodes = [NODE_TYPES[kind](**values) for kind, values in content["nodes"]]
        return Graph(nodes, content["steps"], content["interval"])
    except (GraphError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: {hdf5.short(error)}; the file is damaged, export it again"
        ) from error


def _read_node(
    group: h5py.Group, index: int, path: str | os.PathLike[str], limit: int
) -> tuple[str, dict[str, Any]]:
    key = f"{index:05d}"
    link = group.get(key, getlink=True)
    entry = group.get(key) if isinstance(link, h5py.HardLink) else None
    if not isinstance(entry, h5py.Group):
        raise FormatError(f"{path}: graph/{key} is missing or not a group; export the file again")
    where = f"graph/{key}"
    kind = hdf5.text(entry.attrs.get("kind"))
    if kind not in NODE_TYPES:
        raise FormatError(
            f"{path}: {where} has unknown kind {hdf5.short(kind)}; known: {', '.join(NODE_TYPES)}"
        )
    values: dict[str, Any] = {}
    for item in fields(NODE_TYPES[kind]):
        if item.name == "name":
            values["name"] = hdf5.text(entry.attrs.get("name"))
        elif item.name == "inputs":
            values["inputs"] = _names(entry, path, where)
        elif is_array(item):
            values[item.name] = _array(entry, item.name, path, where, limit)
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
        names = json.loads(hdf5.text(entry.attrs.get("inputs")))
    except (ValueError, RecursionError):
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


def _array(entry: h5py.Group, name: str, path: Any, where: str, limit: int) -> npt.NDArray[Any]:
    data = hdf5.plain_array(entry, name, f"{path}: {where}/{name}", limit)
    if data.dtype != _dtype(name):
        raise FormatError(f"{path}: {where}/{name} is {data.dtype}, expected {_dtype(name)}")
    return data
