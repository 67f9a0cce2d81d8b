"""Every other file that is read: checkpoints, recipes, targets, sites, frames, labels, events.

Each kind has a sound file, a reader, and mutations of its own beside those of bytes. Only a
checkpoint has a hash; what is changed in the others within their meaning may be read.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.hostile.flips import Rng
from tests.hostile.samples import graph

Edit = Callable[[Rng, bytes], bytes]

TOML = (
    "[" * 3000 + "]" * 3000,
    "{a=" * 900 + "1" + "}" * 900,
    "9" * 6000,
    "0x" + "f" * 9000,
    "9" * 300,
    "-1",
    "0",
    "1e400",
    "nan",
    "true",
    '""',
    '"\\u001b]0;owned\\u0007"',
    f'"{"x" * 100_000}"',
    "[]",
    "[1, [2, [3]]]",
    "{}",
    "1979-05-27T07:32:00Z",
    "9223372036854775807",
    "[10000000, 10000000, 10000000]",
)
VALUES: list[Any] = [
    None, True, -1, 0, 10**30, 1e308, float("nan"), "", "\x1b[31m", "x" * 100_000, [], {}, [[]],
    {"a": {"b": 1}}, [1, 2], ["a"], 2**63, {"format": "neuroport-checkpoint"},
]  # fmt: skip


@dataclass(frozen=True)
class Other:
    """A kind of file.

    Attributes:
        sound: the bytes that are mutated.
        read: reads a file, and gives bytes that are equal where what was read is.
        edits: mutations that know the format.
    """

    sound: Callable[[], bytes]
    read: Callable[[Path], bytes]
    edits: dict[str, Edit]

    def outcome(self, path: Path) -> str:
        """``equal`` or ``read``; refusals are raised."""
        found = self.read(path)
        whole = path.with_name(f"sound.{path.suffix[1:]}")
        whole.write_bytes(self.sound())
        return "equal" if found == self.read(whole) else "read"


def prepare() -> None:
    """Import what the readers import, once, for all children."""
    for module in ("PIL.Image", "safetensors.torch", "tonic.datasets", "torch"):
        import_module(module)
    import torch

    torch.set_num_threads(1)  # a child of a process with threads has none of them


def _pick(rng: Rng, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


# -- TOML ----------------------------------------------------------------------------------------


def _shipped(place: str) -> Callable[[], bytes]:
    return lambda: (resources.files("neuroport") / place).read_bytes()


def _site() -> bytes:
    return b"""chips = 8
board = "kapoho-point"
generation = "N3B3"
[slurm]
partition = "kp"
[environment]
NXOPTIONS = "--x"
[timing]
read_delay = 1
[measuring]
steps = 1000
"""


def toml_value(rng: Rng, content: bytes) -> bytes:
    """A key holds something else."""
    lines = content.decode().splitlines()
    at = int(rng.choice([n for n, line in enumerate(lines) if "=" in line]))
    lines[at] = f"{lines[at].partition('=')[0]}= {_pick(rng, TOML)}"
    return "\n".join(lines).encode()


def toml_lines(rng: Rng, content: bytes) -> bytes:
    """Lines twice, lines lost, lines of another's making."""
    lines = content.decode().splitlines()
    at, way = int(rng.integers(len(lines))), int(rng.integers(4))
    if way == 0:
        lines.insert(at, _pick(rng, lines))
    elif way == 1:
        del lines[at]
    elif way == 2:
        lines.insert(at, ".".join(["a"] * int(rng.integers(1, 3000))) + " = 1")
    else:
        lines.insert(at, f"{_pick(rng, ['base', 'x', 'value', 'seed'])} = {_pick(rng, TOML)}")
    return "\n".join(lines).encode()


def toml_large(rng: Rng, content: bytes) -> bytes:
    """Megabytes of comment or of tables."""
    return content + (b"# x\n" if rng.integers(2) else b"[[x]]\n") * 200_000


TOML_EDITS: dict[str, Edit] = {"value": toml_value, "lines": toml_lines, "size": toml_large}


def _recipe(path: Path) -> bytes:
    from neuroport.recipe import load_recipe

    return json.dumps(load_recipe(path).to_dict()).encode()


def _target(path: Path) -> bytes:
    from neuroport.targets.target import load_target

    return repr(load_target(path).values).encode()


