"""Runs the code of a page of ``docs`` as a reader would, from top to bottom.

A block ``python`` is executed; a block ``text`` behind it is what it prints, where ``...`` stands
for anything. A block with a title is a file that the reader writes; a ``pyproject.toml`` among them
is installed. A block ``sh`` is commands of ``neuroport``; ``# exit 1`` at the end of a command is
the exit code of one that is meant to fail.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import re
import shlex
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroport.files import parse_toml
from tests.helpers.distribution import distribution

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page that name a language."""
    text = page.read_text()
    return [
        Block(m["language"], m["title"], m["code"], text.count("\n", 0, m.start()) + 1)
        for m in FENCE.finditer(text)
    ]


def has_code(page: Path) -> bool:
    """Whether a page shows something that can be run."""
    return any(block.language in ("python", "sh", "toml") for block in blocks(page))


class Reader:
    """Follows a page in a folder of its own.

    Args:
        folder: the working folder; ``models`` of the repository is in it.
        call: runs a command of neuroport, as the fixture ``called``.
    """

    def __init__(self, page: Path, folder: Path, call: Callable[..., Any]) -> None:
        self.page, self.folder, self.call = page, folder, call
        self.module = types.ModuleType("__page__")
        self.printed: str | None = None

    def follow(self) -> None:
        """Do what the page says.

        Raises:
            AssertionError: something prints, or ends, otherwise than the page says.
        """
        path, modules = list(sys.path), set(sys.modules)
        sys.modules["__page__"] = self.module
        try:
            with within(self.folder), warnings.catch_warnings():
                for block in blocks(self.page):
                    self._do(block)
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                if str(getattr(sys.modules[name], "__file__", None)).startswith(str(self.folder)):
                    del sys.modules[name]
            sys.modules.pop("__page__", None)

    def _do(self, block: Block) -> None:
        where = f"{self.page.name}:{block.line}"
        if block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
            if path.name == "pyproject.toml":
                install(path)
        elif block.language == "python":
            lines = block.code.splitlines(keepends=True)
            linecache.cache[where] = len(block.code), None, lines, where  # for refusals with a line
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.code, where, "exec"), self.module.__dict__)
            self.printed = out.getvalue()
        elif block.language == "sh":
            self.printed = "".join(map(self._command, commands(block.code)))
        elif block.language == "text" and self.printed is not None:
            assert prints(self.printed, block.code), f"{where} prints\n{self.printed}"
            self.printed = None

    def _command(self, line: str) -> str:
        expected = re.search(r"#.*\bexit (\d)", line)
        done = self.call(*shlex.split(line, comments=True)[1:], cwd=self.folder)
        said: str = done.stdout + done.stderr
        assert done.returncode == (int(expected[1]) if expected else 0), f"{line}\n{said}"
        return said


def install(pyproject: Path) -> None:
    """What ``pip install -e`` does for a package with entry points, in this process."""
    project = parse_toml(pyproject.read_text(), str(pyproject), ValueError)["project"]
    entries = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())
        for group, found in project["entry-points"].items()
    )
    distribution(pyproject.parent, entries, {}, project["name"])
    sys.path.insert(0, str(pyproject.parent))


def prints(printed: str, shown: str) -> bool:
    """Whether a page shows what is printed, spaces aside; ``...`` stands for anything."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in shown.split("...")]
    return re.fullmatch(r"\s*" + r"(?s:.*)".join(parts) + r"\s*", printed) is not None


def commands(code: str) -> Iterator[str]:
    """The commands of neuroport in a block; others are the reader's own."""
    for line in code.replace("\\\n", " ").splitlines():
        if line.startswith("neuroport "):
            yield line


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """``contextlib.chdir``, which Python 3.10 has not."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
