"""Train one network of a study and measure it; a network that two studies share is trained once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from examples.studies.activity import activity
from examples.studies.plan import TRAINED, Budget, Trained
from examples.studies.store import Store
from neuroport.data.samples import Split
from neuroport.demo import trainable
from neuroport.training.checkpoint import read_checkpoint
from neuroport.training.fit import fit


def result(
    run: Trained, budget: Budget, data: Split, folder: Path, device: str = "cpu"
) -> dict[str, Any]:
    """What a run gives: accuracies of the held-out digits, the last loss, activity, sizes."""
    place = folder / run.name
    net = fit(run.recipe(budget), place, data=data, device=device)
    metrics = read_checkpoint(place).metrics
    return {
        "name": run.name,
        "network": run.network,
        "depth": run.depth,
        "seed": run.seed,
        "parameters": trainable(net),
        "accuracy": float(metrics[-1]["accuracy"]),
        "loss": round(metrics[-1]["loss"], 4),
        "accuracies": [m["accuracy"] for m in metrics],
        "losses": [round(m["loss"], 4) for m in metrics],
        **activity(net, data.test, budget.steps),
        "seconds": round(sum(m["seconds"] for m in metrics), 1),
    }


def shared(folder: Path, budget: Budget, name: str) -> dict[str, Any] | None:
    """A run of that name in the JSON of any study of this budget."""
    for study in TRAINED:
        found = Store(folder, study, budget.to_dict()).runs.get(name)
        if found is not None:
            return found
    return None
