"""The verb ``quantize``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import click

from neuroport.cli.inputs import held_out
from neuroport.cli.options import DEVICES, any_path, json_option, out_file, shard_option
from neuroport.cli.output import Out, say_graph
from neuroport.files import check_file


@click.command()
@click.argument("folder", type=any_path)
@click.option("-o", "--out", type=out_file, help="Graph file; FOLDER/quantized.graph by default.")
@click.option("--cost", type=int, help="Held-out samples on which to say what each layer cost.")
@click.option("--device", default="cpu", show_default=True, help=f"Of --cost. {DEVICES}")
@shard_option
@json_option
def quantize(
    folder: Path, out: Path | None, cost: int | None, device: str, shard: str | None, as_json: bool
) -> None:
    """Turn the trained network in FOLDER into a graph of integers.

    With --cost, held-out samples run in real numbers and in integers, and every layer is compared;
    with --shard i/n only a part of them, and merge joins what --json prints.
    """
    if shard is not None and cost is None:
        raise click.UsageError("--shard says which part of the samples of --cost; give both")
    import numpy as np

    from neuroport.graph.store import save
    from neuroport.quantization import QuantizationWarning
    from neuroport.quantization import quantize as to_graph
    from neuroport.training.checkpoint import load, read_checkpoint

    recipe = read_checkpoint(folder).recipe
    out = check_file(out or folder / "quantized.graph")
    say = Out(as_json)
    more: dict[str, Any] = {}
    if cost is not None:
        from neuroport.quantization.cost import quantization_cost

        given = held_out(recipe, cost, "--cost")
        costs = quantization_cost(load(folder), *given, device=device, shard=shard)
        say.line(str(costs))
        more["cost"] = costs.to_dict()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", QuantizationWarning)
        graph = to_graph(load(folder), np.zeros((recipe.data.steps, 1, *recipe.data.shape)))
    texts = [str(w.message) for w in caught if isinstance(w.message, QuantizationWarning)]
    for text in texts:
        say.line(f"warning: {text}")
    more["warnings"] = texts
    say_graph(say, save(graph, out), graph, **more)
