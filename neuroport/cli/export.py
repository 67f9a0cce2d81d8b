"""The verb ``export``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import any_path, json_option, out_file
from neuroport.cli.output import Out, say_graph


@click.command()
@click.argument("graph", type=any_path)
@click.option("-o", "--out", type=out_file, required=True, help="NetX file to write (.net).")
@json_option
def export(graph: Path, out: Path, as_json: bool) -> None:
    """Write the lowered GRAPH as a .net file."""
    from neuroport.graph.store import load
    from neuroport.netx import export as to_file

    loaded = load(graph)
    say_graph(Out(as_json), to_file(loaded, out), loaded)
