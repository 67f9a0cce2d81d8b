"""``docs/performance.md`` and its chart, from ``docs/performance.json``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from neuroport.files import read_json, write_atomic

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TITLES = {
    "training": "Training",
    "inference": "The exact engine",
    "prepared": "One sample at a time",
    "verification": "Verifying a test set",
    "compilation": "Compiling a large network",
    "start": "Starting",
    "lava": "Lava's CPU simulator",
}


def write_page(folder: Path) -> None:
    """Tables between the page's markers, and the chart, of what is measured."""
    found = read_json(folder / "performance.json")
    page = (folder / "performance.md").read_text()
    tables = f"{BEGIN}\n{_tables(found)}\n{END}"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    draw(found, folder / "performance.svg")
    write_atomic(folder / "performance.md", pattern.sub(lambda _: tables, page))


def _tables(found: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, title in TITLES.items():
        if name not in found["sections"]:
            lines += ["", f"## {title}", "", "Not measured."]
            continue
        section = found["sections"][name]
        lines += ["", f"## {title}", "", "| measured | median | least to largest | goal | |"]
        lines += ["|---|--:|--:|--:|---|", *map(_row, section["figures"])]
    return "\n".join(lines[1:])


def _row(row: dict[str, Any]) -> str:
    unit = " s" if row["unit"] == "s" else ""
    low, high = f"{row['low']:.3g}", f"{row['high']:.3g}"
    goal, reached = "", ""
    if "reached" in row:
        bound = (
            f"at least {row['at_least']:g}" if "at_least" in row else f"at most {row['at_most']:g}"
        )
        goal, reached = bound + unit, "reached" if row["reached"] else "**not reached**"
    spread = "" if low == high else f"{low} to {high}"
    return f"| {row['what']} | {row['median']:.3g}{unit} | {spread} | {goal} | {reached} |"


def draw(found: dict[str, Any], path: Path) -> None:
    """Every figure with a goal, as a part of it: bars that end left of 1 reach it."""
    rows = [
        row
        for name in TITLES
        for row in found["sections"].get(name, {"figures": []})["figures"]
        if "reached" in row
    ][::-1]
    labels = [row["what"] for row in rows]
    parts = [
        row["at_least"] / row["median"] if "at_least" in row else row["median"] / row["at_most"]
        for row in rows
    ]
    colours = ["tab:green" if row["reached"] else "tab:red" for row in rows]
    with plt.rc_context({"svg.hashsalt": "performance", "font.size": 8}):
        figure, axes = plt.subplots(figsize=(10, 0.5 + 0.26 * max(len(rows), 1)))
        axes.barh(range(len(rows)), parts, color=colours)
        axes.set_yticks(range(len(rows)), labels)
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xlabel("what was measured, as a part of what it is held to (1: just reached)")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
