"""The wheel holds the package, all of it, and nothing else."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

import neuroport as port


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_the_only_top_level_is_the_package(names: set[str]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert tops == {"neuroport", f"neuroport-{port.__version__}.dist-info"}


def test_every_file_of_the_package_is_in_the_wheel_and_none_besides(
    names: set[str], root: Path
) -> None:
    here = {
        path.relative_to(root).as_posix()
        for path in (root / "neuroport").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("neuroport/")} == here


def test_types_recipes_and_the_page_are_shipped_and_no_test_is(names: set[str]) -> None:
    assert "neuroport/py.typed" in names
    assert "neuroport/recipes/demo.toml" in names
    sources = {"kernel.h", "neuron.c", "normed.c"}
    assert {f"neuroport/kernels/{name}" for name in sources} <= names
    assert [name for name in names if name.endswith(".html.j2")] != []
    assert [name for name in names if "test" in PurePosixPath(name).name.lower()] == []
    kinds = {PurePosixPath(name).suffix for name in names if name.startswith("neuroport/")}
    assert kinds <= {".py", ".c", ".h", ".typed", ".toml", ".j2", ".css", ".js"}


def test_extras_split_training_from_lava(metadata: Message) -> None:
    extras = {"train", "lava", "map", "tensorboard", "nir", "all", "dev", "docs", "mutation"}
    extras |= {"plot", "scale", "snntorch", "spikingjelly"}
    assert set(metadata.get_all("Provides-Extra", [])) == extras
    required = metadata.get_all("Requires-Dist", [])
    core = {line.split(">")[0] for line in required if "extra ==" not in line}
    assert core == {"click", "h5py", "jinja2", "numpy", "rich", "tomli"}
    for extra, package in (("train", "torch"), ("lava", "lava-nc"), ("all", "torch")):
        lines = [line for line in required if line.endswith(f"extra == '{extra}'")]
        assert any(line.startswith(package) for line in lines)
    # Lava declares Python 3.10 only; asking for it elsewhere must not stop the installation
    lava = [line for line in required if line.startswith("lava-")]
    assert len(lava) == 4
    assert all("python_version < '3.11'" in line for line in lava)


def test_the_wheel_says_what_it_is(metadata: Message, wheel: Path, names: set[str]) -> None:
    assert wheel.name == f"neuroport-{port.__version__}-py3-none-any.whl"
    assert metadata["Name"] == "neuroport"
    assert metadata["Version"] == port.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert f"neuroport-{port.__version__}.dist-info/licenses/LICENSE" in names
    with ZipFile(wheel) as archive:
        (name,) = (n for n in names if n.endswith("entry_points.txt"))
        assert "neuroport = neuroport.cli:main" in archive.read(name).decode()
