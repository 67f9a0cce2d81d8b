"""The command ``demo``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from neuroport.cli.options import DEVICES, json_option, recipe_name
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, out_folder


@click.command(cls=Command)
@click.option("--out", "folder", type=out_folder, default=Path("runs/demo"), show_default=True)
@click.option(
    "--recipe",
    type=recipe_name,
    default="demo",
    show_default=True,
    help="Shipped recipe or TOML file.",
)
@click.option(
    "--samples", default=100, show_default=True, help="Number of held-out digits to run on Lava."
)
@click.option("--device", default="auto", show_default=True, help=DEVICES)
@json_option
def demo(folder: Path, recipe: str, samples: int, device: str, as_json: bool) -> None:
    """Train, quantize, lower, export, run on Lava, compare and report, on real digits."""
    from neuroport.demo import demo as run_demo

    out = Out(as_json)
    results = run_demo(recipe, folder, samples, out.line, device)
    out.result(results)
    if not as_json:
        from rich.console import Console

        from neuroport.reporting.terminal import print_results

        print_results(results, Console())
        out.line(
            f"open {folder / 'report.html'} in a browser; figures are in {folder / 'demo.json'}"
        )
    sys.exit(0 if results["equal"] else 1)
