"""The ``.net`` file: NetX HDF5 with the graph beside it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import h5py

from neuroport import hdf5
from neuroport.arguments import is_graph, is_path, takes
from neuroport.errors import FormatError, NeuroportWarning
from neuroport.files import check_file, write_atomic
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.netx import chain_writer, layer_starts, stock
from neuroport.netx.stock import GivenFrames
from neuroport.netx.unread_fields import repaired
from neuroport.targets.rules import require_legal


@takes(graph=is_graph, path=is_path)
def export(graph: Graph, path: str | os.PathLike[str], target: str = "lava-cpu") -> Path:
    """Write a lowered graph as a ``.net`` file, atomically.

    A network that is a chain (or was lowered to one, ``carrier="stock"``) is written in NetX's own
    layers, too. Where it cannot be, the file makes an unmodified NetX stop with
    ``NotImplementedError`` instead of running part of the network.

    Raises:
        IllegalError: the graph breaks rules of ``target`` (they are named); nothing is written.
        StorageError: the file cannot be written; what was there is untouched.
    """
    check_file(path)
    require_legal(graph, target)

    def fill(file: h5py.File) -> None:
        store.fill(graph, file)
        chain_writer.fill(graph, file)

    return write_atomic(path, hdf5.writer(fill))


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

    The other options are for stock files, which do not say these things.

    Args:
        verify: refuse a neuroport file whose content does not match the hash stored in it.
        steps: steps a sample lasts; by default those of ``frames``, or what the file's
            ``simulation/tSample`` says.
        frames: the input node, for files whose first layer does not say its shape, or whose input
            is graded; or frames (T, N, *shape), whose shape and range then are the input's.
        delay_shift: whether SLAYER's blocks had ``delay_shift=True`` (their default) as they were
            trained: then layers with a bias began before their input reached them, by a step per
            block before them. Where it matters and is None, False is taken with a warning.
        free_running: time as NetX (without resets) and the chip have it: every synapse takes a
            step, and all layers, their biases too, begin at the first. Step t is the (t + 1)th
            that NetX runs. A sample begins at rest: what is never reset is one long sample.

    Raises:
        StorageError: no such file.
        FormatError: not such a file, or a stock file that no graph expresses.
        HashError: a sound neuroport file that was changed after it was written.
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
        return store.load(path, verify=verify)
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
