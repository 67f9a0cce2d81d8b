"""Imports go down the list of rooms only, and no files import each other in a circle.

A room is a package or a module directly below ``neuroport``. Imports inside functions count. Those
under ``TYPE_CHECKING`` do not: they name types for annotations and never run. ``import a.b`` counts
as an import of ``a.b``, not of the package ``a``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "neuroport"

# from the ground to the top; rooms of one line do not know each other
ROOMS = (
    ("deprecated", "errors", "processes", "version"),
    ("checks", "display", "files", "registry", "sandbox"),
    ("arguments", "hdf5"),  # of the public functions; files that are sealed
    ("graph",),  # nodes, bounds, arithmetic, storage
    ("runs", "lowering"),  # what engines take and give; passes from graph to graph
    ("targets", "kernels"),  # what networks run on, its rules; compiled neurons
    ("netx",),  # NetX files
    ("nets", "data"),  # layers and families; datasets
    ("capture",),  # from a network to a graph
    ("quantization", "recipe"),
    ("training", "backends"),  # what computes in engines
    ("engines",),  # their names and options; prepared networks
    ("analysis", "frontends"),  # frontends: files of other tools, whose cost is run on engines
    ("scale",),  # test sets over many processes and machines
    ("reporting", "plot"),  # pages and pictures
    ("",),  # the public face, whose names are imported on first use
    ("demo",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def module(path: Path) -> str:
    """``neuroport.graph.node`` of its file; a package is its ``__init__``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(name: str) -> str:
    return name.partition(".")[2].partition(".")[0]


def running(node: ast.AST) -> Iterator[ast.AST]:
    """``node`` and what is below it, but for what stands under ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from running(other)
        else:
            yield from running(child)


def imports(source: str) -> set[str]:
    """Modules of the package that a source imports anywhere."""
    found: set[str] = set()
    for node in running(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are banned"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in FILES else node.module or "")
    return {name for name in found if name in FILES}


IMPORTS = {name: imports(path.read_text()) - {name} for name, path in FILES.items()}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import neuroport.errors", {"neuroport.errors"}),
        ("from neuroport import hdf5 as h, Graph", {"neuroport.hdf5", "neuroport"}),
        ("def f():\n    from neuroport.graph.node import Lif", {"neuroport.graph.node"}),
        ("if TYPE_CHECKING:\n    import neuroport.cli\nelse:\n    import neuroport.files",
         {"neuroport.files"}),
        ("import numpy\nfrom os import path", set()),
    ],
)  # fmt: skip
def test_imports_are_found_wherever_they_run(source: str, expected: set[str]) -> None:
    assert imports(source) == expected


def test_every_file_stands_in_a_room() -> None:
    assert {room(name) for name in FILES} == set(FLOOR)


def test_no_file_imports_from_a_room_above_or_beside_its_own() -> None:
    wrong = [
        f"{name} -> {other}"
        for name, others in IMPORTS.items()
        for other in sorted(others)
        if room(name) != room(other) and FLOOR[room(other)] >= FLOOR[room(name)]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        order = list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert len(order) == len(FILES)
