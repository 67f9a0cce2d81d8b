"""The command line: one function per verb, which parses, calls and prints.

Exit codes: 0 good, 1 diverged or illegal, 2 wrong usage, 130 interrupted. A user's mistake prints
one line; a traceback means a bug of neuroport.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import neuroport
from neuroport.errors import (
    BackendError,
    CompareError,
    FormatError,
    FramesError,
    NeuroportError,
    NeuroportWarning,
    printable,
)
from neuroport.files import check_file, check_folder
from neuroport.processes import Ended, end_by, ending_on_signals

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.graph.graph import Graph
    from neuroport.recipe import Recipe
    from neuroport.runs.trace import Trace
    from neuroport.targets.mapping import Mapping
    from neuroport.targets.target import Target

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
_path = click.Path(path_type=Path)
_steps_option = click.option(
    "--steps", type=int, help="Steps a sample lasts, for stock NetX files, which need not say it."
)
_target_option = click.option(
    "--target",
    default="lava-cpu",
    show_default=True,
    help="lava-cpu, a chip or board, or its TOML.",
)
OF_ONE_ENGINE = {
    "workers": "lava-cpu",
    "processes": "lava-cpu",
    "site": "loihi2",
    "frames_by": "loihi2",
    "measure": "loihi2",
}
_workers_option = click.option(
    "--workers", type=int, help="On lava-cpu: child processes that share the samples, 1 by default."
)
_processes_option = click.option(
    "--processes", help="On lava-cpu: Lava's own, stock (default), or fused ones, which are faster."
)
_delay_shift_option = click.option(
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
_given_frames_option = click.option(
    "--frames", type=_path, help="Frames that a stock NetX file takes: their steps, shape, range."
)
RESUMING = ("demo", "train")  # verbs that go on where they were interrupted


class _Out:
    """Lines for people, or one JSON object for machines."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def line(self, text: str) -> None:
        if not self.as_json:
            _echo(text)

    def result(self, value: dict[str, Any]) -> None:
        if self.as_json:
            click.echo(json.dumps(value, indent=2))


def _echo(text: str, err: bool = False) -> None:
    """Print text as text: names in files are anybody's, and no terminal obeys them."""
    click.echo(printable(text), err=err)


class _OutFile(click.Path):
    """A file to write; refused before any work where it could not be."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return check_file(Path(os.fsdecode(super().convert(value, param, ctx))))


class _OutFolder(click.Path):
    """A folder to write to; refused before any work where it could not be."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return check_folder(Path(os.fsdecode(super().convert(value, param, ctx))))


_out_file, _out_folder = _OutFile(path_type=Path), _OutFolder(path_type=Path)


