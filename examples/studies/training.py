"""Train one network of a study and measure it; a network that two studies share is trained once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from examples.studies.activity import activity
from examples.studies.converged import CHANCE, ConvergedRun
from examples.studies.plan import TRAINED, Budget, Trained
from examples.studies.store import Store
from neuroport.data.samples import Split
from neuroport.demo import trainable
from neuroport.errors import TrainingError
from neuroport.processes import ended_by_parent
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


def results(
    runs: Sequence[ConvergedRun],
    budget: Budget,
    data: Split,
    folder: Path,
    device: str,
    jobs: int,
) -> Iterator[dict[str, Any]]:
    """Of each run what :func:`_at_its_rate` gives, as they end, from ``jobs`` processes of one
    thread each."""
    todo = [(run, budget, data, folder, device) for run in runs]
    if jobs == 1:
        yield from map(_at_its_rate, todo)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _begin) as pool:
        yield from pool.imap_unordered(_at_its_rate, todo)
        pool.close()
        pool.join()


def _begin() -> None:
    ended_by_parent()
    torch.set_num_threads(1)


def _at_its_rate(todo: tuple[ConvergedRun, Budget, Split, Path, str]) -> dict[str, Any]:
    """What the run gives and its rate; a loss of None if training ended with one that is none."""
    run = todo[0]
    try:
        made = result(*todo)
    except TrainingError as error:
        if "the loss is" not in error.message:
            raise
        made = {field: getattr(run, field) for field in ("name", "network", "depth", "seed")}
        made |= {"loss": None, "accuracy": CHANCE, "why": error.message}
    return {**made, "rate": run.rate}


def shared(folder: Path, budget: Budget, name: str) -> dict[str, Any] | None:
    """A run of that name in the JSON of any study of this budget."""
    for study in TRAINED:
        found = Store(folder, study, budget.to_dict()).runs.get(name)
        if found is not None:
            return found
    return None
