"""The rows of a proof as one small JSON value."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from typing import Any

from neuroport.runs.trace import versions
from tests.properties.proof import ON_LAVA_FOR_CHIP

# features of which one makes a network a membrane network: its shortcuts are currents
MEMBRANE = {"membrane shortcut", "additive currents", "real projection"}
FIRST = 8  # hashes that are kept, so that a test can see whether the numbers still mean the same


def summary(
    rows: list[dict[str, Any]], sources: str, chains: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Counts over all networks; every comparison in ``rows`` found every position equal.

    ``chains`` are the rows of chains, which are counted for themselves.
    """
    refused: dict[str, Counter[str]] = {}
    for row in rows:
        for way, reason in row["refused"].items():
            refused.setdefault(way, Counter())[reason] += 1
    populations = sum(row["populations"] for row in rows)
    silent = sum(row["silent"] for row in rows)
    seeds = [row["seed"] for row in rows]
    return {
        "networks": len(rows),
        "lava-cpu networks": sum(bool(row["lava"]) for row in rows),
        f"membrane networks, {ON_LAVA_FOR_CHIP}": sum(
            ON_LAVA_FOR_CHIP in row["compared"] and not MEMBRANE.isdisjoint(row["features"])
            for row in rows
        ),
        **_compared(rows),
        "lava-cpu ran": dict(sorted(Counter(row["lava"] for row in rows if row["lava"]).items())),
        "not applicable": {way: dict(count.most_common()) for way, count in refused.items()},
        "networks with": _features(rows),
        "populations": populations,
        "silent populations": silent,
        "silent fraction": round(silent / max(1, populations), 4),
        "always firing populations": sum(row["always"] for row in rows),
        "networks drawn again": sum(row["attempts"] for row in rows),
        "seeds": {"first": min(seeds), "last": max(seeds)},
        "graphs": _digest(rows),
        "first graphs": _first(rows),
        "sources": sources,
        "versions": {
            "python": platform.python_version(),
            **versions("numpy", "torch", "scipy", "hypothesis", "lava-nc", "lava-dl"),
        },
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "chains": _chains(chains or []),
    }


def _chains(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "networks": len(rows),
        **_compared(rows),
        "networks with": _features(rows),
        "populations": sum(row["populations"] for row in rows),
        "silent populations": sum(row["silent"] for row in rows),
        "graphs": _digest(rows),
        "first graphs": _first(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def _compared(rows: list[dict[str, Any]]) -> dict[str, Any]:
    compared: dict[str, Counter[str]] = {}
    for row in rows:
        for name, positions in row["compared"].items():
            compared.setdefault(name, Counter()).update(positions, networks=1)
    return {
        "differing spikes": 0,
        "differing messages": 0,
        "differing potentials": 0,
        "positions compared": sum(
            count for c in compared.values() for kind, count in c.items() if kind != "networks"
        ),
        "comparisons": {
            name: {
                "networks": count["networks"],
                "spikes": count["lif"],
                "messages": count["relay"],
                "potentials": count["readout"],
            }
            for name, count in compared.items()
        },
    }


def _features(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Feature -> how many networks have it."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update(dict.fromkeys(row["features"], 1))
    return dict(sorted(found.items()))


def _digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256("".join(row["graph"] for row in rows).encode()).hexdigest()


def _first(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {str(row["seed"]): row["graph"] for row in rows[:FIRST]}
