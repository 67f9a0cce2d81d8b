"""The verb ``export``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import any_path, json_option, out_file
from neuroport.cli.output import Out, say_graph


@click.command()
@click.argument("graph", type=any_path)
@click.option(
    "-o", "--out", type=out_file, required=True, help="File to write: NetX (.net) or NIR (.nir)."
)
@json_option
def export(graph: Path, out: Path, as_json: bool) -> None:
    """Write the lowered GRAPH as a .net file, or any GRAPH as a .nir file for other tools."""
    from neuroport.frontends.nir import to_nir
    from neuroport.graph.store import load
    from neuroport.netx import export as to_file

    loaded = load(graph)
    write = to_nir if out.suffix == ".nir" else to_file
    say_graph(Out(as_json), write(loaded, out), loaded)
