"""The table of docs/slayer.md that says how far each tutorial's network was taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, RESULTS = DOCS / "slayer.md", DOCS / "slayer_tutorials.json"
BEGIN, END = "<!-- tutorials: begin -->\n", "<!-- tutorials: end -->\n"
HEAD = (
    "| network | frames | samples x steps | trained | integers moved | positions compared | spikes "
    "| differ | Lava CPU |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n"
)


def table(results: dict[str, Any]) -> str:
    """What stands between the marks of the page."""
    rows = []
    for name, found in results["networks"].items():
        frames = " x ".join(map(str, found["input"]))
        rows.append(
            f"| {name} (`{found['source']}`) | {frames} | {found['samples']} x {found['steps']} "
            f"| {found['training_steps']} steps "
            f"| {found['integers_moved']:,} of {found['integers']:,} | {found['positions']:,} "
            f"| {found['spikes']:,} | {found['differ']} | {found['seconds']['lava-cpu']:.0f} s |\n"
        )
    return HEAD + "".join(rows)


def page(results: dict[str, Any], text: str) -> str:
    """The page with its table made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table(results) + END + rest.split(END)[1]
