"""``python -m benchmarks.recipes``: every shipped recipe from generated data to Lava.

The data are random, in the files that the real datasets have. Cut are epochs (one of each phase),
batches, samples, and the sides of ImageNet's pictures; networks, steps and everything else are the
recipe's. Each is trained, quantized, lowered, exported, read, and run by the reference and on Lava
(fused processes), and every population is compared. ``recipes.json`` goes on where it was.
"""

from __future__ import annotations

import argparse
import gzip
import struct
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from neuroport.data.loading import load_data
from neuroport.data.samples import frames_of
from neuroport.errors import IllegalError
from neuroport.files import read_json, write_json
from neuroport.recipe import Recipe, shipped
from neuroport.runs.trace import versions

RESULTS = Path(__file__).with_name("recipes.json")
COUNT = 10  # samples of a half, the fewest that a recipe takes
SIDE = 64  # of ImageNet's pictures
DEADLINE = 3600.0


def cut(recipe: Recipe, root: Path) -> Recipe:
    """The recipe with one epoch of each phase on few samples in ``root``."""
    own = recipe.data.known.samples > 0  # comes with a package, and is split here
    count, where = (COUNT, "") if own else (0, str(root))
    data = replace(recipe.data, train=count, test=count, root=where)
    if data.known.files:
        resize = data.resize and round(SIDE * data.resize / data.size)
        size = {"size": SIDE, "resize": resize, "train_size": data.train_size and SIDE}
        data = replace(data, classes=2, **size)
    training = replace(
        recipe.training, epochs=1, batch=2, checkpoint_steps=0, warmup=0.0, cosine_epochs=0
    )
    quantization = replace(recipe.quantization, epochs=1)
    return replace(recipe, data=data, training=training, quantization=quantization)


# -- random data in the real files -----------------------------------------------------------------


def write_data(dataset: str, root: Path) -> None:
    """Random samples as the dataset holds them, in ``root``."""
    writer = WRITERS.get(dataset)
    if writer is not None:
        writer(root, np.random.default_rng(0))


