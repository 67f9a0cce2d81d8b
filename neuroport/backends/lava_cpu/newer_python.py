"""Make Lava 0.10 importable on Python 3.11 and newer, without changing a file of Lava.

Eight dataclass fields of one module of Lava have a default that is an instance of another
dataclass. Such an instance has no hash, and since Python 3.11 a default without a hash is refused
as mutable. While that module is imported, its dataclasses are given a hash; nothing else changes.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MODULE = "lava.magma.compiler.var_model"
FIRST = (3, 11)  # first version that refuses defaults without a hash
OLDEST, NEWEST = (3, 10), (3, 13)  # newest version on which Lava was run


def prepare() -> None:
    """Make every module of Lava importable; does nothing on older versions of Python.

    Raises:
        ImportError: Lava is not installed.
    """
    if sys.version_info < FIRST or MODULE in sys.modules:
        return
    with _hashed(MODULE):
        importlib.import_module(MODULE)


@contextmanager
def _hashed(module: str) -> Iterator[None]:
    """Context in which dataclasses of ``module`` get a hash of their fields; others do not."""
    plain: Any = dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        def made(cls: type) -> Any:
            if cls.__module__ == module:
                options.setdefault("unsafe_hash", True)
            return plain(cls, **options)

        return made if cls is None else made(cls)

    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = plain
