"""Run tests on a mutant: in a fork of this process, with the mutant's source imported instead.

A fork has pytest, NumPy and torch loaded already, so that a mutant costs fractions of a second.
Only processor time is limited: a loaded machine kills no mutant.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import resource
import signal
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType

QUIET = ("-x", "-q", "--tb=no", "--assert=plain", "--noconftest", "-p", "no:cacheprovider")
MEMORY = 8 << 30
HUNG = 1800  # seconds of wall time after which even a process that waits is ended


class Instead(SourceFileLoader):
    """Imports a module from a mutant's source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


def load() -> None:
    """Import what every trial needs, and nothing of the package."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in ("h5py", "hypothesis", "numpy", "pytest", "torch"):
        importlib.import_module(name)
    gc.freeze()  # a fork would look through, and so copy, all that was imported
    assert not [name for name in sys.modules if name.partition(".")[0] == "neuroport"]


def start(module: str, source: str, tests: list[str], seconds: float) -> int:
    """Begin to test ``source`` in place of the file ``module``; the id of the process."""
    child = os.fork()
    if child:
        return child
    code = 70  # a failure of this harness
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        signal.alarm(HUNG)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        name = module.removesuffix(".py").replace("/", ".")
        sys.meta_path.insert(0, Instead(name, str(Path(module).resolve()), source))  # type: ignore[arg-type]
        code = _verdict(tests)
    finally:
        os._exit(code)


def _verdict(tests: list[str]) -> int:
    """0: all tests pass; 1: one fails or cannot be imported; other: pytest found no tests."""
    import pytest

    for path in tests:
        code = int(pytest.main([*QUIET, path]))
        if code:
            return (
                1 if code in (1, 2, 3) else code
            )  # 2 and 3: an import failed, or pytest's own end
    return 0


def outcome(status: int) -> str:
    """What a wait status says.

    Raises:
        RuntimeError: the tests could not be run.
    """
    if os.WIFSIGNALED(status):
        return "killed by its time or memory limit"
    code = os.WEXITSTATUS(status)
    if code not in (0, 1):
        raise RuntimeError(f"pytest ended with {code}; no test was run")
    return "killed" if code else "survived"
