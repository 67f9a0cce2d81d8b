"""The verb ``qualify``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from neuroport.cli.options import any_path, json_option, out_file
from neuroport.cli.output import Out


@click.command()
@click.option("--site", type=any_path, help="Where the board is (TOML); or NEUROPORT_SITE.")
@click.option("-o", "--out", type=out_file, required=True, help="Record to write (JSON).")
@click.option(
    "--only", multiple=True, metavar="CONSTRUCT", help="Ask for this one alone; repeatable."
)
@click.option("--deadline", type=float, default=600.0, show_default=True, help="Seconds of a run.")
@json_option
def qualify(
    site: Path | None, out: Path, only: tuple[str, ...], deadline: float, as_json: bool
) -> None:
    """Ask a board for every construct that is unproven on hardware, and record what it did.

    One tiny network each, from the smallest on, compared with the reference. The delays of the
    site's adapters and readers are found on the way. `neuroport check --qualified RECORD` takes
    the record. Exit 1 if anything differs. Not run on hardware by its authors.
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
