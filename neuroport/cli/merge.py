"""The command ``merge``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from neuroport.cli.options import json_option
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, OutFile, any_path


@click.command(cls=Command)
@click.argument("shards", type=any_path, nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=OutFile("a result", ".trace", ".json"),
    help="File to write; needed for traces.",
)
@json_option
def merge(shards: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Join the results of all shards of a run: traces, or JSON of verify, compare and --cost.

    SHARDS are files, in any order. The result equals that of the same command without --shard; a
    merged cost lacks only the advice on what loses most, which needs the network. It is an error if
    a shard is missing, occurs twice or belongs to another run. Exit 1 if a comparison differs.
    """
    from neuroport.analysis.compare import Comparison
    from neuroport.analysis.merge import kind_of, merge
    from neuroport.runs.trace_file import StoredTrace

    traces = any(kind_of(path) == "trace" for path in shards)
    if traces and out is None:
        raise click.UsageError("traces are merged into a file; give -o FILE")
    if out is not None and out.suffix == (".json" if traces else ".trace"):
        kinds = ("JSON", "a trace") if traces else ("a trace", "JSON")
        raise click.UsageError(
            f"{out} is the name of {kinds[0]}, and these shards are merged to {kinds[1]}; give "
            "-o another name"
        )
    found: Any = merge(list(shards), out)
    say = Out(as_json)
    if isinstance(found, StoredTrace):
        say.line(f"wrote {out}: {found.samples} samples of {len(shards)} shards")
        say.result({"trace": str(out), "samples": found.samples, "provenance": found.provenance})
        found.close()
        return
    say.line(str(found))
    if out is not None:
        say.line(f"wrote {out}")
    say.result(found.to_dict())
    sys.exit(0 if not isinstance(found, Comparison) or found else 1)