class _InOrder(click.Group):
    """Verbs in the order in which they are used, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(neuroport.__version__)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Residual spiking networks from PyTorch to Lava and Loihi 2, spike for spike.

    \b
    neuroport demo           everything below, on real digits
    train -> quantize -> lower -> export -> run -> compare -> report
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command()
@click.option("--out", "folder", type=_out_folder, default=Path("runs/demo"), show_default=True)
@click.option("--recipe", default="demo", show_default=True, help="Shipped recipe or TOML file.")
@click.option("--samples", default=100, show_default=True, help="Held-out digits run on Lava.")
@_json_option
def demo(folder: Path, recipe: str, samples: int, as_json: bool) -> None:
    """Train, quantize, lower, export, run on Lava, compare and report, on real digits."""
    from neuroport.demo import demo as run_demo

    out = _Out(as_json)
    results = run_demo(recipe, folder, samples, out.line)
    out.result(results)
    if not as_json:
        from rich.console import Console

        from neuroport.reporting.terminal import print_results

        print_results(results, Console())
        out.line(
            f"open {folder / 'report.html'} in a browser; figures are in {folder / 'demo.json'}"
        )
    sys.exit(0 if results["equal"] else 1)


@cli.command()
@click.argument("recipe")
@click.option("-o", "--out", "folder", type=_out_folder, required=True, help="Folder of the run.")
@click.option("--tensorboard", is_flag=True, help="Write metrics as TensorBoard events, too.")
@_json_option
def train(recipe: str, folder: Path, tensorboard: bool, as_json: bool) -> None:
    """Train RECIPE (a TOML file, or `demo`), resuming what the folder holds."""
    from neuroport.files import write_atomic
    from neuroport.recipe import load_recipe, recipe_text

    parsed = load_recipe(recipe)  # before torch is imported: a mistake is told at once
    from neuroport.reporting.progress import training_report
    from neuroport.training.board import board
    from neuroport.training.checkpoint import read_checkpoint
    from neuroport.training.fit import fit
    from neuroport.training.parallel import is_first

    out = _Out(as_json and is_first())
    with ExitStack() as stack:
        reports = [stack.enter_context(training_report(out.line))]
        if tensorboard and is_first():
            reports.append(stack.enter_context(board(folder)))

        def told(event: dict[str, Any]) -> None:
            for report in reports:
                report(event)

        fit(parsed, folder, report=told)
    if not is_first():  # torchrun's other processes
        return
    write_atomic(folder / "recipe.toml", recipe_text(recipe))
    metrics = read_checkpoint(folder).metrics
    out.line(f"{folder}: {len(metrics)} epochs done")
    out.result({"folder": str(folder), "metrics": metrics})


@cli.command()
@click.argument("folder", type=_path)
@click.option("-o", "--out", type=_out_file, required=True, help=".npy file of frames to write.")
@click.option("--labels", type=_out_file, help=".npy file of their classes to write.")
@click.option("--samples", default=100, show_default=True, help="How many held-out samples.")
@_json_option
def frames(folder: Path, out: Path, labels: Path | None, samples: int, as_json: bool) -> None:
    """Write held-out samples of the training in FOLDER as frames (T, N, C, H, W)."""
    from neuroport.data.samples import save_array
    from neuroport.training.checkpoint import read_checkpoint

    found, classes = _held_out(read_checkpoint(folder).recipe, samples, "--samples")
    say = _Out(as_json)
    say.line(f"wrote {save_array(out, found)}: {found.dtype} {found.shape}")
    if labels is not None:
        say.line(f"wrote {save_array(labels, classes)}")
    say.result({"frames": str(out), "labels": str(labels or ""), "shape": list(found.shape)})


@cli.command()
@click.argument("folder", type=_path)
@click.option("-o", "--out", type=_out_file, help="Graph file; FOLDER/quantized.graph by default.")
@click.option("--cost", type=int, help="Held-out samples on which to say what each layer cost.")
@_json_option
def quantize(folder: Path, out: Path | None, cost: int | None, as_json: bool) -> None:
    """Turn the trained network in FOLDER into a graph of integers.

    With --cost, held-out samples run in real numbers and in integers, and every layer is compared.
    """
    import numpy as np

    from neuroport.graph.store import save
    from neuroport.quantization import QuantizationWarning
    from neuroport.quantization import quantize as to_graph
    from neuroport.training.checkpoint import load, read_checkpoint

    recipe = read_checkpoint(folder).recipe
    out = check_file(out or folder / "quantized.graph")
    say = _Out(as_json)
    more: dict[str, Any] = {}
    if cost is not None:
        from neuroport.quantization.cost import quantization_cost

        found, labels = _held_out(recipe, cost, "--cost")
        costs = quantization_cost(load(folder), found, labels)
        say.line(str(costs))
        more["cost"] = costs.to_dict()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", QuantizationWarning)
        graph = to_graph(load(folder), np.zeros((recipe.data.steps, 1, *recipe.data.shape)))
    told = [str(w.message) for w in heard if isinstance(w.message, QuantizationWarning)]
    for text in told:
        say.line(f"warning: {text}")
    more["warnings"] = told
    path = save(graph, out)
    _say_graph(say, path, graph, **more)


@cli.command()
@click.argument("graph", type=_path)
@click.option("-o", "--out", type=_out_file, required=True, help="Graph (or .net) file to write.")
@_target_option
@click.option("--carrier", default="auto", help="How shortcuts go: relay, unroll, stock, or auto.")
@click.option("--align", default="auto", help="What delays early branches: relays or delays.")
@click.option("--minimize", default="auto", help="time (Lava's CPU) or cores (of a chip), or auto.")
@click.option("--power-of-two-interval", is_flag=True, help="Samples every 2**k steps (Loihi 2).")
@_steps_option
@_given_frames_option
@_delay_shift_option
@_free_running_option
@_json_option
def lower(
    graph: Path,
    out: Path,
    target: str,
    carrier: str,
    align: str,
    minimize: str,
    power_of_two_interval: bool,
    steps: int | None,
    frames: Path | None,
    delay_shift: bool | None,
    free_running: bool,
    as_json: bool,
) -> None:
    """Make GRAPH run in chip time: align shortcuts, check every rule of the target."""
    from neuroport.graph.store import save
    from neuroport.netx import export as to_file
    from neuroport.targets.lowering import bills as price
    from neuroport.targets.lowering import is_chip, picked
    from neuroport.targets.target import load_target

    given = _network(graph, steps, frames, **_timing(delay_shift, free_running))
    bills, lowered = price(
        given,
        target,
        carrier=carrier,
        align=align,
        power_of_two_interval=power_of_two_interval,
        minimize=minimize,
    )
    say = _Out(as_json)
    for bill in bills:
        say.line(f"{'*' if bill.graph is lowered else ' '} {bill}")
    choices = picked(given, lowered, load_target(target)) if is_chip(target) else []
    for choice in choices:
        say.line(choice)
    if out.suffix == ".net":
        path = to_file(lowered, out, "lava-cpu" if is_chip(target) else target)
    else:
        path = save(lowered, out)
    _say_graph(say, path, lowered, carriers=[bill.to_dict() for bill in bills], picked=choices)


@cli.command()
@click.argument("graph", type=_path)
@click.option("-o", "--out", type=_out_file, required=True, help="NetX file to write (.net).")
@_json_option
def export(graph: Path, out: Path, as_json: bool) -> None:
    """Write the lowered GRAPH as a .net file."""
    from neuroport.graph.store import load
    from neuroport.netx import export as to_file

    loaded = load(graph)
    _say_graph(_Out(as_json), to_file(loaded, out), loaded)


@cli.command()
@click.argument("network", type=_path)
@click.option("--frames", type=_path, required=True, help=".npy array (T, N, C, H, W) of integers.")
@click.option("--on", "engine", help="Engine; `reference` by default, a folder's own module.")
@click.option("-o", "--out", type=_out_file, help="Trace file to write.")
@click.option("--samples", type=int, help="Run only the first so many samples.")
@click.option("--labels", type=_path, help=".npy array (N,) of classes, to print the accuracy.")
@click.option("--deadline", type=float, default=600.0, show_default=True, help="Seconds for Lava.")
@click.option("--time", "time_model", help="`ideal` or `chip`, for the built-in engines.")
@click.option("--record", help="messages (default), or their counts (default on loihi2).")
@click.option("--count", multiple=True, help="A population to count (may be repeated); else all.")
@click.option("--granularity", help="A counter per neuron (default), channel or layer.")
@_workers_option
@_processes_option
@click.option("--site", type=_path, help="TOML file of a board's site, for loihi2.")
@click.option("--frames-by", help="On loihi2: messages (default), or bias for a constant frame.")
@click.option("--measure", is_flag=True, help="On loihi2: power, time, activity, memory, too.")
@_delay_shift_option
@_free_running_option
@_json_option
def run(
    network: Path,
    frames: Path,
    engine: str | None,
    out: Path | None,
    samples: int | None,
    labels: Path | None,
    deadline: float,
    time_model: str | None,
    record: str | None,
    count: tuple[str, ...],
    granularity: str | None,
    workers: int | None,
    processes: str | None,
    site: Path | None,
    frames_by: str | None,
    measure: bool,
    delay_shift: bool | None,
    free_running: bool,
    as_json: bool,
) -> None:
    """Run NETWORK (.net, .graph, or a training folder) on frames and record every population.

    With --record counts only the number of messages per sample is kept, and every step of readouts.
    """
    from neuroport.runs.trace import is_readout, is_spiking

    options: dict[str, Any] = {"count": count or None, "granularity": granularity}
    if record is not None:
        options["record"] = record
    own = {"workers": workers, "processes": processes, "site": site, "frames_by": frames_by}
    own["measure"] = measure or None
    options |= _given(own | _timing(delay_shift, free_running))
    truth = _labels(labels) if labels is not None else None
    trace = _run(network, frames, engine, samples, deadline, time_model, **options)
    say = _Out(as_json)
    result: dict[str, Any] = {"samples": trace.samples, "provenance": trace.provenance}
    sent = {n: trace.sent(n) for n, kind in trace.kinds.items() if not is_readout(kind)}
    spikes = {n: count for n, count in sent.items() if is_spiking(trace.kinds[n])}
    graded = {n: count for n, count in sent.items() if n not in spikes}
    told = [f"{sum(spikes.values()):,} spikes"] if spikes or not graded else []
    told += [f"{sum(graded.values()):,} graded messages"] if graded else []
    say.line(
        f"{_engine(trace)}: {trace.samples} samples, {len(trace.kinds)} populations, "
        f"{', '.join(told)}, {trace.provenance['seconds']:.1f} s"
    )
    result["spikes"] = spikes
    result["graded"] = graded
    if "hardware" in trace.provenance:
        _say_hardware(say, trace.provenance["hardware"])
    if trace.counts:
        result["counts"] = _say_counts(say, trace)
    if out is not None:
        say.line(f"wrote {trace.save(out)}")
        result["trace"] = str(out)
    _say_classes(say, trace, labels, truth, result)
    say.result(result)


def _say_classes(
    out: _Out,
    trace: Trace,
    labels: Path | None,
    truth: npt.NDArray[Any] | None,
    result: dict[str, Any],
) -> None:
    """The class of every sample, or how many are those of the labels; ties are told."""
    from neuroport.runs.trace import is_readout

    try:
        name, answers = trace.answer
    except CompareError as error:
        if labels is not None:
            raise FramesError(f"{labels}: labels need one answer; {error.message}") from error
        return
    counted = "" if is_readout(trace.kinds[name]) else f" by the spikes of {name}"
    if not is_readout(trace.kinds[name]) and answers.shape[1] < 2:
        return
    predictions = trace.predictions
    result["predictions"] = predictions.tolist()
    if truth is None:
        out.line(f"classes{counted} {' '.join(str(p) for p in predictions[:50])}")
    else:
        truth = truth[: trace.samples]
        if len(truth) != trace.samples:
            raise FramesError(f"{labels}: {len(truth)} labels for {trace.samples} samples")
        correct = int((predictions == truth).sum())
        result["accuracy"] = 100 * correct / trace.samples
        out.line(f"accuracy {result['accuracy']:.1f} % ({correct} of {trace.samples}){counted}")
    if ties := int(trace.ties.sum()):
        result["ties"] = ties
        out.line(f"{ties} of {trace.samples} samples have several largest: the lowest class counts")


def _labels(path: Path) -> npt.NDArray[Any]:
    """The classes in a file, refused before a network runs."""
    from neuroport.files import read_array

    truth = read_array(path, "labels")
    if truth.ndim != 1 or truth.dtype.kind not in "iu":
        raise FramesError(
            f"{path}: {truth.dtype} {truth.shape}; labels are integers (N,), a class each"
        )
    return truth


def _engine(trace: Trace) -> str:
    """The engine of a run, and which processes it was built of, where they are not Lava's own."""
    fused = trace.provenance.get("processes") == "fused"
    return f"{trace.provenance['engine']}{' (fused processes)' if fused else ''}"


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _say_hardware(out: _Out, told: dict[str, Any]) -> None:
    """What was measured, and what speaks against it."""
    out.line(told["status"])
    if "measurement" in told:
        found = told["measurement"]
        out.line(
            f"{found['label']}: {found['total_w']:.3g} W (static {found['static_w']:.3g}, dynamic "
            f"{found['dynamic_w']:.3g}), {1e6 * found['sample_s']:,.1f} us and "
            f"{found['total_uj']:,.1f} uJ a sample (dynamic {found['dynamic_uj']:,.1f})"
        )
        for doubt in found["doubts"]:
            out.line(f"doubt: {doubt}")


