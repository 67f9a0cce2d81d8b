"""The command ``qualify``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from neuroport.cli.options import json_file, json_option
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path


@click.command(cls=Command)
@click.option("--site", type=any_path, help="Site file of the board (TOML); or set NEUROPORT_SITE.")
@click.option("-o", "--out", type=json_file, required=True, help="Record to write (JSON).")
@click.option(
    "--only", multiple=True, metavar="CONSTRUCT", help="Test only this construct; repeatable."
)
@click.option(
    "--deadline",
    type=float,
    default=600.0,
    show_default=True,
    help="Time limit of a run in seconds.",
)
@json_option
def qualify(
    site: Path | None, out: Path, only: tuple[str, ...], deadline: float, as_json: bool
) -> None:
    """Test every construct that is unproven on hardware on a board, and record the results.

    One tiny network per construct is compared with the reference, from the smallest on. The delays
    of the site's adapters and readers are found on the way. `neuroport check --qualified RECORD`
    reads the record. Exit 1 if anything differs. Not run on hardware by its authors.
    """
    from neuroport.analysis.qualification import qualify as ask
    from neuroport.targets.board_record import DIFFERS, Result

    say = Out(as_json)

    def told(name: str, found: Result) -> None:
        say.line(f"{name}: {found.result}{f': {found.where}' if found.where else ''}")

    record = ask(site, out=out, only=only or None, deadline=deadline, told=told)
    for line in record.lines():
        say.line(line)
    say.line(f"wrote {out}")
    say.result({"record": str(out), **asdict(record)})
    sys.exit(any(found.result == DIFFERS for found in record.constructs.values()))
