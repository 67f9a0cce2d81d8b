"""The command ``backends``."""

from __future__ import annotations

import sys

import click

from neuroport.cli.options import json_option
from neuroport.cli.output import Out
from neuroport.cli.paths import Command
from neuroport.errors import BackendError


@click.command(cls=Command)
@click.option(
    "--install",
    "package",
    type=click.Choice(["lava", "lava-dl"]),
    help="Install Lava's simulator, or lava-dl (SLAYER), into this Python; shows the commands "
    "and asks before it runs them.",
)
@click.option("--yes", is_flag=True, help="With --install: do not ask.")
@json_option
def backends(package: str | None, yes: bool, as_json: bool) -> None:
    """List the engines, and why one is not available."""
    from neuroport.engines.table import engines

    out = Out(as_json)
    if yes and package is None:
        raise click.UsageError("--yes confirms an installation; add --install, or leave it out")
    if package is not None:
        _install(package, yes)
    rows: dict[str, str | None] = {}
    for name, engine in engines().items():
        if isinstance(engine, BackendError):
            rows[name], summary = engine.message, "of another package"
        else:
            rows[name], summary = engine.available(), engine.summary
        reason = rows[name]
        out.line(f"{name:10} {summary}: {'available' if reason is None else reason}")
    out.result({"backends": {n: {"available": r is None, "reason": r} for n, r in rows.items()}})


def _install(package: str, yes: bool) -> None:
    from neuroport.backends.lava_cpu import installation

    for line in installation.shown(package):
        click.echo(line, err=True)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "no terminal to ask for confirmation; add --yes to run these commands"
        )
    if not yes:
        click.confirm("Run these commands?", abort=True, err=True)
    installation.install(package)
