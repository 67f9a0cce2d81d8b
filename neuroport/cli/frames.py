"""The command ``frames``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.inputs import held_out
from neuroport.cli.options import array_file, json_option
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path


@click.command(cls=Command)
@click.argument("folder", type=any_path)
@click.option("-o", "--out", type=array_file, required=True, help=".npy file of frames to write.")
@click.option("--labels", type=array_file, help=".npy file of their classes to write.")
@click.option("--samples", default=100, show_default=True, help="Number of held-out samples.")
@json_option
def frames(folder: Path, out: Path, labels: Path | None, samples: int, as_json: bool) -> None:
    """Write held-out samples of the training in FOLDER as frames (T, N, C, H, W)."""
    from neuroport.data.samples import save_array
    from neuroport.training.checkpoint import read_checkpoint

    data, classes = held_out(read_checkpoint(folder).recipe, samples, "--samples")
    say = Out(as_json)
    say.line(f"wrote {save_array(out, data)}: {data.dtype} {data.shape}")
    if labels is not None:
        say.line(f"wrote {save_array(labels, classes)}")
    say.result({"frames": str(out), "labels": str(labels or ""), "shape": list(data.shape)})