def _cifar(root: Path, rng: np.random.Generator, fine: bool) -> None:
    folder = root / ("cifar-100-binary" if fine else "cifar-10-batches-bin")
    folder.mkdir(parents=True)
    batches = [f"data_batch_{n}" for n in range(1, 6)]
    names = ["train", "test"] if fine else [*batches, "test_batch"]
    for name in names:
        count = COUNT if name.startswith("t") else COUNT // len(batches)
        records = rng.integers(0, 256, (count, 3072 + 1 + fine), np.uint8)
        records[:, int(fine)] = np.arange(count) % 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def _idx(root: Path, rng: np.random.Generator) -> None:
    root.mkdir(parents=True)
    for half in ("train", "t10k"):
        pictures = rng.integers(0, 256, (COUNT, 28, 28), np.uint8)
        labels = np.arange(COUNT, dtype=np.uint8) % 10
        for name, array in ((f"{half}-images-idx3", pictures), (f"{half}-labels-idx1", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (root / f"{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


def _folders(root: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    for half in ("train", "val"):
        for name in ("n01440764", "n02102040"):
            folder = root / half / name
            folder.mkdir(parents=True)
            for number in range(COUNT // 2):
                pixels = rng.integers(0, 256, (100, 120, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{number}.JPEG", "JPEG")


def _gesture(root: Path, rng: np.random.Generator) -> None:
    for half, user in (("ibmGestureTrain", 1), ("ibmGestureTest", 24)):
        folder = root / "DVSGesture" / half / f"user{user:02d}_fluorescent"
        folder.mkdir(parents=True)
        for label in range(COUNT):
            times = np.sort(rng.integers(0, 1300, 20_000))  # milliseconds
            rows = [*rng.integers(0, 128, (2, 20_000)), rng.integers(0, 2, 20_000), times]
            np.save(folder / f"{label}.npy", np.stack(rows, 1))


def _cifar10_dvs(root: Path, rng: np.random.Generator) -> None:
    classes = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    for name in classes:
        folder = root / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for number in range(COUNT):
            count = 10_000
            times = np.sort(rng.integers(0, 1_300_000, count))  # microseconds
            columns, rows = rng.integers(0, 128, (2, count))
            content = aedat4(times, columns, rows, rng.integers(0, 2, count))
            (folder / f"{number}.aedat4").write_bytes(content)


def aedat4(times: Any, columns: Any, rows: Any, on: Any) -> bytes:
    """Events in a file of version 4: header and one packet as flatbuffers, uncompressed."""
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
    event = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("on", "u1"), ("rest", "V3")])
    events = np.zeros(len(times), event)
    events["t"], events["x"], events["y"], events["on"] = times, columns, rows, on
    packet = struct.pack("<I4s", 16, b"EVTS") + b"\0\0" + struct.pack("<3H", 6, 8, 4)
    packet += struct.pack("<iI", 6, 8) + struct.pack("<4xI", len(events)) + events.tobytes()
    packet = struct.pack("<I", len(packet)) + packet
    return b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(packet)) + packet


WRITERS = {
    "cifar10": lambda root, rng: _cifar(root, rng, False),
    "cifar100": lambda root, rng: _cifar(root, rng, True),
    "fashion_mnist": _idx,
    "imagenet": _folders,
    "dvsgesture": _gesture,
    "cifar10dvs": _cifar10_dvs,
}


# -- from data to Lava -----------------------------------------------------------------------------


def followed(recipe: Recipe, folder: Path, lava: bool = True) -> dict[str, Any]:
    """Train a recipe and take what comes out to Lava, in ``folder``.

    A network whose widths cannot be proven is told as ``refused``, with the reason.
    """
    seconds: dict[str, float] = {}

    def timed(name: str, since: float) -> float:
        seconds[name] = round(time.perf_counter() - since, 1)
        return time.perf_counter()

    found: dict[str, Any] = {"steps": recipe.data.steps, "seconds": seconds}
    split, now = load_data(recipe.data), time.perf_counter()
    try:
        net = port.fit(recipe, folder / "run", data=split)
        now = timed("train", now)
        frames = frames_of(split.test, slice(1), recipe.data.steps)
        graph = port.quantize(net, frames)
        lowered = port.lower(graph, "lava-cpu")
    except IllegalError as error:
        return {**found, "refused": error.message}
    path = port.export(lowered, folder / "network.net")
    now = timed("quantize, lower, export", now)
    read = port.read(path)
    assert read.hash == lowered.hash
    want = port.run(read, frames)
    now = timed("reference", now)
    if lava:
        got = port.run(read, frames, on="lava-cpu", processes="fused", deadline=DEADLINE)
    else:
        got = port.run(read, frames, on="fast")
    timed("lava-cpu" if lava else "fast", now)
    compared = port.compare(want, got)
    neurons = sum(int(np.prod(want[name].shape[2:])) for name in want.messages)
    return {
        **found,
        "nodes": len(read),
        "neurons": neurons,
        "spikes": int(sum(np.count_nonzero(values) for values in want.messages.values())),
        "positions": compared.positions,
        "differing": compared.differing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="these recipes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    results = read_json(given.out) if given.out.exists() else {"recipes": {}}
    # the smallest first
    every = sorted(shipped().items(), key=lambda item: item[1].network.layers)
    for name, recipe in every:
        if name in results["recipes"] or (given.only and name not in given.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "data"
            write_data(recipe.data.dataset, root)
            row = followed(cut(recipe, root), Path(folder))
        results["recipes"][name] = row
        results["versions"] = versions("torch", "numpy", "lava-nc")
        write_json(given.out, results)
        said = row.get(
            "refused", f"{row.get('positions', 0):,} positions, {row.get('differing')} differ"
        )
        print(f"{name}: {said}", flush=True)


if __name__ == "__main__":
    main()
