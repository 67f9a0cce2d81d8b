"""A report as one HTML file: no script, no external resource, readable on paper and on a phone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from neuroport.analysis.chip_loads import Loads, loads, ways
from neuroport.analysis.energy import Energy, energy_or_why
from neuroport.analysis.operations import messages
from neuroport.analysis.statistics import statistics
from neuroport.arguments import as_array, is_graph, is_path, is_trace, takes
from neuroport.files import check_file, write_atomic
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED, by
from neuroport.reporting.core_map import cores
from neuroport.reporting.drawing import drawing
from neuroport.reporting.load_bars import ROWS as LOAD_ROWS
from neuroport.reporting.load_bars import bars
from neuroport.reporting.raster import PANELS, ROWS, rasters
from neuroport.reporting.summary import accuracies, seconds, verdict
from neuroport.runs.trace import Trace, is_spiking
from neuroport.targets.lowering import options
from neuroport.targets.mapping import Mapping as OnChips
from neuroport.targets.target import Target, require_chip
from neuroport.targets.verdict import check


@takes(graph=is_graph, trace=is_trace, path=is_path, frames=as_array)
def report(
    graph: Graph,
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    results: Mapping[str, Any] | None = None,
    frames: npt.NDArray[Any] | None = None,
    target: Target | None = None,
    energy: Energy | str | None = None,
    mapping: OnChips | None = None,
    source: Graph | None = None,
) -> Path:
    """Write a self-contained HTML page about one run of a network, atomically.

    Args:
        graph: the network; best the lowered one, whose skews balance.
        trace: a run of it, by any engine.
        path: the file to write, ``.html``.
        results: what else is known, as the demo stores it: ``name``, ``recipe``, ``accuracy``,
            ``comparisons``, ``seconds``, ``versions``, ``graph``; every key is optional.
        frames: the frames (T, N, *shape) of that run, so that the synapse of the input is counted.
        target: a chip or board whose cores the page shows, by how full they would be, and for
            which energy and time are estimated.
        energy: what was estimated, or why nothing could be, where the caller knows already.
        mapping: of that target: which chip holds which core, and the messages between chips.
        source: the network before it was lowered: what other ways to carry its shortcuts would
            take of the target.

    Raises:
        CompareError: the trace belongs to another network, or to other frames.
        TargetError: the target gives no time of a step or an operation.
        StorageError: the file cannot be written; an old one is untouched.
    """
    check_file(path)
    if target is not None:
        require_chip(target)
    found = results or {}
    if target is not None and energy is None:
        energy = energy_or_why(graph, trace, frames, target)
    chip = check(graph, target) if target is not None else None
    template = _environment().get_template("page.html.j2")
    page = template.render(
        name=str(found.get("name") or f"Network {graph.hash[:12]}"),
        graph=graph,
        verdict=verdict(found),
        accuracies=accuracies(found),
        drawing=drawing(graph),
        chip=chip,
        cores=cores,
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
        stats=statistics(graph, trace, frames),
        synapses={node.name: node.title() for node in graph.synapses},
        seconds=seconds(found),
        provenance=_provenance(graph, trace, found),
        recipe=json.dumps(found["recipe"], indent=2, default=str) if found.get("recipe") else "",
    )
    return write_atomic(path, page)


def _loads(
    graph: Graph, trace: Trace, frames: npt.NDArray[Any] | None, target: Target | None
) -> Loads | None:
    """Return each population's load; None where no target, frames or messages are known."""
    if target is None or frames is None or trace.counts or not graph.balanced:
        return None
    return loads(graph, messages(graph, trace, frames), target)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("neuroport.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=_breakable, whole=_whole, decimal=_decimal, duration=_duration, by=by
    )
    return environment


def _facts(graph: Graph, results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The network in numbers, counted from the graph; parameters as ``results`` tells them."""
    relays = sum(node.emits == GRADED for node in graph.populations)
    weights = sum(node.weight.size for node in graph.synapses)
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
    for key, value in told.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        text = _duration(value) if key == "seconds" and isinstance(value, float) else text
        rows.append((titles.get(key, key.capitalize()), text))
    rows.append(("Samples", _whole(trace.samples)))
    return rows + [(name, str(version)) for name, version in versions.items()]


def _breakable(name: str) -> Markup:
    """A dotted name that may wrap after its dots."""
    return Markup(str(escape(name)).replace(".", ".<wbr>").replace("_", "_<wbr>"))


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _decimal(number: float) -> str:
    """Three decimals, and never a zero for what is not zero."""
    return "< 0.001" if 0 < number < 0.0005 else f"{number:.3f}"


def _duration(number: float) -> str:
    """Seconds with as many digits as are worth reading."""
    digits = 2 if number < 10 else 1 if number < 100 else 0
    return "< 0.01 s" if 0 < number < 0.005 else f"{number:,.{digits}f} s"
