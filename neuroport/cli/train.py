"""The command ``train``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from neuroport.cli.options import DEVICES, json_option, recipe_name
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path, out_folder, same


@click.command(cls=Command)
@click.argument("recipe", type=recipe_name, required=False)
@click.option("-o", "--out", "folder", type=out_folder, help="Folder of the run.")
@click.option("--list", "listed", is_flag=True, help="Print the shipped recipes and exit.")
@click.option(
    "--graph",
    "start",
    type=any_path,
    help="Graph to train further, for a recipe of family 'graph'.",
)
@click.option("--tensorboard", is_flag=True, help="Also write metrics as TensorBoard events.")
@click.option("--device", default="auto", show_default=True, help=DEVICES)
@click.option(
    "--workers", type=int, help="Number of processes that read samples; 0: read in this process."
)
@click.option(
    "--damaged",
    type=click.Choice(("stop", "skip")),
    default="stop",
    show_default=True,
    help="If a file cannot be read: stop, or use another sample of its class.",
)
@json_option
def train(
    recipe: str | None,
    folder: Path | None,
    listed: bool,
    start: Path | None,
    tensorboard: bool,
    device: str,
    workers: int | None,
    damaged: str,
    as_json: bool,
) -> None:
    """Train RECIPE (a TOML file or the name of a shipped recipe), or resume the folder's run."""
    from neuroport.files import write_atomic
    from neuroport.recipe import parsed_recipe, recipe_text

    if listed:
        _refuse_others()
        _list(Out(as_json))
        return
    if recipe is None or folder is None:
        missing = "'RECIPE'" if recipe is None else "'-o' / '--out'"
        raise click.UsageError(f"Missing {missing}; --list prints the shipped recipes.")
    text = recipe_text(recipe)  # once: the file may be edited while it is trained
    parsed = parsed_recipe(text, recipe)  # before torch is imported: a mistake is reported at once
    from neuroport.reporting.progress import training_report
    from neuroport.training.checkpoint import RECIPE, read_checkpoint
    from neuroport.training.fit import fit
    from neuroport.training.parallel import is_first
    from neuroport.training.tensorboard import board

    out = Out(as_json and is_first())
    with ExitStack() as stack:
        reports = [stack.enter_context(training_report(out.line))]
        if tensorboard and is_first():
            reports.append(stack.enter_context(board(folder)))

        def report_all(event: dict[str, Any]) -> None:
            for report in reports:
                report(event)

        how: dict[str, Any] = {"device": device, "workers": workers, "damaged": damaged}
        if start is not None:
            from neuroport.netx import read

            how["start"] = read(start)
        fit(parsed, folder, report=report_all, **how)
    if not is_first():  # the other processes of torchrun
        return
    kept = folder / RECIPE
    if not same(Path(recipe), kept):
        write_atomic(kept, text)
    metrics = read_checkpoint(folder, check_recipe=False).metrics
    out.line(f"{folder}: {len(metrics)} epoch{'s' * (len(metrics) != 1)} done")
    out.result({"folder": str(folder), "metrics": metrics})


def _refuse_others() -> None:
    """Refuse what ``--list`` would ignore."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    given = [
        str(param.human_readable_name) if isinstance(param, click.Argument) else param.opts[-1]
        for param in context.command.params
        if param.name not in ("listed", "as_json")
        and context.get_parameter_source(str(param.name)) != default
    ]
    if given:
        raise click.UsageError(
            f"--list prints the shipped recipes and trains nothing; leave out {', '.join(given)}, "
            "or --list"
        )


def _list(out: Out) -> None:
    """Print the shipped recipes, one per line."""
    from neuroport.recipe import shipped

    found = shipped()
    width = max(map(len, found))
    for name, recipe in found.items():
        network, data = recipe.network, recipe.data
        out.line(
            f"{name:{width}}  {network.family}, {network.layers} layers, {data.dataset}, "
            f"{data.steps} steps, {recipe.epochs} epochs"
        )
    out.result({name: recipe.to_dict() for name, recipe in found.items()})
