"""Stored graphs: what is written comes back, and nothing else is ever read."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neuroport import hdf5, sandbox
from neuroport.engines.reference import Reference
from neuroport.errors import FormatError, GraphError, HashError, StorageError
from neuroport.graph import store
from neuroport.graph.array_storage import Packed
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    OWN_KINDS,
    Conv,
    Delay,
    Dense,
    Input,
    Lif,
    Node,
    Readout,
    Relay,
    is_array,
)
from tests.helpers.neurons import neurons

Edit = Callable[[h5py.File], None]


def small() -> Graph:
    """One node of every kind, none with the default value in every field."""
    even = 2 * np.random.default_rng(0).integers(-20, 21, (4, 2, 3, 3))
    return Graph(
        [
            Input("frames", (2, 6, 6), bits=4, signed=True),
            Conv("stem", ("frames",), even, padding=(1, 1)),
            Relay("stream", ("stem",), shift=3, threshold=1),
            Conv("base", ("stream",), np.ones((4, 1, 1, 1), np.int64), groups=4),
            Lif("first", ("base",), 7, current_decay=4000, voltage_decay=3072, bias=np.arange(4)),
            Delay("later", ("first",), 2),
            Conv("second", ("later",), even[:, :2], 2, (2, 1), (0, 1), (1, 2), groups=2),
            Lif("third", ("second",), 5),
            Dense("classes", ("third",), np.arange(-48, 48).reshape(3, 32), 1),
            Readout("potential", ("classes",), bias=np.array([-3, 0, 8])),
            *neurons("third", (4, 2, 4)),
        ],
        steps=3,
        interval=5,
    )


NAMES = {node.name: f"graph/{index:05d}" for index, node in enumerate(small())}


@cache
def stored() -> bytes:
    """The file of ``small()``."""
    buffer = io.BytesIO()
    hdf5.writer(lambda file: store.fill(small(), file))(buffer)
    return buffer.getvalue()


def damaged(folder: Path, edit: Edit) -> Path:
    """A stored graph, edited by somebody else's hand."""
    path = folder / "damaged.graph"
    path.write_bytes(stored())
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def put(file: h5py.File, where: str, name: str, value: Any) -> None:
    """Set an attribute, of whatever type it was; ``None`` deletes it."""
    owner = file[where]
    if name in owner.attrs:
        del owner.attrs[name]
    if value is not None:
        owner.attrs[name] = value


def swap(file: h5py.File, where: str, **options: Any) -> None:
    """Replace a dataset."""
    del file[where]
    file.create_dataset(where, **options)


def refuse(path: Path, kind: type[Exception] = FormatError) -> str:
    """The message with which reading ``path`` is refused, though nobody asks for its hash."""
    with pytest.raises(kind) as caught:
        store.load(path, verify=False)
    assert str(path) in str(caught.value)
    return str(caught.value)


# -- round trip ------------------------------------------------------------------------------


def test_every_kind_of_node_comes_back_with_every_field(tmp_path: Path) -> None:
    graph = small()
    assert {node.kind for node in graph} == set(OWN_KINDS)
    again = store.load(store.save(graph, tmp_path / "a.graph"))
    assert again.hash == graph.hash
    assert (again.steps, again.interval) == (3, 5)
    assert str(again) == str(graph)
    for node, other in zip(graph, again, strict=True):
        assert type(node) is type(other)
        for item in fields(node):
            mine, theirs = getattr(node, item.name), getattr(other, item.name)
            if isinstance(mine, np.ndarray):
                np.testing.assert_array_equal(theirs, mine)
                assert theirs.dtype == np.int64
                assert not theirs.flags.writeable
            else:
                assert type(theirs) is type(mine)
                assert theirs == mine


def test_graph_that_comes_back_runs_the_same(tmp_path: Path) -> None:
    graph = small()
    frames = np.random.default_rng(1).integers(-8, 8, (3, 4, 2, 6, 6))
    again = store.load(store.save(graph, tmp_path / "a.graph"))
    want, got = Reference().run(graph, frames), Reference().run(again, frames)
    assert want["first"].any()
    for name in want.messages:
        np.testing.assert_array_equal(want[name], got[name])


