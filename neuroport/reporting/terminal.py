"""Print results and statistics as terminal tables, or as plain text in a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neuroport.analysis.statistics import Statistics
from neuroport.errors import printable
from neuroport.reporting.summary import accuracies, seconds, verdict

_TONES = {"good": "bold green", "bad": "bold red", "none": "bold"}


def print_results(results: Mapping[str, Any], console: Console) -> None:
    """Print the summary of a demo: accuracy and time of each stage, then the verdict.

    Args:
        results: see :func:`neuroport.reporting.html.report`; every key is optional.
    """
    if rows := accuracies(results):
        table = _table("Accuracy", ("percent", "samples", "95% interval"))
        for row in rows:
            between = f"{row.interval[0]:.1f} to {row.interval[1]:.1f}" if row.interval else ""
            samples = "" if row.samples is None else f"{row.samples:,}"
            table.add_row(_text(row.stage), f"{row.percent:.1f}", samples, between)
        console.print(table)
    if times := seconds(results):
        table = _table("Wall time", ("seconds",))
        for stage, value in times:
            table.add_row(_text(stage), f"{value:,.2f}")
        table.add_section()
        table.add_row("Total", f"{sum(value for _, value in times):,.2f}")
        console.print(table)
    found = verdict(results)
    console.print(_text(found.sentence, _TONES[found.tone]))
    for line in found.lines:
        console.print(_text(line))


def print_statistics(stats: Statistics, console: Console) -> None:
    """Print activity per population and synaptic operations per synapse."""
    populations = stats.view()
    table = _table("Population", tuple(populations.columns[1:]))
    for name, *values in populations.rows:
        table.add_row(_text(name), *values)
    console.print(table)
    table = _table("Synapse", ("takes", "connections", "operations", "active"))
    for s in stats.synapses:
        values = ["not counted", ""]
        if s.operations is not None:
            values = [f"{s.operations:,.0f}", _share(s.operations, s.ceiling)]
        takes = "graded" if s.graded else "spikes"
        table.add_row(_text(s.name), takes, f"{s.connections:,}", *values)
    table.add_section()
    total = "Total of those counted" if stats.not_counted else "Total"
    share = _share(stats.operations, stats.ceiling)
    connections = sum(s.connections for s in stats.synapses if s.operations is not None)
    table.add_row(total, "", f"{connections:,}", f"{stats.operations:,.0f}", share)
    console.print(table)
    if stats.spikes_per_neuron is not None:
        console.print(_text(f"{stats.spikes_per_neuron:.3f} spikes per neuron and sample"))
    console.print(
        _text(f"{stats.updates:,} neuron updates per sample, relays and readouts included")
    )
    if stats.not_counted:
        names = ", ".join(stats.not_counted)
        console.print(_text(f"not counted, source not recorded step by step: {names}"))


def _table(subject: str, columns: tuple[str, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(subject, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _text(words: str, style: str = "") -> Text:
    """Return untrusted names and results as plain text for the terminal."""
    return Text(printable(words), style)


def _share(part: float, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
