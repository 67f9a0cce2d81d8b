"""The command ``quantize``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuroport.cli.inputs import held_out
from neuroport.cli.options import DEVICES, any_path, json_option, out_file, shard_option
from neuroport.cli.output import Out, say_graph
from neuroport.files import check_file

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.recipe import Recipe


@click.command()
@click.argument("folder", type=any_path)
@click.option("-o", "--out", type=out_file, help="Graph file; FOLDER/quantized.graph by default.")
@click.option(
    "--widths",
    type=click.Choice(["proven", "checked"]),
    help="Grid for every input there could be, or for those of the calibration: engines then check "
    "every step. As the recipe says by default.",
)
@click.option(
    "--calibration",
    type=click.IntRange(1),
    help="Training samples from which checked widths are chosen; 32 by default.",
)
@click.option(
    "--cost",
    type=int,
    help="Number of held-out samples on which to measure the loss of each layer.",
)
@click.option("--device", default="cpu", show_default=True, help=f"Of --cost. {DEVICES}")
@shard_option
@json_option
def quantize(
    folder: Path,
    out: Path | None,
    widths: str | None,
    calibration: int | None,
    cost: int | None,
    device: str,
    shard: str | None,
    as_json: bool,
) -> None:
    """Turn the trained network in FOLDER into a graph of integers.

    With --cost, held-out samples run in real numbers and in integers, and every layer is compared.
    With --shard i/n, only a part of them runs, and merge joins the outputs of --json.
    """
    if shard is not None and cost is None:
        raise click.UsageError("--shard selects a part of the samples of --cost; give both")
    from neuroport.graph.store import save
    from neuroport.nets.widths import PROVEN, widths_of
    from neuroport.quantization import QuantizationWarning
    from neuroport.quantization import quantize as to_graph
    from neuroport.quantization.calibration import CALIBRATION
    from neuroport.training.checkpoint import load, read_checkpoint

    recipe = read_checkpoint(folder).recipe
    out = check_file(out or folder / "quantized.graph")
    say = Out(as_json)
    more: dict[str, Any] = {}
    net = load(folder)
    options: dict[str, Any] = {} if widths is None else {"widths": widths}
    widths = widths or widths_of(net)
    if calibration is not None and widths == PROVEN:
        raise click.UsageError("--calibration is for --widths checked; proven ones need no samples")
    frames = _calibration(recipe, widths, calibration or CALIBRATION)
    if cost is not None:
        from neuroport.quantization.cost import quantization_cost

        given = held_out(recipe, cost, "--cost")
        costs = quantization_cost(
            load(folder), *given, device=device, shard=shard, calibration=frames, **options
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


def _calibration(recipe: Recipe, widths: str, samples: int) -> npt.NDArray[Any]:
    """Return the frames from which scales are chosen; for proven widths only their size matters."""
    import numpy as np

    from neuroport.data.loading import load_data
    from neuroport.data.samples import frames_of, spread_over

    if widths == "proven":
        return np.zeros((recipe.data.steps, 1, *recipe.data.shape))
    train = load_data(recipe.data).train
    return frames_of(train, spread_over(len(train.labels), samples), recipe.data.steps)
