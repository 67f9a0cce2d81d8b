"""The command ``convert``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import (
    explain_option,
    json_option,
    one_unit_option,
    reset_option,
    target_name,
)
from neuroport.cli.output import Out, say_graph
from neuroport.cli.paths import Command, OutFile, any_path


@click.command(cls=Command)
@click.argument("network", type=any_path)
@click.option(
    "-o",
    "--out",
    type=OutFile("a network", ".graph", ".net", ".nir"),
    required=True,
    help="File to write: .graph, .net or .nir.",
)
@click.option(
    "--target", type=target_name, help="Of a .net file: lava-cpu (default), a chip, or its TOML."
)
@click.option(
    "--frames", type=any_path, help="Integers (T, N, *shape), for .nir and stock .net files."
)
@click.option("--dt", type=float, help="Duration of a NIR step in seconds.")
@click.option(
    "--scale", type=float, default=1.0, help="Real value of an integer frame of 1, for .nir files."
)
@reset_option
@one_unit_option
@click.option("--steps", type=int, help="Steps of a sample, for stock .net files.")
@explain_option
@json_option
def convert(
    network: Path,
    out: Path,
    target: str | None,
    frames: Path | None,
    dt: float | None,
    scale: float,
    reset: str,
    one_unit: bool,
    steps: int | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Convert NETWORK (.nir, .net or .graph) to another format, and list what its nodes became.

    A .net file is lowered for the target; a .nir file keeps the integers.
    """
    from neuroport.frontends.converting import convert as converted
    from neuroport.frontends.converting import frames_in

    made = converted(
        network,
        out,
        target=target,
        frames=frames_in(frames),
        dt=dt,
        scale=scale,
        one_unit=one_unit,
        reset=reset,
        steps=steps,
    )
    say = Out(as_json)
    say.line(made.table(explain))
    if made.cost is not None:
        say.line(str(made.cost))
    say_graph(
        say,
        made.path,
        made.graph,
        records=[record._asdict() for record in made.records],
        cost=None if made.cost is None else made.cost.to_dict(),
    )
