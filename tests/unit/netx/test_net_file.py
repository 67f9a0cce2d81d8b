"""The ``.net`` file: a graph, and beside it the layers that stock NetX runs."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport import hdf5
from neuroport.errors import HashError, StorageError
from neuroport.files import FORMATS
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif


def chain() -> Graph:
    """A network that stock NetX runs."""
    return Graph(
        [
            Input("frames", (2,), 1),
            Dense("wire", ("frames",), [[2, 4], [6, 8]]),
            Lif("out", ("wire",), threshold=5),
        ],
        3,
    )


def edited(path: Path) -> Path:
    """The file with a weight that only stock NetX reads."""
    port.export(chain(), path)
    with h5py.File(path, "r+") as file:
        file["layer/1/weight"][0, 0] = 10
    return path


def test_layers_of_netx_that_were_changed_are_refused(tmp_path: Path) -> None:
    path = edited(tmp_path / "a.net")
    with pytest.raises(HashError, match=r"a\.net: .*its layers for stock NetX.*export it again"):
        port.read(path)
    graph = port.read(path, verify=False)
    assert graph.hash == chain().hash
    again = port.export(graph, tmp_path / "again.net")
    assert port.read(again).hash == chain().hash
    with h5py.File(again) as file:
        np.testing.assert_array_equal(file["layer/1/weight"], [[2, 4], [6, 8]])


def test_a_file_without_a_seal_is_of_another_writer(tmp_path: Path) -> None:
    path = edited(tmp_path / "a.net")
    content = path.read_bytes()
    path.write_bytes(bytes(hdf5.BLOCK) + content[hdf5.BLOCK :])
    assert port.read(path).hash == chain().hash


def test_a_file_that_netx_refuses_has_no_layers_to_check(tmp_path: Path) -> None:
    path = edited(tmp_path / "a.net")
    with h5py.File(path, "r+") as file:
        assert json.loads(file["layer"].attrs["netx"])["reset_interval"] == 3
        del file["layer"].attrs["netx"]
        file["layer"].attrs["refused"] = "no chain"
    assert port.read(path).hash == chain().hash


@pytest.mark.parametrize("suffix", sorted(FORMATS.keys() - {".net", ".graph"}))
def test_a_network_is_not_written_under_the_name_of_another_format(
    tmp_path: Path, suffix: str
) -> None:
    said = f"x{suffix} is the name of {FORMATS[suffix][0]}, and a NetX file is written; name it "
    with pytest.raises(StorageError, match=said) as caught:
        port.export(chain(), tmp_path / f"x{suffix}")
    assert str(tmp_path / "x.net") in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["network.graph", "network.h5", "network"])
def test_a_network_may_have_another_name(tmp_path: Path, name: str) -> None:
    assert port.read(port.export(chain(), tmp_path / name)).hash == chain().hash
