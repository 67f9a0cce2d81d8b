"""HDF5 files that are sealed when written and read without trust.

Every file starts with a 512-byte user block (which HDF5 readers skip) that holds one line of text:
``neuroport-seal 1 <SHA-256 of everything after the block>``. A file whose seal holds is what was
written. Any other file, damaged, edited or foreign, is first read in a forked child, because the
HDF5 library can crash or hang on damage that it does not notice; only what the child survived is
read here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from neuroport.errors import FormatError, StorageError

T = TypeVar("T")
BLOCK = 512
SEAL = b"neuroport-seal 1 "
CHILD_SECONDS = 2.0
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError)


def image(fill: Callable[[h5py.File], None]) -> bytes:
    """Bytes of the sealed HDF5 file that ``fill(file)`` writes, in memory, for atomic writing."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=BLOCK) as file:
        fill(file)
    body = buffer.getvalue()[BLOCK:]
    seal = SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n"
    return seal.ljust(BLOCK, b"\0") + body


def read(path: str | os.PathLike[str], what: str, reader: Callable[[h5py.File], T]) -> T:
    """Open ``path`` and return ``reader(file)``.

    Args:
        what: what the file should be, for the error message.

    Raises:
        StorageError: no such file.
        FormatError: not HDF5, truncated, or whatever ``reader`` refuses.
    """
    name = os.fspath(path)
    if Path(name).is_dir():
        raise StorageError(f"{name}: is a folder; give the path of {what}")
    if not Path(name).is_file():
        raise StorageError(f"{name}: no such file; give the path of {what}")
    if not _sealed(name):
        _survive(name, what, reader)
    return _read(name, what, reader)


def _read(name: str, what: str, reader: Callable[[h5py.File], T]) -> T:
    try:
        with h5py.File(name, "r") as file:
            return reader(file)
    except _DAMAGE as error:
        said = " ".join(str(error).split())[:200]
        raise FormatError(
            f"{name}: not {what}, or truncated ({said}); write the file again"
        ) from error


def _sealed(name: str) -> bool:
    try:
        with open(name, "rb") as file:
            block = file.read(BLOCK)
            if not block.startswith(SEAL):
                return False
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise StorageError(f"{name}: cannot read ({error.strerror or error})") from error
    return block == (SEAL + digest.hexdigest().encode() + b"\n").ljust(BLOCK, b"\0")


def _survive(name: str, what: str, reader: Callable[[h5py.File], Any]) -> None:
    """Read an unsealed file in a child; raise what the child raised, or that it did not survive."""
    if not hasattr(os, "fork"):
        return
    incoming, outgoing = os.pipe()
    with warnings.catch_warnings():
        # the child only reads this file and ends: threads of the parent do not matter to it
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _report(name, what, reader, outgoing)
    os.close(outgoing)
    try:
        ready, _, _ = select.select([incoming], [], [], CHILD_SECONDS)
        said = b"".join(iter(lambda: os.read(incoming, 1 << 16), b"")) if ready else b""
    finally:
        os.close(incoming)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not said:
        raise FormatError(f"{name}: damaged beyond what HDF5 can read; write the file again")
    message = json.loads(said)
    if message is not None:
        raise FormatError(message)


def _report(name: str, what: str, reader: Callable[[h5py.File], Any], outgoing: int) -> None:
    """In the child: write null, or the message of the refusal, and end."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(CHILD_SECONDS) + 1)  # end alone, should the parent be gone by then
        with contextlib.suppress(Exception):  # leave no message of the HDF5 library behind
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            _read(name, what, reader)
            said = "null"
        except FormatError as error:
            said = json.dumps(error.message)
        os.write(outgoing, said.encode())
    finally:
        sys.stdout = sys.stderr = None
        os._exit(0)


def check_header(file: h5py.File, path: str | os.PathLike[str], format_: str, version: int) -> None:
    """Refuse files of another format or of a version this reader does not know."""
    found = text(file.attrs.get("format"))
    if found != format_:
        raise FormatError(
            f"{path}: format is {found!r}, expected {format_!r}; not a file of this kind"
        )
    number = file.attrs.get("version")
    if not isinstance(number, np.integer) or int(number) < 1:
        raise FormatError(f"{path}: version is {number!r}, expected a number; the file is damaged")
    if int(number) > version:
        raise FormatError(
            f"{path}: version {int(number)} is newer than {version}, the newest this neuroport "
            "reads; upgrade neuroport or write the file with an older one"
        )


def text(value: Any) -> str:
    """An attribute as text; empty where it is none."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def plain_array(
    group: h5py.Group, name: str, where: str, limit: int, kinds: str = "biu"
) -> npt.NDArray[Any]:
    """Read an array of numbers that really lies in this file; checked before memory is taken.

    Args:
        limit: size of the file in bytes; an unfiltered array cannot be larger.
        kinds: NumPy's kinds of numbers that are accepted.
    """
    data = _dataset(group, name, where)
    if data.dtype.kind not in kinds:
        wanted = "numbers" if "f" in kinds else "integers"
        raise FormatError(f"{where} is {data.dtype}, expected {wanted}")
    if data.chunks is not None or data.external is not None or data.is_virtual:
        raise FormatError(f"{where} must be stored contiguously in the file itself")
    if data.nbytes > limit or data.ndim > 5:
        raise FormatError(f"{where} of shape {data.shape} does not fit in the file")
    return np.asarray(data[()])


def plain_text(group: h5py.Group, name: str, where: str) -> str:
    """Read a dataset that holds one text, of fixed or variable length."""
    data = _dataset(group, name, where)
    if h5py.check_string_dtype(data.dtype) is None or data.size != 1 or data.dtype.itemsize > 1024:
        raise FormatError(f"{where} is {data.dtype} {data.shape}, expected one text")
    value = data[()]
    return text(value if data.shape == () else value.flat[0])


def _dataset(group: h5py.Group, name: str, where: str) -> h5py.Dataset:
    link = group.get(name, getlink=True)
    data = group.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset):
        raise FormatError(f"{where} is missing; write the file again")
    return data
