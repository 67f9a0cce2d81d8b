"""Files that are never half written: all that neuroport stores goes through ``write_atomic``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from neuroport.errors import FormatError, StorageError

written: list[Path] = []  # by this process; what an interrupted command has to tell


def write_atomic(
    path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], None]
) -> Path:
    """Write a whole file or leave what was there: temporary file, fsync, rename.

    Content too large to be held in memory is a function that fills the open file.
    What writers of the same file left behind when they were killed is removed.

    Raises:
        StorageError: the folder cannot be made, or the disk is full; the old file is untouched.
    """
    target = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
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
        os.chmod(temporary, 0o666 & ~_umask())
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
    written.append(target)
    _remove_left_behind(target)
    return target


def cache_folder() -> Path:
    """Where what can be made again is kept between runs: ``$XDG_CACHE_HOME/neuroport``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuroport"


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuse, before there is anything to write, a folder that cannot be made.

    Raises:
        StorageError: a file lies where the folder or one of its parents should be.
    """
    folder = Path(path)
    for part in (folder, *folder.parents):
        if part.is_dir():
            return
        if os.path.lexists(part):
            raise StorageError(
                f"{folder}: {part} is a file where a folder is needed; "
                "choose another folder or move the file away"
            )


def _prefix(name: str) -> str:
    """How the temporary files of ``name`` begin; a process ID follows, which counts here only.

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
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise FormatError(f"{path}: not JSON ({error}); write it again") from error


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file.

    Raises:
        StorageError: it is missing or unreadable.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot read ({error.strerror or error})") from error
