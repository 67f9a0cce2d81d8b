"""Load kinds of nodes that are defined outside neuroport in a child process.

A child process knows the kinds that come with neuroport. For every other kind, the parent names the
module that defines it, its file, and the hash of the file when the network was checked. The child
executes only that file.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from neuroport.errors import GraphError, StorageError
from neuroport.graph.graph import Graph

OWN = __name__.partition(".")[0]


def foreign_modules(graph: Graph) -> dict[str, dict[str, str]]:
    """Return the modules that define foreign kinds of a graph: name -> ``path``, ``sha256``.

    Raises:
        GraphError: a kind is defined in the running script, or in no file.
    """
    found: dict[str, dict[str, str]] = {}
    for node in graph:
        name = type(node).__module__
        if name.partition(".")[0] == OWN or name in found:
            continue
        path = getattr(sys.modules.get(name), "__file__", None)
        if name == "__main__" or path is None:
            where = "in the script that runs" if name == "__main__" else "in no file"
            raise GraphError(
                f"{node.name}: its kind {node.kind} is defined {where}, which a child process must "
                "not run; put it into a module of its own and import it"
            )
        content = Path(path).read_bytes()
        found[name] = {"path": str(Path(path).resolve()), "sha256": _hash(content)}
    return found


def take_along(modules: dict[str, Any]) -> None:
    """Execute modules that :func:`foreign_modules` of another process named.

    Raises:
        StorageError: a file has changed.
    """
    for name, said in modules.items():
        if name in sys.modules:
            continue
        content = Path(said["path"]).read_bytes()
        if _hash(content) != said["sha256"]:
            raise StorageError(f"{said['path']}: changed after it was checked; run it again")
        module = ModuleType(name)
        module.__file__ = said["path"]
        sys.modules[name] = module
        exec(compile(content, said["path"], "exec"), module.__dict__)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
