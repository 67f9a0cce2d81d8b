"""The verb ``import``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import any_path, json_option, out_file
from neuroport.cli.output import Out, say_graph
from neuroport.errors import FramesError


@click.command("import")
@click.argument("network", type=any_path)
@click.option("-o", "--out", type=out_file, required=True, help="Graph file to write.")
@click.option(
    "--frames",
    multiple=True,
    help="Integers (T, N, *shape), a .npy file; of several inputs NAME=FILE, once for each.",
)
@click.option("--dt", type=float, help="Seconds of a step, if the metadata do not say it.")
@click.option(
    "--scale", type=float, default=1.0, help="The real value of a frame of 1, such as 1/255."
)
@click.option("--reset", default="v_reset", help="v_reset, which NIR says, or subtract.")
@click.option("--one-unit", is_flag=True, help="Equal thresholds stay equal, as chips need them.")
@click.option("--explain", is_flag=True, help="Print what became of every node.")
@click.option("--no-integers", is_flag=True, help="Quantize again, whatever the metadata hold.")
@click.option("--joined", type=out_file, help="Write the frames of all inputs together (.npy).")
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
    """Bring the NIR file NETWORK into a graph of integers, and say what that cost.

    It runs on the frames in real numbers and in integers, and every population is compared.
    """
    import io

    import numpy as np

    from neuroport.files import write_atomic
    from neuroport.frontends.nir import import_nir
    from neuroport.graph.store import save
    from neuroport.runs.frames import load_frames

    if joined is not None and not frames:
        raise FramesError("--joined writes the frames; give --frames")
    named = dict(item.partition("=")[::2] for item in frames if "=" in item)
    if named and len(named) != len(frames):
        raise FramesError("several --frames; give each as NAME=FILE, NAME being its input")
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
