"""The command ``sweep``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import cluster_name, json_option, recipe_name, target_option
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, out_folder


@click.command(cls=Command)
@click.argument("recipe", type=recipe_name)
@click.option("-o", "--out", "folder", type=out_folder, required=True, help="Folder of the sweep.")
@click.option(
    "--grid",
    multiple=True,
    required=True,
    metavar="KEY=V1,V2",
    help="Values of a key of the recipe, such as seed=1,2,3; repeat it for other keys.",
)
@target_option
@click.option(
    "--cluster",
    type=cluster_name,
    metavar="WHERE",
    help="local:N, tcp://HOST:PORT or slurm:FILE.",
)
@json_option
def sweep(
    recipe: str,
    folder: Path,
    grid: tuple[str, ...],
    target: str,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Train RECIPE at every point of a grid; print accuracies, and the costs of lowering options.

    The same command continues an interrupted sweep. Each point has a folder with its checkpoint and
    its integer network.
    """
    from neuroport.recipe import load_recipe

    parsed = load_recipe(recipe)
    from neuroport.scale.sweep import sweep as swept

    say = Out(as_json)
    found = swept(parsed, folder, grid, target=target, cluster=cluster, report=say.line)
    say.line(str(found))
    say.line(f"wrote {found.folder}")
    say.result(found.to_dict())
