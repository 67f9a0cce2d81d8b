"""Depth, trained until little changes, each family at its own learning rate.

The study of depth gives every network 240 steps at one rate, that of MS-ResNet. Here each gets five
times as many, and a family the best of three rates: the one with the least training loss of the
last epoch, averaged over 20, 56 and 110 layers, with seed 0 (:func:`chosen`). The others' runs are
in ``rates.json``. With the rate of its family every network is trained with five seeds, which order
the same samples alike, so that networks are compared seed by seed. At the rate of its family, one
MS-ResNet has 482 layers.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from examples.studies.plan import Budget, Run
from neuroport.recipe import Recipe

RATES = (0.003, 0.01, 0.03)
NETWORKS = ("plain", "tdbn", "sew", "ms", "ds3", "vanilla3")
DEPTHS = (20, 56, 110)
DEEPEST = ("ms", 482)  # one seed
SEEDS = 5
EPOCHS = 20
CHANCE = 10.0


@dataclass(frozen=True)
class ConvergedRun:
    """One network to train at one rate; ``told`` where the rate is part of the network's name."""

    family: str
    depth: int
    seed: int
    rate: float
    told: bool = False

    @property
    def network(self) -> str:
        return f"{self.family}_{self.rate:g}" if self.told else self.family

    @property
    def name(self) -> str:
        return f"{self.network}-{self.depth}-seed{self.seed}"

    def recipe(self, budget: Budget) -> Recipe:
        """That of the study of depth, with this rate and number of epochs."""
        own = replace(budget, learning_rate=self.rate, epochs=EPOCHS)
        return replace(Run(self.family, self.depth, self.seed).recipe(own), name=self.name)


def settings(budget: Budget) -> dict[str, Any]:
    """What all runs share."""
    return {**budget.to_dict(), "epochs": EPOCHS, "learning_rate": list(RATES)}


def tried() -> Iterator[ConvergedRun]:
    """Every family at every rate, shallow ones first."""
    for depth in DEPTHS:
        for family in NETWORKS:
            for rate in RATES:
                yield ConvergedRun(family, depth, 0, rate, told=True)


def chosen(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Of each family, the rate with the least mean training loss; families of which a run lacks
    are left out.

    Args:
        runs: results of :func:`tried`, by their names; a loss of None is one that was no number.
    """
    found = {}
    for family in NETWORKS:
        losses = {}
        for rate in RATES:
            names = [ConvergedRun(family, depth, 0, rate, True).name for depth in DEPTHS]
            if all(name in runs for name in names):
                each = [runs[name]["loss"] for name in names]
                finite = None not in each
                losses[rate] = statistics.fmean(each) if finite else float("inf")
        if len(losses) == len(RATES):
            found[family] = min(losses, key=lambda rate: losses[rate])
    return found


def runs(seed: int, rates: Mapping[str, float]) -> Iterator[ConvergedRun]:
    """The networks of one seed at their families' rates."""
    deepest = [DEEPEST] if seed == 0 else []
    places = [(family, depth) for depth in DEPTHS for family in NETWORKS]
    for family, depth in (*places, *deepest):
        if family in rates:
            yield ConvergedRun(family, depth, seed, rates[family])


def paired(runs: list[dict[str, Any]], one: tuple[str, int], other: tuple[str, int]) -> list[float]:
    """Differences of the training loss of two networks, one minus other, seed by seed."""
    losses = {
        place: {
            run["seed"]: run["loss"]
            for run in runs
            if (run["network"], run["depth"]) == place and run["loss"] is not None
        }
        for place in (one, other)
    }
    return [losses[one][s] - losses[other][s] for s in losses[one] if s in losses[other]]
