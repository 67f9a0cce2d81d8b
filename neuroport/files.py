"""Write files atomically, and read files without trusting them.

Everything that neuroport stores goes through :func:`write_atomic`. It reads ordinary files only,
and of each no more than it needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from neuroport.errors import FormatError, NeuroportError, StorageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import numpy.typing as npt

MOST_BYTES = 64 << 20  # of a file that is read as a whole
MOST_TOML = 256 << 10  # recipes, targets and sites have some kilobytes
DEEPEST = 32  # tables and lists in one another
LARGEST = 1 << 256  # larger numbers have too many digits for a message

# suffix -> what a file of that name is, and the command that writes it
FORMATS = {
    ".graph": ("a graph", "lower"),
    ".net": ("a NetX file", "export"),
    ".nir": ("a NIR file", "export"),
    ".trace": ("a trace", "run"),
    ".npy": ("an array", "frames"),
    ".json": ("JSON", ""),
    ".html": ("a page", "report"),
    ".toml": ("TOML", ""),
    ".safetensors": ("weights", "train"),
}

STREAMS = ("/dev/std", "/dev/fd/", "/proc/")  # names of what a process has open

written: list[Path] = []  # by this process; an interrupted command lists them


def place(path: str | os.PathLike[str]) -> str:
    """The path as text.

    Raises:
        StorageError: it is none: another object, empty, or no name that a system knows.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise StorageError(f"{path!r:.200} is not a path; give a string or a pathlib.Path")
    name = os.fspath(path)
    if not isinstance(name, str):
        raise StorageError(f"{name!r:.200} is a path of bytes; give os.fsdecode(path)")
    if not name or "\0" in name:
        raise StorageError(f"{name!r:.200} names no file; give the path of one")
    return name


def ordinary(path: str | os.PathLike[str], wanted: str = "a file") -> str:
    """The path as text, of an ordinary file: not a folder, and nothing that could be endless.

    Raises:
        StorageError: it is missing, or is a folder, a pipe, a device or a socket.
    """
    name = place(path)
    try:
        kind = os.stat(name).st_mode
    except FileNotFoundError:
        raise StorageError(f"{name}: no such file; give the path of {wanted}") from None
    except OSError as error:
        raise StorageError(f"{name}: cannot read ({error.strerror or error})") from error
    if not stat.S_ISREG(kind):
        raise StorageError(f"{name}: is {_kind(kind)}; give the path of {wanted}")
    return name


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe, which is read once and may never end",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no ordinary file")


def _written(path: str | os.PathLike[str]) -> Path:
    """The file that is written: that which a symbolic link names, so that the link stays.

    Raises:
        StorageError: it is a stream of this process, or its name is no text.
    """
    name = place(path)
    if os.path.abspath(name).startswith(STREAMS):
        raise StorageError(f"{name}: is a stream of a process; give the name of a file")
    target = Path(os.path.realpath(name)) if os.path.islink(name) else Path(name)
    _refuse_bytes(name, target.name)
    return target


