"""Published datasets, read from files that are written here in each one's own format."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neuroport.data.events import EVENT
from neuroport.data.loading import load_data
from neuroport.data.nmnist import to_bytes
from neuroport.data.samples import Samples
from neuroport.data.shd import Shd
from neuroport.errors import FormatError, NeuroportError, RecipeError, StorageError
from neuroport.recipe import DataRecipe, from_dict


def recipe(dataset: str, root: Path, **values: Any) -> DataRecipe:
    return DataRecipe(**{"dataset": dataset, "root": str(root), "train": 0, "test": 0, **values})


def everything(samples: Samples) -> np.ndarray:
    return samples.views(slice(None))


def event_at(x: int, y: int = 0, t: int = 5, p: int = 1) -> np.ndarray:
    return np.array([(x, y, t, p)], EVENT)


# -- where they lie ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "layout", "published"),
    [
        ("nmnist", "NMNIST/Train/0", "garrickorchard.com"),
        ("dvsgesture", "ibmGestureTrain/user01_fluorescent/0.npy", "ibm.com"),
        ("cifar10dvs", "airplane/0.aedat4", "figshare.com"),
        ("shd", "SHD/shd_train.h5", "zenkelab.org"),
        ("cifar10", "cifar-10-batches-bin/data_batch_1.bin", "cs.toronto.edu"),
        ("cifar100", "cifar-100-binary/train.bin", "cs.toronto.edu"),
        ("mnist", "train-images-idx3-ubyte", "yann.lecun.com"),
        ("imagenet", "train/<class>/*.JPEG", "image-net.org"),
    ],
)
def test_missing_dataset_says_its_layout_and_its_publisher_and_downloads_nothing(
    dataset: str, layout: str, published: str, tmp_path: Path
) -> None:
    if dataset == "cifar10dvs":
        pytest.importorskip("tonic")
    with pytest.raises(StorageError) as caught:
        load_data(recipe(dataset, tmp_path / "nowhere"))
    for words in (str(tmp_path / "nowhere"), layout, published, "nothing is downloaded"):
        assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RecipeError, match=r"data\.root is missing") as missing:
        DataRecipe(dataset=dataset)
    assert layout in str(missing.value)


# -- N-MNIST -----------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [".", "NMNIST"])
def test_nmnist_is_read_in_the_order_of_its_paths(below: str, tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    for half, digits in (("Train", range(10)), ("Test", range(9, -1, -1))):
        for label in digits:
            path = tmp_path / below / half / str(label) / f"0000{label}.bin"
            path.parent.mkdir(parents=True)
            path.write_bytes(to_bytes(event_at(label, 33 - label)))
    split = load_data(recipe("nmnist", tmp_path, steps=1))
    for samples in (split.train, split.test):
        assert sorted(samples.labels) == list(range(10))
        frames = everything(samples)
        assert frames.shape == (1, 10, 2, 34, 34)
        for n, label in enumerate(samples.labels):
            assert frames[0, n, 1, 33 - label, label] == 1
        assert frames.sum() == 10
    assert np.array_equal(split.train.labels, split.test.labels)
    with pytest.raises(RecipeError, match=r"data\.train is 11; nmnist has 10 such samples"):
        load_data(recipe("nmnist", tmp_path, train=11))


@pytest.mark.parametrize("place", ["12", "a", "digit3", "."])
def test_nmnist_in_other_folders_than_those_of_digits_is_refused(
    place: str, tmp_path: Path
) -> None:
    pytest.importorskip("tonic")
    for half in ("Train", "Test"):
        for name in ("0", place):
            path = tmp_path / "NMNIST" / half / name / "1.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_bytes(event_at(1)))
    with pytest.raises(FormatError, match="not in a folder named by their digit"):
        load_data(recipe("nmnist", tmp_path))


# -- DVS128 Gesture ------------------------------------------------------------------------------


def test_gesture_is_split_by_user_whichever_folder_they_lie_in(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    users = {"ibmGestureTrain": (1, 23, 24), "ibmGestureTest": (2, 29)}
    for half, numbers in users.items():
        for user in numbers:
            folder = tmp_path / "DVSGesture" / half / f"user{user:02d}_lab"
            folder.mkdir(parents=True)
            for label in (10, 2):  # x, y, polarity, milliseconds
                rows = [[user * 4, label, 1, 7], [user * 4, label, 0, 37]]
                np.save(folder / f"{label}.npy", np.array(rows, np.int64))
    split = load_data(recipe("dvsgesture", tmp_path, steps=2, window=30_000, size=32))
    for samples, expected in ((split.train, (1, 2, 23)), (split.test, (24, 29))):
        frames = everything(samples)
        assert frames.shape == (2, 2 * len(expected), 2, 32, 32)
        found = set()
        for n, label in enumerate(samples.labels):
            (row,), (column,) = np.nonzero(frames[0, n, 1])
            assert row == label // 4
            assert np.argwhere(frames[1, n]).tolist() == [[0, row, column]]
            found.add((int(column), int(label)))
        assert found == {(user, label) for user in expected for label in (2, 10)}
    (tmp_path / "DVSGesture" / "ibmGestureTest" / "user29_lab" / "2.npy").write_bytes(b"no")
    test = load_data(recipe("dvsgesture", tmp_path)).test
    with pytest.raises(FormatError, match=r"2\.npy: not a \.npy array"):
        everything(test)


# -- CIFAR10-DVS ---------------------------------------------------------------------------------


def aedat4(events: np.ndarray) -> bytes:
    """A file of version 4: header and one packet as flatbuffers, uncompressed."""
    info = (
        b'<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        b'<node name="0" path="/mainloop/Recorder/outInfo/0/">'
        b'<attr key="compression" type="string">NONE</attr>'
        b'<attr key="originalModuleName" type="string">capture</attr>'
        b'<attr key="originalOutputName" type="string">events</attr>'
        b'<attr key="typeDescription" type="string">events</attr>'
        b'<attr key="typeIdentifier" type="string">EVTS</attr>'
        b'<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        b'<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>'
        b'<attr key="source" type="string">DVS128</attr></node></node></node></dv>'
    )
    # IOHeader {compression: int, dataTablePosition: long, infoNode: string}; offsets from the root
    vtable = struct.pack("<5H", 10, 24, 4, 8, 16)
    body = struct.pack("<I4s", 20, b"IOHE") + b"\0\0" + vtable
    body += struct.pack("<iiqI4x", 10, 0, -1, 8) + struct.pack("<I", len(info)) + info + b"\0"
    body += b"\0" * (-len(body) % 4)
    header = struct.pack("<I", len(body)) + body
    # EventPacket {elements: [Event]}, Event {t: long, x: short, y: short, on: bool}
    rows = b"".join(struct.pack("<qhh?3x", e["t"], e["x"], e["y"], bool(e["p"])) for e in events)
    packet = struct.pack("<I4s", 16, b"EVTS") + b"\0\0" + struct.pack("<3H", 6, 8, 4)
    packet += struct.pack("<iI", 6, 8) + struct.pack("<4xI", len(events)) + rows
    packet = struct.pack("<I", len(packet)) + packet
    return b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(packet)) + packet


CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_last_tenth_of_each_class_of_cifar10dvs_by_number_is_held_out(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    pytest.importorskip("aedat", reason="tonic reads version 4 with the package aedat")
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for number in range(20):
            path = folder / f"cifar10_{name}_{number}.aedat4"
            path.write_bytes(aedat4(event_at(number, label, 1000 + number)))
    split = load_data(recipe("cifar10dvs", tmp_path, steps=1))
    for samples, expected in ((split.train, range(18)), (split.test, range(18, 20))):
        frames = everything(samples)
        found = {tuple(place) for place in np.argwhere(frames[0, :, 1])[:, 1:].tolist()}
        assert found == {(label, number) for label in range(10) for number in expected}
        for n, label in enumerate(samples.labels):
            assert frames[0, n, 1, label].sum() == 1


# -- Spiking Heidelberg Digits -------------------------------------------------------------------


def shd_file(path: Path, rows: list[tuple[int, list[float], list[int]]], **other: Any) -> None:
    """A file as published: rows of float16 and uint16, classes, their names, and speakers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", (len(rows),), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", (len(rows),), h5py.vlen_dtype(np.uint16))
        for n, (_, seconds, channels) in enumerate(rows):
            times[n], units[n] = np.array(seconds, np.float16), np.array(channels, np.uint16)
        file["labels"] = np.array([row[0] for row in rows], np.uint16)
        file["extra/keys"] = np.array([f"digit {n}" for n in range(20)], "S")
        file["extra/speaker"] = np.zeros(len(rows), np.uint16)
        for name, value in other.items():
            del file[name.replace("_", "/")]
            file[name.replace("_", "/")] = value


