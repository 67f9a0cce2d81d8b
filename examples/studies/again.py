"""Compares a second run of the studies, from nothing, with the committed one.

    python -m examples.studies all --out runs/again/studies --runs runs/again/networks
    python -m examples.studies.again runs/again/studies

Writes ``docs/studies/again.json``: of every number in the tables, whether the ranges of both runs
over the seeds overlap, and those that do not. Runs of one machine and one version repeat to the
bit; another version or processor rounds differently, and a spike more or less is another training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from examples.studies.__main__ import ROOT
from neuroport.files import read_json, write_json

SHOWN = {
    "gradients": ("decades",),
    "depth": ("accuracy",),
    "dormant": ("dormant", "blocked"),
    "spikes": ("spikes_per_neuron",),
    "equal": ("accuracy", "loss", "spikes_per_neuron"),
}


def compare(first: Path, second: Path) -> dict[str, Any]:
    """How many numbers both folders show, how many ranges overlap, and the others."""
    numbers, others = 0, []
    for study, keys in SHOWN.items():
        one, other = (read_json(folder / f"{study}.json")["summary"] for folder in (first, second))
        for name in one:
            for key in keys:
                a, b = one[name][key], other[name][key]
                numbers += 1
                if a["least"] > b["most"] or b["least"] > a["most"]:
                    others.append(
                        {"study": study, "network": name, "what": key, "first": a, "second": b}
                    )
    return {"numbers": numbers, "overlap": numbers - len(others), "others": others}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    out = ROOT / "docs" / "studies"
    found = compare(out, folder)
    write_json(out / "again.json", found)
    click.echo(f"{found['overlap']} of {found['numbers']} ranges overlap")


if __name__ == "__main__":
    main()
