"""Write a report as one HTML file for screen, phone, paper and keyboard, also without scripts.

It uses no network: its policy allows only its own script and style, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from neuroport.analysis.chip_loads import Loads, loads, ways
from neuroport.analysis.compare import Comparison, compare
from neuroport.analysis.energy import Energy, energy_or_why
from neuroport.analysis.operations import messages
from neuroport.analysis.statistics import PopulationStatistics, Statistics, statistics
from neuroport.arguments import (
    as_array,
    as_labels,
    instance,
    is_graph,
    is_path,
    is_trace,
    keyed,
    takes,
)
from neuroport.errors import CompareError, FormatError, printable
from neuroport.files import DEEPEST, check_file, write_atomic
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import CHANGES, GRADED, SPIKES, by
from neuroport.graph.node import find_kind
from neuroport.reporting.class_tables import class_tables
from neuroport.reporting.core_map import CHIPS, cores
from neuroport.reporting.drawing import drawing
from neuroport.reporting.explorer import explorer
from neuroport.reporting.first_divergence import received
from neuroport.reporting.load_bars import ROWS as LOAD_ROWS
from neuroport.reporting.load_bars import bars
from neuroport.reporting.raster import PANELS, ROWS, rasters
from neuroport.reporting.summary import accuracies, comparisons, seconds, verdict
from neuroport.runs.trace import Trace, is_spiking
from neuroport.targets.lowering import options
from neuroport.targets.mapping import Mapping as OnChips
from neuroport.targets.target import Target, load_chip, require_chip
from neuroport.targets.verdict import check

NEEDED = {"target": "a chip or board such as 'kapoho-point'", "got": "the run that is compared"}


def _is_energy(value: Any, name: str) -> Any:
    return value if isinstance(value, str) else instance(Energy, CompareError)(value, name)


@takes(
    graph=is_graph,
    trace=is_trace,
    path=is_path,
    frames=as_array,
    got=is_trace,
    other=is_graph,
    labels=as_labels,
    results=keyed(FormatError),
    energy=_is_energy,
    mapping=instance(OnChips, CompareError),
    source=is_graph,
    comparison=instance(Comparison, CompareError),
    title=instance(str, FormatError),
)
def report(
    graph: Graph,
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    results: Mapping[str, Any] | None = None,
    frames: npt.NDArray[Any] | None = None,
    target: Target | str | None = None,
    energy: Energy | str | None = None,
    mapping: OnChips | None = None,
    source: Graph | None = None,
    got: Trace | None = None,
    other: Graph | None = None,
    comparison: Comparison | None = None,
    labels: npt.NDArray[Any] | None = None,
    title: str | None = None,
) -> Path:
    """Write a self-contained HTML page about one run of a network or two, atomically.

    In a browser, the page shows the messages of any sample, population and step, of two runs side
    by side, and the input of the neuron at which they first differ.

    Args:
        graph: the network, preferably lowered, so that latencies are balanced.
        trace: a run of it on any engine.
        path: the file to write, ``.html``.
        results: further results, as stored by the demo: ``name``, ``recipe``, ``accuracy``,
        ``comparisons``, ``seconds``, ``versions``, ``graph``; all optional.
        frames: the frames (T, N, *shape) of that run, to count operations of the first synapse.
        target: a chip or board, or its name or file; the page shows the use of its cores and
        estimates of energy and time.
        energy: the estimate or the reason why there is none, if the caller has it.
        mapping: mapping to that target: the chip of each core, and the messages between chips.
        source: the network before lowering, to show the resources of other ways to carry its
        shortcuts on that target.
        got: another run, compared with ``trace``.
        other: the network of ``got``, if it is not ``graph``.
        comparison: the comparison of ``trace`` and ``got``, if the caller has it.
        labels: the true classes (N,), to show accuracy and confusion.
        title: title of the page; by default ``results["name"]``, or the name of the file.

    Raises:
        CompareError: the trace belongs to another network or other frames, the runs share no
        population, or an argument lacks the one with which it is shown.
        FramesError: there are fewer labels than samples, one is no class, or a run has no
        predictions.
        TargetError: no such target, or it has no cores, or no time of a step or an operation.
        StorageError: the file cannot be written; an existing file is untouched.
    """
    check_file(path)
    for name, value, needed, given in (
        ("source", source, "target", target),
        ("mapping", mapping, "target", target),
        ("other", other, "got", got),
        ("comparison", comparison, "got", got),
    ):
        if value is not None and given is None:
            raise CompareError(
                f"{name} is shown with {needed}, {NEEDED[needed]}; give {needed}, too, or leave "
                f"{name} out"
            )
    if target is not None:
        target = require_chip(target) if isinstance(target, Target) else load_chip(target)
    stats = statistics(graph, trace, frames)  # refuses what does not belong together
    found = dict(results or {})
    told = comparisons(found)
    if got is not None:
        if comparison is None:
            comparison = compare(trace, got, graph=graph, other=other, frames=frames)
        found["comparisons"] = [*told, comparison.to_dict()]
    tables = class_tables(trace, got, labels)
    if target is not None and energy is None:
        energy = energy_or_why(graph, trace, frames, target)
    chip = check(graph, target) if target is not None else None
    first = comparison.first if comparison is not None else None
    pair = [("run", trace)] if got is None else [("want", trace), ("got", got)]
    style, script = (
        Markup(f"\n{files('neuroport.reporting').joinpath(name).read_text('utf-8')}")
        for name in ("page.css", "page.js")
    )
    template = _environment().get_template("page.html.j2")
    page = template.render(
        name=str(title or found.get("name") or Path(path).stem),
        style=style,
        script=script,
        policy=_policy(style, script),
        runs=[f"{run} ({each.provenance.get('engine', 'engine not told')})" for run, each in pair],
        explorer=explorer(trace, got, frames=frames, labels=labels, first=first),
        comparison=comparison,
        received=(
            received(trace, got, graph, other or graph, frames, comparison)
            if got is not None and comparison is not None
            else None
        ),
        class_tables=tables,
        graph=graph,
        verdict=verdict(found),
        accuracies=accuracies(found),
        drawing=drawing(graph),
        chip=chip,
        cores=cores,
        drawn_chips=CHIPS,
        loads=_loads(graph, trace, frames, target),
        bars=bars,
        load_rows=LOAD_ROWS,
        ways=(
            ways(options(source, target), chip.resources.cores)
            if source is not None and target is not None and chip is not None and chip.resources
            else ()
        ),
        energy=energy,
        mapping=mapping,
        facts=_facts(graph, found),
        rasters=rasters(trace),
        spiking=[name for name, kind in trace.kinds.items() if is_spiking(kind)],
        rows=ROWS,
        panels=PANELS,
        stats=stats,
        activity=_activity(stats),
        synapses={node.name: node.title() for node in graph.nodes},
        seconds=seconds(found),
        provenance=_provenance(graph, trace, found),
        got_provenance=[] if got is None else _provenance(other or graph, got, {}),
        recipe=list(_flat("", found.get("recipe") or {})),
    )
    return write_atomic(path, page)


def _policy(style: str, script: str) -> Markup:
    """Return the page's policy: only its own style and script, no requests."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    )
    return Markup(
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _loads(
    graph: Graph, trace: Trace, frames: npt.NDArray[Any] | None, target: Target | None
) -> Loads | None:
    """Return each population's load; None without target, frames or messages."""
    if target is None or frames is None or trace.counts or not graph.balanced:
        return None
    return loads(graph, messages(graph, trace, frames), target)


def _activity(stats: Statistics) -> list[tuple[str, str, str, list[PopulationStatistics]]]:
    """Return the tables of the populations that send something: title, noun, class and rows."""

    def those(emits: str, relays: bool = False) -> list[PopulationStatistics]:
        kinds = {p.kind: find_kind(p.kind) for p in stats.populations}
        sending = {name for name, kind in kinds.items() if kind and kind.emits == emits}
        return [p for p in stats.populations if p.kind in sending and (p.kind == "relay") == relays]

    return [
        ("Neurons", "Spikes", "lif", those(SPIKES)),
        ("Relays", "Messages", "relay", those(GRADED, relays=True)),
        ("Graded neurons", "Messages", "relay", those(GRADED)),
        ("Sigma-delta", "Changes", "relay", those(CHANGES)),
    ]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("neuroport.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # names and texts of files are anybody's: what turns the direction of writing is spelled out
        finalize=lambda value: (
            printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    environment.filters.update(
        breakable=_breakable,
        whole=_whole,
        decimal=_decimal,
        duration=_duration,
        by=by,
        place=_place,
        dash=lambda value: "-" if value is None else str(value),
        sentence=lambda text: text[:1].upper() + text[1:],
    )
    environment.globals["zip"] = zip
    return environment


def _facts(graph: Graph, results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return numbers of the network, counted from the graph; parameters from ``results``."""
    relays = sum(node.emits == GRADED for node in graph.populations)
    weights = sum(node.packed("weight").size for node in graph.synapses)
    told = results.get("graph")
    parameters = told.get("parameters") if isinstance(told, Mapping) else None
    rows = [
        ("Populations", _whole(len(graph.populations))),
        ("of which relays", _whole(relays)),
        ("Synapses", _whole(len(graph.synapses))),
        ("Weights", _whole(weights)),
        ("Steps per sample", _whole(graph.steps)),
        ("Depth in steps", _whole(graph.depth)),
    ]
    if graph.checked:
        rows.append(("Widths", f"checked, not proven, of {len(graph.checked)} populations"))
    if isinstance(parameters, int):
        rows.insert(4, ("Trained parameters", _whole(parameters)))
    return rows


def _provenance(graph: Graph, trace: Trace, results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the provenance of the run as names and values."""
    told = dict(trace.provenance)
    versions: dict[str, Any] = {}
    for source in (told.pop("versions", None), results.get("versions")):
        versions.update(source if isinstance(source, Mapping) else {})
    rows = [("Graph", graph.hash)]
    if told.get("graph", graph.hash) == graph.hash:
        told.pop("graph", None)
    titles = {"graph": "Graph of the run", "time": "Time model", "seconds": "Run time"}
    if isinstance(told.get("seconds"), float):
        told["seconds"] = _duration(told["seconds"])
    for key, value in told.items():
        rows += _flat(titles.get(key, key.capitalize()), value)
    rows.append(("Samples", _whole(trace.samples)))
    return rows + [(name, str(version)) for name, version in versions.items()]


def _flat(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Return nested values as rows of name and text."""
    if depth > DEEPEST:
        yield name, "more"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}, {key}" if name else str(key), inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        if any(isinstance(inner, (Mapping, list, tuple)) for inner in value):
            for at, inner in enumerate(value):
                yield from _flat(f"{name} {at}", inner, depth + 1)
        else:
            yield name, ", ".join(map(_plain, value)) or "none"
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    """Return a value in words."""
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "none"}[value]
    return str(value)


def _breakable(name: str) -> Markup:
    """Return a dotted name that may wrap after its dots."""
    return Markup(str(escape(printable(name))).replace(".", ".<wbr>").replace("_", "_<wbr>"))


def _place(neuron: tuple[int, ...]) -> Markup:
    """Return a neuron's place, which never wraps."""
    return Markup('<span class="tight">({})</span>').format(", ".join(map(str, neuron)))


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _decimal(number: float) -> str:
    """Return three decimals, but never 0 for a nonzero number."""
    return "< 0.001" if 0 < number < 0.0005 else f"{number:.3f}"


def _duration(number: float) -> str:
    """Return seconds with a sensible number of digits."""
    digits = 2 if number < 10 else 1 if number < 100 else 0
    return "< 0.01 s" if 0 < number < 0.005 else f"{number:,.{digits}f} s"
