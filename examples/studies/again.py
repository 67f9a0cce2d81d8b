"""Compares a second run of the studies, from nothing, with the committed one.

    python -m examples.studies all --out runs/again/studies --runs runs/again/networks
    python -m examples.studies converged --only ms-20-seed1 --out runs/again/studies --runs ...
    python -m examples.studies.again runs/again/studies

Writes ``docs/studies/again.json``: of every study that was run again, for every number in its
table, whether the ranges of both runs over the seeds overlap, and those that do not; of the long
study, in which of the runs that were made again every epoch is the same. Runs of one machine and
one version repeat to the bit; another version or processor rounds differently, and a spike more or
less is another training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from examples.studies.__main__ import ROOT
from examples.studies.plan import Budget
from neuroport.files import read_json, write_json

SHOWN = {
    "gradients": ("decades",),
    "depth": ("accuracy",),
    "dormant": ("dormant", "blocked"),
    "spikes": ("spikes_per_neuron",),
    "equal": ("accuracy", "loss", "spikes_per_neuron"),
    "levels": ("accuracy", "loss", "blocked"),
    "integer": ("accuracy", "integer_accuracy", "operations", "chip_operations"),
    "isometry": tuple(
        f"{key}_{epoch}"
        for key in ("phi", "variance", "growth", "predicted")
        for epoch in (0, Budget().epochs)
    ),
    "shortcuts": (
        *("real_accuracy", "accuracy", "cores", "chips", "neurons", "relay_neurons"),
        *("spikes_between", "graded_between", "operations", "slowest_step_us", "latency_us"),
        *("arithmetic_45nm_nj", "loihi1_nj"),
    ),
}


def compare(study: str, first: Path, second: Path) -> dict[str, Any]:
    """How many numbers of a study both folders show, how many ranges overlap, and the others.

    Raises:
        ClickException: the second run lacks a network or a seed of the first.
    """
    one, other = (read_json(folder / f"{study}.json")["summary"] for folder in (first, second))
    numbers, others = 0, []
    for name, row in one.items():
        if name not in other or other[name]["seeds"] < row["seeds"]:
            raise click.ClickException(f"{study}: {name} was not run again with all seeds")
        for key in SHOWN[study]:
            if key not in row:  # a network that is measured before training only
                continue
            a, b = row[key], other[name][key]
            numbers += 1
            if a["least"] > b["most"] or b["least"] > a["most"]:
                others.append({"network": name, "what": key, "first": a, "second": b})
    return {"numbers": numbers, "overlap": numbers - len(others), "others": others}


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Which runs of the long study that ``second`` holds are those of ``first``, every epoch.

    Raises:
        ClickException: the first lacks a run of the second.
    """
    known, again = (
        {run["name"]: run for run in read_json(folder / "converged.json")["runs"]}
        for folder in (first, second)
    )
    if lacking := sorted(set(again) - set(known)):
        raise click.ClickException(f"converged: {', '.join(lacking)} is only in the second run")
    same = [n for n in again if all(again[n][k] == known[n][k] for k in ("losses", "accuracies"))]
    return {"runs": sorted(again), "equal": len(same), "others": sorted(set(again) - set(same))}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    out = ROOT / "docs" / "studies"
    found = read_json(out / "again.json")
    for study in SHOWN:
        if (folder / f"{study}.json").exists():
            found[study] = told = compare(study, out, folder)
            click.echo(f"{study}: {told['overlap']} of {told['numbers']} ranges overlap")
    if (folder / "converged.json").exists():
        found["converged"] = told = compare_runs(out, folder)
        click.echo(f"converged: {told['equal']} of {len(told['runs'])} runs equal in every epoch")
    write_json(out / "again.json", found)


if __name__ == "__main__":
    main()
