"""Options that several verbs take."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from neuroport.files import check_file, check_folder

Verb = Callable[..., None]


class _OutFile(click.Path):
    """A file to write; refused before any work where it could not be."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return check_file(Path(os.fsdecode(super().convert(value, param, ctx))))


class _OutFolder(click.Path):
    """A folder to write to; refused before any work where it could not be."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return check_folder(Path(os.fsdecode(super().convert(value, param, ctx))))


any_path = click.Path(path_type=Path)
out_file, out_folder = _OutFile(path_type=Path), _OutFolder(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
steps_option = click.option(
    "--steps", type=int, help="Steps a sample lasts, for stock NetX files, which need not say it."
)
frames_option = click.option(
    "--frames",
    type=any_path,
    help="Frames that a stock NetX file takes: their steps, shape, range.",
)
target_option = click.option(
    "--target",
    default="lava-cpu",
    show_default=True,
    help="lava-cpu, a chip or board, or its TOML.",
)
samples_option = click.option("--samples", type=int, help="Run only the first so many samples.")
deadline_option = click.option(
    "--deadline", type=float, default=600.0, show_default=True, help="Seconds for Lava."
)
workers_option = click.option(
    "--workers", type=int, help="On lava-cpu: child processes that share the samples, 1 by default."
)
processes_option = click.option(
    "--processes", help="On lava-cpu: Lava's own, stock (default), or fused ones, which are faster."
)
delay_shift_option = click.option(
    "--delay-shift/--no-delay-shift",
    "delay_shift",
    default=None,
    help="Whether SLAYER trained a stock NetX file with delay_shift, its default.",
)
_free_running_option = click.option(
    "--free-running",
    is_flag=True,
    help="Of a stock NetX file: all layers begin at the first step, as in NetX without resets.",
)


def timing_options(verb: Verb) -> Verb:
    """When the layers of a stock NetX file begin; the verb takes it as ``timing``."""

    @delay_shift_option
    @_free_running_option
    @wraps(verb)
    def timed(*args: Any, delay_shift: bool | None, free_running: bool, **rest: Any) -> None:
        timing = given({"delay_shift": delay_shift, "free_running": free_running or None})
        verb(*args, timing=timing, **rest)

    return timed


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