def spoken(label: int) -> tuple[int, list[float], list[int]]:
    return label, [0.0, 0.25, 0.5, 0.5, 0.999], [label, 350, 350, 350, 699 - label]


@pytest.mark.parametrize("below", [".", "SHD"])
def test_shd_is_counted_by_channel_and_step(below: str, tmp_path: Path) -> None:
    for name, labels in (("shd_train.h5", range(20)), ("shd_test.h5", range(19, 4, -1))):
        shd_file(tmp_path / below / name, [spoken(label) for label in labels])
    split = load_data(recipe("shd", tmp_path, steps=4, window=250_000))
    for samples, count in ((split.train, 20), (split.test, 15)):
        frames = everything(samples)
        assert frames.shape == (4, count, 1, 1, 700)
        for n, label in enumerate(samples.labels):
            found = [tuple(place) for place in np.argwhere(frames[:, n, 0, 0])]
            assert found == [(0, label), (1, 350), (2, 350), (3, 699 - label)]
            assert frames[2, n, 0, 0, 350] == 2
    assert sorted(split.test.labels) == list(range(5, 20))
    coarse = load_data(recipe("shd", tmp_path, steps=1, size=140, gain=8)).train
    assert everything(coarse).shape == (1, 20, 1, 1, 140)
    assert everything(coarse)[0, 0, 0, 0, 70] == 3 * 8
    with pytest.raises(RecipeError, match=r"data\.test is 16; shd has 15"):
        load_data(recipe("shd", tmp_path, test=16))


