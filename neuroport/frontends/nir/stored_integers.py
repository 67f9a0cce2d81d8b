"""neuroport's integers in the metadata of a NIR graph: convention ``neuroport`` 1 (docs/nir.md).

``metadata`` of the root holds a group ``neuroport``:

* ``convention``: 1; ``steps``, ``interval`` and ``hash`` of the graph of integers;
* ``network``: SHA-256 of the NIR nodes and edges of the file. If somebody has changed these since,
  the integers are refused;
* ``nodes``: one group per node of the graph, ``00000`` and on, in order: ``kind``, ``name``,
  ``inputs`` (names as JSON) and every field, arrays as int64.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

import numpy as np

from neuroport import hdf5
from neuroport.errors import FormatError, GraphError
from neuroport.files import parse_json
from neuroport.frontends.nir.quantized_parts import Record
from neuroport.frontends.nir.reading import Network
from neuroport.graph.graph import Graph
from neuroport.graph.node import KINDS, find_kind, is_array
from neuroport.sandbox import Plain

CONVENTION = 1


def stored(graph: Graph, network: Network) -> dict[str, Plain]:
    """Return the group for the metadata; ``network`` is the NIR network of the same file."""
    nodes: dict[str, Plain] = {}
    for index, node in enumerate(graph):
        entry: dict[str, Plain] = {"kind": node.kind}
        for item in fields(node):
            value = getattr(node, item.name)
            if item.name == "inputs":
                entry["inputs"] = json.dumps(value)
            elif isinstance(value, str):
                entry[item.name] = value
            else:
                entry[item.name] = np.asarray(value, np.int64)
        nodes[f"{index:05d}"] = entry
    return {
        "convention": np.asarray(CONVENTION),
        "steps": np.asarray(graph.steps),
        "interval": np.asarray(graph.interval),
        "hash": graph.hash,
        "network": digest(network),
        "nodes": nodes,
    }


def digest(network: Network) -> str:
    """Return the SHA-256 of a NIR network: kinds, edges and parameters, without metadata."""
    found = hashlib.sha256()
    for name in sorted(network.nodes):
        node = network.nodes[name]
        found.update(repr((name, node.kind, node.inputs, node.shape)).encode())
        for key in sorted(node.values):
            found.update(key.encode())
            found.update(np.ascontiguousarray(node.values[key], "<f8").tobytes())
        found.update(repr(sorted(node.sizes.items())).encode())
    return found.hexdigest()


def stored_graph(network: Network) -> tuple[Graph, tuple[Record, ...]]:
    """Return the graph in the metadata of a network.

    Raises:
        FormatError: the convention is unknown, the data are damaged, or the network was changed.
    """
    where, found = f"{network.where}: metadata/neuroport", network.integers
    convention = _number(found, "convention", where)
    if convention != CONVENTION:
        raise FormatError(
            f"{where}: convention {convention}, this neuroport reads {CONVENTION}; upgrade it, or "
            "leave the integers out (integers=False, --no-integers)"
        )
    if found.get("network") != digest(network):
        raise FormatError(
            f"{where}: the network was changed since its integers were written; have it quantized "
            "again (integers=False, --no-integers)"
        )
    nodes = found.get("nodes")
    if not isinstance(nodes, dict):
        raise FormatError(f"{where}: holds no nodes; write the file again")
    try:
        made = [_node(nodes[key], f"{where}/{key}") for key in sorted(nodes)]
        steps, interval = (_number(found, key, where) for key in ("steps", "interval"))
        graph = Graph(made, steps, interval)
    except (GraphError, TypeError, ValueError, KeyError) as error:
        raise FormatError(f"{where}: {hdf5.short(error)}; write the file again") from error
    if graph.hash != found.get("hash"):
        raise FormatError(f"{where}: the integers do not match their hash; write the file again")
    names = {node.name for node in graph}
    return graph, tuple(
        Record(name, node.kind, (name,) if name in names else (), "the integers of the metadata")
        for name, node in network.nodes.items()
    )


def _number(group: Any, key: str, where: str) -> int:
    value = group.get(key) if isinstance(group, dict) else None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.size != 1:
        raise FormatError(f"{where}: {key} is {hdf5.short(value)}, expected a whole number")
    return int(value.ravel()[0])


def _node(entry: Plain, where: str) -> Any:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    cls = find_kind(kind) if isinstance(kind, str) else None
    if cls is None:
        raise FormatError(f"{where}: kind {hdf5.short(kind)}; known: {', '.join(KINDS)}")
    values: dict[str, Any] = {}
    for item in fields(cls):
        found = entry.get(item.name)
        if item.name == "inputs":
            names = parse_json(found, f"{where}: inputs") if isinstance(found, str) else None
            if not isinstance(names, list):
                raise FormatError(f"{where}: inputs is not a list of names")
            values["inputs"] = tuple(str(name) for name in names)
        elif item.name == "name":
            values["name"] = hdf5.text(found)
        elif not isinstance(found, np.ndarray) or found.dtype.kind not in "biu" or found.ndim > 5:
            raise FormatError(f"{where}: {item.name} is {hdf5.short(found)}, expected integers")
        elif is_array(item):
            values[item.name] = found.astype(np.int64)
        elif found.ndim:
            values[item.name] = tuple(int(n) for n in found)
        else:
            values[item.name] = bool(found) if item.type == "bool" else int(found)
    return cls(**values)
