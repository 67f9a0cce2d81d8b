"""The ``.net`` file: NetX HDF5 with the graph beside it."""

from __future__ import annotations

import os
from pathlib import Path

import h5py

from neuroport import hdf5
from neuroport.arguments import is_graph, is_path, takes
from neuroport.errors import FormatError
from neuroport.files import check_file, write_atomic
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.graph.node import Input
from neuroport.lowering.rules import check
from neuroport.netx import layers, stock


@takes(graph=is_graph, path=is_path)
def export(graph: Graph, path: str | os.PathLike[str], target: str = "lava-cpu") -> Path:
    """Write a lowered graph as a ``.net`` file, atomically.

    A network that is a chain (or was lowered to one, ``carrier="stock"``) is written in NetX's own
    layers, too. Where it cannot be, the file makes an unmodified NetX stop with
    ``NotImplementedError`` instead of running part of the network.

    Raises:
        IllegalError: the graph breaks rules of ``target`` (all are named); nothing is written.
        StorageError: the file cannot be written; what was there is untouched.
    """
    check_file(path)
    check(graph, target)

    def fill(file: h5py.File) -> None:
        store.fill(graph, file)
        layers.fill(graph, file)

    return write_atomic(path, hdf5.writer(fill))


def read(
    path: str | os.PathLike[str],
    *,
    verify: bool = True,
    steps: int | None = None,
    frames: Input | None = None,
) -> Graph:
    """Read a network: neuroport's ``.net`` or ``.graph``, or a stock NetX file of lava-dl.

    Args:
        verify: refuse a neuroport file whose content does not match the hash stored in it.
        steps: steps a sample lasts, for stock files, which need not say it.
        frames: the input node, for stock files; see :func:`neuroport.netx.stock.read`.

    Raises:
        StorageError: no such file.
        FormatError: not such a file, or a stock file that no graph expresses.
        HashError: a sound neuroport file that was changed after it was written.
    """
    if stock.is_stock(path):
        return stock.read(path, steps=steps, frames=frames)
    if steps is not None or frames is not None:
        raise FormatError(f"{path}: holds a graph, which has its steps and its input; drop yours")
    return store.load(path, verify=verify)
