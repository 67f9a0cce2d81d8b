"""Write checksummed HDF5 files, and read untrusted ones safely.

The HDF5 library can crash, hang or take all memory on a file that is damaged, or made to do so.
It therefore opens files in a child only, see :mod:`neuroport.sandbox`, with time and memory in
proportion to the file, and gives back plain values; from these the caller builds what it wants.

Every file starts with a 512-byte user block (which HDF5 readers skip) that holds one line of text:
``neuroport-seal 1 <SHA-256 of everything after the block>``. Anybody can write a right seal, so it
earns no trust; where processes cannot fork it keeps damaged files from the HDF5 library.
"""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from neuroport import sandbox
from neuroport.errors import FormatError, HashError, StorageError
from neuroport.files import ordinary
from neuroport.sandbox import Plain

T = TypeVar("T")
BLOCK = 512
SEAL = b"neuroport-seal 1 "
LFS = b"version https://git-lfs"
TEXT = 1 << 16  # characters of an attribute
# CPU time to read a file, and what each of its bytes adds: twice what files of many small nodes
# take on a processor that others use, too (2 microseconds a byte)
SECONDS = (1.0, 4e-6)
MEMORY = (96 << 20, 128)  # bytes of memory likewise


def writer(fill: Callable[[h5py.File], None]) -> Callable[[BinaryIO], None]:
    """Return a function that writes a checksummed HDF5 file, whose content ``fill(file)`` writes.

    Straight into the file, whose image may be as large as the network.
    """

    def write(file: BinaryIO) -> None:
        with h5py.File(file, "w", userblock_size=BLOCK) as content:
            fill(content)
        digest = hashlib.sha256()
        file.seek(BLOCK)
        while piece := file.read(1 << 20):
            digest.update(piece)
        file.seek(0)
        file.write((SEAL + digest.hexdigest().encode() + b"\n").ljust(BLOCK, b"\0"))

    return write


def read(
    path: str | os.PathLike[str],
    what: str,
    reader: Callable[[h5py.File], Plain],
    build: Callable[[Plain], T] = lambda content: content,
) -> T:
    """Open ``path`` and return ``build(reader(file))``.

    ``reader`` runs in a child, and so does ``build`` once, for what it costs is up to the file,
    too; then ``build`` runs here, on what came out of the child: text, numbers, lists, dicts and
    arrays (tuples arrive as lists).

    Args:
        what: what the file should be, for the error message.

    Raises:
        StorageError: no such file.
        FormatError: not HDF5, truncated, or whatever ``reader`` or ``build`` refuses.
    """
    name = ordinary(path, what)
    try:
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            beginning = file.read(len(LFS))
    except OSError as error:
        raise StorageError(f"{name}: cannot read ({error.strerror or error})") from error
    if beginning.startswith(LFS):
        raise FormatError(
            f"{name}: a pointer of Git LFS, not the file itself; fetch it where it was cloned: "
            "git lfs pull"
        )
    if not sandbox.AVAILABLE and not sealed(name):
        raise FormatError(
            f"{name}: damaged or edited since it was written, and here no process of its own can "
            "read it safely; write the file again"
        )
    return build(_content(name, size, what, reader, build))


def _content(
    name: str,
    size: int,
    what: str,
    reader: Callable[[h5py.File], Plain],
    build: Callable[[Plain], Any],
) -> Plain:
    """Return ``reader``'s result, after ``build`` has accepted it."""

    def work() -> Plain:
        try:
            with h5py.File(name, "r") as file:
                content = reader(file)
            build(content)
            return {"content": content}
        except FormatError as error:
            return {"hash": isinstance(error, HashError), "refused": error.message}
        except Exception as error:  # whatever it is that a reader trips over, the file is not good
            said = f"{name}: not {what}, or truncated ({short(error)}); write the file again"
            return {"hash": False, "refused": said}

    if not sandbox.AVAILABLE:
        answer = work()
    else:
        seconds, memory = (base + each * size for base, each in (SECONDS, MEMORY))
        try:
            answer = sandbox.call(work, seconds=seconds, memory=int(memory))
        except sandbox.LostError:
            raise FormatError(
                f"{name}: damaged beyond what HDF5 can read, or takes more time and memory than "
                "its size justifies; write the file again"
            ) from None
    if "refused" in answer:
        raise (HashError if answer["hash"] else FormatError)(answer["refused"])
    return answer["content"]


def sealed(name: str) -> bool:
    """Whether a file is, byte for byte, what :func:`write` wrote."""
    digest = hashlib.sha256()
    with open(name, "rb") as file:
        block = file.read(BLOCK)
        while piece := file.read(1 << 20):
            digest.update(piece)
    return block == (SEAL + digest.hexdigest().encode() + b"\n").ljust(BLOCK, b"\0")


