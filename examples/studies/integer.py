"""Integer spikes against binary ones: levels K and steps T of one network, traded for each other.

A DS-ResNet whose neurons send 0 to K at each of T steps, with K * T = 4: binary spikes at four
steps, or, at one step, the integer spikes of E-SpikeFormer (:mod:`neuroport.nets.integer_spikes`),
but with thresholds 0.6, 1.6, 2.6, 3.6 where those have 0.5 to 3.5. Three widths of each give
accuracy as a function of synaptic operations, counted exactly on the quantized network:

* ``operations``: the synapses that a sample's frames and spikes reach; n spikes reach them n times
* ``chip_operations``: the same where each level is a population with its own copy of its synapses
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from examples.studies import training
from examples.studies.plan import INTEGER, INTEGER_DEPTH, WIDTHS, Budget, Run
from neuroport.data.samples import Split, frames_of
from neuroport.recipe import Recipe
from neuroport.training.fit import fit

COUNTED = 100  # held-out samples whose operations are counted


def settings(budget: Budget) -> dict[str, Any]:
    """What all runs share."""
    own = {key: value for key, value in budget.to_dict().items() if key not in ("steps", "widths")}
    return {**own, "depth": INTEGER_DEPTH, "counted": COUNTED}


@dataclass(frozen=True)
class IntegerRun:
    """One network to train: K levels, T steps, widths of its three stages."""

    levels: int
    steps: int
    widths: tuple[int, ...]
    seed: int

    @property
    def network(self) -> str:
        return f"k{self.levels}-t{self.steps}-w{self.widths[0]}"

    @property
    def name(self) -> str:
        return f"{self.network}-{self.depth}-seed{self.seed}"

    @property
    def depth(self) -> int:
        return INTEGER_DEPTH

    def recipe(self, budget: Budget) -> Recipe:
        """That of the DS-ResNet of so many levels, with its own steps and widths."""
        own = replace(budget, steps=self.steps, widths=self.widths)
        recipe = Run(f"ds{self.levels}", self.depth, self.seed).recipe(own)
        return replace(recipe, name=self.name)


def runs(seed: int) -> Iterator[IntegerRun]:
    """The networks of one seed, narrow ones first."""
    for widths in WIDTHS:
        for levels, steps in INTEGER:
            yield IntegerRun(levels, steps, widths, seed)


def result(run: IntegerRun, budget: Budget, data: Split, folder: Path) -> dict[str, Any]:
    """The entry of the JSON: accuracy, spikes, and operations of the quantized network."""
    own = replace(budget, steps=run.steps, widths=run.widths)
    found = training.result(run, own, data, folder)
    net = fit(run.recipe(budget), folder / run.name, data=data)  # it is trained
    frames = np.ascontiguousarray(frames_of(data.test, slice(None), run.steps))
    graph = port.quantize(net, frames_of(data.train, slice(COUNTED), run.steps))
    right = port.run(graph, frames, on="fast").predictions == data.test.labels
    few = frames[:, :COUNTED]
    work = port.energy(graph, port.run(graph, few, on="fast"), few).work
    return {
        **found,
        "levels": run.levels,
        "steps": run.steps,
        "widths": list(run.widths),
        "integer_accuracy": round(100 * float(right.mean()), 2),
        "operations": round(float(work.accumulates + work.multiplies), 1),
        "chip_operations": round(float(work.chip_operations), 1),
    }
