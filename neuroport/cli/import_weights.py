"""The command ``import-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuroport.cli.options import json_option, recipe_name
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path, out_folder, same
from neuroport.errors import RecipeError


@click.command("import-weights", cls=Command)
@click.argument("file", type=any_path)
@click.option("-o", "--out", "folder", type=out_folder, required=True, help="Folder of the run.")
@click.option(
    "--recipe",
    type=recipe_name,
    help="Recipe of the network: a TOML file, or the name of a shipped recipe.",
)
@click.option("--family", help="Instead of --recipe: the shipped recipe of this family ...")
@click.option("--depth", type=int, help="... with this number of layers ...")
@click.option("--dataset", help="... and dataset, where several have them.")
@click.option("--naming", help="Code whose names FILE uses: ms_resnet, mlf, sew, spikingjelly.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    help="Change a key of the recipe, such as data.root='pictures'.",
)
@click.option("--explain", is_flag=True, help="Print where each entry of FILE went.")
@json_option
def import_weights(
    file: Path,
    folder: Path,
    recipe: str | None,
    family: str | None,
    depth: int | None,
    dataset: str | None,
    naming: str | None,
    changes: tuple[str, ...],
    explain: bool,
    as_json: bool,
) -> None:
    """Load the state dict FILE (.pth, .pt, .safetensors) into the folder of a run.

    All entries are used, or the command fails. Afterwards `neuroport quantize` quantizes the
    network, and `neuroport train FOLDER/recipe.toml -o FOLDER` trains it further in integers.
    """
    from neuroport.recipe import changed, load_recipe, shipped

    if (recipe is None) == (family is None):
        raise RecipeError("name the network: with --recipe, or with --family and --depth")
    if recipe is not None and not (depth is None and dataset is None):
        raise click.UsageError("--depth and --dataset choose a recipe of --family; leave them out")
    if recipe is not None and same(Path(recipe), folder / "recipe.toml"):
        raise click.UsageError(
            f"'-o' / '--out' would write over {recipe}, which '--recipe' reads; write to another "
            "file"
        )
    if recipe is None:
        found = [
            name
            for name, each in shipped().items()
            if each.network.family == family
            and depth in (None, each.network.layers)
            and dataset in (None, each.data.dataset)
        ]
        if len(found) != 1:
            which = f"family {family}" + f", depth {depth}" * (depth is not None)
            raise RecipeError(
                f"{len(found)} shipped recipes are of {which}"
                + f", dataset {dataset}" * (dataset is not None)
                + (f": {', '.join(found)}; choose with --recipe" if found else "; see --recipe")
            )
        recipe = found[0]
    parsed = changed(load_recipe(recipe), changes)
    from neuroport.nets.neuron import neurons_of
    from neuroport.training.foreign_weights import import_weights as bring

    made = bring(file, parsed, naming=naming)
    made.save(folder)
    say = Out(as_json)
    if explain:
        say.line(made.table())
    neurons = sorted({_described(neuron) for neuron in neurons_of(made.net)})
    say.line(
        f"wrote {folder}: {type(made.net).__name__} of recipe {parsed.name}, all "
        f"{len(made.entries)} entries of {file} ({made.naming})"
    )
    say.line(f"not in a state dict, but of the recipe: neurons of {'; '.join(neurons)}")
    result: dict[str, Any] = {
        "folder": str(folder),
        "recipe": parsed.name,
        "naming": made.naming,
        "entries": {entry.theirs: entry.ours for entry in made.entries},
        "neurons": neurons,
    }
    say.result(result)


def _described(neuron: Any) -> str:
    """Describe the properties of a neuron that a state dict does not hold."""
    fires = "at" if neuron.fires_at else "above"
    lost = neuron.decays[1] / 4096
    return f"threshold {neuron.threshold:g}, firing {fires} it, {lost:g} of the voltage lost a step"
