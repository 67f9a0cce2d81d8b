"""Check for Lava's simulator in the running Python, and say how to install it, and lava-dl.

Lava 0.10 and lava-dl 0.6 declare Python 3.10 and their dependencies' versions of that time, so pip
refuses them on a newer Python, where Lava and SLAYER run
(:mod:`neuroport.backends.lava_cpu.newer_python`). There each wheel is installed alone, by version
and hash, and beside it the packages that it imports, in whichever version pip picks.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from neuroport.backends.lava_cpu.newer_python import FIRST, NEWEST, OLDEST
from neuroport.errors import BackendError


@dataclass(frozen=True)
class Package:
    """A package of Lava: its wheel as a line of requirements, and what it imports."""

    wheel: str
    imports: tuple[str, ...]

    @property
    def pinned(self) -> str:
        """Name and version, as pip takes them."""
        return self.wheel.split()[0]


PACKAGES = {
    "lava": Package(
        "lava-nc==0.10.0 "
        "--hash=sha256:d646723e888a72868dac77d31beee3eef1f540366a8c1a8578a2dc3302470926",
        ("asteval", "networkx", "numpy", "scipy"),
    ),
    "lava-dl": Package(
        "lava-dl==0.6.0 "
        "--hash=sha256:bcb448f2bb85dc0da4b4dbbbae16543d2a978c1da7279acc522ad621fc68c437",
        ("h5py", "matplotlib", "opencv-python-headless", "pillow", "torch", "torchvision"),
    ),
}
Version = tuple[int, int, int]
COMMAND = "neuroport backends --install lava"


def unsupported(version: Version) -> str | None:
    """Return why Lava does not run on this Python version; None if it was tested and runs."""
    if OLDEST <= version[:2] <= NEWEST:
        return None
    oldest, newest = (".".join(map(str, bound)) for bound in (OLDEST, NEWEST))
    return (
        f"Lava was run on Python {oldest} to {newest}, this is {'.'.join(map(str, version[:3]))}; "
        f"use one of those"
    )


def missing() -> str | None:
    """Return why Lava does not run here, and how to install it; None if it runs."""
    reason = unsupported(sys.version_info[:3])
    if reason is not None:
        return reason
    try:
        module = find_spec("lava.magma.core.run_configs")
    except ModuleNotFoundError:
        module = None
    return f"Lava is not installed; install it with: {COMMAND}" if module is None else None


def commands(name: str, version: Version, requirements: str) -> Iterator[list[str]]:
    """Return the commands that install a package; ``requirements`` is a file with its wheel."""
    package = PACKAGES[name]
    pip = [sys.executable, "-m", "pip", "install"]
    if version[:2] < FIRST:
        yield [*pip, "--require-hashes", "--no-deps", "-r", requirements]
        yield [*pip, package.pinned]  # what it declares
        return
    yield [*pip, *package.imports]
    yield [
        *pip,
        *("--ignore-requires-python", "--no-deps", "--require-hashes"),
        *("-r", requirements),
    ]


def shown(name: str = "lava") -> list[str]:
    """Return the commands as a user would type them, with the content of the requirements file."""
    file = f"{name}.txt"
    typed = [shlex.join(command) for command in commands(name, sys.version_info[:3], file)]
    return [f"{file}: {PACKAGES[name].wheel}", *typed]


def install(name: str = "lava") -> None:
    """Install a package of :data:`PACKAGES` into the running Python.

    Raises:
        BackendError: Lava does not run on this Python, or pip failed; pip has printed the reason.
    """
    reason = unsupported(sys.version_info[:3])
    if reason is not None:
        raise BackendError(reason)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, f"{name}.txt")
        requirements.write_text(f"{PACKAGES[name].wheel}\n")
        for command in commands(name, sys.version_info[:3], str(requirements)):
            # Python imports from the directory in which it runs pip: here, no module lies there
            done = subprocess.run(command, cwd=folder)
            if done.returncode:
                raise BackendError(
                    f"{shlex.join(command)} ended with exit code {done.returncode}; {name} is "
                    "not installed: see what pip printed"
                )
