"""The command ``lower``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.inputs import read_network
from neuroport.cli.options import (
    frames_option,
    json_option,
    steps_option,
    target_option,
    timing_options,
)
from neuroport.cli.output import Out, say_graph
from neuroport.cli.paths import Command, OutFile, any_path


@click.command(cls=Command)
@click.argument("graph", type=any_path)
@click.option(
    "-o",
    "--out",
    type=OutFile("a graph", ".graph", ".net"),
    required=True,
    help="Graph (or .net) file to write.",
)
@target_option
@click.option(
    "--carrier", default="auto", help="Carrier of shortcuts: relay, unroll, stock, or auto."
)
@click.option("--align", default="auto", help="How early branches wait: relays or delays.")
@click.option(
    "--minimize",
    default="auto",
    help="Minimize time (on Lava's CPU simulator) or cores (of a chip), or auto.",
)
@click.option(
    "--power-of-two-interval", is_flag=True, help="Start samples every 2**k steps (Loihi 2)."
)
@steps_option
@frames_option
@timing_options
@json_option
def lower(
    graph: Path,
    out: Path,
    target: str,
    carrier: str,
    align: str,
    minimize: str,
    power_of_two_interval: bool,
    steps: int | None,
    frames: Path | None,
    timing: dict[str, bool],
    as_json: bool,
) -> None:
    """Make GRAPH run in chip time: align shortcuts, check every rule of the target."""
    from neuroport.graph.store import save
    from neuroport.netx import export
    from neuroport.targets.lowering import best, options, picked
    from neuroport.targets.target import load_target

    board = load_target(target)
    network = read_network(graph, steps, frames, **timing)
    found = options(
        network,
        board,
        carrier=carrier,
        align=align,
        power_of_two_interval=power_of_two_interval,
        minimize=minimize,
    )
    lowered = best(found, minimize)
    say = Out(as_json)
    for option in found:
        say.line(f"{'*' if option.graph is lowered else ' '} {option}")
    choices = picked(network, lowered, board)
    for choice in choices:
        say.line(choice)
    file = export(lowered, out) if out.suffix == ".net" else save(lowered, out)
    say_graph(say, file, lowered, carriers=[option.to_dict() for option in found], picked=choices)
