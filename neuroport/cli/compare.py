"""The command ``compare``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuroport.cli.inputs import check_timing, graph_of, is_trace, trace_of
from neuroport.cli.options import (
    OnEngines,
    flag_named,
    json_option,
    page_file,
    samples_option,
    timing_options,
)
from neuroport.cli.output import Out
from neuroport.cli.paths import OutFile, any_path
from neuroport.errors import CompareError

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.graph.graph import Graph


class _Compare(OnEngines):
    without = frozenset({"record", "count", "granularity"})


class _Minimized(OutFile):
    """The file of a minimized network; its frames, and another network, are written beside it."""

    def __init__(self) -> None:
        super().__init__("a network", ".net", ".graph")

    def writes(self, value: Path) -> Iterator[Path]:
        from neuroport.analysis.minimization_result import files_of

        yield from files_of(value)


@click.command(cls=_Compare)
@click.argument("want", type=any_path)
@click.argument("got", type=any_path)
@click.option("--frames", type=any_path, help=".npy frames, needed if WANT or GOT is a network.")
@click.option("--on", "engine", help="Engine for GOT; `reference` by default.")
@samples_option
@click.option("--minimize", is_flag=True, help="Find the smallest network that still differs.")
@click.option(
    "-o",
    "--out",
    type=_Minimized(),
    help="File for that network; its frames are written beside it.",
)
@click.option(
    "--report", "page", type=page_file, help="HTML page to write: both runs, step by step."
)
@click.option("--labels", type=any_path, help=".npy array (N,) of classes, for the page.")
@timing_options
@json_option
def compare(
    want: Path,
    got: Path,
    frames: Path | None,
    engine: str | None,
    samples: int | None,
    minimize: bool,
    out: Path | None,
    page: Path | None,
    labels: Path | None,
    timing: dict[str, bool],
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Compare two runs position by position: exit 0 if equal, 1 with the first divergence.

    WANT and GOT are traces, or networks (.net, .graph, a training folder) that run on --frames.
    WANT runs on the reference engine (a folder: on its own torch module), GOT on --on. If a network
    is given, the divergence is explained. --minimize finds a small case (Ctrl-C keeps the best so
    far). --report shows both runs, and what the first differing neuron received, in a browser.
    """
    if minimize != (out is not None):
        raise click.UsageError("--minimize and -o go together: give both, or neither")
    if minimize:
        _only_networks(want, got)
    if labels is not None and page is None:
        raise click.UsageError("--labels is for the page; add --report")
    if page is not None and is_trace(want) and is_trace(got):
        raise click.UsageError(
            "--report draws the network: give it in place of a trace, with --frames; or use "
            "neuroport report NETWORK --trace WANT --got GOT"
        )
    if is_trace(got) and (engine is not None or options):
        said = "--on" if engine is not None else f"--{flag_named(next(iter(options)))}"
        raise click.UsageError(f"{said} is for running GOT, and {got} is a trace; leave it out")
    if samples is not None and is_trace(want) and is_trace(got):
        raise click.UsageError(
            "--samples is for running networks, and both are traces; leave it out"
        )
    if frames is not None and is_trace(want) and is_trace(got):
        raise click.UsageError(
            "--frames is for networks, and both are traces; leave it out, or give the network of "
            "one in its place, which also explains a divergence"
        )
    check_timing(timing, want, got)
    from neuroport.analysis.compare import compare as compare_traces
    from neuroport.analysis.compare import explain
    from neuroport.analysis.joining import compare_stored
    from neuroport.analysis.labels import check_labels
    from neuroport.runs.accuracy import load_labels
    from neuroport.runs.frames import load_frames
    from neuroport.runs.trace_file import StoredTrace

    if is_trace(want) and is_trace(got):  # of any size: read in parts
        with StoredTrace(want) as one, StoredTrace(got) as two:
            outcome = compare_stored(one, two)
        frames = None
    else:
        first = trace_of(want, frames, None, samples, timing, {})
        second = trace_of(got, frames, engine, samples, timing, options)
        outcome = compare_traces(first, second)
    graph = other = None
    if frames is not None:
        data = load_frames(frames, samples)
        needless = outcome.equal and page is None
        graph, other = (graph_of(path, data, needless, timing) for path in (want, got))
        graph, other = graph or other, other or graph
        if graph is not None and other is not None:
            outcome = explain(outcome, first, second, graph, other, data)
    say = Out(as_json)
    say.line(str(outcome))
    result, interrupted = outcome.to_dict(), False
    if page is not None:
        from neuroport.reporting.html import report

        assert graph is not None
        truth = None
        if labels is not None:
            truth = load_labels(labels)
            check_labels(truth, first, f"{labels}: ")
        report(
            graph,
            first,
            page,
            frames=data,
            got=second,
            other=other,
            comparison=outcome,
            labels=truth,
            title=f"{got.name} against {want.name}",
        )
        say.line(f"wrote {page}")
        result["report"] = str(page)
    if minimize and outcome.first is None:
        say.line("the runs are equal, so there is nothing to minimize")
    elif out is not None:
        assert graph is not None
        assert other is not None
        result["minimized"], interrupted = _minimize(graph, other, data, engine, options, out, say)
    say.result(result)
    sys.exit(130 if interrupted else 0 if outcome else 1)


def _only_networks(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() or is_trace(path):
            what = "a training folder" if path.is_dir() else "a trace"
            raise CompareError(f"{path} is {what}; --minimize takes networks (.net or .graph)")


def _minimize(
    graph: Graph,
    other: Graph,
    frames: npt.NDArray[Any],
    engine: str | None,
    options: dict[str, Any],
    out: Path,
    say: Out,
) -> tuple[dict[str, Any], bool]:
    """Minimize, write and print; return whether the user interrupted it."""
    from neuroport.analysis.minimize import minimize
    from neuroport.engines.table import DEFAULT, ready

    found = ready(DEFAULT if engine is None else engine, options)
    meant = {each.name for each in fields(found.Options) if each.metadata.get("minimizing", True)}
    on = partial(found.run, **{name: options[name] for name in options if name in meant})
    same = graph.hash == other.hash
    small = minimize(graph, graph if same else other, frames, on=on, report=say.line)
    say.line(str(small))
    files = small.save(out)
    say.line(f"wrote {', '.join(map(str, files))}")
    return {**small.to_dict(), "files": [str(path) for path in files]}, small.interrupted
