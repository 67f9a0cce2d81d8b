"""The command ``import``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import (
    array_file,
    explain_option,
    graph_file,
    json_option,
    one_unit_option,
    reset_option,
)
from neuroport.cli.output import Out, say_graph
from neuroport.cli.paths import Command, NameOrFile, any_path
from neuroport.errors import FramesError


@click.command("import", cls=Command)
@click.argument("network", type=any_path)
@click.option("-o", "--out", type=graph_file, required=True, help="Graph file to write.")
@click.option(
    "--frames",
    type=NameOrFile("a file of frames", "="),
    multiple=True,
    help=".npy file of integers (T, N, *shape); with several inputs NAME=FILE, once for each.",
)
@click.option(
    "--dt", type=float, help="Duration of a step in seconds, if the metadata does not state it."
)
@click.option(
    "--scale", type=float, default=1.0, help="Real value of an integer frame of 1, such as 1/255."
)
@reset_option
@one_unit_option
@explain_option
@click.option(
    "--no-integers", is_flag=True, help="Quantize again, and ignore integers in the metadata."
)
@click.option("--joined", type=array_file, help="Write the frames of all inputs together (.npy).")
@json_option
def import_(
    network: Path,
    out: Path,
    frames: tuple[str, ...],
    dt: float | None,
    scale: float,
    reset: str,
    one_unit: bool,
    explain: bool,
    no_integers: bool,
    joined: Path | None,
    as_json: bool,
) -> None:
    """Import the NIR file NETWORK as a graph of integers, and print the loss of quantization.

    The network runs on the frames in real numbers and in integers; every population is compared.
    """
    import io

    import numpy as np

    from neuroport.files import write_atomic
    from neuroport.frontends.nir import import_nir
    from neuroport.graph.store import save
    from neuroport.runs.frames import load_frames

    if joined is not None and not frames:
        raise FramesError("--joined writes the joined frames; add --frames")
    named = dict(item.partition("=")[::2] for item in frames if "=" in item)
    if len(frames) > 1 and len(named) != len(frames):
        raise FramesError(
            "several --frames; give each as NAME=FILE, once for each input of the network"
        )
    given = {name: load_frames(file) for name, file in named.items()} or None
    alone = load_frames(frames[0]) if frames and not named else None
    made = import_nir(
        network,
        dt=dt,
        frames=given if alone is None else alone,
        scale=scale,
        integers=not no_integers,
        reset=reset,
        one_unit=one_unit,
    )
    say = Out(as_json)
    if explain:
        say.line(made.table())
    if made.cost is not None:
        say.line(str(made.cost))
    if joined is not None and made.frames is not None:
        image = io.BytesIO()
        np.save(image, made.frames)
        write_atomic(joined, image.getvalue())
        say.line(f"wrote {joined}: frames {made.frames.shape}")
    say_graph(
        say,
        save(made.graph, out),
        made.graph,
        records=[record._asdict() for record in made.records],
        cost=None if made.cost is None else made.cost.to_dict(),
    )
