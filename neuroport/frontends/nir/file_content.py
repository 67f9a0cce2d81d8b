"""Read a ``.nir`` file, or an object of the package ``nir``, as plain values.

A ``.nir`` file is an untrusted HDF5 file. Arrays may be compressed with HDF5's built-in filters and
expand to a bounded size. Links to other files, external storage and plugins are refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from neuroport import hdf5
from neuroport.errors import FormatError
from neuroport.sandbox import Plain

WHAT = "a NIR file"
MEMBERS = 4_000_000  # groups and datasets
DEEPEST = 40  # groups in one another: two for each subgraph
SLACK = (16 << 20, 24)  # bytes that arrays may unfold to, and how many more for each of the file's
FILTERS = {  # of HDF5, those that it has built in and those that h5py brings
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
}


def content_of(file: h5py.File, path: str) -> dict[str, Plain]:
    """Return the plain values of an open file.

    Raises:
        FormatError: the file is not NIR, or uses a feature that is refused in untrusted files.
    """
    group = file.get("node")
    if not isinstance(group, h5py.Group) or "type" not in group:
        raise FormatError(f"{path}: holds no graph of NIR (group 'node'); not {WHAT}")
    base, each = SLACK
    return {"node": _Reader(path, base + each * os.path.getsize(path)).tree(group, "node", DEEPEST)}


class _Reader:
    """Reads groups into dictionaries, with a limit on the total size of all arrays."""

    def __init__(self, path: str, left: int) -> None:
        self.path = path
        self.left = left
        self.count = 0

    def tree(self, group: h5py.Group, where: str, depth: int) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for name in group:
            here = f"{self.path}: {where}/{hdf5.short(name)[1:-1]}"
            self.count += 1
            if self.count > MEMBERS:
                raise FormatError(f"{self.path}: more nodes and parameters than any network has")
            link = group.get(name, getlink=True)
            member = group.get(name) if isinstance(link, h5py.HardLink) else None
            if isinstance(member, h5py.Group):
                if depth == 0:
                    raise FormatError(f"{here}: subgraphs nested more than {DEEPEST // 2} deep")
                found[name] = self.tree(member, f"{where}/{name}", depth - 1)
            elif isinstance(member, h5py.Dataset):
                found[name] = self.value(member, here)
            else:
                raise FormatError(f"{here}: a link to elsewhere; copy what it points at")
        return found

    def value(self, data: h5py.Dataset, here: str) -> Plain:
        listing = data.id.get_create_plist()
        used = {listing.get_filter(i)[0] for i in range(listing.get_nfilters())}
        if data.external is not None or data.is_virtual or not used <= FILTERS:
            raise FormatError(
                f"{here}: lies in another file or is compressed by a plugin; write the file again "
                "with nir.write"
            )
        is_text = h5py.check_string_dtype(data.dtype) is not None
        if not is_text and data.dtype.kind not in "biuf":
            raise FormatError(f"{here}: {data.dtype} is neither a number nor text")
        self.left -= data.size * max(data.dtype.itemsize, 8)
        if self.left < 0:
            raise FormatError(
                f"{here}: the arrays unfold to more than {SLACK[1]} bytes for each of the file"
            )
        if not is_text:
            return np.asarray(data[()])
        texts = np.asarray(data.asstr()[()], object)
        if texts.shape == ():
            return str(texts[()])
        return [[str(part) for part in np.atleast_1d(row)] for row in texts]


def of_object(node: Any) -> Any:
    """Convert the result of ``NIRNode.to_dict`` to the form of a file."""
    if isinstance(node, Mapping):
        return {str(key): of_object(value) for key, value in node.items() if value is not None}
    if isinstance(node, (bytes, np.bytes_)):
        return bytes(node).decode(errors="replace")
    if isinstance(node, (list, tuple)):
        items = [of_object(item) for item in node]
        shapes = {item.shape if isinstance(item, np.ndarray) else None for item in items}
        # the package nir makes tuples of sizes, where a file holds arrays
        of_numbers = len(shapes) == 1 and None not in shapes
        return np.stack(items) if of_numbers else items
    if isinstance(node, np.ndarray) and node.dtype.kind in "OSU":
        return of_object(node.tolist())
    return node if isinstance(node, str) else np.asarray(node)