def _read_site(path: Path) -> bytes:
    from neuroport.backends.loihi2.site import load_site

    return repr({**load_site(path).to_dict(), "title": ""}).encode()


# -- arrays --------------------------------------------------------------------------------------


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _frames() -> bytes:
    return _npy(np.random.default_rng(1).integers(-8, 8, (3, 2, 2, 6, 6)))


HEADERS = (
    "(" * 4000, "{" * 4000, "[" * 9000, "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000000,)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}",
    "{'descr': '<i8', 'fortran_order': 7, 'shape': (3, 2)}",
    "{'descr': '<i8', 'fortran_order': True, 'shape': (3, 2, 2, 6, 6)}",
    "{'descr': '|V1000000000', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': [('a', '<i4'), ('b', '<f4')], 'fortran_order': False, 'shape': (3,)}",
    "{'descr': '<U100', 'fortran_order': False, 'shape': (3,)}",
    "{'descr': '<M8[us]', 'fortran_order': False, 'shape': (3,)}",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (3,)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2, 2, 6, 6)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': ()}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (0, 5)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (" + "1," * 60 + ")}",
    "__import__('os').system('false')", "1" * 5000, "{}", "", "\0" * 50,
)  # fmt: skip


def npy_header(rng: Rng, content: bytes) -> bytes:
    """A header that promises what is not there, or is none."""
    header = _pick(rng, HEADERS).encode()
    version = int(rng.choice([1, 2, 3]))
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + content[128:]


def npy_values(rng: Rng, content: bytes) -> bytes:
    """Another array altogether."""
    array = np.load(io.BytesIO(content))
    made = _pick(
        rng,
        [
            array.astype(float) / 255,
            np.full(array.shape, np.nan),
            np.full(array.shape, 1e18),
            array * 2**40,
            array.swapaxes(0, 1) if array.ndim > 1 else array[:, None],
            array[:0],
            array.astype(np.complex64),
            array.astype("U"),
            np.asfortranarray(array),
            array.astype(">i2"),
            array.astype(bool),
            array[..., None],
        ],
    )
    return _npy(made)


def npy_archive(rng: Rng, content: bytes) -> bytes:
    """Not an array but an archive, or a pickle."""
    buffer = io.BytesIO()
    array = np.zeros(3)
    if rng.integers(2):
        np.savez_compressed(buffer, array=array)
    else:
        np.save(buffer, np.array([{}, []], object), allow_pickle=True)
    return buffer.getvalue()


NPY_EDITS: dict[str, Edit] = {"header": npy_header, "values": npy_values, "archive": npy_archive}


def _read_frames(path: Path) -> bytes:
    from neuroport.errors import FramesError
    from neuroport.runs.frames import check_frames, load_frames

    frames = load_frames(path)
    try:
        check_frames(graph(), frames)
    except FramesError as error:  # it has no file
        raise FramesError(f"{path}: {error.message}") from error
    return frames.astype(np.int64).tobytes()


def _labels(path: Path) -> bytes:
    from neuroport.runs.accuracy import load_labels as read

    return read(path).astype(np.int64).tobytes()


# -- events and pictures -------------------------------------------------------------------------


@cache
def _events() -> Any:
    rng = np.random.default_rng(2)
    found = np.zeros((200, 4), np.int64)
    found[:, :2], found[:, 2] = rng.integers(0, 34, (200, 2)), rng.integers(0, 2, 200)
    found[:, 3] = np.sort(rng.integers(0, 300, 200))
    return found


def _nmnist() -> bytes:
    from neuroport.data.events import EVENT
    from neuroport.data.nmnist import to_bytes

    rows = _events()
    events = np.zeros(len(rows), EVENT)
    events["x"], events["y"], events["p"], events["t"] = rows.T
    return to_bytes(events)


def _laid(path: Path, place: str) -> Path:
    """A file below a folder of its own, as its dataset lays it."""
    root = path.parent / f"as-{path.name}"
    target = root / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(path.read_bytes())
    return root


def _read_nmnist(path: Path) -> bytes:
    from neuroport.data.nmnist import Folder

    root = _laid(path, "NMNIST/Train/0/00001.bin")
    return np.ascontiguousarray(Folder(root / "NMNIST", True).read(0)).tobytes()


def _gesture() -> bytes:
    return _npy(_events())


