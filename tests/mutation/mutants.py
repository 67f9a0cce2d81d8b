"""The mutants of a module: made by cosmic-ray, in memory; no file is ever changed."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB


@dataclass(frozen=True)
class Mutant:
    """One change of one module; ``excluded`` says why it cannot matter."""

    module: str
    line: int
    operator: str
    source: str
    before: str
    after: str
    excluded: str

    def to_dict(self) -> dict[str, str]:
        """Where and what, for JSON."""
        place = f"{self.module}:{self.line}"
        return {"at": place, "operator": self.operator, "before": self.before, "after": self.after}


def mutants(module: str, session: Path) -> Iterator[Mutant]:
    """All mutants of a module; ``session`` is a file for cosmic-ray's database."""
    original = Path(module).read_text()
    meaning = _meaning(original)
    work = WorkDB(session, WorkDB.Mode.create)
    try:
        init([Path(module)], work, {})
        for item in work.work_items:
            (made,) = item.mutations
            source = mutate_code(original, get_operator(made.operator_name)(), made.occurrence)
            if source is None or source == original:
                continue
            before, after = _changed(original, source)
            line = made.start_pos[0]
            excluded = ""
            if "TYPE_CHECKING" in before:
                excluded = "TYPE_CHECKING"
            elif _meaning(source) == meaning:
                excluded = "annotation"
            name = made.operator_name.removeprefix("core/")
            yield Mutant(module, line, name, source, before, after, excluded)
    finally:
        work.close()


def _changed(original: str, source: str) -> tuple[str, str]:
    """The lines that a change removes and those that it adds, without their indent."""
    lines = list(difflib.unified_diff(original.splitlines(), source.splitlines(), n=0))[2:]
    parts = [[line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+"]
    return "\n".join(parts[0]), "\n".join(parts[1])


def _meaning(source: str) -> str | None:
    """The syntax tree without annotations; None where the source is not Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, ast.Constant(None))
    return ast.dump(tree)
