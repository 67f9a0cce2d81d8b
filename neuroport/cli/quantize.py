"""The command ``quantize``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuroport.cli.inputs import held_out
from neuroport.cli.options import DEVICES, graph_file, json_option, shard_option
from neuroport.cli.output import Out, say_graph
from neuroport.cli.paths import Command, any_path
from neuroport.files import check_file

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.recipe import Recipe


@click.command(cls=Command)
@click.argument("folder", type=any_path)
@click.option("-o", "--out", type=graph_file, help="Graph file; FOLDER/quantized.graph by default.")
@click.option(
    "--widths",
    type=click.Choice(["proven", "checked"]),
    help="Grid for every input there could be, or for those of the calibration: engines then check "
    "every step. As the recipe says by default.",
)
@click.option(
    "--calibration",
    type=click.IntRange(1),
    help="Training samples for checked widths and corrected biases; 32 by default.",
)
@click.option(
    "--equalize",
    is_flag=True,
    help="Give each channel of a current a unit of its own. As the recipe says by default.",
)
@click.option(
    "--correct-bias",
    is_flag=True,
    help="Correct biases by the mean errors of currents on training samples. As the recipe says by "
    "default.",
)
@click.option(
    "--cost",
    type=int,
    help="Number of held-out samples on which to measure the loss of each layer.",
)
@click.option("--device", help=f"Of --cost; cpu by default. {DEVICES}")
@shard_option
@json_option
def quantize(
    folder: Path,
    out: Path | None,
    widths: str | None,
    calibration: int | None,
    equalize: bool,
    correct_bias: bool,
    cost: int | None,
    device: str | None,
    shard: str | None,
    as_json: bool,
) -> None:
    """Turn the trained network in FOLDER into a graph of integers.

    With --cost, held-out samples run in real numbers and in integers, and every layer is compared.
    With --shard i/n, only a part of them runs, and merge joins the outputs of --json.
    """
    if shard is not None and cost is None:
        raise click.UsageError("--shard selects a part of the samples of --cost; give both")
    if device is not None and cost is None:
        raise click.UsageError(
            "--device is where the samples of --cost run, and nothing else runs; give both, or "
            "leave it out"
        )
    from neuroport.graph.store import save
    from neuroport.nets.grid_options import is_corrected
    from neuroport.nets.widths import PROVEN, widths_of
    from neuroport.quantization import QuantizationWarning
    from neuroport.quantization import quantize as to_graph
    from neuroport.quantization.calibration import CALIBRATION
    from neuroport.training.checkpoint import load, read_checkpoint

    recipe = read_checkpoint(folder).recipe
    out = check_file(folder / "quantized.graph" if out is None else out)
    say = Out(as_json)
    more: dict[str, Any] = {}
    net = load(folder)
    given = {"widths": widths, "equalize": equalize or None, "correct_bias": correct_bias or None}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    runs = (widths or widths_of(net)) != PROVEN or correct_bias or is_corrected(net)
    if calibration is not None and not runs:
        raise click.UsageError(
            "--calibration is for --widths checked and --correct-bias; nothing else needs samples"
        )
    frames = _calibration(recipe, (calibration or CALIBRATION) if runs else 0)
    if cost is not None:
        from neuroport.quantization.cost import quantization_cost

        held = held_out(recipe, cost, "--cost")
        costs = quantization_cost(
            load(folder), *held, device=device or "cpu", shard=shard, calibration=frames, **options
        )
        say.line(str(costs))
        more["cost"] = costs.to_dict()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", QuantizationWarning)
        graph = to_graph(net, frames, **options)
    texts = [str(w.message) for w in caught if isinstance(w.message, QuantizationWarning)]
    for text in texts:
        say.line(f"warning: {text}")
    more["warnings"] = texts
    say_graph(say, save(graph, out), graph, **more)


def _calibration(recipe: Recipe, samples: int) -> npt.NDArray[Any]:
    """Return the frames from which scales are chosen; without samples, frames of their size."""
    import numpy as np

    from neuroport.data.loading import calibration_frames, load_data

    if not samples:
        return np.zeros((recipe.data.steps, 1, *recipe.data.shape))
    return calibration_frames(load_data(recipe.data).train, recipe.data, samples)
