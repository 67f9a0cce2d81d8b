"""The command ``export``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import json_option
from neuroport.cli.output import Out, say_graph
from neuroport.cli.paths import Command, OutFile, any_path
from neuroport.errors import StorageError


@click.command(cls=Command)
@click.argument("graph", type=any_path)
@click.option(
    "-o",
    "--out",
    type=OutFile("a NetX or NIR file", ".net", ".nir"),
    required=True,
    help="File to write: NetX (.net) or NIR (.nir).",
)
@click.option(
    "--dt", type=float, help="Duration of a step in seconds, for .nir files; 1 by default."
)
@json_option
def export(graph: Path, out: Path, dt: float | None, as_json: bool) -> None:
    """Write the lowered GRAPH as a .net file, or any GRAPH as a .nir file for other tools."""
    from neuroport.frontends.nir import to_nir
    from neuroport.graph.store import load
    from neuroport.netx import export as to_file

    loaded = load(graph)
    if out.suffix == ".nir":
        file = to_nir(loaded, out, dt=1.0 if dt is None else dt)
    elif dt is not None:
        raise StorageError(f"{out}: --dt is for NIR files; leave it out, or name the file .nir")
    else:
        file = to_file(loaded, out)
    say_graph(Out(as_json), file, loaded)