@pytest.mark.parametrize(
    "name", ["blocks.0.conv1", "a/b", "..", "ein Knöchel", "零", '"quoted"', "x" * 500, " "]
)
def test_any_name_comes_back(tmp_path: Path, name: str) -> None:
    graph = Graph([Input(name, (3,)), Dense("d", (name,), np.ones((2, 3), int))], 1)
    assert store.load(store.save(graph, tmp_path / "a.graph"))["d"].inputs == (name,)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 2, 3)])
def test_inputs_of_one_to_three_axes_come_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    graph = Graph([Input("frames", shape, bits=1)], 1)
    assert store.load(store.save(graph, tmp_path / "a.graph")).input.shape == shape


def test_widest_integers_of_a_file_come_back(tmp_path: Path) -> None:
    weight = np.array([[-32768, 32767]])
    bias = np.array([-(2**31)])
    nodes: list[Node] = [
        Input("frames", (2,), bits=1),
        Dense("synapse", ("frames",), weight),
        Lif("neuron", ("synapse",), 2**31 - 1, bias=bias),
        Dense("next", ("neuron",), [[1]]),
        Relay("relay", ("next",), threshold=2**62),
    ]
    again = store.load(store.save(Graph(nodes, 1), tmp_path / "a.graph"))
    np.testing.assert_array_equal(again["synapse"].weight, weight)  # type: ignore[union-attr]
    np.testing.assert_array_equal(again["neuron"].bias, bias)  # type: ignore[union-attr]
    assert again["neuron"].threshold.tolist() == [2**31 - 1]  # type: ignore[union-attr]
    assert again["relay"].threshold == 2**62  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("weight", "bias", "name"),
    [(32768, 0, "synapse"), (-32769, 0, "synapse"), (1, 2**31, "neuron")],
)
def test_integers_wider_than_a_file_holds_are_refused_and_the_old_file_stays(
    tmp_path: Path, weight: int, bias: int, name: str
) -> None:
    path = tmp_path / "a.graph"
    path.write_bytes(b"old")
    nodes: list[Node] = [
        Input("frames", (2,)),
        Dense("synapse", ("frames",), np.array([[weight, 0]])),
        Lif("neuron", ("synapse",), 1, bias=np.array([bias])),
    ]
    with pytest.raises(GraphError, match=f"{name}: .* more than a file holds"):
        store.save(Graph(nodes, 1), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_equal_graphs_make_equal_files(tmp_path: Path) -> None:
    first = store.save(small(), tmp_path / "a.graph").read_bytes()
    second = int(time.time())
    while int(time.time()) == second:  # HDF5 would store times in whole seconds
        time.sleep(0.01)
    assert store.save(small(), tmp_path / "b.graph").read_bytes() == first


def test_layout_is_the_documented_one(tmp_path: Path) -> None:
    def text(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else value

    graph = small()
    with h5py.File(store.save(graph, tmp_path / "a.graph"), "r") as file:
        assert text(file.attrs["format"]) == "neuroport"
        assert file.attrs["version"] == 3
        assert text(file.attrs["producer"]).startswith("neuroport ")
        assert text(file.attrs["hash"]) == graph.hash
        assert list(file) == ["graph"]
        assert file["graph"].attrs["steps"] == 3
        assert file["graph"].attrs["interval"] == 5
        assert list(file["graph"]) == [f"{index:05d}" for index in range(len(graph))]
        for node, entry in zip(graph, file["graph"].values(), strict=True):
            assert text(entry.attrs["kind"]) == node.kind
            assert text(entry.attrs["name"]) == node.name
            assert json.loads(text(entry.attrs["inputs"])) == list(node.inputs)
            arrays = {f.name for f in fields(node) if is_array(f)}
            assert set(entry) == arrays
            others = {f.name for f in fields(node)} - arrays
            assert set(entry.attrs) == others | {"kind"}
            for name in arrays:
                assert entry[name].chunks is None
                assert entry[name].dtype in ("<i1", "<i2")  # none of these values needs more
                values = entry[name][()].astype(np.int64) << entry[name].attrs.get("shift", 0)
                for axis, times in enumerate(entry[name].attrs.get("repeat", ())):
                    values = np.repeat(values, times, axis)
                np.testing.assert_array_equal(values, getattr(node, name))


def unpacked(file: h5py.File) -> None:
    """As version 2 stored arrays: whole, int16 where they are weights or delays, else int32."""
    put(file, "/", "version", 2)
    for node, entry in zip(small(), file["graph"].values(), strict=True):
        for name in list(entry):
            kind = "<i2" if name in ("weight", "delay") else "<i4"
            swap(file, f"{entry.name}/{name}", data=getattr(node, name).astype(kind))


@pytest.mark.parametrize("version", [1, 2])
def test_file_of_an_older_version_is_read(tmp_path: Path, version: int) -> None:
    def edit(file: h5py.File) -> None:
        unpacked(file)
        put(file, "/", "version", version)

    assert store.load(damaged(tmp_path, edit)).hash == small().hash


@pytest.mark.parametrize(("where", "kind"), [("weight", "<i1"), ("weight", "<i4"), ("bias", "<i2")])
def test_file_of_an_older_version_holds_the_types_of_that_version(
    tmp_path: Path, where: str, kind: str
) -> None:
    place = WEIGHT if where == "weight" else BIAS

    def edit(file: h5py.File) -> None:
        unpacked(file)
        swap(file, place, data=file[place][()].astype(kind))

    assert f"is {np.dtype(kind)}, expected int" in refuse(damaged(tmp_path, edit))


def test_network_is_stored_in_a_byte_per_weight(tmp_path: Path) -> None:
    """Convolutions, a projection behind a pooling, a pooled readout and biases per neuron."""
    rng = np.random.default_rng(0)

    def even(*shape: int) -> Any:
        return 2 * rng.integers(-128, 128, shape)

    bias = np.repeat(rng.integers(-4000, 4000, 64), 64).reshape(64, 8, 8)
    nodes: list[Node] = [
        Input("frames", (64, 8, 8), bits=1),
        Conv("first", ("frames",), even(64, 64, 3, 3), padding=(1, 1)),
        Lif("neuron", ("first",), 9, bias=bias),
        Conv("pooled", ("neuron",), np.tile(even(64, 64, 1, 1), (2, 2)), stride=(2, 2)),
        Lif("next", ("pooled",), 9),
        Dense("classes", ("next",), np.repeat(even(10, 64), 16, 1)),
        Readout("potential", ("classes",)),
    ]
    graph = Graph(nodes, 4)
    path = store.save(graph, tmp_path / "a.graph")
    with h5py.File(path, "r") as file:
        stored = sum(array.nbytes for node in file["graph"].values() for array in node.values())
    weights = 64 * 64 * (9 + 1) + 10 * 64
    biases, single = 2 * 64, 9  # the other constants are one each
    assert stored == weights + biases + single
    assert store.load(path).hash == graph.hash


# -- files that are not what they promise ----------------------------------------------------


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refuse(tmp_path / "missing.graph", StorageError)
    assert "is a folder" in refuse(tmp_path, StorageError)


@pytest.mark.parametrize("content", [b"", b"\0", b"neuroport", b"\x89HDF\r\n\x1a\n", b"x" * 9999])
def test_file_that_is_not_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.graph"
    path.write_bytes(content)
    assert "not a neuroport network file, or truncated" in refuse(path)


def test_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    """At every boundary of the file's parts, and in the middle of each; five nodes say it all."""
    whole = store.save(Graph(list(small())[:5], 3), tmp_path / "whole.graph").read_bytes()
    edges = {0, hdf5.BLOCK, hdf5.BLOCK + 8, len(whole)}  # the seal, HDF5's signature, the end
    with h5py.File(tmp_path / "whole.graph", "r") as file:
        for node in file["graph"].values():
            for array in node.values():
                start = array.id.get_offset()
                edges |= {start, start + array.id.get_storage_size()}
    assert len(edges) > 10
    assert max(edges) == len(whole)
    middles = {(a + b) // 2 for a, b in itertools.pairwise(sorted(edges))}
    path = tmp_path / "part.graph"
    for size in sorted((edges | middles | {1, len(whole) - 1}) - {0, len(whole)}):
        path.write_bytes(whole[:size])
        refuse(path)


HEADERS: dict[str, tuple[str, Any, str]] = {
    "another format": ("format", "neuroport-trace", "format is 'neuroport-trace'"),
    "no format": ("format", None, "format is ''"),
    "format is a number": ("format", 7, "format is ''"),
    "newer version": ("version", 5, "version 5 is newer than 4"),
    "much newer version": ("version", 2**40, "newer"),
    "no version": ("version", None, "version is None"),
    "version is text": ("version", "1", "version is"),
    "version is a fraction": ("version", 1.0, "version is"),
    "version is an array": ("version", np.array([1]), "version is"),
    "version of zero": ("version", 0, "version is"),
    "negative version": ("version", -1, "version is"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_header_of_another_kind_is_refused(tmp_path: Path, case: str) -> None:
    name, value, message = HEADERS[case]
    assert message in refuse(damaged(tmp_path, lambda file: put(file, "/", name, value)))


def test_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "netx.net"
    with h5py.File(path, "w") as file:
        file.create_dataset("layer/0/type", data=np.array(["dense"], "S10"))
    assert "format is ''" in refuse(path)


@pytest.mark.parametrize("value", [None, 0, -4, 2.5, "3", np.array([3])])
def test_steps_that_are_not_a_positive_integer_are_refused(tmp_path: Path, value: Any) -> None:
    assert "steps" in refuse(damaged(tmp_path, lambda file: put(file, "graph", "steps", value)))


ATTRIBUTES = sorted(
    (kind, node.name, attribute)
    for kind, node in {node.kind: node for node in small()}.items()  # one of each kind
    for attribute in ("kind", *(item.name for item in fields(node) if not is_array(item)))
)


@pytest.mark.parametrize(("kind", "node", "attribute"), ATTRIBUTES)
def test_attribute_that_is_missing_or_of_another_type_is_refused(
    tmp_path: Path, kind: str, node: str, attribute: str
) -> None:
    wrong: list[Any] = [None, h5py.Empty("i8")]
    if attribute in ("name", "inputs", "kind"):
        wrong += [7, np.array([1, 2])]
    elif attribute in ("shape", "stride", "padding", "dilation"):
        wrong += [3, "1", np.array([1.0, 1.0]), np.array([1, 1, 1, 1]), np.zeros((2, 2), int)]
        wrong += [np.array([2**40, 1]), np.array([-1, 1])]
    else:
        wrong += ["7", 0.5, np.array([1])]
    for value in wrong:
        path = damaged(tmp_path, lambda file, value=value: put(file, NAMES[node], attribute, value))
        refuse(path)


LINKS: dict[str, Edit] = {
    "no graph": lambda file: file.__delitem__("graph"),
    "graph is a dataset": lambda file: swap(file, "graph", data=np.zeros(3)),
    "graph is an empty group": lambda file: [file.__delitem__("graph"), file.create_group("graph")],
    "a node is missing": lambda file: file.__delitem__("graph/00003"),
    "the last node is missing": lambda file: file.__delitem__("graph/00000"),
    "more than nodes": lambda file: file.create_group("graph/more"),
    "a node is a dataset": lambda file: swap(file, "graph/00003", data=np.zeros(3)),
    "a node is a soft link": lambda file: relink(file, "graph/00003", h5py.SoftLink),
    "a node is an external link": lambda file: relink(file, "graph/00003", external),
    "a node is a dangling link": lambda file: replace_link(
        file, "graph/00003", h5py.SoftLink("/nowhere")
    ),
}


def relink(file: h5py.File, where: str, link: Callable[[str], Any]) -> None:
    """Move what lies at ``where`` and put a link to it there."""
    file.move(where, "/moved")
    file[where] = link("/moved")


def external(target: str) -> h5py.ExternalLink:
    return h5py.ExternalLink("other.graph", target)


def replace_link(file: h5py.File, where: str, link: Any) -> None:
    del file[where]
    file[where] = link


@pytest.mark.parametrize("case", LINKS)
def test_nodes_that_are_not_groups_of_this_file_are_refused(tmp_path: Path, case: str) -> None:
    store.save(small(), tmp_path / "other.graph")
    with h5py.File(tmp_path / "other.graph", "r+") as file:
        file.move("graph/00003", "/moved")  # the external link leads to a sound node
    refuse(damaged(tmp_path, LINKS[case]))


GRAPHS: dict[str, tuple[str, str, Any]] = {
    "unknown kind": ("first", "kind", "sigma"),
    "kind of another node": ("first", "kind", "conv"),
    "input of itself": ("first", "inputs", '["first"]'),
    "input that comes later": ("stem", "inputs", '["first"]'),
    "input that does not exist": ("stem", "inputs", '["ghost"]'),
    "no inputs": ("stem", "inputs", "[]"),
    "inputs are no JSON": ("stem", "inputs", "frames"),
    "inputs are a table": ("stem", "inputs", '{"frames": 1}'),
    "inputs are numbers": ("stem", "inputs", "[0]"),
    "inputs are a string": ("stem", "inputs", '"frames"'),
    "inputs are nested": ("stem", "inputs", '[["frames"]]'),
    "inputs are nested without end": ("stem", "inputs", "[" * 60_000),
    "name used twice": ("first", "name", "stem"),
    "empty name": ("first", "name", ""),
    "groups": ("stem", "groups", 3),
    "no groups": ("stem", "groups", 0),
    "stride of zero": ("stem", "stride", np.array([0, 1])),
    "dilation larger than the input": ("stem", "dilation", np.array([7, 1])),
    "exponent": ("stem", "exponent", 17),
    "large exponent": ("stem", "exponent", 2**62),
    "shift": ("stream", "shift", 24),
    "negative shift": ("stream", "shift", -1),
    "negative threshold": ("stream", "threshold", -1),
    "negative delay": ("later", "steps", -1),
    "name with a line break": ("first", "name", "a\nb"),
    "name that steers a terminal": ("first", "name", "\x1b[2J"),
    "name that is no text": ("first", "name", np.array(b"\xff", h5py.string_dtype())),
    "endless name": ("first", "name", "x" * 100_000),
    "size of zero": ("frames", "shape", np.array([2, 0, 6])),
    "bits": ("frames", "bits", 0),
    "many bits": ("frames", "bits", 2**40),
    "another shape": ("frames", "shape", np.array([3, 6, 6])),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_file_that_describes_no_graph_is_refused(tmp_path: Path, case: str) -> None:
    node, attribute, value = GRAPHS[case]
    refuse(damaged(tmp_path, lambda file: put(file, NAMES[node], attribute, value)))


WEIGHT = f"{NAMES['stem']}/weight"
BIAS = f"{NAMES['first']}/bias"
THRESHOLD = f"{NAMES['first']}/threshold"
DECAY = f"{NAMES['first']}/voltage_decay"
STEM = np.ones((4, 2, 3, 3), "<i2")
ARRAYS: dict[str, Edit] = {
    "missing weight": lambda file: file.__delitem__(WEIGHT),
    "missing bias": lambda file: file.__delitem__(BIAS),
    "weight is a group": lambda file: [file.__delitem__(WEIGHT), file.create_group(WEIGHT)],
    "fewer channels": lambda file: swap(file, WEIGHT, data=STEM[:, :1]),
    "fewer axes": lambda file: swap(file, WEIGHT, data=STEM[0]),
    "more axes": lambda file: swap(file, WEIGHT, data=STEM[None]),
    "many axes": lambda file: swap(file, WEIGHT, data=STEM[None, None]),
    "one number": lambda file: swap(file, WEIGHT, data=np.int16(1)),
    "no kernel": lambda file: swap(file, WEIGHT, data=STEM[:, :, :0]),
    "no outputs": lambda file: swap(file, WEIGHT, data=STEM[:0]),
    "negative threshold": lambda file: swap(file, THRESHOLD, data=np.array([-1], "<i4")),
    "decay": lambda file: swap(file, DECAY, data=np.array([4097], "<i4")),
    "negative decay": lambda file: swap(file, DECAY, data=np.array([-1], "<i4")),
    "no data at all": lambda file: swap(file, WEIGHT, data=h5py.Empty("<i2")),
    "bias of another length": lambda file: swap(file, BIAS, data=np.zeros(3, "<i4")),
    "empty bias": lambda file: swap(file, BIAS, data=np.zeros(0, "<i4")),
    "float weights": lambda file: swap(file, WEIGHT, data=STEM.astype("<f4")),
    "float64 bias": lambda file: swap(file, BIAS, data=np.zeros(4)),
    "unsigned weights": lambda file: swap(file, WEIGHT, data=STEM.astype("<u2")),
    "big-endian weights": lambda file: swap(file, WEIGHT, data=STEM.astype(">i2")),
    "boolean weights": lambda file: swap(file, WEIGHT, data=STEM.astype(bool)),
    "strings": lambda file: swap(file, WEIGHT, data=STEM.astype("S6")),
    "variable strings": lambda file: swap(file, WEIGHT, data=["a", "b"]),
    "references": lambda file: swap(file, WEIGHT, data=file["graph"].ref, dtype=h5py.ref_dtype),
    "records": lambda file: swap(file, WEIGHT, data=np.zeros(3, [("a", "<i2")])),
    "chunked": lambda file: swap(file, WEIGHT, data=STEM, chunks=(1, 2, 3, 3)),
    "compressed": lambda file: swap(file, WEIGHT, data=STEM, compression="gzip"),
    "scale-offset filter": lambda file: swap(file, WEIGHT, data=STEM, scaleoffset=0),
    "stored in another file": lambda file: swap(
        file,
        WEIGHT,
        shape=STEM.shape,
        dtype="<i2",
        external=[("weights.raw", 0, STEM.nbytes)],
    ),
    "virtual": lambda file: virtual(file),
    "soft link": lambda file: relink(file, WEIGHT, h5py.SoftLink),
    "external link": lambda file: relink(file, WEIGHT, external),
    "larger than the file": lambda file: swap(file, WEIGHT, shape=(100_000, 2, 3, 3), dtype="<i2"),
    "larger than memory": lambda file: swap(file, WEIGHT, shape=(2**40, 2, 3, 3), dtype="<i2"),
}


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(STEM.shape, "<i2")
    layout[...] = h5py.VirtualSource(".", "/moved", STEM.shape)
    file.move(WEIGHT, "/moved")
    file.create_virtual_dataset(WEIGHT, layout)


@pytest.mark.parametrize("case", ARRAYS)
def test_array_that_is_not_plain_integers_of_this_file_is_refused(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.raw").write_bytes(STEM.tobytes())
    with h5py.File(tmp_path / "other.graph", "w") as other:
        other["moved"] = STEM
    assert "damaged.graph" in refuse(damaged(tmp_path, ARRAYS[case]))


EDITS: dict[str, Edit] = {
    "weight": lambda file: file[WEIGHT].write_direct(STEM),
    "bias": lambda file: file[BIAS].write_direct(np.arange(1, 5, dtype="<i4")),
    "threshold": lambda file: swap(file, THRESHOLD, data=np.array([8], "<i4")),
    "decay": lambda file: swap(file, DECAY, data=np.array([3071], "<i4")),
    "signed": lambda file: put(file, NAMES["frames"], "signed", False),
    "steps": lambda file: put(file, "graph", "steps", 4),
    "name": lambda file: put(file, NAMES["potential"], "name", "logits"),
    "order of the sum": lambda file: put(file, NAMES["third"], "inputs", '["second", "second"]'),
    "hash": lambda file: put(file, "/", "hash", "0" * 64),
    "no hash": lambda file: put(file, "/", "hash", None),
}


PACKINGS: dict[str, tuple[str, Any, str]] = {
    "shift beyond 64 bits": ("shift", 64, "shift is 64, expected 0 to 63"),
    "negative shift": ("shift", -1, "shift is -1, expected"),
    "endless shift": ("shift", np.uint64(2**64 - 1), "expected 0 to 63"),
    "shift of the values out of their range": ("shift", 12, "holds values beyond int16"),
    "fraction of a shift": ("shift", 1.0, "shift is"),
    "text for a shift": ("shift", "1", "shift is"),
    "array of shifts": ("shift", np.array([1]), "shift is"),
    "no shift at all": ("shift", h5py.Empty("i8"), "shift is"),
    "repeats of more axes": ("repeat", np.array([1, 1, 1, 1, 1]), "expected 4 positive integers"),
    "repeats of fewer axes": ("repeat", np.array([2, 2]), "expected 4 positive integers"),
    "repeat of zero": ("repeat", np.array([1, 0, 1, 1]), "repeat is"),
    "negative repeat": ("repeat", np.array([1, -1, 1, -1]), "repeat is"),
    "repeats are no integers": ("repeat", np.ones(4), "repeat is"),
    "one number for repeats": ("repeat", 1, "repeat is"),
    "text for repeats": ("repeat", "1 1 1 1", "repeat is"),
    "no repeats at all": ("repeat", h5py.Empty("i8"), "repeat is"),
    "thousands of repeats": ("repeat", np.ones(2000, np.int64), "repeat is"),
    "terabytes": ("repeat", np.array([2**40, 1, 1, 1]), "more than 4 values per byte"),
    "more than 64 bits count": ("repeat", np.full(4, 2**62), "more than 4 values per byte"),
}


@pytest.mark.parametrize("case", PACKINGS)
def test_array_that_unfolds_to_no_array_is_refused_with_what_is_wrong(
    tmp_path: Path, case: str
) -> None:
    name, value, message = PACKINGS[case]
    said = refuse(damaged(tmp_path, lambda file: put(file, WEIGHT, name, value)))
    assert message in said
    assert "damaged.graph" in said


def test_values_that_unfold_beyond_their_field_are_refused(tmp_path: Path) -> None:
    wide = np.full(STEM.shape, 2**15, "<i4")
    said = refuse(damaged(tmp_path, lambda file: swap(file, WEIGHT, data=wide)))
    assert "holds values beyond int16" in said
    wide = np.full(4, 2**31, "<i8")
    said = refuse(damaged(tmp_path, lambda file: swap(file, BIAS, data=wide)))
    assert "holds values beyond int32" in said


def test_small_file_of_arrays_that_repeat_takes_no_memory_before_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every array by itself would do; together they unfold to more than the file justifies."""

    def edit(file: h5py.File) -> None:
        for name in (BIAS, THRESHOLD, DECAY):
            swap(file, name, data=np.ones(1, "<i1"))
            put(file, name, "repeat", np.array([2 * (96 << 10)]))

    monkeypatch.setattr(Packed, "unfolded", lambda self: pytest.fail("took memory"))
    assert "more than 4 values per byte" in refuse(damaged(tmp_path, edit))


@pytest.mark.parametrize("case", EDITS)
def test_edited_file_is_read_only_on_request(tmp_path: Path, case: str) -> None:
    path = damaged(tmp_path, EDITS[case])
    with pytest.raises(HashError) as caught:
        store.load(path)
    assert str(path) in str(caught.value)
    graph = store.load(path, verify=False)
    assert (graph.hash == small().hash) == ("hash" in case)
    if case == "weight":
        assert graph["stem"].weight.tolist() == STEM.tolist()  # type: ignore[union-attr]


def test_what_else_lies_in_a_file_is_ignored(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["layer/0/type"] = np.array(["concat"], "S10")
        file.attrs["note"] = "kept"

    assert store.load(damaged(tmp_path, edit)).hash == small().hash


def test_format_of_a_file_is_told_without_reading_it(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda file: file.__delitem__("graph"))
    assert store.format_of(path) == "neuroport"
    path = damaged(tmp_path, lambda file: put(file, "/", "format", None))
    assert store.format_of(path) == ""


def test_what_is_written_in_memory_is_the_file_on_disk(tmp_path: Path) -> None:
    assert store.save(small(), tmp_path / "a.graph").read_bytes() == stored()
    with h5py.File(io.BytesIO(stored()), "r") as file:
        assert list(file) == ["graph"]


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[2J", "\ud800", "x" * 70_000])
def test_names_that_would_not_be_read_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="cannot be stored"):
        store.save(Graph([Input(name, (3,))], 1), tmp_path / "a.graph")
    assert list(tmp_path.iterdir()) == []


def test_where_processes_cannot_fork_only_sealed_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.save(small(), tmp_path / "a.graph")
    monkeypatch.setattr(sandbox, "AVAILABLE", False)
    monkeypatch.delattr("os.fork")
    assert store.load(path).hash == small().hash
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "damaged or edited" in refuse(path)
