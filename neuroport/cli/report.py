"""The command ``report``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.inputs import read_network
from neuroport.cli.options import json_option, page_file, target_name, timing_options
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path
from neuroport.errors import CompareError, FormatError


@click.command(cls=Command)
@click.argument("network", type=any_path)
@click.option("--trace", "trace_path", type=any_path, required=True, help="Trace of that network.")
@click.option(
    "--got",
    "got_path",
    type=any_path,
    help="Trace of another run of that network, shown beside the first.",
)
@click.option(
    "--frames",
    type=any_path,
    help="Frames of the trace, to count the operations of the first synapse.",
)
@click.option("--labels", type=any_path, help=".npy array (N,) of classes: accuracy and confusion.")
@click.option(
    "--results", type=any_path, help="demo.json of a demo, for accuracy, comparisons and times."
)
@click.option(
    "--target",
    type=target_name,
    help="A chip or board (or its TOML), to show cores, energy and time.",
)
@click.option("--map", "mapped", is_flag=True, help="Also show which part lies on which chip.")
@click.option(
    "--source",
    type=any_path,
    help="The network before lowering, to show the cost of other carriers.",
)
@click.option("-o", "--out", type=page_file, required=True, help="HTML page to write.")
@timing_options
@json_option
def report(
    network: Path,
    trace_path: Path,
    got_path: Path | None,
    frames: Path | None,
    labels: Path | None,
    results: Path | None,
    target: str | None,
    mapped: bool,
    source: Path | None,
    out: Path,
    timing: dict[str, bool],
    as_json: bool,
) -> None:
    """Draw NETWORK and its activity as one self-contained HTML page, and a table.

    In a browser the page steps through its samples and populations. With --got it shows both runs
    side by side, from the first message that differs.
    """
    from neuroport.analysis.cost_models import Routes
    from neuroport.analysis.energy import energy_or_why
    from neuroport.analysis.labels import check_labels
    from neuroport.analysis.statistics import statistics
    from neuroport.files import read_json
    from neuroport.netx.stock import is_stock
    from neuroport.reporting.html import report as write_page
    from neuroport.reporting.summary import comparisons
    from neuroport.runs.accuracy import load_labels
    from neuroport.runs.frames import load_frames
    from neuroport.runs.trace import Trace
    from neuroport.targets.mapping import map_network
    from neuroport.targets.target import load_chip

    board = load_chip(target) if target is not None else None
    if mapped and board is None:
        raise click.UsageError("--map needs the chips of a --target, such as kapoho-point")
    if source is not None and board is None:
        raise click.UsageError("--source needs the cores of a --target, such as kapoho-point")
    trace = Trace.load(trace_path)
    steps = trace.steps if is_stock(network) else None
    graph = read_network(network, steps, frames if steps else None, **timing)
    if steps and trace.provenance.get("graph", graph.hash) != graph.hash:
        raise CompareError(
            f"{trace_path}: is of another network than {network} as it is read here; the input of "
            "a stock NetX file follows from the frames, and its timing from options: give the "
            "--frames of that run, and --delay-shift and --free-running as in that run"
        )
    extra = read_json(results) if results is not None else None
    if results is not None and not isinstance(extra, dict):
        raise FormatError(f"{results}: not the results of a demo; give demo.json as it wrote it")
    if extra is not None:
        try:
            comparisons(extra)
        except FormatError as error:
            raise FormatError(f"{results}: {error.message}") from error
    data = load_frames(frames) if frames is not None else None
    numbers = statistics(graph, trace, data)
    truth = None
    if labels is not None:
        truth = load_labels(labels)
        check_labels(truth, trace, f"{labels}: ")
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
            source=read_network(source, None, None) if source is not None else None,
            got=Trace.load(got_path) if got_path is not None else None,
            labels=truth,
            title=network.name,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if extra is None:
            raise
        raise FormatError(
            f"{results}: not the results of a demo ({type(error).__name__}: {error}); "
            "give demo.json as the demo wrote it"
        ) from error
    say = Out(as_json)
    if not as_json:
        from rich.console import Console

        from neuroport.reporting.terminal import print_statistics

        print_statistics(numbers, Console())
    if cost is not None:
        say.line(f"energy and time: {cost}" if isinstance(cost, str) else str(cost))
    say.line(f"wrote {page}")
    costs = cost if cost is None or isinstance(cost, str) else cost.to_dict()
    say.result({"page": str(page), "statistics": numbers.to_dict(), "energy": costs})
