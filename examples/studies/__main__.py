"""One command per study, see the package."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from examples.studies import converged, gradients, integer, isometry, shortcuts
from examples.studies.figures import draw
from examples.studies.page import write_page
from examples.studies.plan import (
    SEEDS,
    TRAINED,
    Budget,
    Run,
    isometry_runs,
    runs,
)
from examples.studies.store import Store
from examples.studies.training import result, results, shared
from neuroport.data.loading import load_data
from neuroport.data.samples import Split

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ("gradients", *TRAINED, "integer", "isometry", "shortcuts")


class Studies:
    """Makes what a study lacks, in ``out``; trains in ``work``, on ``data`` or the digits."""

    def __init__(
        self,
        out: Path,
        work: Path,
        budget: Budget,
        data: Split | None = None,
        device: str = "cpu",
        jobs: int = 1,
    ) -> None:
        self.out, self.work, self.budget = out, work, budget
        self.device, self.jobs = device, jobs
        self._data = data

    @property
    def data(self) -> Split:
        if self._data is None:
            self._data = load_data(Run("ms", 8, 0).recipe(self.budget).data)
        return self._data

    def make(self, study: str, seed: int) -> None:
        """All runs of a study with one seed, then its figure and the page's tables."""
        if study in TRAINED:
            self._trained(study, seed)
        else:
            getattr(self, f"_{study}")(seed)
        self.show(study)

    def show(self, study: str) -> None:
        """Draw the study, and write its tables into ``studies.md`` beside the folder, if there."""
        draw(self.out, study)
        page = self.out.parent / "studies.md"
        if page.exists():
            write_page(page, self.out)

    def _trained(self, study: str, seed: int) -> None:
        store = Store(self.out, study, self.budget.to_dict())
        for run in runs(study, seed):
            if run.name in store.runs:
                continue
            found = shared(self.out, self.budget, run.name)
            made = found or result(run, self.budget, self.data, self.work)
            store.add(made)
            again = " (of another study)" if found else ""
            click.echo(f"{study}: {run.name} {made['accuracy']:.1f} %{again}")

    def _gradients(self, seed: int) -> None:
        settings = self.budget.to_dict() | {"gradient_batch": gradients.BATCH}
        store = Store(self.out, "gradients", settings)
        for depth in gradients.DEPTHS:
            for network in gradients.NETWORKS:
                run = Run(network, depth, seed)
                if run.name not in store.runs:
                    norms = gradients.gradient_norms(run, self.budget, self.data)
                    store.add(gradient_run(run, norms))
                    click.echo(f"gradients: {run.name}")

    def _isometry(self, seed: int) -> None:
        own = {"batch_measured": gradients.BATCH, "probes": isometry.PROBES}
        store = Store(self.out, "isometry", self.budget.to_dict() | own)
        for run, trained in isometry_runs(seed):
            if run.name in store.runs:
                continue
            if trained:
                folder = self.work / "isometry"
                epochs = isometry.along_training(run, self.budget, self.data, folder)
            else:
                epochs = [isometry.at_start(run, self.budget, self.data)]
            store.add(isometry.isometry_run(run, epochs))
            click.echo(f"isometry: {run.name}")

    def _integer(self, seed: int) -> None:
        store = Store(self.out, "integer", integer.settings(self.budget))
        for run in integer.runs(seed):
            if run.name not in store.runs:
                store.add(integer.result(run, self.budget, self.data, self.work / "integer"))
                click.echo(f"integer: {run.name} {store.runs[run.name]['accuracy']:.1f} %")

    def converged(self, seeds: int) -> None:
        """The rates are chosen once all runs of every rate are there."""
        own = converged.settings(self.budget)
        rates = Store(self.out, "rates", own)
        self._train(rates, [*converged.tried()])
        store = Store(self.out, "converged", own)
        found = converged.chosen(rates.runs)
        wanted = [run for seed in range(seeds) for run in converged.runs(seed, found)]
        for run in wanted:
            known = rates.runs.get(replace(run, told=True).name)
            if known is not None and run.name not in store.runs:
                store.add({**known, "name": run.name, "network": run.network})
        self._train(store, wanted)
        self.show("converged")

    def converged_again(self, names: Collection[str]) -> None:
        """Runs of the committed study, by name, once more at its rates, without a figure."""
        own = converged.settings(self.budget)
        found = converged.chosen(Store(ROOT / "docs" / "studies", "rates", own).runs)
        known = {r.name: r for s in range(converged.SEEDS) for r in converged.runs(s, found)}
        if unknown := sorted(set(names) - set(known)):
            raise click.ClickException(f"no run of the study is called {', '.join(unknown)}")
        self._train(Store(self.out, "converged", own), [known[name] for name in names])

    def _train(self, store: Store, wanted: list[converged.ConvergedRun]) -> None:
        lacking = [run for run in wanted if run.name not in store.runs]
        if not lacking:
            return
        # deep ones first, so that no process is left with a long one at the end
        lacking.sort(key=lambda run: -run.depth)
        own = replace(self.budget, epochs=converged.EPOCHS)
        work = self.work / "converged"
        for made in results(lacking, own, self.data, work, self.device, self.jobs):
            store.add(made)
            click.echo(f"{store.study}: {made['name']} {made['loss']}, {made['accuracy']:.1f} %")

    def _shortcuts(self, seed: int) -> None:
        if seed:  # of every network there is one
            return
        store = Store(self.out, "shortcuts", shortcuts.SETTINGS)
        for network in shortcuts.MODELS:
            made = shortcuts.shortcut_run(network)
            if made != store.runs.get(made["name"]):
                store.add(made)
                click.echo(f"shortcuts: {made['name']}")


def gradient_run(run: Run, norms: dict[str, list[float]]) -> dict[str, Any]:
    """The entry of the JSON: ``decades`` is log10 of first / last block, by which norms change."""
    about: dict[str, Any] = {f: getattr(run, f) for f in ("name", "network", "depth", "seed")}
    for key, name in (("signal", "decades"), ("parameters", "decades_of_parameters")):
        found = gradients.decades(norms[key][0], norms[key][-1])
        about[name] = None if found is None else round(found, 3)
    return about | norms


@click.command()
@click.argument("study", type=click.Choice([*STUDIES, "converged", "all"]))
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs" / "studies")
@click.option("--runs", "work", type=click.Path(path_type=Path), default=ROOT / "runs" / "studies")
@click.option("--seeds", type=int, help=f"How many; {len(SEEDS)}, of converged {converged.SEEDS}.")
@click.option("--device", default="cpu", show_default=True, help="Of converged.")
@click.option("--only", multiple=True, help="Of converged: a run, such as ms-20-seed1, once more.")
@click.option("--jobs", default=1, show_default=True, help="Processes that train, of converged.")
def main(
    study: str,
    out: Path,
    work: Path,
    seeds: int | None,
    device: str,
    only: tuple[str, ...],
    jobs: int,
) -> None:
    """Make STUDY, or `all` but converged, from the runs that --out lacks."""
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    studies = Studies(out, work, Budget(), device=device, jobs=jobs)
    if only:
        if study != "converged" or out == ROOT / "docs" / "studies":
            raise click.UsageError("--only is for converged, and needs another --out")
        studies.converged_again(only)
        return
    if study == "converged":
        studies.converged(seeds or converged.SEEDS)
        return
    for seed in range(seeds or len(SEEDS)):
        for name in STUDIES if study == "all" else (study,):
            studies.make(name, seed)


if __name__ == "__main__":
    main()
