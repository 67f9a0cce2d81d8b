"""Compile the kernels once per compiler, processor and source; keep them in a cache folder."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from neuroport.errors import NeuroportError, StorageError
from neuroport.files import cache_folder, check_folder, write_atomic, written

HERE = Path(__file__).parent
HEADER = HERE / "kernel.h"
SOURCES = tuple(HERE / name for name in ("neuron.c", "normed.c", "network.c"))


class ArmLevel(NamedTuple):
    """Instructions of 64-bit ARM that :file:`network.c` has code for."""

    name: str
    architecture: str  # for -march
    hwcap: int = 0  # bits that Linux sets where the processor has them (asm/hwcap.h)
    hwcap2: int = 0


ARM_LEVELS = (  # best first
    ArmLevel("I8MM", "armv8.2-a+dotprod+i8mm", 1 << 20, 1 << 13),
    ArmLevel("dot product", "armv8.2-a+dotprod", 1 << 20),
    ArmLevel("NEON", "armv8-a"),
)
# the same for x86-64: flags of /proc/cpuinfo, and the name
X86_LEVELS = (
    (("avx512_vnni", "avx512bw"), "AVX-512 VNNI"),
    (("avx512bw",), "AVX-512"),
    (("avx_vnni",), "AVX-VNNI"),
    (("avx2",), "AVX2"),
)
AT_HWCAP, AT_HWCAP2 = 16, 26  # keys of getauxval


def arm_level() -> ArmLevel | None:
    """Return the best level of this processor; None if it is not a 64-bit ARM."""
    if platform.machine() not in ("aarch64", "arm64") or sys.maxsize < 1 << 32:
        return None
    if platform.system() == "Darwin":  # all of Apple's have dot products
        return next(level for level in ARM_LEVELS if level.name == "dot product")
    getauxval = getattr(ctypes.CDLL(None), "getauxval", None)
    if getauxval is None:  # not Linux: what every 64-bit ARM has
        return level_of(0, 0)
    getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    return level_of(getauxval(AT_HWCAP), getauxval(AT_HWCAP2))


def level_of(hwcap: int, hwcap2: int) -> ArmLevel:
    """Return the best level of a processor with these bits of HWCAP and HWCAP2."""
    return next(
        level for level in ARM_LEVELS if not (level.hwcap & ~hwcap or level.hwcap2 & ~hwcap2)
    )


def instructions() -> str:
    """Return the name of the best instructions that the kernels use on this processor."""
    if level := arm_level():
        return level.name
    flags = set(_processor().decode().split())
    names = (name for needed, name in X86_LEVELS if flags.issuperset(needed))
    return next(names, platform.machine())


def flags_for(architecture: str) -> tuple[str, ...]:
    """Return the compiler's flags for an architecture."""
    # no contraction: a multiply-add is fused where torch fuses it and nowhere else
    return ("-O3", f"-march={architecture}", "-ffp-contract=off", "-fno-math-errno", "-fPIC")


_LEVEL = arm_level()
# on ARM a level and nothing else that the processor has: this is what the tests emulate
FLAGS = flags_for(_LEVEL.architecture if _LEVEL else "native")
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
SECONDS = 300  # normally it takes a few; the limit also allows for a busy machine

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_FLOAT, _DOUBLE = ctypes.c_float, ctypes.c_double
SIGNATURES = {
    "real_forward": [_POINTER] * 3 + [_LONG] * 2 + [_FLOAT] * 3,
    "integer_forward": [_POINTER] * 4 + [_LONG] * 5 + [_INT],
    "integer_backward": [_POINTER] * 5
    + [_LONG] * 5
    + [_INT]
    + [_FLOAT] * 3
    + [_INT]
    + [_FLOAT] * 2
    + [_INT],
    "backward": [_POINTER] * 5 + [_LONG] * 2 + [_FLOAT] * 4 + [_INT] + [_FLOAT] * 2 + [_INT],
    "snap": [_POINTER] * 3 + [_LONG] * 3 + [_FLOAT] * 2,
    "snap_backward": [_POINTER] * 3 + [_LONG] * 3 + [_FLOAT],
    "relay": [_POINTER] * 2 + [_LONG, _INT],
    "network": [_POINTER, _LONG, _POINTER, _POINTER] + [_LONG] * 4,
    "network_lanes": [],
    "network_largest_byte": [],
    "norm_statistics": [_POINTER] * 6 + [_LONG] * 4 + [_DOUBLE] * 2 + [_INT],
    "norm_apply": [_POINTER] * 6 + [_LONG] * 3,
    "norm_sums": [_POINTER] * 4 + [_LONG] * 4,
    "norm_gradient": [_POINTER] * 6 + [_LONG] * 3,
    "levels_forward": [_POINTER] * 5 + [_LONG] * 4 + [_FLOAT] * 2 + [_POINTER, _INT],
    "stream_forward": [_POINTER] * 7 + [_LONG] * 4 + [_FLOAT] * 2,
    "stream_backward": [_POINTER] * 7 + [_LONG] * 4 + [_FLOAT, _INT, _FLOAT, _INT],
    "levels_backward": [_POINTER] * 7 + [_LONG] * 4 + [_FLOAT] * 2 + [_INT, _POINTER, _INT, _INT],
}
NUMBERS = ("network_lanes", "network_largest_byte")  # functions that return an integer