def _say_counts(out: _Out, trace: Trace) -> dict[str, Any]:
    """A line for each population that was counted, and the same as data."""
    found = {
        name: {
            "counters": int(counts[0].size),
            "messages": trace.sent(name),
            "most": int(counts.max()),
            "per_sample": trace.sent(name) / trace.samples,
        }
        for name, counts in trace.counts.items()
    }
    width = max(map(len, found))
    for name, row in found.items():
        out.line(
            f"{name:{width}} {trace.kinds[name]:10} {row['messages']:>12,} messages, "
            f"{row['per_sample']:,.1f} per sample, at most {row['most']:,} at one of "
            f"{row['counters']:,} counters (a counter per {trace.granularity})"
        )
    return found


@cli.command()
@click.argument("want", type=_path)
@click.argument("got", type=_path)
@click.option("--frames", type=_path, help=".npy frames, needed where a network is given.")
@click.option("--on", "engine", help="Engine for GOT; `reference` by default.")
@click.option("--samples", type=int, help="Run only the first so many samples.")
@click.option("--deadline", type=float, default=600.0, show_default=True, help="Seconds for Lava.")
@_workers_option
@_processes_option
@click.option("--minimize", is_flag=True, help="Find the smallest network that still differs.")
@click.option("-o", "--out", type=_out_file, help="File for that network; frames lie beside it.")
@_delay_shift_option
@_free_running_option
@_json_option
def compare(
    want: Path,
    got: Path,
    frames: Path | None,
    engine: str | None,
    samples: int | None,
    deadline: float,
    workers: int | None,
    processes: str | None,
    minimize: bool,
    out: Path | None,
    delay_shift: bool | None,
    free_running: bool,
    as_json: bool,
) -> None:
    """Compare two runs position by position: exit 0 when equal, 1 with the first divergence.

    WANT and GOT are traces, or networks (.net, .graph, a training folder) to be run on --frames;
    WANT runs on the reference engine (a folder: on its own torch module), GOT on --on. With a
    network at hand the divergence is explained; --minimize makes it small (Ctrl-C keeps the best).
    """
    if minimize != (out is not None):
        raise click.UsageError("--minimize and -o go together: give both, or neither")
    if minimize:
        _only_networks(want, got)
    from neuroport.analysis.compare import compare as compare_traces
    from neuroport.analysis.compare import explain

    timing = _timing(delay_shift, free_running)
    first = _trace_of(want, frames, None, samples, deadline, timing)
    own = _given({"workers": workers, "processes": processes})
    second = _trace_of(got, frames, engine, samples, deadline, timing, **own)
    outcome = compare_traces(first, second)
    graph = other = None
    if frames is not None:
        data = _frames(frames, samples)
        graph, other = (_graph_of(path, data, outcome.equal, timing) for path in (want, got))
        graph, other = graph or other, other or graph
        if graph is not None and other is not None:
            outcome = explain(outcome, first, second, graph, other, data)
    say = _Out(as_json)
    say.line(str(outcome))
    result, interrupted = outcome.to_dict(), False
    if minimize and outcome.first is None:
        say.line("nothing differs, so there is nothing to minimize")
    elif out is not None:
        assert graph is not None
        assert other is not None
        options = {"deadline": deadline} | _given({"processes": processes})
        result["minimized"], interrupted = _minimize(graph, other, data, engine, options, out, say)
    say.result(result)
    sys.exit(130 if interrupted else 0 if outcome else 1)


