"""The paths that a command takes: what it reads and what it writes, checked before any work.

A command of the class :class:`Command` refuses to write over what it reads, and to write two things
into one file. It knows the paths from the types of its parameters: :data:`any_path`,
:class:`NameOrFile`, :class:`OutFile` and :data:`out_folder`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from neuroport.errors import StorageError
from neuroport.files import check_file, check_folder, check_name, place

# Not imported from where they are written: that needs torch.
RESUMED = ("checkpoint.safetensors", "metrics.jsonl")  # what a training replaces in its folder
OF_A_RUN = (*RESUMED, "recipe.toml", "start.graph")  # what commands read of such a folder


class _Path(click.Path):
    """A path; the empty one, which Python takes for the working directory, is refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        try:
            place(value)
        except StorageError as error:
            self.fail(error.message, param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class _Read(_Path):
    """A file or a folder to read."""

    def reads(self, value: Path) -> Iterator[Path]:
        """Yield the files that a command reads if it is given this one."""
        yield value
        yield from (value / name for name in OF_A_RUN)


class NameOrFile(click.types.StringParamType):
    """A text that may be the path of a file: ``FILE``, ``NAME=FILE`` or ``slurm:FILE``."""

    def __init__(self, what: str, before: str = "") -> None:
        self.what, self.before = what, before

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not value:
            self.fail(f"'' is not {self.what}", param, ctx)
        return value

    def reads(self, value: str) -> Iterator[Path]:
        """Yield the file, if the text names one."""
        texts = [value, value.partition(self.before)[2]] if self.before else [value]
        yield from (Path(text) for text in texts if text and os.path.isfile(text))


class OutFile(_Path):
    """A file to write; refused before any work if it cannot be written, or has another's name.

    Args:
        what: what is written.
        suffixes: those of ``files.FORMATS`` that it may have; any that is not there is permitted,
            too.
    """

    def __init__(self, what: str, *suffixes: str) -> None:
        super().__init__()
        self.what, self.suffixes = what, suffixes

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        path = super().convert(value, param, ctx)
        try:
            check_name(path, self.what, *self.suffixes)
        except StorageError as error:
            self.fail(error.message, param, ctx)
        return check_file(path)

    def writes(self, value: Path) -> Iterator[Path]:
        """Yield the files that are written if this one is asked for."""
        yield value


class _OutFolder(_Path):
    """A folder to write to; refused before any work if it cannot be written."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        return check_folder(super().convert(value, param, ctx))

    def writes(self, value: Path) -> Iterator[Path]:
        """Yield what a training there replaces."""
        yield from (value / name for name in RESUMED)


any_path, out_folder = _Read(), _OutFolder()


class Command(click.Command):
    """A command that writes nothing over what it reads, and no two things into one file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._check(ctx)
        return rest

    def _check(self, ctx: click.Context) -> None:
        """Refuse paths that would destroy each other.

        Raises:
            UsageError: names both parameters and the file.
        """
        read: list[tuple[click.Parameter, Path]] = []
        written: list[tuple[click.Parameter, Path]] = []
        for param in self.get_params(ctx):
            given = ctx.params.get(param.name or "")
            for value in given if isinstance(given, tuple) else (given,):
                if value is not None and hasattr(param.type, "reads"):
                    read += [(param, path) for path in param.type.reads(value)]
                if value is not None and hasattr(param.type, "writes"):
                    written += [(param, path) for path in param.type.writes(value)]
        for at, (out, path) in enumerate(written):
            name = out.get_error_hint(ctx)
            for other, source in read:
                if same(path, source):
                    raise click.UsageError(
                        f"{name} would write over {source}, which {other.get_error_hint(ctx)} "
                        "reads; write to another file",
                        ctx,
                    )
            for other, target in written[:at]:
                if same(path, target):
                    raise click.UsageError(
                        f"{other.get_error_hint(ctx)} and {name} both write {path}; give each a "
                        "file of its own",
                        ctx,
                    )


def same(one: Path, other: Path) -> bool:
    """Whether two paths are, or would be, the same file, through links, too."""
    try:
        return os.path.samefile(one, other)
    except OSError:  # one does not exist
        return os.path.realpath(one) == os.path.realpath(other)
