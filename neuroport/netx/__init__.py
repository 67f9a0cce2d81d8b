"""The ``.net`` file: NetX HDF5 with the graph beside it."""

from __future__ import annotations

import os
from pathlib import Path

import h5py

from neuroport import hdf5
from neuroport.files import write_atomic
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.lowering.rules import check
from neuroport.netx import layers


def export(graph: Graph, path: str | os.PathLike[str], target: str = "lava-cpu") -> Path:
    """Write a lowered graph as a ``.net`` file, atomically.

    A network that is a chain (or was lowered to one, ``carrier="stock"``) is written in NetX's own
    layers, too. Where it cannot be, the file makes an unmodified NetX stop with
    ``NotImplementedError`` instead of running part of the network.

    Raises:
        IllegalError: the graph breaks rules of ``target`` (all are named); nothing is written.
        StorageError: the file cannot be written; what was there is untouched.
    """
    check(graph, target)

    def fill(file: h5py.File) -> None:
        store.fill(graph, file)
        layers.fill(graph, file)

    return write_atomic(path, hdf5.image(fill))


def read(path: str | os.PathLike[str], *, verify: bool = True) -> Graph:
    """Read a ``.net`` or ``.graph`` file; see :func:`neuroport.graph.store.load`."""
    return store.load(path, verify=verify)