def _only_networks(*paths: Path) -> None:
    from neuroport.graph.store import format_of
    from neuroport.runs.trace import FORMAT

    for path in paths:
        if path.is_dir() or format_of(path) == FORMAT:
            what = "a training folder" if path.is_dir() else "a trace"
            raise CompareError(f"{path} is {what}; --minimize takes networks (.net or .graph)")


def _minimize(
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any],
    engine: str | None,
    options: dict[str, Any],
    out: Path,
    say: _Out,
) -> tuple[dict[str, Any], bool]:
    """Minimize, write, tell; and whether the user ended it."""
    from functools import partial

    from neuroport.analysis.minimize import minimize
    from neuroport.backends.base import backend

    name = engine or "reference"
    on = partial(backend(name).run, **(options if name == "lava-cpu" else {}))
    same = graph.hash == other.hash
    small = minimize(graph, graph if same else other, frames, on=on, report=say.line)
    say.line(str(small))
    files = small.save(out)
    say.line(f"wrote {', '.join(map(str, files))}")
    return {**small.to_dict(), "files": [str(path) for path in files]}, small.interrupted


@cli.command()
@click.argument("network", type=_path)
@click.option("--trace", "trace_path", type=_path, required=True, help="Trace of that network.")
@click.option("--frames", type=_path, help="Frames of the trace, to count the first synapse.")
@click.option("--results", type=_path, help="demo.json, for accuracy, comparisons and times.")
@click.option("--target", help="A chip or board (or its TOML): its cores, and energy and time.")
@click.option("--map", "mapped", is_flag=True, help="Show what lies on which chip, too.")
@click.option("-o", "--out", type=_out_file, required=True, help="HTML page to write.")
@_delay_shift_option
@_free_running_option
@_json_option
def report(
    network: Path,
    trace_path: Path,
    frames: Path | None,
    results: Path | None,
    target: str | None,
    mapped: bool,
    out: Path,
    delay_shift: bool | None,
    free_running: bool,
    as_json: bool,
) -> None:
    """Draw NETWORK and its activity as one self-contained HTML page, and a table."""
    from neuroport.analysis.energy import energy_or_why
    from neuroport.analysis.estimates import Routes
    from neuroport.analysis.statistics import statistics
    from neuroport.files import read_json
    from neuroport.netx.stock import is_stock
    from neuroport.reporting.html import report as write_page
    from neuroport.runs.frames import load_frames
    from neuroport.runs.trace import Trace
    from neuroport.targets.mapping import map_network
    from neuroport.targets.target import load_target

    board = load_target(target) if target is not None else None
    if mapped and board is None:
        raise click.UsageError("--map needs the chips of a --target, such as kapoho-point")
    trace = Trace.load(trace_path)
    steps = trace.steps if is_stock(network) else None
    timing = _timing(delay_shift, free_running)
    graph = _network(network, steps, frames if steps else None, **timing)
    extra = read_json(results) if results is not None else None
    data = load_frames(frames) if frames is not None else None
    numbers = statistics(graph, trace, data)
    chips = map_network(graph, board, trace, data) if mapped and board is not None else None
    routes = Routes(inter_chip=chips.messages) if chips is not None else None
    cost = energy_or_why(graph, trace, data, board, routes) if board is not None else None
    try:
        page = write_page(
            graph,
            trace,
            out,
            results=extra,
            frames=data,
            target=board,
            energy=cost,
            mapping=chips,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if extra is None:
            raise
        raise FormatError(
            f"{results}: not the results of a demo ({type(error).__name__}: {error}); "
            "give demo.json as the demo wrote it"
        ) from error
    say = _Out(as_json)
    if not as_json:
        from rich.console import Console

        from neuroport.reporting.terminal import print_statistics

        print_statistics(numbers, Console())
    if cost is not None:
        say.line(f"energy and time: {cost}" if isinstance(cost, str) else str(cost))
    say.line(f"wrote {page}")
    told = cost if cost is None or isinstance(cost, str) else cost.to_dict()
    say.result({"page": str(page), "statistics": numbers.to_dict(), "energy": told})


@cli.command()
@click.argument("network", type=_path)
@_steps_option
@_given_frames_option
@_delay_shift_option
@_free_running_option
@_json_option
def show(
    network: Path,
    steps: int | None,
    frames: Path | None,
    delay_shift: bool | None,
    free_running: bool,
    as_json: bool,
) -> None:
    """Print a graph, one line per node."""

    timing = _timing(delay_shift, free_running)
    graph = _network(network, steps, frames, **timing)
    out = _Out(as_json)
    out.line(str(graph))
    nodes = [
        {
            "name": node.name,
            "kind": node.kind,
            "inputs": list(node.inputs),
            "shape": list(graph.facts(node.name).shape),
            "skew": graph.facts(node.name).skew,
        }
        for node in graph
    ]
    out.result({"hash": graph.hash, "steps": graph.steps, "depth": graph.depth, "nodes": nodes})


@cli.command()
@click.argument("network", type=_path)
@_target_option
@click.option("--map", "trace", type=_path, help="Trace whose messages between chips to make few.")
@click.option("--frames", type=_path, help="Frames of that trace, or to count what NetX changes.")
@click.option("--counters", help="On a chip, count spikes per neuron, channel or layer, too.")
@_steps_option
@_delay_shift_option
@_json_option
def check(
    network: Path,
    target: str,
    trace: Path | None,
    frames: Path | None,
    counters: str | None,
    steps: int | None,
    delay_shift: bool | None,
    as_json: bool,
) -> None:
    """List every rule of the target that NETWORK breaks, and on a chip what does not fit.

    Exit 1 if a rule is broken or the network does not fit. With --map, which chip each core's part
    of the network goes to, and the messages between chips. Of a stock NetX file also what lava-dl's
    own reader would do wrong with it, and, with --frames, how many spikes that changes; `neuroport
    lower` writes a network that is right.
    """
    from dataclasses import asdict

    from neuroport.backends.lava_cpu.groups import left_to_stock
    from neuroport.lowering.rules import rules_of, violations
    from neuroport.netx.stock import is_stock
    from neuroport.targets.checking import check as check_on_chip
    from neuroport.targets.lowering import is_chip
    from neuroport.targets.target import load_target

    out = _Out(as_json)
    if is_chip(target):
        board = load_target(target)
        given = frames if is_stock(network) else None
        graph = _network(network, steps, given, **_timing(delay_shift, False))
        verdict = check_on_chip(graph, board, counters)
        fits = verdict.resources.fits
        mapping = _mapped(graph, board, trace, frames) if trace is not None and fits else None
        for line in verdict.lines():
            out.line(line)
        if trace is not None:
            for line in mapping.lines() if mapping else ("not mapped: it does not fit",):
                out.line(line)
        placed = {"mapping": mapping.to_dict() if mapping else None} if trace is not None else {}
        out.result({**verdict.to_dict(), **placed})
        sys.exit(0 if verdict else 1)
    if trace is not None:
        raise click.UsageError("--map needs the chips of a --target, such as kapoho-point")
    if counters is not None:
        raise click.UsageError(f"--counters takes the cores of a chip; {target} has none")
    names = [rule.__name__ for rule in rules_of(target)]
    if is_stock(network):
        _check_stock(network, target, names, frames, steps, delay_shift, out)
    graph = _network(network, steps, None, **_timing(delay_shift, False))
    found = list(violations(graph, target))
    for violation in found:
        out.line(str(violation))
    out.line(f"{network}: {len(found)} violations of {len(names)} rules for {target}")
    left = left_to_stock(graph)
    if left:
        kinds = ", ".join(f"{name} ({kind})" for name, kind in left.items())
        out.line(f"no fused process holds, so that stock ones do: {kinds}")
    told = {"target": target, "rules": names, "violations": [asdict(v) for v in found]}
    out.result({**told, "stock_populations": left})
    sys.exit(1 if found else 0)


def _mapped(graph: Graph, board: Target, trace: Path, frames: Path | None) -> Mapping:
    from neuroport.runs.trace import Trace
    from neuroport.targets.mapping import map_network

    data = _frames(frames, None) if frames is not None else None
    return map_network(graph, board, Trace.load(trace), data)


def _check_stock(
    network: Path,
    target: str,
    names: list[str],
    frames: Path | None,
    steps: int | None,
    delay_shift: bool | None,
    out: _Out,
) -> NoReturn:
    """What stock NetX would do wrong with a file, and the rules that the network breaks.

    Exit 0 also where frames were given and no fault changes a spike on them.
    """
    from dataclasses import asdict

    from neuroport.analysis.stock_road import inspect
    from neuroport.lowering.rules import violations

    data = _frames(frames, None) if frames is not None else None
    report = inspect(network, steps=steps, frames=data, delay_shift=delay_shift)
    wrong = [finding for finding in report.findings if finding.changes != 0]
    for finding in report.findings:
        out.line(str(finding))
    counted = f", of {report.positions:,} positions" if report.positions else ""
    if without := len(report.findings) - len(wrong):
        counted += f"; {without} more would change nothing on these frames"
    out.line(f"{network}: stock NetX would do {_things(len(wrong))} wrong{counted}")
    if report.doubt:
        out.line(f"{network}: {report.doubt}")
    found = list(violations(report.graph, target)) if report.graph is not None else []
    for violation in found:
        out.line(str(violation))
    if report.graph is None:
        out.line(f"neuroport cannot run it, either: {report.refusal}")
    else:
        out.line(f"{network}: {len(found)} violations of {len(names)} rules for {target}")
    out.result(
        {
            "target": target,
            "rules": names,
            "violations": [asdict(v) for v in found],
            "netx": [finding.to_dict() for finding in report.findings],
            "positions": report.positions,
            "refusal": report.refusal,
            "doubt": report.doubt,
        }
    )
    sys.exit(1 if found or wrong or report.graph is None else 0)


def _things(count: int) -> str:
    return "1 thing" if count == 1 else f"{count} things"


@cli.command()
@click.argument("name", required=False)
@click.option("--fit", is_flag=True, help="Published tables against the resource formulas.")
@_json_option
def targets(name: str | None, fit: bool, as_json: bool) -> None:
    """List chips and boards; of NAME (or a TOML file) every value with its source."""
    from dataclasses import asdict

    from neuroport.targets.published import summary, tables
    from neuroport.targets.target import KEYS, load_target
    from neuroport.targets.target import names as shipped

    out = _Out(as_json)
    if fit:
        found = tables()
        for table in found:
            for line in (*table.lines(), ""):
                out.line(line)
        out.line(summary(found))
        out.result({"tables": [table.to_dict() for table in found]})
    elif name is None:
        boards = [load_target(board) for board in shipped()]
        for board in boards:
            out.line(f"{board.name:14} {board.capacity:>8,} cores  {board.summary}")
        out.result({"targets": {board.name: board.capacity for board in boards}})
    else:
        board = load_target(name)
        out.line(f"{board.name}: {board.summary}; nothing here was measured on hardware")
        for key, value in board.values.items():
            shown = "none known" if value.value is None else str(value.value).lower()
            out.line(f"{key:20} {shown:>14}  {KEYS[key][1]} ({value.confidence}: {value.source})")
        values = {key: asdict(value) for key, value in board.values.items()}
        out.result({"name": board.name, "summary": board.summary, "values": values})


@cli.command()
@click.option(
    "--install",
    "package",
    type=click.Choice(["lava"]),
    help="Install Lava's simulator into this Python; shows the commands and asks first.",
)
@click.option("--yes", is_flag=True, help="With --install: do not ask.")
@_json_option
def backends(package: str | None, yes: bool, as_json: bool) -> None:
    """List the engines, and why one is not available."""
    from neuroport.backends.base import backends as engines
    from neuroport.backends.lava_cpu import installing

    out = _Out(as_json)
    if package is not None:
        for line in installing.shown():
            click.echo(line, err=True)
        if not yes and not sys.stdin.isatty():
            raise click.UsageError("nobody is there to be asked; add --yes to run these commands")
        if not yes:
            click.confirm("Run these commands?", abort=True, err=True)
        installing.install()
    rows = {name: engine.available() for name, engine in engines().items()}
    for name, engine in engines().items():
        reason = rows[name]
        out.line(f"{name:10} {engine.summary}: {'available' if reason is None else reason}")
    out.result({"backends": {n: {"available": r is None, "reason": r} for n, r in rows.items()}})


def _held_out(
    recipe: Recipe, samples: int, option: str
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The first held-out samples of a recipe: frames (T, N, C, H, W) and classes."""
    from neuroport.data.loading import load_data
    from neuroport.data.samples import frames_of

    test = load_data(recipe.data).test
    if not 1 <= samples <= len(test.labels):
        raise FramesError(f"{option} is {samples}; use 1 to {len(test.labels)} held-out samples")
    return frames_of(test, slice(samples), recipe.data.steps), test.labels[:samples]


def _say_graph(out: _Out, path: Path, graph: Graph, **more: Any) -> None:
    out.line(f"wrote {path}: {len(graph)} nodes, depth {graph.depth}, hash {graph.hash[:12]}")
    facts = {"path": str(path), "nodes": len(graph), "depth": graph.depth, "hash": graph.hash}
    out.result({**facts, **more})


def _run(
    network: Path | Graph,
    frames: Path,
    engine: str | None,
    samples: int | None,
    deadline: float,
    time_model: str | None = None,
    **recording: Any,
) -> Trace:
    """Run a file or a training folder; bad frames are refused before anything starts."""
    from neuroport.backends import run as run_network
    from neuroport.backends.base import backend
    from neuroport.reporting.progress import progress_bar

    folder = isinstance(network, Path) and network.is_dir()
    name = engine or ("module" if folder else "reference")
    if name != "module" or not folder:
        backend(name, recording.get("site"))
    for option, owner in OF_ONE_ENGINE.items():
        if option in recording and name != owner:
            flag = option.replace("_", "-")
            raise BackendError(f"--{flag} is for {owner}; leave it out on {name!r}")
    if folder and name != "module":
        raise BackendError(
            f"{network} is a training folder, which runs on its own torch module; "
            f"quantize, lower and export it to run it on {name!r}"
        )
    if time_model is not None and name not in ("reference", "fast"):
        raise BackendError(f"{name!r} has one time; leave --time out, or run on 'fast'")
    data = _frames(frames, samples)
    with progress_bar(name) as progress:
        if folder:
            from neuroport.training.checkpoint import load

            assert isinstance(network, Path)
            return run_network(load(network), data, progress=progress, **recording)
        lava = name in ("lava-cpu", "loihi2")
        options = {**recording, "deadline": deadline} if lava else recording
        if time_model is not None:
            options["time_model"] = time_model
        return run_network(network, data, on=name, progress=progress, **options)


def _network(path: Path, steps: int | None, frames: Path | None, **timing: Any) -> Graph:
    """The network in a file; of a stock one, what frames say of it."""
    from neuroport.netx import read

    data = _frames(frames, None) if frames is not None else None
    return read(path, steps=steps, frames=data, **timing)


def _timing(delay_shift: bool | None, free_running: bool) -> dict[str, bool]:
    """What was said of when the layers of a stock file begin."""
    return _given({"delay_shift": delay_shift, "free_running": free_running or None})


def _frames(path: Path, samples: int | None) -> npt.NDArray[Any]:
    """The frames in a file, or the first so many samples of them."""
    from neuroport.runs.frames import load_frames

    return load_frames(path, samples)


def _graph_of(
    path: Path, frames: npt.NDArray[Any], equal: bool, timing: dict[str, bool]
) -> Graph | None:
    """The network behind a run, None for a trace; a folder's only where there is need of it."""
    from neuroport.graph.store import format_of
    from neuroport.netx import read
    from neuroport.netx.stock import is_stock
    from neuroport.runs.trace import FORMAT

    if path.is_dir():
        if equal:
            return None
        from neuroport.quantization import quantize as to_graph
        from neuroport.training.checkpoint import load

        return to_graph(load(path), frames)
    if format_of(path) == FORMAT:
        return None
    return read(path, frames=frames, **timing) if is_stock(path) else read(path, verify=False)


def _trace_of(
    path: Path,
    frames: Path | None,
    engine: str | None,
    samples: int | None,
    deadline: float,
    timing: dict[str, bool],
    **own: Any,
) -> Trace:
    from neuroport.graph.store import format_of
    from neuroport.netx.stock import is_stock
    from neuroport.runs.trace import FORMAT, Trace

    if path.is_dir() or format_of(path) != FORMAT:
        if frames is None:
            raise CompareError(f"{path} is a network, not a trace; give --frames to run it on")
        network = path if path.is_dir() else _edited(path)
        if isinstance(network, Path) and not network.is_dir() and is_stock(network):
            own = {**own, **timing}
        return _run(network, frames, engine, samples, deadline, **own)
    return Trace.load(path)


def _edited(path: Path) -> Path | Graph:
    """The file; or the graph in it where it was changed since: finding out is why we compare."""
    from neuroport.errors import HashError
    from neuroport.netx import read
    from neuroport.netx.stock import is_stock

    if is_stock(path):
        return path
    try:
        read(path)
    except HashError as error:
        _echo(f"neuroport: {error.message}; comparing what it holds", err=True)
        return read(path, verify=False)
    return path


def main() -> None:
    """Entry point: run a verb, turn errors into one line and an exit code."""
    _standard_streams()
    as_json = "--json" in sys.argv[1:]
    # read by OpenMP when torch is imported: threads that wait by spinning make training many times
    # slower as soon as anything else runs on the machine
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        # not cli.main(): click would turn a closed pipe into exit code 1
        with (
            ending_on_signals(),
            _warnings_as_lines(),
            cli.make_context("neuroport", sys.argv[1:]) as context,
        ):
            cli.invoke(context)
    except Ended as error:
        with contextlib.suppress(OSError):  # the terminal may be gone
            _fail("Ended", f"ended by {error}; {_after_interruption()}", "", as_json)
        end_by(error.number)
    except NeuroportError as error:
        _fail(type(error).__name__, error.message, error.detail, as_json)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        usage = getattr(error, "ctx", None)
        hint = f" (see {usage.command_path} --help)" if usage is not None else ""
        _fail("UsageError", error.format_message() + hint, "", as_json)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted", f"interrupted; {_after_interruption()}", "", as_json)
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("torch", "safetensors", "mlxtend"):
            raise
        message = f"this needs {package}, which is not installed: "
        message += "pip install '.[train]' in neuroport's folder"
        _fail("BackendError", message, "", as_json)
        sys.exit(2)
    except BrokenPipeError:
        # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail("StorageError", f"{where}cannot write ({error.strerror}); free space", "", as_json)
        sys.exit(2)


def _standard_streams() -> None:
    """Open what a caller closed, or the first file that is opened takes its number and its output.

    A name that the terminal's encoding lacks is written out, instead of ending the verb.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # the lowest free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings as lines on stderr, as every other word there; each of neuroport's own once."""
    said = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        line = " ".join(str(message).split())
        if line not in said:
            said.add(line)
            _echo(f"neuroport: warning: {line}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", NeuroportWarning)
        warnings.showwarning = show
        yield


def _after_interruption() -> str:
    """What an interrupted verb leaves; files are written as a whole or not at all."""
    from neuroport.files import written

    if sys.argv[1:2] and sys.argv[1] in RESUMING:
        return "the same command resumes from the last checkpoint"
    left = [str(path) for path in written if path.exists()]  # an engine's own files are gone
    return f"{', '.join(left)} was written before" if left else "nothing was written"


def _fail(kind: str, message: str, detail: str, as_json: bool) -> None:
    _echo(f"neuroport: {message}", err=True)
    if detail:
        _echo(detail, err=True)
    if as_json:
        click.echo(json.dumps({"error": {"kind": kind, "message": message}}, indent=2))
