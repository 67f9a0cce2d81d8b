"""The verb ``check``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from neuroport.cli.options import (
    any_path,
    delay_shift_option,
    given,
    json_option,
    steps_option,
    target_option,
)
from neuroport.cli.output import Out


@click.command()
@click.argument("network", type=any_path)
@target_option
@click.option(
    "--map", "trace", type=any_path, help="Trace whose messages between chips to make few."
)
@click.option(
    "--frames", type=any_path, help="Frames of that trace, or to count what NetX changes."
)
@click.option("--counters", help="On a chip, count spikes per neuron, channel or layer, too.")
@click.option(
    "--qualified", type=any_path, help="What a board was seen to do: a record of qualify."
)
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

    Exit 1 if a rule is broken or the network does not fit. With --map, which chip each core's part
    of the network goes to, and the messages between chips. Of a stock NetX file also what lava-dl's
    own reader would do wrong with it, and, with --frames, how many spikes that changes; `neuroport
    lower` writes a network that is right. With --qualified, what is unproven on hardware is proven
    on the record's board, or refused where that board differs.
    """
    from neuroport.analysis.file_check import check_file

    on_chip = given({"trace": trace, "counters": counters, "qualified": qualified})
    verdict = check_file(network, target, steps, delay_shift, frames=frames, **on_chip)
    out = Out(as_json)
    for line in verdict.lines():
        out.line(line)
    out.result(verdict.to_dict())
    sys.exit(0 if verdict else 1)
