"""The command ``targets``."""

from __future__ import annotations

import click

from neuroport.cli.options import json_option, target_name
from neuroport.cli.output import Out
from neuroport.cli.paths import Command


@click.command(cls=Command)
@click.argument("name", type=target_name, required=False)
@click.option("--fit", is_flag=True, help="Compare the resource formulas with published tables.")
@json_option
def targets(name: str | None, fit: bool, as_json: bool) -> None:
    """List chips and boards; for NAME (or a TOML file) print every value with its source."""
    out = Out(as_json)
    if fit and name is not None:
        raise click.UsageError(
            "--fit compares the formulas, which are the same for all targets; leave NAME out"
        )
    if fit:
        _fit(out)
    elif name is None:
        _list(out)
    else:
        _one(name, out)


def _fit(out: Out) -> None:
    from neuroport.targets.published_tables import summary, tables

    found = tables()
    for table in found:
        for line in (*table.lines(), ""):
            out.line(line)
    out.line(summary(found))
    out.result({"tables": [table.to_dict() for table in found]})


def _list(out: Out) -> None:
    from neuroport.targets.target import load_target, names

    boards = [load_target(board) for board in names()]
    for board in boards:
        out.line(f"{board.name:14} {board.capacity:>8,} cores  {board.summary}")
    out.result({"targets": {board.name: board.capacity for board in boards}})


def _one(name: str, out: Out) -> None:
    from dataclasses import asdict

    from neuroport.targets.target import KEYS, load_target

    board = load_target(name)
    out.line(f"{board.name}: {board.summary}; nothing here was measured on hardware")
    for key, value in board.values.items():
        shown = "none known" if value.value is None else str(value.value).lower()
        out.line(f"{key:20} {shown:>14}  {KEYS[key][1]} ({value.confidence}: {value.source})")
    values = {key: asdict(value) for key, value in board.values.items()}
    out.result({"name": board.name, "summary": board.summary, "values": values})
