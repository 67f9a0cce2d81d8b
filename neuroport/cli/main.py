"""Entry point of the command line: find the command, turn errors into one line and an exit code.

Exit codes: 0 success, 1 diverged or illegal, 2 wrong usage, 130 interrupted. A user's mistake
prints one line; a traceback means a bug in neuroport.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

import neuroport
from neuroport.cli.output import echo
from neuroport.errors import NeuroportError, NeuroportWarning
from neuroport.processes import WAITING, Ended, end_by, ending_on_signals

VERBS = (  # in the order of use, not alphabetical
    *(
        "demo",
        "train",
        "watch",
        "sweep",
        "frames",
        "quantize",
        "import",
        "import-weights",
        "convert",
        "lower",
        "export",
        "run",
        "compare",
        "verify",
        "merge",
        "report",
    ),
    *("show", "check", "qualify", "targets", "backends"),
)
RESUMING = ("demo", "train", "sweep")  # commands that resume after an interruption


class _Verbs(click.Group):
    """Commands; the file of each is imported only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # for an unknown command click searches all commands for a similar name
        for name in (cmd_name,) if cmd_name in VERBS else VERBS:
            if name not in self.commands:
                python = f"{name}_" if iskeyword(name) else name.replace("-", "_")
                self.commands[name] = getattr(import_module(f"neuroport.cli.{python}"), python)
        return self.commands.get(cmd_name)


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(neuroport.__version__)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Residual spiking networks from PyTorch to Lava and Loihi 2, spike for spike.

    \b
    neuroport demo           everything below, on real digits
    train -> quantize -> lower -> export -> run -> compare -> report
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point: run a verb, turn errors into one line and an exit code."""
    _standard_streams()
    as_json = "--json" in sys.argv[1:]
    if not any(name in os.environ for name in WAITING):
        os.environ.update(WAITING)
    try:
        # not cli.main(): click would turn a closed pipe into exit code 1
        with (
            ending_on_signals(),
            _warnings_as_lines(),
            cli.make_context("neuroport", sys.argv[1:]) as context,
        ):
            cli.invoke(context)
    except Ended as error:
        with contextlib.suppress(OSError):  # the terminal may be gone
            _fail("Ended", f"ended by {error}; {_after_interruption()}", "", as_json)
        end_by(error.number)
    except NeuroportError as error:
        _fail(type(error).__name__, error.message, error.detail, as_json)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        usage = getattr(error, "ctx", None)
        hint = f" (see {usage.command_path} --help)" if usage is not None else ""
        _fail("UsageError", error.format_message() + hint, "", as_json)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted", f"interrupted; {_after_interruption()}", "", as_json)
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("torch", "safetensors", "mlxtend"):
            raise
        message = f"this needs {package}, which is not installed: "
        message += "pip install '.[train]' in neuroport's folder"
        _fail("BackendError", message, "", as_json)
        sys.exit(2)
    except BrokenPipeError:
        # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail("StorageError", f"{where}cannot write ({error.strerror}); free space", "", as_json)
        sys.exit(2)


def _standard_streams() -> None:
    """Open standard streams that the caller closed; else the next file opened would replace them.

    Characters that the terminal's encoding lacks are escaped, so that they do not end the command.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # the lowest free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print warnings as plain lines on stderr; each of neuroport's own only once."""
    said = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        line = " ".join(str(message).split())
        if line not in said:
            said.add(line)
            echo(f"neuroport: warning: {line}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", NeuroportWarning)
        warnings.showwarning = show
        yield


def _after_interruption() -> str:
    """Say what an interrupted command leaves; files are written completely or not at all."""
    from neuroport.files import written

    if sys.argv[1:2] and sys.argv[1] in RESUMING:
        return "the same command resumes from the last checkpoint"
    left = [str(path) for path in written if path.exists()]  # an engine's own files are gone
    return f"{', '.join(left)} was written before" if left else "nothing was written"


def _fail(kind: str, message: str, detail: str, as_json: bool) -> None:
    echo(f"neuroport: {message}", err=True)
    if detail:
        echo(detail, err=True)
    if as_json:
        click.echo(json.dumps({"error": {"kind": kind, "message": message}}, indent=2))
