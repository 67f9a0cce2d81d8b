"""Mutations through h5py: files that HDF5 finds sound and that no network or trace should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from neuroport.graph.node import OWN_KINDS

Rng = np.random.Generator
Edit = Callable[[Rng, h5py.File], None]

DEEP = "[" * 30_000
NAMES = ["", "stem", "frames", "nobody", " ", "\x1b[2J", "a\nb", "零", "x" * 60_000, "\u202e"]
TEXTS: list[Any] = [
    *NAMES,
    b"\xff\xfe\xfd",
    b"\xed\xa0\x80",
    np.bytes_(b"short"),
    np.array([b"a", b"b"], "S1"),
    np.array(["a", "b"], h5py.string_dtype()),
]
NUMBERS: list[Any] = [
    None, 0, -1, -7, 1, 2, 3, 25, 4097, 2**20, 2**31, 2**62, -(2**63), np.uint64(2**64 - 1),
    0.5, float("nan"), float("inf"), True, np.int8(-3), np.array([3]), np.array([1, 1]),
    np.array([0, 1]), np.array([-1, -1]), np.array([2**20, 2**20]), np.array([1, 1, 1]),
    np.array([2**20, 2**20, 2**20]), np.array([np.nan, 1.0]), np.zeros((2, 2), int),
    np.zeros(0, int), np.array([2**63, 1], np.uint64), np.array([-(2**63), 1]),
    h5py.Empty("i8"), h5py.Empty("S4"), np.array((1, 2.0), [("a", "i4"), ("b", "f8")]),
    np.array([1 + 2j]), np.void(b"opaque"),
]  # fmt: skip
INPUTS = [
    "[]", "{}", "null", "7", "", "[1]", '["nobody"]', '["potential"]', '["classes"]', '["stem"]',
    '["frames", "frames"]', '[["frames"]]', '["\\ud800"]', '["\\u0000"]', "[NaN]", "[1e999]",
    DEEP, '{"a":' * 5000, json.dumps(["stem"] * 5000), json.dumps(["frames"] * 5000),
    '["frames"', "\ufeff[]", '["' + "x" * 60_000 + '"]', "9" * 5000,
]  # fmt: skip
KINDS: list[Any] = [*OWN_KINDS, "layer", "LIF", b"lif\xff"]
TYPES: list[Any] = [
    "f2", "<f4", "<f8", "<u2", "<u4", "<i8", "i1", ">i2", ">i4", "?", "S6", "V4", "c8",
    h5py.string_dtype(), h5py.vlen_dtype("i2"), h5py.ref_dtype, h5py.regionref_dtype,
    h5py.enum_dtype({"a": 1, "b": 2}, "i2"), np.dtype([("a", "<i2"), ("b", "<i4")]),
    np.dtype(("<i2", (3,))), np.dtype("<i2"), np.dtype("<i4"), np.dtype("u1"),
]  # fmt: skip
SHAPES: list[Any] = [
    None, (), (0,), (1,), (3,), (4,), (2**20,), (2**40,), (2**62,), (4, 2, 3, 3), (4, 2, 0, 3),
    (2**31, 2**31), (1,) * 6, (1,) * 32, (1, 1, 1, 1), (2**16, 2**16, 2**16),
]  # fmt: skip


def _pick(rng: Rng, pool: Any) -> Any:
    return pool[int(rng.integers(len(pool)))]


def _groups(file: h5py.File) -> list[Any]:
    """What carries attributes: the nodes of a network, the populations of a trace."""
    return [*(file["graph"].values() if "graph" in file else file.values())]


def _arrays(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return [name for name in names if isinstance(file[name], h5py.Dataset)]


def _owners(file: h5py.File) -> list[Any]:
    """What carries attributes, and what may: the arrays of a network, packed or not."""
    arrays = [file[name] for name in _arrays(file)] if "graph" in file else []
    return [*_groups(file), *arrays]


def _attributes(owner: Any) -> list[str]:
    packing = ["repeat", "shift"] if isinstance(owner, h5py.Dataset) else []
    return sorted({*owner.attrs, *packing})


def put(owner: Any, name: str, value: Any) -> None:
    """Set an attribute, of whatever type it was; ``None`` deletes it."""
    if name in owner.attrs:
        del owner.attrs[name]
    if value is None:
        return
    if isinstance(value, bytes) and not isinstance(value, np.bytes_):
        value = np.array(value, h5py.string_dtype())
    owner.attrs[name] = value


def wrong_attribute(rng: Rng, file: h5py.File) -> None:
    """Any attribute of a node or of its arrays, of any type and value."""
    owner = _pick(rng, _owners(file))
    put(owner, _pick(rng, _attributes(owner)), _pick(rng, [*NUMBERS, *TEXTS]))


def wrong_number(rng: Rng, file: h5py.File) -> None:
    """An integer of a node out of its range: strides, shapes, decays, delays, repeats."""
    owner = _pick(rng, _owners(file))
    names = sorted(set(_attributes(owner)) - {"kind", "name", "inputs"})
    if names:
        put(owner, _pick(rng, names), _pick(rng, NUMBERS))


def wrong_header(rng: Rng, file: h5py.File) -> None:
    """The attributes of the file and of its graph."""
    owner = file["graph"] if "graph" in file and rng.integers(2) else file
    value = _pick(rng, [*NUMBERS, *TEXTS, *INPUTS, "0" * 64, "neuroport-trace", "neuroport"])
    put(owner, _pick(rng, sorted(owner.attrs)), value)


def wrong_name(rng: Rng, file: h5py.File) -> None:
    """Names that are empty, used twice, endless, or no text."""
    put(_pick(rng, _groups(file)), "name", _pick(rng, [*TEXTS, "first", "potential"]))


def wrong_kind(rng: Rng, file: h5py.File) -> None:
    """A node that says it is another."""
    put(_pick(rng, _groups(file)), "kind", _pick(rng, KINDS))


def wrong_inputs(rng: Rng, file: h5py.File) -> None:
    """Cycles, dangling names, JSON that is none or nested without end."""
    where = "inputs" if "graph" in file else "provenance"
    owner = _pick(rng, _groups(file)) if "graph" in file else file
    put(owner, where, _pick(rng, INPUTS))


def wrong_array(rng: Rng, file: h5py.File) -> None:
    """A dataset of another type and shape, never written: promises without content."""
    name = _pick(rng, _arrays(file))
    attributes = dict(file[name].attrs)
    shape = _pick(rng, [*SHAPES, file[name].shape])
    kind = _pick(rng, TYPES)
    del file[name]
    data = h5py.Empty(kind if isinstance(kind, str) and kind != "V4" else "<i2")
    if shape is None:
        made = file.create_dataset(name, data=data)
    else:
        try:
            made = file.create_dataset(name, shape, kind)
        except (ValueError, TypeError, OSError):  # not even HDF5 describes it: one that it does
            made = file.create_dataset(name, (2**30,), "<i2")
    made.attrs.update(attributes)


def wrong_storage(rng: Rng, file: h5py.File) -> None:
    """The right values stored as a reader should not follow: filters, other files, promises."""
    name = _pick(rng, _arrays(file))
    data, attributes = file[name][()], dict(file[name].attrs)
    del file[name]
    options = _pick(rng, STORAGE)
    if options == "virtual":
        layout = h5py.VirtualLayout(data.shape, data.dtype)
        layout[...] = h5py.VirtualSource("other.graph", name, data.shape)
        made = file.create_virtual_dataset(name, layout)
    elif "shape" in options:
        made = file.create_dataset(name, dtype=data.dtype, **options)
    elif "external" in options:
        made = file.create_dataset(name, data.shape, data.dtype, **options)
    else:
        made = file.create_dataset(name, data=data, **options)
    made.attrs.update(attributes)


STORAGE: list[Any] = [
    {"chunks": True},
    {"compression": "gzip"},
    {"compression": "lzf", "shuffle": True},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    {"scaleoffset": 0},
    {"external": [("other.raw", 0, 1 << 16)]},
    {"external": [("/dev/zero", 0, 1 << 40)]},
    {"external": [("nowhere.raw", 0, 1 << 16)]},
    "virtual",
    {"shape": (2**40,), "chunks": (2**20,), "compression": "gzip", "fillvalue": 7},
    {"shape": (2**40,), "chunks": (2**20,), "fillvalue": -1},
    {"shape": (2**20, 2**20), "chunks": (1, 2**20), "maxshape": (None, None)},
]


def wrong_link(rng: Rng, file: h5py.File) -> None:
    """A link in place of what should be there: soft, external, dangling, a loop, another's."""
    names: list[str] = []
    file.visit(names.append)
    name, other = _pick(rng, names), _pick(rng, names)
    way = int(rng.integers(9))
    if way == 0:
        file.move(name, "/moved")
        file[name] = h5py.SoftLink("/moved")
    elif way == 1 and other != name:
        link = file[other]
        del file[name]
        if link.name is not None:
            file[name] = link
    elif way == 2:
        del file[name]
        file[name] = h5py.ExternalLink("other.graph", name)
    elif way == 3:
        del file[name]
        file[name] = h5py.ExternalLink("/dev/zero", "/")
    elif way == 4:
        del file[name]
        file[name] = h5py.SoftLink(_pick(rng, ["/nowhere", name, "/" + name, ".", "/", "../.."]))
    elif way == 5:
        del file[name]
        file[name] = file["/"]  # a group that holds itself
    elif way == 6:
        del file[name]
        file[name] = np.dtype("<i2")  # a named type
    elif way == 7:
        del file[name]
    else:
        del file[name]
        file.create_group(name)


