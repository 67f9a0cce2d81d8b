"""Output of commands: lines of text, or one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuroport.errors import printable

if TYPE_CHECKING:
    from neuroport.graph.graph import Graph


class Out:
    """Print lines of text, or one JSON object."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def line(self, text: str) -> None:
        """Print a line, unless JSON was asked for."""
        if not self.as_json:
            echo(text)

    def result(self, value: dict[str, Any]) -> None:
        """Print the result, if JSON was asked for."""
        if self.as_json:
            click.echo(json.dumps(value, indent=2))


def echo(text: str, err: bool = False) -> None:
    """Print text without control characters, because names in files are untrusted."""
    click.echo(printable(text), err=err)


def say_graph(out: Out, path: Path, graph: Graph, **more: Any) -> None:
    """Print the file to which a graph was written, and its size."""
    out.line(f"wrote {path}: {len(graph)} nodes, depth {graph.depth}, hash {graph.hash[:12]}")
    if graph.checked:
        out.line(graph.widths)
        more["checked"] = len(graph.checked)
    facts = {"path": str(path), "nodes": len(graph), "depth": graph.depth, "hash": graph.hash}
    out.result({**facts, **more})
