"""The command ``check``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from neuroport.cli.options import (
    delay_shift_option,
    given,
    json_option,
    steps_option,
    target_option,
)
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path


@click.command(cls=Command)
@click.argument("network", type=any_path)
@target_option
@click.option(
    "--map",
    "trace",
    type=any_path,
    help="Assign cores to chips so that few messages of this trace pass between chips.",
)
@click.option(
    "--frames",
    type=any_path,
    help="Frames of that trace; or frames on which to count the spikes that NetX changes.",
)
@click.option(
    "--counters", help="Add the cores that count spikes on the chip, per neuron, channel or layer."
)
@click.option("--qualified", type=any_path, help="Record of a board, written by qualify.")
@steps_option
@delay_shift_option
@json_option
def check(
    network: Path,
    target: str,
    trace: Path | None,
    frames: Path | None,
    counters: str | None,
    qualified: Path | None,
    steps: int | None,
    delay_shift: bool | None,
    as_json: bool,
) -> None:
    """List every rule of the target that NETWORK breaks, and on a chip what does not fit.

    Exit 1 if a rule is broken or the network does not fit. With --map, also print the chip of each
    core and the messages between chips. For a stock NetX file, also print what lava-dl's own reader
    would do wrong with it and, with --frames, how many spikes that changes; `neuroport lower`
    writes a correct network. With --qualified, whatever is unproven on hardware counts as proven if
    the record's board agreed with the reference, and is refused if it differed.
    """
    from neuroport.analysis.file_check import check_file

    on_chip = given({"trace": trace, "counters": counters, "qualified": qualified})
    verdict = check_file(network, target, steps, delay_shift, frames=frames, **on_chip)
    out = Out(as_json)
    for line in verdict.lines():
        out.line(line)
    out.result(verdict.to_dict())
    sys.exit(0 if verdict else 1)
