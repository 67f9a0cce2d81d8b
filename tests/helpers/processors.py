"""The compiled network with the instructions of other processors than this one."""

from __future__ import annotations

import ctypes
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

from neuroport.backends import compiled_network
from neuroport.kernels import compilation

# what a processor without 8-bit products that add up in 32 bits lacks of this one
OLDER = ("-march=native", "-mno-avx512vnni", "-mno-avxvnni")
AVX2 = ("-march=native", "-mno-avx512f", "-mno-avxvnni")


@cache
def network_for(*flags: str) -> ctypes.CDLL:
    """``network.c``, compiled with these flags in place of ``-march=native``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "there is no C compiler"
    rest = [flag for flag in compilation.FLAGS if not flag.startswith("-march")]
    return compilation.library([compiler], (*rest, *flags), (compilation.HERE / "network.c",))


@contextmanager
def instructions(*flags: str) -> Iterator[None]:
    """The fast engine as compiled with these flags; as it is where they mean nothing."""
    native = platform.machine() == "x86_64" and "-march=native" in compilation.FLAGS
    if compilation.kernels() is None or not native:
        yield
        return
    with patch.object(compiled_network, "kernels", lambda: network_for(*flags)):
        yield
