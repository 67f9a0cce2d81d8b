"""Files that are never half written: all that neuroport stores goes through ``write_atomic``."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from neuroport.errors import FormatError, StorageError


def write_atomic(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a whole file or leave what was there: temporary file, fsync, rename.

    Raises:
        StorageError: the folder cannot be made, or the disk is full; the old file is untouched.
    """
    target = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".neuroport-", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
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
    return target


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
