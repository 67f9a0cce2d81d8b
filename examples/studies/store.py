"""The JSON of a study: its settings, every run, and mean and spread over the seeds."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import click

from neuroport.files import read_json, write_atomic
from neuroport.runs.trace import versions


class Store:
    """The runs of one study in ``folder``; what is there is not made again.

    Args:
        settings: what every run shares. Runs of other settings are refused.
    """

    def __init__(self, folder: Path, study: str, settings: dict[str, Any]) -> None:
        self.path = folder / f"{study}.json"
        self.study = study
        self.settings = settings
        self.runs: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            found = read_json(self.path)
            if found["settings"] != settings:
                raise click.ClickException(
                    f"{self.path} was made with other settings; remove it or choose another --out"
                )
            self.runs = {run["name"]: run for run in found["runs"]}

    def add(self, run: dict[str, Any]) -> None:
        """Keep a run and write the file."""
        self.runs[run["name"]] = run
        runs = sorted(self.runs.values(), key=lambda r: (r["network"], r["depth"], r["seed"]))
        about = {
            "study": self.study,
            "settings": self.settings,
            "versions": versions("torch", "numpy"),
            "summary": summary(runs),
        }
        head = json.dumps(about, indent=2)[:-2]  # a run is a line
        lines = ",\n".join("    " + json.dumps(run) for run in runs)
        write_atomic(self.path, f'{head},\n  "runs": [\n{lines}\n  ]\n}}\n')


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every network and depth: mean, standard deviation, least and most of each number."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(f"{run['network']}-{run['depth']}", []).append(run)
    return {
        name: {"network": group[0]["network"], "depth": group[0]["depth"], "seeds": len(group)}
        | {
            key: _spread([run[key] for run in group])
            for key, value in group[0].items()
            if isinstance(value, float) and all(run.get(key) is not None for run in group)
        }
        for name, group in groups.items()
    }


def _spread(values: list[float]) -> dict[str, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {
        name: float(f"{value:.4g}")
        for name, value in (
            ("mean", statistics.fmean(values)),
            ("deviation", deviation),
            ("least", min(values)),
            ("most", max(values)),
        )
    }
