"""Make Lava 0.10 run on Python 3.11 and newer and on their NumPy, without changing a file of Lava.

Eight dataclass fields of one module of Lava have a default that is an instance of another
dataclass. Such an instance has no hash, and since Python 3.11 a default without a hash is refused
as mutable. While that module is imported, its dataclasses are given a hash; nothing else changes.

Ports of Lava that change a message's shape name an argument of ``numpy.reshape`` as NumPy 2.1 and
newer do not; since NumPy 2.4 that is refused. Their two functions are replaced by equal ones.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

MODULE = "lava.magma.compiler.var_model"
PORTS = "lava.magma.core.process.ports.ports"
FIRST = (3, 11)  # first version that refuses defaults without a hash
OLDEST, NEWEST = (3, 10), (3, 13)  # newest version on which Lava was run


def prepare() -> None:
    """Make every module of Lava importable, and its ports work with this NumPy.

    Does nothing on older versions of Python and of NumPy.

    Raises:
        ImportError: Lava is not installed.
    """
    if sys.version_info >= FIRST and MODULE not in sys.modules:
        with _hashed(MODULE):
            importlib.import_module(MODULE)
    if "newshape" not in inspect.signature(np.reshape).parameters:
        _reshape_by_position(importlib.import_module(PORTS))


def _reshape_by_position(ports: Any) -> None:
    def forward(self: Any) -> functools.partial[Any]:
        return functools.partial(_reshaped, shape=self.shape)

    def backward(self: Any) -> functools.partial[Any]:
        return functools.partial(_reshaped, shape=self.old_shape)

    ports.ReshapePort.get_transform_func_fwd = forward
    ports.ReshapePort.get_transform_func_bwd = backward


def _reshaped(data: Any, shape: tuple[int, ...]) -> Any:
    return np.reshape(data, shape)


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