_plain = False


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Context in which every neuron takes the plain path."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def kernels(*, with_torch: bool = True) -> ctypes.CDLL | None:
    """Return the compiled kernels, or ``None`` if the plain path must run (:func:`why_plain`).

    Args:
        with_torch: False in a process that never imports torch, because the import takes seconds.
            If torch were imported later, two OpenMP libraries would conflict.
    """
    found = switched_off() or _load(with_torch)
    return None if isinstance(found, str) else found


def why_plain() -> str | None:
    """Return why there are no compiled kernels, and how to get them; ``None`` if there are."""
    found = switched_off() or _load()
    return found if isinstance(found, str) else None


def switched_off() -> str | None:
    """Return why kernels are switched off, on every device; ``None`` if they are not."""
    if _plain:
        return "switched off for this call"
    if os.environ.get("NEUROPORT_KERNELS", "").lower() in ("off", "0"):
        return "NEUROPORT_KERNELS is off; unset it"
    return None


@cache
def _load(with_torch: bool = True) -> ctypes.CDLL | str:
    if with_torch:
        import torch  # noqa: F401  torch's OpenMP has to be there before a library that uses it

    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return "no C compiler was found; install gcc, or name one in CC"
    try:
        if not with_torch:  # which would have loaded its own OpenMP library
            ctypes.CDLL("libgomp.so.1", ctypes.RTLD_GLOBAL)
        return library(compiler.split())
    except (OSError, subprocess.SubprocessError, NeuroportError) as error:
        return f"{compiler} did not compile the kernels ({_told(error)})"


def library(
    compiler: list[str], flags: tuple[str, ...] = FLAGS, sources: tuple[Path, ...] = SOURCES
) -> ctypes.CDLL:
    """Return the kernels of some sources, compiled if they are not in the cache.

    Raises:
        OSError, subprocess.SubprocessError: they cannot be compiled or loaded.
    """
    found = ctypes.CDLL(str(_compiled(compiler, flags, sources)))
    for name, types in SIGNATURES.items():
        if hasattr(found, name):
            function = getattr(found, name)
            function.argtypes = types
            function.restype = _LONG if name in NUMBERS else None
    return found


def _compiled(compiler: list[str], flags: tuple[str, ...], sources: tuple[Path, ...]) -> Path:
    """Return the shared library, from the cache or compiled into it."""
    version = subprocess.run(
        [*compiler, "--version"], capture_output=True, check=True, timeout=SECONDS
    ).stdout
    about = (
        *(source.read_bytes() for source in (HEADER, *sources)),
        version,
        repr((*compiler, *flags)).encode(),
        _processor(),
    )
    key = hashlib.sha256(b"\0".join(about)).hexdigest()[:32]
    try:
        folder = _own_folder()
    except (OSError, StorageError) as error:
        _say_once(str(error))
        return _made_for_now(compiler, flags, sources)
    target = folder / f"neuron-{key}.so"
    if not _is_sound(target):
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as making:
            library = _made(compiler, flags, sources, making).read_bytes()
            write_atomic(target, sealed(library), mode=0o600)
        written.remove(target)  # a cached file is not something that the user asked for
    return target


def _own_folder() -> Path:
    """Return the cache folder, which only this user may write, because its libraries are executed.

    Raises:
        OSError, StorageError: it belongs to another user, or cannot be written.
    """
    folder = cache_folder() / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise StorageError(f"{folder} belongs to another user")
    if found.st_mode & OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS_WRITE)
    return check_folder(folder)


def _is_sound(path: Path) -> bool:
    """Return whether a library exists, belongs only to this user, and is complete."""
    try:
        found = path.lstat()
        good = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not good or found.st_mode & OTHERS_WRITE:
            return False
        content = path.read_bytes()
    except OSError:
        return False
    return content == sealed(content[: -len(sealed(b""))])


def sealed(library: bytes) -> bytes:
    """Return the library with its SHA-256 appended, where no loader looks."""
    return library + b"neuroport" + hashlib.sha256(library).digest()


def _made_for_now(compiler: list[str], flags: tuple[str, ...], sources: tuple[Path, ...]) -> Path:
    """Return a library for this process, in a folder that is removed when the process ends."""
    making = tempfile.mkdtemp(prefix="neuroport-kernels-")
    atexit.register(shutil.rmtree, making, ignore_errors=True)
    return _made(compiler, flags, sources, making)


def _made(
    compiler: list[str], flags: tuple[str, ...], sources: tuple[Path, ...], folder: str
) -> Path:
    """Compile the library in a folder, and check that it loads."""
    made = Path(folder) / "neuron.so"
    # linked without an OpenMP runtime of its own: it shares the one that torch has loaded
    objects = {f"{folder}/{source.stem}.o": str(source) for source in sources}
    steps = [
        [*compiler, *flags, "-fopenmp", "-c", source, "-o", made_of]
        for made_of, source in objects.items()
    ]
    for command in (*steps, [*compiler, "-shared", *objects, "-o", str(made), "-lm"]):
        subprocess.run(command, capture_output=True, check=True, timeout=SECONDS)
    ctypes.CDLL(str(made))  # a library that cannot be loaded is not kept
    return made


@cache
def _say_once(why: str) -> None:
    warnings.warn(
        f"compiled kernels are not kept between runs: {why}; name a folder of your own in "
        "XDG_CACHE_HOME",
        stacklevel=2,
    )


def _processor() -> bytes:
    """Return the processor description on which ``-march=native`` depends."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line.encode()
    return f"{platform.machine()} {platform.processor()} {platform.node()}".encode()


def _told(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    lines = said.decode(errors="replace").strip().splitlines() if said else [str(error)]
    return lines[-1] if lines else type(error).__name__
