"""Runs the code of a page of ``docs`` as a reader would, from top to bottom.

A block ``python`` is executed; a block ``text`` behind it is what it prints. A block with a title is
a file that the reader writes. A block ``sh`` is commands of ``neuroport``; a line ``# exit 1`` at
the end of a command names the exit code of one that is meant to fail.
"""

from __future__ import annotations

import contextlib
import io
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
        with within(self.folder), warnings.catch_warnings():
            sys.modules["__page__"] = self.module
            for block in blocks(self.page):
                self._do(block)
            del sys.modules["__page__"]

    def _do(self, block: Block) -> None:
        where = f"{self.page.relative_to(ROOT)}:{block.line}"
        if block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.code, where, "exec"), self.module.__dict__)
            self.printed = out.getvalue()
        elif block.language == "sh":
            self.printed = "".join(map(self._command, commands(block.code)))
        elif block.language == "text" and self.printed is not None:
            assert self.printed.split() == block.code.split(), f"{where} prints\n{self.printed}"
            self.printed = None

    def _command(self, line: str) -> str:
        expected = re.search(r"#.*\bexit (\d)", line)
        done = self.call(*shlex.split(line, comments=True)[1:], cwd=self.folder)
        said: str = done.stdout + done.stderr
        assert done.returncode == (int(expected[1]) if expected else 0), f"{line}\n{said}"
        return said


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
