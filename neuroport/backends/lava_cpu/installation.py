"""Check for Lava's simulator in the running Python, and say how to install it.

Lava 0.10 declares Python 3.10 and old versions of its dependencies. pip therefore refuses it on a
newer Python, although it runs there (:mod:`neuroport.backends.lava_cpu.newer_python`). On such
versions its wheel is installed without dependencies, by version and hash, together with the
packages that its simulator imports.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from neuroport.backends.lava_cpu.newer_python import FIRST, NEWEST, OLDEST
from neuroport.errors import BackendError

WHEEL = (
    "lava-nc==0.10.0 --hash=sha256:d646723e888a72868dac77d31beee3eef1f540366a8c1a8578a2dc3302470926"
)
IMPORTED = (
    "asteval",
    "networkx",
    "numpy",
    "scipy",
)  # packages that the simulator imports; pip chooses their versions
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


def commands(version: Version, requirements: str) -> Iterator[list[str]]:
    """Return the commands that install Lava; ``requirements`` is a file with :data:`WHEEL`."""
    pip = [sys.executable, "-m", "pip", "install"]
    if version[:2] < FIRST:
        yield [*pip, "--require-hashes", "--no-deps", "-r", requirements]
        yield [*pip, "lava-nc==0.10.0"]  # the version that it declares
        return
    yield [*pip, *IMPORTED]
    yield [
        *pip,
        *("--ignore-requires-python", "--no-deps", "--require-hashes"),
        *("-r", requirements),
    ]


def shown() -> list[str]:
    """Return the commands as a user would type them, with the content of the requirements file."""
    told = [shlex.join(command) for command in commands(sys.version_info[:3], "lava.txt")]
    return [f"lava.txt: {WHEEL}", *told]


def install() -> None:
    """Install Lava into the running Python.

    Raises:
        BackendError: Lava does not run on this Python, or pip failed; pip has printed the reason.
    """
    reason = unsupported(sys.version_info[:3])
    if reason is not None:
        raise BackendError(reason)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "lava.txt")
        requirements.write_text(f"{WHEEL}\n")
        for command in commands(sys.version_info[:3], str(requirements)):
            done = subprocess.run(command)
            if done.returncode:
                raise BackendError(
                    f"{shlex.join(command)} ended with exit code {done.returncode}; Lava is not "
                    "installed: see what pip printed"
                )
