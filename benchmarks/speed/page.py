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
    "waiting": "How threads wait",
    "inference": "The exact engine",
    "prepared": "One sample at a time",
    "verification": "Verifying a test set",
    "compilation": "Compiling a large network",
    "start": "Starting",
    "lava": "Lava's CPU simulator",
}
COLOURS = ("tab:blue", "tab:orange", "tab:purple", "tab:brown")
Machines = dict[str, dict[str, Any]]  # kind of processor -> {"machine", "sections"}


def write_page(folder: Path) -> None:
    """Tables between the page's markers, and the chart, of what is measured."""
    found: Machines = read_json(folder / "performance.json")["machines"]
    page = (folder / "performance.md").read_text()
    tables = f"{BEGIN}\n{_tables(found)}\n{END}"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    draw(found, folder / "performance.svg")
    write_atomic(folder / "performance.md", pattern.sub(lambda _: tables, page))


def _tables(found: Machines) -> str:
    lines = ["## Where it was measured", "", "| | " + " | ".join(found) + " |"]
    lines += ["|---|" + "---|" * len(found)]
    described = {kind: _described(each) for kind, each in found.items()}
    for fact in dict.fromkeys(fact for each in described.values() for fact in each):
        cells = [each.get(fact, "not recorded") for each in described.values()]
        lines.append(f"| {fact} | " + " | ".join(cells) + " |")
    for name, title in TITLES.items():
        lines += ["", f"## {title}", ""]
        if not any(name in each["sections"] for each in found.values()):
            lines.append("Not measured.")
            continue
        lines += ["| measured | goal | " + " | ".join(found) + " |"]
        lines += ["|---|--:|" + "--:|" * len(found)]
        lines += [_row(what, rows) for what, rows in _rows(found, name).items()]
    return "\n".join(lines)


def _described(each: dict[str, Any]) -> dict[str, str]:
    """What the figures of one machine depend on, as text."""
    facts = {fact: str(value) for fact, value in each["machine"].items() if fact != "instructions"}
    commits = dict.fromkeys(section.get("commit", "") for section in each["sections"].values())
    facts["commit"] = ", ".join(filter(None, commits)) or "not recorded"
    for package in ("torch", "numpy", "lava-nc", "lava-dl"):
        seen = [section["versions"].get(package) for section in each["sections"].values()]
        facts[package] = ", ".join(dict.fromkeys(version for version in seen if version))
    others = [section.get("elsewhere", {}) for section in each["sections"].values()]
    beside = dict.fromkeys(", ".join(f"{k} {v}" for k, v in other.items()) for other in others)
    facts["compared with"] = "; ".join(text for text in beside if text)
    return facts


def _rows(found: Machines, section: str) -> dict[str, list[dict[str, Any] | None]]:
    """What was measured -> its figures, one per kind of processor; None where it was not."""
    each = [
        {row["what"]: row for row in one["sections"].get(section, {"figures": []})["figures"]}
        for one in found.values()
    ]
    names = dict.fromkeys(what for rows in each for what in rows)
    return {what: _held_alike([rows.get(what) for rows in each]) for what in names}


def _held_alike(rows: list[dict[str, Any] | None]) -> list[dict[str, Any] | None]:
    """The same figures, all held to the strictest goal that one of them was measured with."""
    known = [row for row in rows if row is not None]
    for key, strictest in (("at_most", min), ("at_least", max)):
        goals = [row[key] for row in known if key in row]
        if goals:
            goal = strictest(goals)
            for row in known:
                if row.get(key) == goal:  # judged by the median before it was rounded
                    continue
                low, high = sorted((row["median"], goal))
                row |= {key: goal, "reached": row["median"] == (low if key == "at_most" else high)}
    return rows


def _row(what: str, rows: list[dict[str, Any] | None]) -> str:
    known = [row for row in rows if row is not None]
    goals = [(key, row[key]) for row in known for key in ("at_least", "at_most") if key in row]
    unit = " s" if known[0]["unit"] == "s" else ""
    goal = f"{goals[0][0].replace('_', ' ')} {goals[0][1]:g}{unit}" if goals else ""
    return f"| {what} | {goal} | " + " | ".join(map(_cell, rows)) + " |"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    unit = " s" if row["unit"] == "s" else ""
    low, high = f"{row['low']:.3g}", f"{row['high']:.3g}"
    spread = "" if low == high else f" ({low} to {high})"
    missed = "" if row.get("reached", True) else ", **not reached**"
    return f"{row['median']:.3g}{unit}{spread}{missed}"


def draw(found: Machines, path: Path) -> None:
    """Every figure with a goal, as a part of it: bars that end left of 1 reach it."""
    rows = {
        what: figures
        for name in TITLES
        for what, figures in reversed(_rows(found, name).items())
        if any(row is not None and "reached" in row for row in figures)
    }
    height = 0.8 / len(found)
    with plt.rc_context({"svg.hashsalt": "performance", "font.size": 8}):
        figure, axes = plt.subplots(figsize=(10, 0.7 + 0.3 * max(len(rows), 1)))
        for number, (kind, colour) in enumerate(zip(found, COLOURS, strict=False)):
            measured = [(at, figures[number]) for at, figures in enumerate(rows.values())]
            bars = [(at, _part(row)) for at, row in measured if row and "reached" in row]
            places = [at + (len(found) / 2 - number - 0.5) * height for at, _ in bars]
            axes.barh(places, [part for _, part in bars], height, color=colour, label=kind)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.axvline(1, color="black", linewidth=1)
        axes.legend(loc="lower right")
        axes.set_xlabel("what was measured, as a part of what it is held to (1: just reached)")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _part(row: dict[str, Any]) -> float:
    """Of its goal: below 1 where the goal is reached."""
    if "at_least" in row:
        return float(row["at_least"] / row["median"])
    return float(row["median"] / row["at_most"])
