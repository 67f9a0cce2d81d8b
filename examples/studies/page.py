"""Figure and table of each study in docs/studies.md, between its markers, from its JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.studies.claims import STUDIES, claims_table
from examples.studies.figures import LABELS
from neuroport.files import read_json, write_atomic

Row = dict[str, Any]


def write_page(page: Path, folder: Path) -> None:
    """Replace the tables of every study that ``folder`` holds."""
    write_atomic(page, with_tables(page.read_text(), folder))


def with_tables(text: str, folder: Path) -> str:
    """The page's text with the tables that the JSON files of ``folder`` give."""
    for study in TABLES:
        path = folder / f"{study}.json"
        if path.exists():
            begin, end = f"<!-- {study}: begin -->", f"<!-- {study}: end -->"
            picture = f"![{PICTURES[study]}]({folder.name}/{study}.svg)"
            table = f"{begin}\n{picture}\n\n{TABLES[study](read_json(path))}\n{end}"
            pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
            text = pattern.sub(lambda _, table=table: table, text)  # type: ignore[misc]
    if all((folder / f"{study}.json").exists() for study in STUDIES):
        begin, end = "<!-- claims: begin -->", "<!-- claims: end -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        text = f"{before}{begin}\n{claims_table(folder)}\n{end}{after}" if rest else text
    return text


def _grid(found: dict[str, Any], cell: Callable[[Row], str]) -> str:
    """Networks down, depths across."""
    rows = found["summary"].values()
    depths = sorted({row["depth"] for row in rows})
    names = [name for name in LABELS if any(row["network"] == name for row in rows)]
    lines = [["layers", *map(str, depths)]]
    for name in names:
        cells = [found["summary"].get(f"{name}-{depth}") for depth in depths]
        lines.append([LABELS[name], *(cell(row) if row else "" for row in cells)])
    return f"{_markdown(lines)}\n\n{_seeds(found)}"


def _markdown(lines: list[list[str]]) -> str:
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seeds(found: dict[str, Any]) -> str:
    numbers = sorted({row["seeds"] for row in found["summary"].values()})
    if numbers == [1]:
        return "One seed."
    if len(numbers) == 1:
        return f"Mean ± standard deviation of {numbers[0]} seeds."
    return (
        f"Mean ± standard deviation of {numbers[0]} to {numbers[-1]} seeds (in brackets where "
        f"fewer than {numbers[-1]})."
    )


def _spread(row: Row, key: str, digits: int, factor: float = 1.0) -> str:
    if key not in row:
        return "0 in float32"
    mean, deviation = (f"{factor * row[key][k]:.{digits}f}" for k in ("mean", "deviation"))
    return mean if row["seeds"] == 1 else f"{mean} ± {deviation}"


def _few(found: dict[str, Any], cell: Callable[[Row], str]) -> Callable[[Row], str]:
    most = max(row["seeds"] for row in found["summary"].values())
    return lambda row: cell(row) + (f" ({row['seeds']})" if row["seeds"] < most else "")


def _table(key: str, digits: int) -> Callable[[dict[str, Any]], str]:
    return lambda found: _grid(found, _few(found, lambda row: _spread(row, key, digits)))


def _dormant(found: dict[str, Any]) -> str:
    def cell(row: Row) -> str:
        return " / ".join(_spread(row, key, 1, 100.0) for key in ("dormant", "blocked"))

    right = _grid(found, _few(found, lambda row: _spread(row, "accuracy", 1)))
    return f"{_grid(found, _few(found, cell))}\n\nHeld-out digits right, %:\n\n{right}"


def _equal(found: dict[str, Any]) -> str:
    parameters = {run["network"]: run["parameters"] for run in found["runs"]}
    keys = (("accuracy", 1), ("loss", 2), ("spikes_per_neuron", 2))
    lines = [["20 layers", "parameters", "accuracy, %", "training loss", "spikes per neuron"]]
    for row in sorted(found["summary"].values(), key=lambda row: -row["accuracy"]["mean"]):
        cells = [_spread(row, key, digits) for key, digits in keys]
        lines.append([LABELS[row["network"]], f"{parameters[row['network']]:,}", *cells])
    return f"{_markdown(lines)}\n\n{_seeds(found)}"


PICTURES = {
    "gradients": "Gradient norm along the blocks, and first over last block at every depth",
    "depth": "Accuracy at every depth",
    "dormant": "Dormant and blocked neurons with one, two and three levels",
    "spikes": "Spikes per neuron and sample at every depth",
    "equal": "Accuracy of five equally large networks",
}
TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "gradients": _table("decades", 2),
    "depth": _table("accuracy", 1),
    "dormant": _dormant,
    "spikes": _table("spikes_per_neuron", 2),
    "equal": _equal,
}
