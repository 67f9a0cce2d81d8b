"""Stored traces: what is written comes back, and a trace that was changed is not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neuroport.errors import CompareError, FormatError, HashError, StorageError
from neuroport.runs.trace import Trace

Edit = Callable[[h5py.File], None]


def small() -> Trace:
    """One population of each kind, in integers of every width."""
    rng = np.random.default_rng(0)
    messages = {
        "spikes": rng.integers(0, 2, (3, 2, 5, 1)).astype(bool),
        "narrow": rng.integers(-128, 128, (3, 2, 4)).astype("<i4"),
        "middle": rng.integers(-(2**15), 2**15, (3, 2, 4)).astype("<i4"),
        "ein Knöchel": np.array([[[2**31 - 1]], [[-(2**31)]]], "<i4"),
    }
    kinds = {"spikes": "lif", "narrow": "relay", "middle": "relay", "ein Knöchel": "readout"}
    return Trace(messages, kinds, {"engine": "reference", "seconds": 0.25, "frames": "é"})


def damaged(folder: Path, edit: Edit) -> Path:
    path = small().save(folder / "damaged.trace")
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def put(file: h5py.File, where: str, name: str, value: Any) -> None:
    del file[where].attrs[name]
    if value is not None:
        file[where].attrs[name] = value


def swap(file: h5py.File, where: str, **options: Any) -> None:
    attributes = dict(file[where].attrs)
    del file[where]
    file.create_dataset(where, **options).attrs.update(attributes)


def test_trace_comes_back_whole(tmp_path: Path) -> None:
    want = small()
    got = Trace.load(want.save(tmp_path / "a.trace"))
    assert list(got.messages) == list(want.messages)
    assert got.kinds == want.kinds
    assert got.provenance == want.provenance
    for name in want.messages:
        np.testing.assert_array_equal(got[name], want[name])
        assert got[name].dtype == want[name].dtype


def test_a_population_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(CompareError, match="no population 'conv9'; it has spikes, narrow, middle"):
        small()["conv9"]


def test_integers_are_stored_in_the_narrowest_type_that_holds_them(tmp_path: Path) -> None:
    with h5py.File(small().save(tmp_path / "a.trace"), "r") as file:
        assert [data.dtype.str for data in file.values()] == ["|u1", "|i1", "<i2", "<i4"]


CHANGES: dict[str, Edit] = {
    "a spike": lambda file: file["00000"].write_direct(file["00000"][()] ^ np.uint8(1 << 7)),
    "a message": lambda file: file["00001"].write_direct(file["00001"][()] ^ np.int8(1)),
    "a name": lambda file: put(file, "00001", "name", "another"),
    "a kind": lambda file: put(file, "00001", "kind", "readout"),
    "the shape": lambda file: put(file, "00000", "shape", np.array([2, 3, 5, 1])),
    "the provenance": lambda file: put(file, "/", "provenance", "{}"),
    "the order": lambda file: [
        file.move("00001", "x"),
        file.move("00002", "00001"),
        file.move("x", "00002"),
    ],
    "fewer populations": lambda file: file.__delitem__("00003"),
    "the hash": lambda file: put(file, "/", "hash", "0" * 64),
    "no hash": lambda file: put(file, "/", "hash", None),
    "an older version": lambda file: [put(file, "/", "version", 1), put(file, "/", "hash", None)],
}


@pytest.mark.parametrize("case", CHANGES)
def test_trace_that_was_changed_is_refused_by_its_hash(tmp_path: Path, case: str) -> None:
    path = damaged(tmp_path, CHANGES[case])
    with pytest.raises(HashError, match="does not match its hash") as caught:
        Trace.load(path)
    assert str(path) in str(caught.value)


REFUSED: dict[str, Edit] = {
    "newer version": lambda file: put(file, "/", "version", 4),
    "no populations": lambda file: [file.__delitem__(name) for name in list(file)],
    "a gap": lambda file: file.__delitem__("00001"),
    "name used twice": lambda file: put(file, "00001", "name", "spikes"),
    "no name": lambda file: put(file, "00001", "name", None),
    "name with a line break": lambda file: put(file, "00001", "name", "a\nb"),
    "unknown kind": lambda file: put(file, "00001", "kind", "conv"),
    "no shape": lambda file: put(file, "00001", "shape", None),
    "shape of fractions": lambda file: put(file, "00001", "shape", np.array([3.0, 2.0, 4.0])),
    "negative shape": lambda file: put(file, "00001", "shape", np.array([3, -2, -4])),
    "empty shape": lambda file: put(file, "00001", "shape", np.array([0, 2, 4])),
    "one axis": lambda file: put(file, "00001", "shape", np.array([24])),
    "shape beyond memory": lambda file: put(file, "00000", "shape", np.array([2**31, 2**31, 4])),
    "shape of one spike more": lambda file: put(file, "00000", "shape", np.array([3, 11, 1])),
    "integers in place of spikes": lambda file: put(file, "00001", "kind", "lif"),
    "fractions": lambda file: swap(file, "00001", data=np.zeros((3, 2, 4))),
    "wide integers": lambda file: swap(file, "00001", data=np.zeros((3, 2, 4), "<i8")),
    "compressed": lambda file: swap(
        file, "00001", data=np.zeros((3, 2, 4), "i1"), compression="gzip"
    ),
    "provenance that is no object": lambda file: put(file, "/", "provenance", "[]"),
    "provenance that is no JSON": lambda file: put(file, "/", "provenance", "{"),
    "provenance without end": lambda file: put(file, "/", "provenance", "[" * 50_000),
    "no provenance": lambda file: put(file, "/", "provenance", None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_file_that_is_no_trace_is_refused(tmp_path: Path, case: str) -> None:
    path = damaged(tmp_path, REFUSED[case])
    with pytest.raises(FormatError) as caught:
        Trace.load(path)
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, HashError)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\ud800", "x" * 70_000])
def test_names_that_would_not_be_read_are_not_written(tmp_path: Path, name: str) -> None:
    trace = Trace({name: np.ones((1, 1, 1), bool)}, {name: "lif"}, {})
    with pytest.raises(StorageError, match="cannot be stored"):
        trace.save(tmp_path / "a.trace")
    assert list(tmp_path.iterdir()) == []


def test_provenance_is_a_json_object_in_the_file(tmp_path: Path) -> None:
    with h5py.File(small().save(tmp_path / "a.trace"), "r") as file:
        assert json.loads(file.attrs["provenance"]) == small().provenance


WRONG: dict[str, tuple[Trace, str]] = {
    "beyond 32 bits": (
        Trace({"r": np.full((4, 3, 5), 1 << 40)}, {"r": "readout"}),
        "r: holds 1099511627776, and a file holds whole numbers of 32 bits",
    ),
    "below 32 bits": (
        Trace({"r": np.full((4, 3, 5), -(1 << 31) - 1)}, {"r": "readout"}),
        "r: holds -2147483649",
    ),
    "a fraction": (Trace({"r": np.full((4, 3, 5), 7.9)}, {"r": "readout"}), "r: holds 7.9"),
    "no number": (Trace({"r": np.full((4, 3, 5), np.nan)}, {"r": "relay"}), "r: holds nan"),
    "more than a spike": (
        Trace({"l": np.full((4, 3, 5), 7)}, {"l": "lif"}),
        "l: holds 7, and a file holds 0 and 1 of its kind",
    ),
    "objects": (
        Trace({"r": np.full((4, 3, 5), None)}, {"r": "relay"}),
        "r: its messages are object; give integers",
    ),
    "an unknown kind": (
        Trace({"r": np.ones((4, 3, 5), int)}, {"r": "liff"}),
        "r: its kind is 'liff', which no population has",
    ),
    "a synapse": (Trace({"r": np.ones((4, 3, 5), int)}, {"r": "conv"}), "r: its kind is 'conv'"),
    "no kind": (Trace({"r": np.ones((4, 3, 5), int)}, {}), "r: its kind is None"),
    "no populations": (Trace({}, {}), "a trace without populations cannot be stored"),
    "no samples": (
        Trace({"r": np.ones((4, 0, 5), int)}, {"r": "relay"}),
        r"r: its shape is \(4, 0, 5\)",
    ),
    "messages beside counts": (
        Trace(
            {"l": np.ones((4, 3, 5), bool)},
            {"l": "lif", "m": "lif"},
            {},
            {"m": np.ones((3, 5), np.int32)},
            "neuron",
            4,
        ),
        "l: a trace of counts holds the messages of readouts",
    ),
    "provenance of a set": (
        Trace({"l": np.ones((4, 3, 5), bool)}, {"l": "lif"}, {"a": {1}}),
        r"the provenance cannot be stored as JSON \(\{1\} is no text",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_file_would_not_give_back_is_not_written(tmp_path: Path, case: str) -> None:
    trace, says = WRONG[case]
    with pytest.raises(StorageError, match=says):
        trace.save(tmp_path / "a.trace")
    assert list(tmp_path.iterdir()) == []


def test_wide_types_of_narrow_values_come_back(tmp_path: Path) -> None:
    messages = {
        "l": np.arange(12).reshape(2, 2, 3) % 2,
        "r": np.array([[[2**31 - 1]], [[-(2**31)]]], np.int64),
        "f": np.array([[[7.0]], [[-8.0]]]),
    }
    trace = Trace(messages, {"l": "lif", "r": "readout", "f": "relay"}, {"a": np.int64(3)})
    got = Trace.load(trace.save(tmp_path / "a.trace"))
    for name, array in messages.items():
        np.testing.assert_array_equal(got[name], array)
    assert got.provenance == {"a": 3}


def test_a_trace_of_nothing_has_no_samples() -> None:
    trace = Trace({}, {})
    assert (trace.samples, trace.steps) == (0, 0)
    assert repr(trace) == "<Trace of 0 populations: 0 samples of 0 steps>"