def test_events_of_shd_are_those_that_tonic_reads(tmp_path: Path) -> None:
    datasets = pytest.importorskip("tonic.datasets")
    rng = np.random.default_rng(0)
    rows = []
    for label in (3, 19, 0):
        count = 20 * label
        rows.append((label, sorted(rng.uniform(0, 1.2, count)), rng.integers(0, 700, count)))
    for half in ("train", "test"):
        shd_file(tmp_path / "SHD" / f"shd_{half}.h5", rows)

    class Here(datasets.SHD):  # type: ignore[misc,name-defined]
        def _check_exists(self) -> bool:
            self.location_on_system = str(tmp_path / "SHD")
            return True

    wanted = Here(str(tmp_path), train=False)
    found = Shd(tmp_path / "SHD" / "shd_test.h5")
    assert len(wanted) == len(found.labels) == len(rows)
    for n in range(len(rows)):
        events, label = wanted[n]
        assert found.labels[n] == label == rows[n][0]
        got = found.read(n)
        assert len(got) == len(events) == 20 * label
        for name in ("t", "x", "p"):
            assert np.array_equal(got[name], events[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.array([1.0, 2.0])}, "labels are float64 (2,) for 2 rows"),
        ({"labels": np.array([1])}, "labels are int64 (1,) for 2 rows"),
        ({"labels": np.array([1, 20])}, "labels reach from 1 to 20"),
        ({"spikes_times": np.zeros((2, 5))}, "spikes/times is float64 (2, 5), not rows of numbers"),
        ({"rows": [(0, [0.1], [700])]}, "channels reach from 700 to 700"),
        ({"rows": [(0, [0.1, 0.2], [7])]}, "differ in length"),
        ({"rows": [(0, [float("nan")], [7])]}, "not all finite"),
        ({"rows": [(0, [-1.0], [7])]}, "not all finite and positive"),
        ({"rows": []}, "labels are uint16 (0,) for 0 rows"),
    ],
)
def test_file_that_is_not_shd_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "shd_test.h5"
    shd_file(path, **{"rows": [spoken(1), spoken(2)], **change})
    with pytest.raises(FormatError) as caught:
        Shd(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_truncated_or_foreign_file_of_shd_is_refused(tmp_path: Path) -> None:
    for half in ("train", "test"):
        shd_file(tmp_path / f"shd_{half}.h5", [spoken(label) for label in range(20)])
    path = tmp_path / "shd_test.h5"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no", whole[:2000] + bytes(len(whole) - 2000)):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"shd_test\.h5: .*"):
            load_data(recipe("shd", tmp_path))
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(FormatError, match="Spiking Heidelberg Digits"):
        load_data(recipe("shd", tmp_path))
    path.unlink()
    with pytest.raises(StorageError, match="nothing is downloaded"):
        load_data(recipe("shd", tmp_path))


def test_frames_of_one_row_train_and_are_one_network_on_every_engine(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import neuroport as port
    from neuroport.analysis.compare import compare
    from neuroport.backends.module import run_module
    from neuroport.training.checkpoint import load
    from neuroport.training.fit import fit

    for half in ("train", "test"):
        shd_file(tmp_path / f"shd_{half}.h5", [spoken(label) for label in range(20)])
    values = from_dict(
        {
            "data": {
                "dataset": "shd", "root": str(tmp_path), "steps": 3, "size": 35, "gain": 50,
                "train": 0, "test": 0,
            },
            "network": {"widths": [3, 4, 5], "shortcut": "stride"},
            "training": {"epochs": 1, "batch": 10},
            "quantization": {"epochs": 1},
        }
    )  # fmt: skip
    fit(values, tmp_path / "run")
    frames = load_data(values.data).test.views(slice(4))
    net = load(tmp_path / "run")
    assert compare(run_module(net, frames), port.run(port.quantize(net, frames), frames))


def test_row_is_moved_sideways_alone() -> None:
    pytest.importorskip("torch")
    from neuroport.training.augmentation import shifted

    views = np.ones((1, 50, 1, 1, 9), np.uint8)
    moved = shifted(views, 2, np.random.default_rng(0))
    assert set(moved.sum((0, 2, 3, 4))) == {7, 8, 9}


# -- CIFAR ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "folder", "train", "test", "head"),
    [
        ("cifar10", "cifar-10-batches-bin", [f"data_batch_{n}" for n in range(1, 6)],
         "test_batch", 1),
        ("cifar100", "cifar-100-binary", ["train"], "test", 2),
    ],
)  # fmt: skip
def test_cifar_is_read_from_its_binary_version(
    dataset: str, folder: str, train: list[str], test: str, head: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    place = tmp_path / folder
    place.mkdir()
    written: dict[bytes, int] = {}
    for name in [*train, test]:
        records = rng.integers(0, 10, (10, head + 3072), np.uint8)
        records[:, head:] = rng.integers(0, 256, (10, 3072))
        (place / f"{name}.bin").write_bytes(records.tobytes())
        written |= {record[head:].tobytes(): int(record[head - 1]) for record in records}
    split = load_data(recipe(dataset, tmp_path, steps=3))
    assert len(split.train.labels) == 10 * len(train)
    for samples in (split.train, split.test):
        pictures = everything(samples)
        assert pictures.shape == (1, len(samples.labels), 3, 32, 32)
        for picture, label in zip(pictures[0], samples.labels, strict=True):
            assert written[picture.tobytes()] == label
    with (place / f"{test}.bin").open("ab") as file:
        file.write(b"1")
    with pytest.raises(FormatError, match=rf"{test}\.bin: .* bytes, not records of {head + 3072}"):
        load_data(recipe(dataset, tmp_path))
    (place / f"{test}.bin").write_bytes(bytes([255] * (head + 3072)))
    with pytest.raises(FormatError, match="class 255"):
        load_data(recipe(dataset, tmp_path))


# -- folders of pictures -------------------------------------------------------------------------


def test_pictures_are_read_from_a_folder_per_class(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for half in ("train", "val"):
        for label, name in enumerate(("n01", "n02")):
            (tmp_path / half / name).mkdir(parents=True)
            for number in range(2):
                colour = (200 * label, 100 * number, 50)
                path = tmp_path / half / name / f"{number}.{'JPEG' if number else 'png'}"
                image.new("RGB", (60 + 30 * number, 40), colour).save(path)
        (tmp_path / half / "n01" / "notes.txt").write_text("not a picture")
    values = recipe("imagenet", tmp_path, size=32, classes=2, steps=2)
    samples = load_data(values).test
    pictures = everything(samples)
    assert pictures.shape == (1, 4, 3, 32, 32)
    assert np.array_equal(samples.labels, pictures[0, :, 0, 16, 16] > 100)
    assert sorted(pictures[0, :, 1, 16, 16].tolist())[:2] == [0, 0]
    with pytest.raises(StorageError, match="2 folders for 1000 classes"):
        load_data(recipe("imagenet", tmp_path))
    (tmp_path / "val" / "n01" / "0.png").write_bytes(b"no")
    with pytest.raises(FormatError, match=r"0\.png: not a picture"):
        everything(load_data(values).test)


@pytest.mark.parametrize(
    ("train", "val", "says"),
    [
        (("ant", "bee", "cat"), ("bee", "cat", "dog"), "train lacks 'dog' and val lacks 'ant'"),
        (("ant", "bee", "cat"), ("ant", "bee"), "val lacks 'cat'; both need a folder"),
        (("ant", "bee"), tuple("abcde"), r"train lacks 'a', 'b', 'c' and 2 more and val lacks"),
        (("ant", "bee", "cat", "dog"), ("ant", "bee", "cat", "dog"), "4 folders for 3 classes"),
    ],
)
def test_halves_of_other_classes_are_refused_because_their_order_is_their_number(
    tmp_path: Path, train: tuple[str, ...], val: tuple[str, ...], says: str
) -> None:
    image = pytest.importorskip("PIL.Image")
    for half, names in (("train", train), ("val", val)):
        for name in names:
            (tmp_path / half / name).mkdir(parents=True)
            image.new("RGB", (40, 40)).save(tmp_path / half / name / "0.png")
    with pytest.raises(StorageError, match=says):
        load_data(recipe("imagenet", tmp_path, size=32, classes=3))


def test_a_class_without_a_picture_is_named(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for half in ("train", "val"):
        for name in ("ant", "bee"):
            (tmp_path / half / name).mkdir(parents=True)
            image.new("RGB", (40, 40)).save(tmp_path / half / name / "0.png")
    (tmp_path / "val" / "bee" / "0.png").rename(tmp_path / "val" / "bee" / "0.txt")
    with pytest.raises(StorageError, match=r"val/bee: holds no picture \(\.jpeg"):
        load_data(recipe("imagenet", tmp_path, size=32, classes=2))
    image.new("RGB", (40, 40)).save(tmp_path / "val" / "bee" / "1.png")
    assert len(load_data(recipe("imagenet", tmp_path, size=32, classes=2)).test.labels) == 2
    (tmp_path / "val" / "bee" / "2.WEBP").touch()  # one more, which would be lost
    with pytest.raises(FormatError, match=r"bee/2\.WEBP: only \.jpeg, .* convert it"):
        load_data(recipe("imagenet", tmp_path, size=32, classes=2))
    shutil.rmtree(tmp_path / "val")
    (tmp_path / "val").write_text("")
    with pytest.raises(StorageError, match="val: is no folder"):
        load_data(recipe("imagenet", tmp_path, size=32, classes=2))


def test_picture_is_the_middle_of_the_file(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 255  # the middle third
    for half in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / half / name).mkdir(parents=True)
            image.fromarray(wide).save(tmp_path / half / name / "wide.png")
    samples = load_data(recipe("imagenet", tmp_path, size=56, classes=2)).train
    assert everything(samples).min() == 255


def test_every_mistake_is_an_error_of_neuroport(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    with pytest.raises(NeuroportError):
        load_data(recipe("imagenet", tmp_path))


# -- values that nothing sends -------------------------------------------------------------------


def gesture(folder: Path, rows: Any) -> Samples:
    """The training half of a dataset of one recording."""
    for half, user in (("ibmGestureTrain", 1), ("ibmGestureTest", 24)):
        place = folder / "DVSGesture" / half / f"user{user:02d}_lab"
        place.mkdir(parents=True)
        np.save(place / "0.npy", np.array(rows))
    return load_data(recipe("dvsgesture", folder)).train


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([3, 4, 5, 7], "the polarity of event 1 is 5, not 0 to 1"),
        ([128, 4, 1, 7], "the column of event 1 is 128, not 0 to 127"),
        ([3, -1, 1, 7], "the row of event 1 is -1"),
        ([3.5, 4, 1, 7], "the column of event 1 is 3.5"),
        ([3, 4, 1, np.nan], "the time, us, of event 1 is nan"),
        ([3, 4, 1, 1e18], "the time, us, of event 1 is 1e\\+21"),
    ],
)
def test_an_event_that_cannot_have_happened_is_refused_by_file_and_number(
    tmp_path: Path, row: list[float], says: str
) -> None:
    pytest.importorskip("tonic")
    samples = gesture(tmp_path, [[3, 4, 1, 6], row])
    with pytest.raises(FormatError, match=rf"user01_lab/0\.npy: {says}"):
        everything(samples)


def test_an_nmnist_recording_outside_the_sensor_or_back_in_time_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    events = np.concatenate([event_at(1, t=9), event_at(2, t=5)])
    for half in ("Train", "Test"):
        (tmp_path / "NMNIST" / half / "0").mkdir(parents=True)
        (tmp_path / "NMNIST" / half / "0" / "1.bin").write_bytes(to_bytes(events))
    samples = load_data(recipe("nmnist", tmp_path)).train
    with pytest.raises(FormatError, match=r"1\.bin: time runs back at event 1, from 9 to 5 us"):
        everything(samples)
    (tmp_path / "NMNIST/Train/0/1.bin").write_bytes(to_bytes(event_at(34)))
    with pytest.raises(FormatError, match="the column of event 0 is 34, not 0 to 33"):
        everything(samples)


def test_a_picture_of_another_format_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    from neuroport.data.pictures import _image

    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for kind in ("EPS", "TIFF", "GIF"):
        image.new("RGB", (8, 8)).save(tmp_path / f"{kind}.png", kind)
        with pytest.raises(FormatError, match=r"not a picture \(JPEG or PNG\)"):
            _image(tmp_path / f"{kind}.png")
    assert not started.exists()
    image.new("RGB", (8, 8)).save(tmp_path / "good.JPEG", "PNG")  # as ImageNet has one
    assert _image(tmp_path / "good.JPEG").size == (8, 8)


def test_a_picture_that_is_far_longer_than_wide_takes_no_memory(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    from neuroport.data.pictures import Files

    image.new("L", (1, 2_000_000)).save(tmp_path / "line.png")
    files = Files((tmp_path / "line.png",), np.zeros(1, np.int64), 16)
    with pytest.raises(FormatError, match=r"line\.png: 1 x 2000000 pixels, of which 18 x 36000000"):
        files.views(slice(None))


def test_a_picture_of_16_bits_is_refused_and_not_cut_to_white(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    from neuroport.data.pictures import _image

    image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(FormatError, match=r"deep\.png: .*its pixels are 'I.*convert it to 8 bits"):
        _image(tmp_path / "deep.png")
    for kind in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image.new(kind, (4, 4)).save(tmp_path / "good.png")
        assert _image(tmp_path / "good.png").mode == "RGB"
    image.new("CMYK", (4, 4)).save(tmp_path / "good.jpg")
    assert _image(tmp_path / "good.jpg").mode == "RGB"


def test_a_picture_that_promises_gigabytes_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    from neuroport.data.pictures import _image

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    for side in (12_000, 65_000):
        head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(9000))))
        (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
        with pytest.raises(FormatError, match=r"b\.png: not a picture.*(pixels|decompression)"):
            _image(tmp_path / "b.png")
