"""The command ``show``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.inputs import read_network
from neuroport.cli.options import frames_option, json_option, steps_option, timing_options
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path


@click.command(cls=Command)
@click.argument("network", type=any_path)
@steps_option
@frames_option
@timing_options
@json_option
def show(
    network: Path,
    steps: int | None,
    frames: Path | None,
    timing: dict[str, bool],
    as_json: bool,
) -> None:
    """Print a graph, one line per node."""
    graph = read_network(network, steps, frames, **timing)
    out = Out(as_json)
    out.line(str(graph))
    nodes = [
        {
            "name": node.name,
            "kind": node.kind,
            "inputs": list(node.inputs),
            "shape": list(graph.facts(node.name).shape),
            "latency": graph.facts(node.name).latency,
            "skew": graph.facts(node.name).latency,  # its former name, for scripts
        }
        for node in graph
    ]
    out.result({"hash": graph.hash, "steps": graph.steps, "depth": graph.depth, "nodes": nodes})
