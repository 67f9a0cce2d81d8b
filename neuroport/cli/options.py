"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field
from functools import wraps
from typing import Any

import click

from neuroport.cli.paths import Command, NameOrFile, OutFile, any_path

Verb = Callable[..., None]


graph_file = OutFile("a graph", ".graph")
array_file = OutFile("an array", ".npy")
page_file = OutFile("a page", ".html")
json_file = OutFile("JSON", ".json")
recipe_name = NameOrFile("a recipe; give the name of a shipped one, or a TOML file")
target_name = NameOrFile("a target; give the name of one (neuroport targets), or a TOML file")
cluster_name = NameOrFile("a cluster; give local:N, tcp://HOST:PORT or slurm:FILE", "slurm:")
DEVICES = "Where torch computes: auto (a GPU if there is one), cpu, cuda or cuda:1."
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
steps_option = click.option(
    "--steps", type=int, help="Steps of a sample, for stock NetX files that do not state it."
)
frames_option = click.option(
    "--frames",
    type=any_path,
    help="Frames for a stock NetX file; they determine its steps, shape and range.",
)
target_option = click.option(
    "--target",
    type=target_name,
    default="lava-cpu",
    show_default=True,
    help="lava-cpu, a chip or board, or its TOML.",
)
samples_option = click.option(
    "--samples", type=int, help="Run only this number of samples, from the first."
)
shard_option = click.option(
    "--shard", metavar="i/n", help="Run only part i of n of the samples; merge joins the parts."
)
cluster_option = click.option(
    "--cluster",
    type=cluster_name,
    metavar="WHERE",
    help="local:N, tcp://HOST:PORT or slurm:FILE; needs -o.",
)
shards_option = click.option(
    "--shards", type=int, help="Number of parts that --cluster sends to workers."
)
reset_option = click.option(
    "--reset", default="v_reset", help="Reset of NIR neurons: v_reset, as NIR states, or subtract."
)
one_unit_option = click.option(
    "--one-unit",
    is_flag=True,
    help="One unit per population, so that equal thresholds stay equal, as chips need.",
)
explain_option = click.option("--explain", is_flag=True, help="Print what every node became.")
delay_shift_option = click.option(
    "--delay-shift/--no-delay-shift",
    "delay_shift",
    default=None,
    help="Whether SLAYER trained a stock NetX file with delay_shift, its default.",
)
_free_running_option = click.option(
    "--free-running",
    is_flag=True,
    help="For a stock NetX file: all layers begin at the first step, as in NetX without resets.",
)


def timing_options(verb: Verb) -> Verb:
    """Add options for when the layers of a stock NetX file begin, as the argument ``timing``."""

    @delay_shift_option
    @_free_running_option
    @wraps(verb)
    def timed(*args: Any, delay_shift: bool | None, free_running: bool, **rest: Any) -> None:
        timing = given({"delay_shift": delay_shift, "free_running": free_running or None})
        verb(*args, timing=timing, **rest)

    return timed


class OnEngines(Command):
    """A command that runs a network: it also has every option of every engine.

    The command receives the given ones as ``options``, by the names of the engines' fields.
    """

    without: frozenset[str] = frozenset()  # fields of options that the command does not have

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own options, then those of engines, then ``--help``."""
        *own, last = super().get_params(ctx)
        return [*own, *self._engines(), last]

    def _engines(self) -> list[click.Parameter]:
        from neuroport.engines.table import options

        names = {param.name for param in self.params}
        flags = {flag for param in self.params for flag in (*param.opts, *param.secondary_opts)}
        made = [_engine_option(found) for found in options() if not _names(found) & self.without]
        # of other packages, which must not take a flag of the command
        return [o for o in made if o.name not in names and not flags & {*o.opts, *o.secondary_opts}]

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command with the engines' options as one argument."""
        found = {_name(option): option for option in self._engines()}
        given = {name: ctx.params.pop(name) for name in found}
        # if not given, a flag is False and a repeatable option ()
        ctx.params["options"] = {
            name: value
            for name, value in given.items()
            if value not in (None, ()) and (value is not False or found[name].secondary_opts)
        }
        return super().invoke(ctx)


def _name(option: click.Parameter) -> str:
    assert option.name is not None
    return option.name


def _names(found: dict[str, Field[Any]]) -> set[str]:
    return {each.name for each in found.values()}


def _engine_option(found: dict[str, Field[Any]]) -> click.Option:
    """Make the command-line option of a field; its value is None, or empty, if it is not given.

    Args:
        found: the field in each engine that has it.
    """
    from neuroport.engines.engine import kind_of
    from neuroport.engines.table import ENGINES

    each, *others = found.values()
    kind, text = kind_of(each), str(each.metadata.get("help") or "")
    if len(found) < len(ENGINES):
        text = f"On {', '.join(found)}: {text}"
    if each.default not in (None, False) and all(o.default == each.default for o in others):
        text += f"  [default: {each.default}]"
    types = {"int": int, "float": float, "path": any_path}
    words = [f"--{flag_of(each)}", each.name]
    if kind == "bool" and each.default is True:
        return click.Option([f"{words[0]}/--no-{flag_of(each)}", words[1]], default=None, help=text)
    if kind == "bool":
        return click.Option(words, is_flag=True, help=text)
    return click.Option(words, type=types.get(kind, str), multiple=kind == "many", help=text)


def flag_of(each: Field[Any]) -> str:
    """Return the name of an engine's option on the command line, without dashes."""
    return str(each.metadata.get("flag") or each.name.replace("_", "-"))


def flag_named(name: str) -> str:
    """Return the name on the command line of an engine's option, by that of its field."""
    from neuroport.engines.table import options

    found = (each for owners in options() for each in owners.values() if each.name == name)
    return flag_of(next(found))


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
