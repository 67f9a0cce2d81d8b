"""Small files that cost a careless reader gigabytes, or for ever."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import h5py
import numpy as np

from tests.hostile.samples import image, seal

WIDE = 2**20


@cache
def bomb(name: str) -> bytes:
    """A sealed image; made once, then kept."""
    what, layout, edit = BOMBS[name]
    buffer = io.BytesIO(image(what, layout))
    with h5py.File(buffer, "r+", libver=layout) as file:
        edit(file)
    return seal(buffer.getvalue())


def target(name: str) -> str:
    """``graph`` or ``trace``: what the bomb says it is."""
    return BOMBS[name][0]


def _node(file: h5py.File, index: int, kind: str, name: str, inputs: Any, **values: Any) -> None:
    where = f"graph/{index:05d}"
    if where in file:
        del file[where]
    entry = file.create_group(where)
    entry.attrs.update({"kind": kind, "name": name, "inputs": json.dumps(inputs)})
    for key, value in values.items():
        if isinstance(value, np.ndarray) and key in ("weight", "bias", "delay", "threshold"):
            entry[key] = value
        else:
            entry.attrs[key] = value


def _wide(file: h5py.File, shape: tuple[int, ...]) -> None:
    """Nothing but an input of 2**20 channels."""
    del file["graph"]
    file.create_group("graph").attrs.update({"steps": 3, "interval": 3})
    _node(file, 0, "input", "frames", [], shape=np.array(shape), bits=1, signed=False)


def million_nodes(file: h5py.File) -> None:
    """A million links to the same node."""
    group = file["graph"]
    node = group["00001"]
    for index in range(len(group), 10**6):
        group[f"{index:05d}"] = node


def many_nodes(file: h5py.File) -> None:
    """As many nodes as fit a third of a megabyte, every one a link to the same."""
    group = file["graph"]
    node = group["00001"]
    for index in range(len(group), 9000):
        group[f"{index:05d}"] = node


def same_weights(file: h5py.File) -> None:
    """Hundreds of nodes that share one large array: gigabytes, were each to hold its own."""
    _wide(file, (WIDE, 1, 1))
    weight = np.ones((1, WIDE), "<i2")
    for index in range(1, 300):
        _node(
            file,
            index,
            "dense",
            f"d{index}",
            ["frames"],
            exponent=0,
            lag=0,
            delay=np.zeros(1, "<i4"),
        )
        file[f"graph/{index:05d}/weight"] = weight if index == 1 else file["graph/00001/weight"]


def delayed_for_ever(file: h5py.File) -> None:
    """Nodes of a few bytes whose derived bounds take megabytes each."""
    _wide(file, (WIDE, 1, 1))
    for index in range(1, 400):
        source = "frames" if index == 1 else f"d{index - 1}"
        _node(file, index, "delay", f"d{index}", [source], steps=1)


def endless_sum(file: h5py.File) -> None:
    """A node that sums its wide input ten thousand times."""
    _wide(file, (WIDE, 1, 1))
    _node(file, 1, "delay", "d", ["frames"] * 9000, steps=1)


def many_groups(file: h5py.File) -> None:
    """A convolution in half a million groups."""
    half = WIDE // 2
    _wide(file, (half, 1, 1))
    pair = {name: np.array([1, 1]) for name in ("stride", "dilation")}
    weight = np.ones((half, 1, 1, 1), "<i2")
    _node(
        file, 1, "conv", "c", ["frames"], weight=weight, exponent=0, lag=0, groups=half,
        padding=np.array([0, 0]), **pair,
    )  # fmt: skip


def long_chain(file: h5py.File) -> None:
    """Three thousand nodes in a row, all sound: as much as a small file can ask for."""
    del file["graph"]
    file.create_group("graph").attrs.update({"steps": 3, "interval": 3})
    _node(file, 0, "input", "n0", [], shape=np.array([1]), bits=1, signed=False)
    for index in range(1, 3000):
        _node(file, index, "delay", f"n{index}", [f"n{index - 1}"], steps=0)


def long_text(file: h5py.File) -> None:
    """A name of 8 MB."""
    del file["graph/00001"].attrs["name"]
    file["graph/00001"].attrs["name"] = "n" * (1 << 23)


def long_inputs(file: h5py.File) -> None:
    """A million inputs."""
    del file["graph/00001"].attrs["inputs"]
    file["graph/00001"].attrs["inputs"] = json.dumps(["frames"] * 10**6)


def nested_inputs(file: h5py.File) -> None:
    """JSON that is four million lists deep."""
    del file["graph/00001"].attrs["inputs"]
    file["graph/00001"].attrs["inputs"] = "[" * (1 << 22)


def wide_attribute(file: h5py.File) -> None:
    """A stride of a million numbers."""
    del file["graph/00001"].attrs["stride"]
    file["graph/00001"].attrs.create("stride", np.ones(1 << 20, np.int64))


def zipped(file: h5py.File) -> None:
    """A gigabyte of zeros, compressed into one."""
    del file["graph/00001/weight"]
    data = file.create_dataset(
        "graph/00001/weight", (1 << 29,), "<i2", chunks=(1 << 24,), compression="gzip", shuffle=True
    )
    for index in range(0, 1 << 29, 1 << 24):
        data[index : index + (1 << 24)] = 0


def never_written(file: h5py.File) -> None:
    """A terabyte of sevens that nobody wrote."""
    del file["graph/00001/weight"]
    file.create_dataset(
        "graph/00001/weight", (1 << 39,), "<i2", chunks=(1 << 20,), compression="gzip", fillvalue=7
    )


def deep_groups(file: h5py.File) -> None:
    """Five thousand groups in one another."""
    group = file["graph"]
    name = f"{len(group):05d}"  # the next node
    for _ in range(5000):
        group = group.create_group(name)


def crowd(file: h5py.File) -> None:
    """Twenty thousand empty groups."""
    for index in range(len(file["graph"]), 20_000):
        file.create_group(f"graph/{index:05d}")


def wide_trace(file: h5py.File) -> None:
    """A population that says it has 2**62 neurons."""
    file["00000"].attrs["shape"] = np.array([3, 2, 2**60])


def crowded_trace(file: h5py.File) -> None:
    """Thousands of links to the same population."""
    for index in range(len(file), 9000):
        file[f"{index:05d}"] = file["00000"]


def nested_provenance(file: h5py.File) -> None:
    """A trace whose provenance is nested without end."""
    del file.attrs["provenance"]
    file.attrs["provenance"] = '{"a":' * (1 << 20)


# those that take seconds to make come last: a slice of the first seeds does without them
BOMBS: dict[str, tuple[str, str, Callable[[h5py.File], None]]] = {
    "400 wide delays": ("graph", "earliest", delayed_for_ever),
    "9000 links to a node": ("graph", "earliest", many_nodes),
    "9000 wide terms": ("graph", "latest", endless_sum),
    "half a million groups": ("graph", "earliest", many_groups),
    "9000 links to a population": ("trace", "earliest", crowded_trace),
    "300 links to one array": ("graph", "earliest", same_weights),
    "3000 sound nodes": ("graph", "latest", long_chain),
    "name of 8 MB": ("graph", "latest", long_text),
    "a million inputs": ("graph", "latest", long_inputs),
    "inputs nested 4 million deep": ("graph", "latest", nested_inputs),
    "stride of a million numbers": ("graph", "latest", wide_attribute),
    "terabyte never written": ("graph", "earliest", never_written),
    "5000 groups deep": ("graph", "earliest", deep_groups),
    "20,000 empty nodes": ("graph", "latest", crowd),
    "trace of 2**62 neurons": ("trace", "earliest", wide_trace),
    "provenance nested without end": ("trace", "latest", nested_provenance),
    "gzip of a gigabyte": ("graph", "earliest", zipped),
    "a million nodes": ("graph", "latest", million_nodes),
}