def _read_gesture(path: Path) -> bytes:
    from neuroport.data.tonic_readers import Gesture

    root = _laid(path, "DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy")
    _laid(path, "DVSGesture/ibmGestureTest/user24_fluorescent/0.npy")
    return np.ascontiguousarray(Gesture(root / "DVSGesture", True).read(0)).tobytes()


@cache
def _shd() -> bytes:
    buffer = io.BytesIO()
    rows = _events()
    with h5py.File(buffer, "w") as file:
        times = file.create_dataset("spikes/times", (2,), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", (2,), h5py.vlen_dtype(np.uint16))
        for number in range(2):
            times[number] = (rows[:, 3] / 1000).astype(np.float16)
            units[number] = rows[:, 0].astype(np.uint16)
        file["labels"] = np.array([3, 19], np.uint16)
    return buffer.getvalue()


def shd_values(rng: Rng, content: bytes) -> bytes:
    """Times, channels and labels that no recording has."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        way = int(rng.integers(6))
        if way < 3:
            times = [np.nan, -1, np.inf][way]
            file["spikes/times"][0] = np.full(200, times, np.float16)
        elif way == 3:
            file["spikes/units"][0] = np.full(200, 700, np.uint16)
        elif way == 4:
            file["labels"][0] = 20
        else:
            file["spikes/units"][1] = np.zeros(7, np.uint16)
    return buffer.getvalue()


def _read_shd(path: Path) -> bytes:
    from neuroport.data.shd import Shd

    found = Shd(path)
    events = [np.ascontiguousarray(found.read(number)).tobytes() for number in range(2)]
    return b"".join([*events, found.labels.tobytes()])


def gesture_values(rng: Rng, content: bytes) -> bytes:
    """A column holds what no camera sends."""
    rows = np.load(io.BytesIO(content)).astype(float)
    rows[int(rng.integers(len(rows))), int(rng.integers(4))] = _pick(
        rng, [np.nan, np.inf, -1, 5, 128, 0.5, 1e18, 2**62]
    )
    return _npy(rows if rng.integers(2) else rows[:, : int(rng.integers(5))])


def bin_values(rng: Rng, content: bytes) -> bytes:
    """A pixel outside, or time that runs back."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, 5).copy()
    at = int(rng.integers(1, len(rows)))
    if rng.integers(2):
        rows[at, int(rng.integers(2))] = int(rng.integers(34, 256))
    else:
        rows[at, 2:] &= 128
        rows[at - 1, 3] = 255
    return rows.tobytes()


@cache
def _picture() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def picture_format(rng: Rng, content: bytes) -> bytes:
    """A picture in another format, whatever its name says."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).save(buffer, _pick(rng, ["EPS", "GIF", "TIFF", "BMP", "PPM"]))
    return buffer.getvalue()


def picture_size(rng: Rng, content: bytes) -> bytes:
    """A header that promises gigabytes of pixels."""
    wide, high = (int(rng.choice([1, 65_000, 2**31 - 1, 0])) for _ in range(2))
    head = b"IHDR" + struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    import zlib

    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


def _read_picture(path: Path) -> bytes:
    from neuroport.data.pictures import _array, _image

    return _array(_image(path)).tobytes()


# -- checkpoints ---------------------------------------------------------------------------------


@cache
def _checkpoint() -> bytes:
    import tempfile

    import torch

    from neuroport.recipe import from_dict
    from neuroport.training.checkpoint import CHECKPOINT, State, build_network, save_checkpoint

    recipe = from_dict({"network": {"widths": [2, 2, 2]}})
    net = build_network(recipe)
    tensors = {f"model.{name}": value for name, value in net.state_dict().items()}
    metrics = {"phase": "float", "epoch": 1, "loss": 0.5, "accuracy": 50.0, "seconds": 1.0}
    rng = np.random.default_rng(0).bit_generator.state
    within = {"batch": 2, "total": 1.5, "seconds": 1.0, "rng": rng}
    tensors["rng.torch.0"] = torch.get_rng_state()
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), State(recipe, 1, [metrics], tensors, within))
        return (Path(folder) / CHECKPOINT).read_bytes()


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def _joined(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def checkpoint_facts(rng: Rng, content: bytes) -> bytes:
    """A fact of the run holds something else; no hash says so."""
    header, body = _parts(content)
    about = json.loads(header["__metadata__"]["neuroport"])
    about.pop("hash")
    inner: Any = about
    for _ in range(int(rng.integers(3))):
        deeper = [value for value in inner.values() if isinstance(value, dict) and value]
        inner = _pick(rng, deeper) if deeper else inner
    inner[_pick(rng, list(inner))] = _pick(rng, VALUES)
    header["__metadata__"]["neuroport"] = json.dumps(about)
    return _joined(header, body)


def checkpoint_text(rng: Rng, content: bytes) -> bytes:
    """Its facts are no JSON, or JSON without end."""
    header, body = _parts(content)
    texts = ["", "[" * 50_000, "[" * 400 + "]" * 400, "null", "[]", "1" * 5000, '"' + "x" * 10**6]
    header["__metadata__"]["neuroport"] = _pick(rng, texts)
    return _joined(header, body)


def checkpoint_tensor(rng: Rng, content: bytes) -> bytes:
    """A tensor of another shape, type, place or value; no hash says so."""
    header, body = _parts(content)
    about = json.loads(header["__metadata__"]["neuroport"])
    about.pop("hash")
    header["__metadata__"]["neuroport"] = json.dumps(about)
    name = _pick(rng, [key for key in header if key != "__metadata__"])
    entry, way = header[name], int(rng.integers(6))
    if way == 0:
        entry["shape"] = _pick(rng, [[], [0], [2**40], [2**63], [1] * 100, [-1]])
    elif way == 1:
        entry["dtype"] = _pick(rng, ["I32", "BOOL", "F64", "F8_E4M3", "X", "BF16"])
    elif way == 2:
        entry["data_offsets"] = _pick(rng, [[0, 2**60], [8, 0], [0, 0], [2**64, 2**64 + 4]])
    elif way == 3:
        header[f"model.{'y' * int(rng.integers(1, 1000))}"] = header.pop(name)
    elif way == 4:
        del header[name]
    else:
        start, end = entry["data_offsets"]
        noise = bytearray(body)
        noise[start:end] = (_pick(rng, [b"\xff", b"\x7f", b"\x80"]) * (end - start))[: end - start]
        body = bytes(noise)
    return _joined(header, body)


def checkpoint_bomb(rng: Rng, content: bytes) -> bytes:
    """A recipe that asks for terabytes, in a file of kilobytes."""
    header, _ = _parts(content)
    about = json.loads(header["__metadata__"]["neuroport"])
    about.pop("hash")
    about["recipe"]["network"] |= _pick(
        rng, [{"widths": [65536] * 3}, {"blocks": 200}, {"blocks": 10**9}, {"widths": [10**9] * 3}]
    )
    return _joined({"__metadata__": {"neuroport": json.dumps(about)}}, b"")


def _read_checkpoint(path: Path) -> bytes:
    from neuroport.training.checkpoint import load, read_checkpoint

    root = _laid(path, "checkpoint.safetensors")
    net, state = load(root), read_checkpoint(root)
    facts = json.dumps([state.recipe.to_dict(), state.epoch, state.metrics, state.within])
    tensors = [v.numpy().tobytes() for v in (*net.state_dict().values(), *state.tensors.values())]
    return b"".join([facts.encode(), *tensors])


OTHERS: dict[str, Other] = {
    "checkpoint": Other(
        _checkpoint,
        _read_checkpoint,
        {
            "facts": checkpoint_facts,
            "text": checkpoint_text,
            "tensor": checkpoint_tensor,
            "bomb": checkpoint_bomb,
        },
    ),
    "recipe": Other(_shipped("recipes/ds_resnet20_gesture.toml"), _recipe, TOML_EDITS),
    "target": Other(_shipped("targets/loihi2.toml"), _target, TOML_EDITS),
    "site": Other(_site, _read_site, TOML_EDITS),
    "frames": Other(_frames, _read_frames, NPY_EDITS),
    "labels": Other(lambda: _npy(np.arange(20)), _labels, NPY_EDITS),
    "nmnist": Other(_nmnist, _read_nmnist, {"values": bin_values}),
    "gesture": Other(_gesture, _read_gesture, {**NPY_EDITS, "values": gesture_values}),
    "shd": Other(_shd, _read_shd, {"values": shd_values}),
    "picture": Other(_picture, _read_picture, {"format": picture_format, "size": picture_size}),
}