def short(value: object) -> str:
    """Shorten a value from a file for a message: one printable line of limited length.

    Exceptions give what they say, anything else its ``repr``.
    """
    if isinstance(value, np.generic):
        value = value.item()  # NumPy 2 would print its type, too
    said = str(value) if isinstance(value, Exception) else reprlib.repr(value)
    said = "".join(c if c.isprintable() else "?" for c in " ".join(said.split()))
    return said if len(said) <= 200 else f"{said[:200]}..."


def check_header(file: h5py.File, path: str | os.PathLike[str], format_: str, version: int) -> None:
    """Refuse files of another format or of a version this reader does not know."""
    found = text(file.attrs.get("format"))
    if not found and isinstance(file.get("node"), h5py.Group):
        raise FormatError(f"{path}: looks like a file of NIR; neuroport import makes a graph of it")
    if found != format_:
        raise FormatError(
            f"{path}: format is {short(found)}, expected {format_!r}; not a file of this kind"
        )
    number = file.attrs.get("version")
    if not isinstance(number, np.integer) or int(number) < 1:
        raise FormatError(
            f"{path}: version is {short(number)}, expected a number; the file is damaged"
        )
    if int(number) > version:
        raise FormatError(
            f"{path}: version {int(number)} is newer than {version}, the newest this neuroport "
            "reads; upgrade neuroport or write the file with an older one"
        )


def text(value: Any) -> str:
    """Read an attribute as text; empty if it is missing, too long, or cannot be printed."""
    found = value.decode(errors="replace") if isinstance(value, bytes) else value
    good = isinstance(found, str) and len(found) <= TEXT and found.isprintable()
    return str(found) if good else ""


def writable(value: str, where: str) -> str:
    """The text itself, if :func:`text` will give it back."""
    if text(value) != value:
        raise StorageError(
            f"{where}: {short(value)} cannot be stored; texts are printable and end at {TEXT} "
            "characters: give shorter or plainer names"
        )
    return value


def plain_array(
    group: h5py.Group, name: str, where: str, limit: int, kinds: str = "biu"
) -> npt.NDArray[Any]:
    """Read an array of numbers that really lies in this file; checked before memory is taken.

    Args:
        limit: size of the file in bytes; an unfiltered array cannot be larger.
        kinds: NumPy's kinds of numbers that are accepted.
    """
    return np.asarray(_plain(group, name, where, limit, kinds)[()])


def located(
    group: h5py.Group, name: str, where: str, limit: int
) -> tuple[str, tuple[int, ...], int]:
    """Type, shape and place in the file, in bytes, of an array of integers that is not read."""
    data = _plain(group, name, where, limit, "biu")
    offset = data.id.get_offset()
    if offset is None or not 0 <= offset <= limit - data.nbytes:
        raise FormatError(f"{where} does not lie in one piece in the file; write the file again")
    return data.dtype.str, data.shape, int(offset)


def _plain(group: h5py.Group, name: str, where: str, limit: int, kinds: str) -> h5py.Dataset:
    """An array of numbers that really lies in this file, not yet read."""
    data = _dataset(group, name, where)
    if data.dtype.kind not in kinds:
        wanted = "numbers" if "f" in kinds else "integers"
        raise FormatError(f"{where} is {data.dtype}, expected {wanted}")
    if data.chunks is not None or data.external is not None or data.is_virtual:
        raise FormatError(
            f"{where} is compressed, chunked or elsewhere, and is read only where it lies in one "
            "piece in the file itself; rewrite it: h5repack -l CONTI old.net new.net"
        )
    if data.nbytes > limit or data.ndim > 5:
        raise FormatError(f"{where} of shape {data.shape} does not fit in the file")
    return data


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


def plain_tree(group: h5py.Group, where: str, limit: int, depth: int) -> dict[str, Plain]:
    """Everything in a group: numbers as arrays, texts, and groups, ``depth`` of them nested."""
    found: dict[str, Plain] = {}
    for name in group:
        here = f"{where}/{name}"
        link = group.get(name, getlink=True)
        member = group.get(name) if isinstance(link, h5py.HardLink) else None
        if isinstance(member, h5py.Group) and depth > 1:
            found[name] = plain_tree(member, here, limit, depth - 1)
        elif isinstance(member, h5py.Dataset) and h5py.check_string_dtype(member.dtype) is not None:
            found[name] = plain_text(group, name, here)
        else:
            found[name] = plain_array(group, name, here, limit, kinds="biuf")
    return found
