"""Files that say they are NIR: whatever is in them, one line, in bounded time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.errors import FormatError, NeuroportError
from neuroport.frontends.nir.reading import read
from tests.tiers import examples

FILES = Path(__file__).parent / "files"
FRAMES = np.zeros((4, 1, 12), np.int64)


def damaged(tmp_path: Path, change: Callable[[h5py.File], None]) -> Path:
    path = tmp_path / "n.nir"
    path.write_bytes((FILES / "braille.nir").read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def bomb(file: h5py.File) -> None:
    del file["node/nodes/fc1/weight"]
    big = file["node/nodes/fc1"].create_dataset(
        "weight", (1 << 15, 1 << 15), "f8", chunks=(1 << 10, 1 << 10), compression="gzip"
    )
    big[:1, :1] = 1


def circle(file: h5py.File) -> None:
    file["node/nodes/circle"] = file["node"]


def elsewhere(file: h5py.File) -> None:
    del file["node/nodes/fc1/weight"]
    file["node/nodes/fc1/weight"] = h5py.ExternalLink("/etc/passwd", "/x")


def outside(file: h5py.File) -> None:
    del file["node/nodes/fc1/weight"]
    file["node/nodes/fc1"].create_dataset(
        "weight", (38, 12), "f4", external=[("/etc/passwd", 0, 38 * 12 * 4)]
    )


def words(file: h5py.File) -> None:
    del file["node/nodes/fc1/weight"]
    file["node/nodes/fc1/weight"] = "many"


def records(file: h5py.File) -> None:
    del file["node/nodes/fc1/weight"]
    file["node/nodes/fc1/weight"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def huge(file: h5py.File) -> None:
    del file["node/nodes/input/shape"]
    file["node/nodes/input/shape"] = np.array([1 << 60])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (bomb, "unfold to more than"),
        (circle, "subgraphs nested more than"),
        (elsewhere, "a link to elsewhere"),
        (outside, "lies in another file"),
        (words, "weight is not an array of numbers"),
        (records, "is neither a number nor text"),
        (huge, "must hold sizes"),
    ],
)
def test_files_made_to_harm_are_refused_with_a_line(
    change: Callable[[h5py.File], None], said: str, tmp_path: Path
) -> None:
    path = damaged(tmp_path, change)
    began = time.monotonic()
    with pytest.raises(FormatError, match=said):
        read(path)
    assert time.monotonic() - began < 60


def test_flipped_bytes_are_read_or_refused_and_end_no_process(tmp_path: Path) -> None:
    good = (FILES / "braille.nir").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "n.nir"
    refused: list[str] = []
    for _ in range(examples(40)):
        data = bytearray(good)
        for place in rng.integers(0, len(good), 8):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            port.from_nir(path, dt=1e-4, frames=FRAMES)
        except NeuroportError as error:
            refused.append(error.message)
    assert len(refused) > 1
    assert all(message.isprintable() for message in refused)


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda file: file.move("node/nodes/fc1", "node/nodes/\x1b[31mred"))
    with pytest.raises(FormatError) as caught:
        read(path)
    assert caught.value.message.isprintable()