def nested(rng: Rng, file: h5py.File) -> None:
    """Groups in groups, named by anything."""
    group = file.get("graph", file)
    for _ in range(int(rng.integers(1, 300))):
        group = group.create_group(_pick(rng, ["a", "零", "graph", "00000x", " ", "..."]))


def more_or_less(rng: Rng, file: h5py.File) -> None:
    """Entries too many, too few, swapped, or none at all."""
    group = file.get("graph", file)
    keys = sorted(group)
    way = int(rng.integers(5))
    if way == 0:
        group.copy(group[_pick(rng, keys)], f"{len(keys):05d}")
    elif way == 1:
        for index in range(int(rng.integers(1, 400))):
            group[f"{len(keys) + index:05d}"] = group[keys[-1]]
    elif way == 2:
        group.move(_pick(rng, keys), f"{int(rng.integers(10**6)):05d}x")
    elif way == 3:
        first, second = _pick(rng, keys), _pick(rng, keys)
        group.move(first, "swap")
        if second in group:
            group.move(second, first)
            group.move("swap", second)
    else:
        for key in keys[int(rng.integers(len(keys))) :]:
            del group[key]


def other_values(rng: Rng, file: h5py.File) -> None:
    """Right in every way, but not what was written: only a hash can tell."""
    data = file[_pick(rng, _arrays(file))]
    values = data[()].ravel()
    at = int(rng.integers(values.size))
    values[at] ^= 1 << int(rng.integers(7))
    data[...] = values.reshape(data.shape)


EDITS: dict[str, Edit] = {
    "attribute of any type": wrong_attribute,
    "number out of range": wrong_number,
    "header": wrong_header,
    "name": wrong_name,
    "kind": wrong_kind,
    "inputs or provenance": wrong_inputs,
    "array of any type": wrong_array,
    "array stored elsewhere": wrong_storage,
    "link": wrong_link,
    "nesting": nested,
    "entries": more_or_less,
    "another value": other_values,
}


def other_field(rng: Rng, file: h5py.File) -> None:
    """Any field of a stock file holds something else, or is gone."""
    name = _pick(rng, _arrays(file))
    del file[name]
    value = _pick(rng, [*NUMBERS, *TEXTS])
    if value is not None:
        file[name] = value
