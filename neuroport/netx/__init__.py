"""The ``.net`` file: NetX HDF5 with the graph beside it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import h5py

from neuroport import hdf5
from neuroport.arguments import is_flag, is_graph, is_path, optional, takes
from neuroport.errors import FormatError, HashError, NeuroportWarning
from neuroport.files import check_file, check_name, ordinary, write_atomic
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.netx import chain_writer, layer_starts, schema, stock
from neuroport.netx.stock import GivenFrames
from neuroport.netx.unread_fields import repaired
from neuroport.targets.rules import require_legal


@takes(graph=is_graph, path=is_path)
def export(graph: Graph, path: str | os.PathLike[str], target: str = "lava-cpu") -> Path:
    """Write a lowered graph as a ``.net`` file, atomically.

    A network that is a chain (or was lowered to one, ``carrier="stock"``) is also written in NetX's
    own layers. Any other file makes an unmodified NetX stop with ``NotImplementedError`` instead of
    running part of the network.

    Raises:
        IllegalError: the graph breaks rules of ``target``, which are named; nothing is written.
        StorageError: the file cannot be written, or has the name of another format, such as
        ``.nir``; an existing file is untouched.
    """
    check_name(path, "a NetX file", ".net", ".graph")  # it holds a graph, too
    check_file(path)
    require_legal(graph, target)

    def fill(file: h5py.File) -> None:
        store.fill(graph, file)
        chain_writer.fill(graph, file)

    return write_atomic(path, hdf5.writer(fill))


@takes(verify=is_flag, delay_shift=optional(is_flag), free_running=is_flag)
def read(
    path: str | os.PathLike[str],
    *,
    verify: bool = True,
    steps: int | None = None,
    frames: GivenFrames = None,
    delay_shift: bool | None = None,
    free_running: bool = False,
) -> Graph:
    """Read a network: neuroport's ``.net`` or ``.graph``, or a stock NetX file of lava-dl.

    The options after ``verify`` are for stock files, which lack this information.

    Args:
        verify: refuse a neuroport file whose content does not match the hash stored in it, or whose
        layers for stock NetX were changed after it was written.
        steps: number of steps of a sample; by default those of ``frames``, or the file's
        ``simulation/tSample``.
        frames: the input node, for files whose first layer lacks its shape or whose input is
        graded; or frames (T, N, *shape), which determine the shape and range of the input.
        delay_shift: whether SLAYER's blocks were trained with ``delay_shift=True`` (their default).
        Layers with a bias then started before their input reached them, by one step per earlier
        block. If it matters and is None, False is assumed, with a warning.
        free_running: use the time of NetX (without resets) and the chip: every synapse takes a
        step, and all layers and biases start at the first step. Step t is the (t + 1)th step of
        NetX. A sample begins at rest; a network that is never reset is one long sample.

    Raises:
        StorageError: no such file.
        FormatError: the file is not such a file, or a stock file that no graph can express.
        HashError: a valid neuroport file was changed after it was written.
    """
    if not stock.is_stock(path):
        if steps is not None or frames is not None:
            raise FormatError(
                f"{path}: holds a graph, which has its steps and its input; drop yours"
            )
        if delay_shift is not None or free_running:
            raise FormatError(
                f"{path}: holds a graph, which says when its layers begin; leave out delay_shift "
                "and free_running (--delay-shift, --free-running), for files that lava-dl wrote"
            )
        graph = store.load(path, verify=verify)
        if verify:
            _refuse_edited_layers(path)
        return graph
    if free_running and delay_shift is not None:
        raise FormatError(
            f"{path}: delay_shift and free_running say each when layers begin; give one of them"
        )
    graph = repaired(
        path,
        steps=steps,
        frames=frames,
        delay_shift=bool(delay_shift),
        free_running=free_running,
    )
    if delay_shift is None and not free_running and (doubt := layer_starts.doubt(graph)):
        warnings.warn(f"{path}: {doubt}", NeuroportWarning, stacklevel=2)
    return graph


def _refuse_edited_layers(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose layers for stock NetX may be another network than its graph.

    The content hash is of the graph only, the seal of the whole file. A file without a seal is of
    another writer; one that NetX refuses has no network in its layers.

    Raises:
        HashError: says how to write the file again.
    """
    name = ordinary(path)
    with open(name, "rb") as file:
        has_seal = file.read(len(hdf5.SEAL)) == hdf5.SEAL
    if not has_seal or hdf5.sealed(name):
        return
    if hdf5.read(name, "a neuroport network file", _has_chain, bool):
        raise HashError(
            f"{name}: was damaged or edited, and its layers for stock NetX, which nothing else "
            "checks, may be another network than its graph: export it again"
        )


def _has_chain(file: h5py.File) -> bool:
    layers = file.get(schema.LAYERS)
    return isinstance(layers, h5py.Group) and "netx" in layers.attrs