def _refuse_bytes(path: str, name: str) -> None:
    """Refuse a path with a ``name`` that is no UTF-8; Python has such bytes as half characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise StorageError(
            f"{path}: cannot write, {os.fsencode(name)!r} is not UTF-8; choose another name"
        ) from None


def write_atomic(
    path: str | os.PathLike[str],
    content: bytes | str | Callable[[BinaryIO], None],
    mode: int = 0o666,
) -> Path:
    """Write a whole file or leave what was there: temporary file, fsync, rename.

    Of a symbolic link, the file that it names is replaced. Content too large to be held in memory
    is a function that fills the open file. ``mode`` is what the file permits, less what the user's
    umask takes away. What writers of the same file left behind when they were killed is removed.

    Raises:
        StorageError: the folder cannot be made, the disk is full, or the name is not UTF-8; the old
            file is untouched.
    """
    target = _written(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    _refuse_special(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{_prefix(target.name)}{os.getpid()}-"
        handle, temporary = tempfile.mkstemp(prefix=prefix, dir=target.parent)
        with os.fdopen(handle, "w+b") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise StorageError(
            f"{target}: cannot write ({error.strerror or error}); "
            "nothing was changed: free space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    written.append(Path(place(path)))
    _remove_left_behind(target)
    return Path(place(path))


def cache_folder() -> Path:
    """Return the folder of cached results between runs: ``$XDG_CACHE_HOME/neuroport``.

    Raises:
        StorageError: the user has no home folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or expanded("~/.cache")) / "neuroport"


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` replaced by the user's home folder.

    Raises:
        StorageError: the user has none.
    """
    try:
        return Path(place(path)).expanduser()
    except RuntimeError as error:
        raise StorageError(
            f"{path}: no home folder is known here; set HOME, or XDG_CACHE_HOME for what is kept "
            "between runs, or give a path without '~'"
        ) from error


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Refuse, before there is anything to write, a folder that cannot be made or written to.

    Raises:
        StorageError: a file lies where the folder or one of its parents should be, nothing can be
            written there, or a name is not UTF-8, so that libraries could not read what was
            written.
    """
    name = place(path)
    _refuse_bytes(name, name)
    return _writable(Path(name))


def _writable(folder: Path) -> Path:
    """The same folder; raises as :func:`check_folder`, but for names."""
    try:
        for part in (folder, *folder.parents):
            if part.is_dir():
                with tempfile.TemporaryFile(dir=part):  # what the system permits, it alone knows
                    return folder
            if os.path.lexists(part):
                raise StorageError(
                    f"{folder}: {part} is a file where a folder is needed; "
                    "choose another folder or move the file away"
                )
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot write ({error.strerror or error}); choose another folder"
        ) from error
    return folder


def check_file(path: str | os.PathLike[str]) -> Path:
    """Refuse, before there is anything to write, a file that :func:`write_atomic` could not write.

    Raises:
        StorageError: a folder or a device lies there, nothing can be written beside it, or its name
            is not UTF-8.
    """
    target = _written(path)
    _refuse_special(target)
    try:
        _writable(target.parent)
    except StorageError as error:
        raise StorageError(f"{target}: cannot write; {error.message}") from error
    return Path(place(path))


def check_name(path: str | os.PathLike[str], what: str, *suffixes: str) -> None:
    """Refuse, for a file that holds ``what``, the name of another format.

    Args:
        suffixes: those of ``FORMATS`` that it may have; any that is not there is permitted, too.

    Raises:
        StorageError: names the file and a right name.
    """
    file = Path(place(path))
    suffix = file.suffix.lower()
    if suffix not in FORMATS or suffix in suffixes:
        return
    named, verb = FORMATS[suffix]
    cure = f"; neuroport {verb} writes {named}" if verb else ""
    raise StorageError(
        f"{file} is the name of {named}, and {what} is written; name it "
        f"{file.with_suffix(suffixes[0])}{cure}"
    )


def _refuse_special(target: Path) -> None:
    """Refuse what a new file would replace and must not: a folder, a device, a pipe."""
    try:
        kind = os.stat(target).st_mode
    except (FileNotFoundError, NotADirectoryError):  # others report a folder that does not exist
        return
    except OSError as error:
        raise StorageError(
            f"{target}: cannot write ({error.strerror or error}); choose another name"
        ) from error
    if not stat.S_ISREG(kind):
        raise StorageError(f"{target}: cannot write, {_kind(kind)} is there; choose another name")


def _prefix(name: str) -> str:
    """Return the prefix of temporary files of ``name``; an ID of a process on this machine follows.

    The name itself may be as long as the file system allows, so that its hash stands for it.
    """
    place = platform.node()
    with contextlib.suppress(OSError):  # containers number their processes themselves
        place += os.readlink("/proc/self/ns/pid")
    return f".neuroport-{hashlib.sha256(f'{place}/{name}'.encode()).hexdigest()[:16]}-"


def _remove_left_behind(target: Path) -> None:
    """Remove temporary files of ``target`` whose writers are gone."""
    if os.name != "posix":  # no way to ask for a process without ending it
        return
    with contextlib.suppress(OSError, OverflowError):
        for path in target.parent.glob(f"{_prefix(target.name)}*"):
            pid = path.name.split("-")[2]
            if pid.isdecimal() and not _lives(int(pid)):
                path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically."""
    return write_atomic(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON; a missing or broken file is an error that names it."""
    return parse_json(read_bytes(path), os.fspath(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text from anywhere.

    Raises:
        FormatError: it is none, or nested deeper and larger in its numbers than any of use.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON ({_why(error)}); write it again") from error
    _check_plain(value, where, FormatError)
    return value


def read_text(path: str | os.PathLike[str], error: type[NeuroportError], what: str) -> str:
    """The text of a TOML file, which is ``what``, such as ``a recipe``.

    Raises:
        StorageError: it is missing, unreadable, or far too large.
        NeuroportError: ``error``, where it is no text.
    """
    try:
        return read_bytes(path, MOST_TOML).decode()
    except UnicodeDecodeError as wrong:
        raise error(f"{path}: not text ({wrong.reason}); {what} is a TOML file") from wrong


def parse_toml(text: str, where: str, error: type[NeuroportError]) -> dict[str, Any]:
    """The table of a TOML text from anywhere; ``error`` is raised where it is none."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise error(f"{where}: not TOML ({_why(wrong)}); correct that line") from wrong
    _check_plain(table, where, error)
    return table


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _check_plain(value: Any, where: str, error: type[NeuroportError]) -> None:
    """Refuse values that no message could tell: nested without end, numbers of a thousand digits.

    Raises:
        NeuroportError: ``error``.
    """
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise error(f"{where}: nested more than {DEEPEST} deep; nothing here is")
        below: list[Any] = []
        for each in level:
            if isinstance(each, int) and abs(each) >= LARGEST:
                raise error(f"{where}: holds an integer of {each.bit_length()} bits; none is used")
            below.extend(
                each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
            )
        level, depth = below, depth + 1


def read_array(path: str | os.PathLike[str], what: str, shape: str = "") -> npt.NDArray[Any]:
    """The numbers in a ``.npy`` file, mapped: what is not used is not read. No pickles.

    ``what`` they are, and their ``shape``, are for messages.

    Raises:
        StorageError: no such file.
        FormatError: it is not an array of numbers.
    """
    import numpy as np

    name = ordinary(path, f"{what}, a .npy array {shape}".rstrip())
    try:
        # mapped first: a header that promises more than the file holds takes no memory
        array = np.load(name, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy parses the header as a Python expression
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise FormatError(
            f"{name}: not a .npy array ({said}); save {what} with numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        raise FormatError(f"{name}: an archive, not one array; save {what} with numpy.save")
    if array.dtype.kind not in "biuf":
        raise FormatError(f"{name}: {array.dtype!s:.100}, not integers; save {what} as such")
    return array


def read_bytes(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The content of an ordinary file.

    Raises:
        StorageError: it is missing, unreadable, no ordinary file, or larger than ``most`` bytes.
    """
    name = ordinary(path)
    try:
        with open(name, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise StorageError(f"{name}: cannot read ({error.strerror or error})") from error
    if len(content) > most:
        raise StorageError(f"{name}: more than {most:,} bytes, which no file of its kind has")
    return content
