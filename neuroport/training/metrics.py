"""Metrics of the epochs of a training: ``metrics.jsonl`` in its folder, one JSON object per line.

::

    phase, epoch, epochs, loss, accuracy (%), samples, seconds
    gradients   {batches, blocks: {block: norm}}                       mean norm of some batches
    activity    {samples, populations: {name: {neurons, spikes, dormant, saturated}}}
    weights     {synapse: {weights, clipped}}                          in integers

``spikes`` are messages per neuron and sample, ``dormant`` is the share of neurons that sent none,
``saturated`` counts voltages at a limit of their 24 bits, ``clipped`` weights beyond 8 bits. Files
of older versions have only the fields of the first line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroport.errors import FormatError, StorageError
from neuroport.files import parse_json, place, read_bytes

METRICS = "metrics.jsonl"
PLAIN = ("loss", "accuracy", "seconds")


@dataclass(frozen=True)
class Epoch:
    """An epoch of a training; measurements that are missing are empty dictionaries.

    Attributes:
        phase: ``float``, or ``quantized`` if the forward pass is the integer network.
        epoch, epochs: its number, from 1 on, and the number of all epochs.
        accuracy: accuracy on the held-out samples, in percent.
        samples: number of samples on which the activity was measured.
        gradients: mean gradient norm of each block.
        neurons, spikes, dormant, saturated: values of each population.
        weights, clipped: values of each synapse.
    """

    phase: str
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    seconds: float
    samples: int = 0
    gradients: Mapping[str, float] = field(default_factory=dict)
    neurons: Mapping[str, float] = field(default_factory=dict)
    spikes: Mapping[str, float] = field(default_factory=dict)
    dormant: Mapping[str, float] = field(default_factory=dict)
    saturated: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    clipped: Mapping[str, float] = field(default_factory=dict)

    @property
    def spikes_per_neuron(self) -> float | None:
        """Of the whole network, per sample."""
        return self._mean(self.spikes)

    @property
    def dormant_share(self) -> float | None:
        """Of the whole network's neurons."""
        return self._mean(self.dormant)

    def _mean(self, values: Mapping[str, float]) -> float | None:
        number = sum(self.neurons[name] for name in values)
        return sum(self.neurons[n] * v for n, v in values.items()) / number if number else None

    def scalars(self) -> dict[str, float]:
        """Return every number by its name in TensorBoard: ``loss/float``, ``gradient/blocks.0``."""
        found = {f"{key}/{self.phase}": float(getattr(self, key)) for key in PLAIN}
        whole = {
            "spikes_per_neuron": self.spikes_per_neuron,
            "dormant": self.dormant_share,
            "clipped": float(sum(self.clipped.values())) if self.clipped else None,
            "saturated": float(sum(self.saturated.values())) if self.saturated else None,
        }
        found |= {f"{key}/{self.phase}": v for key, v in whole.items() if v is not None}
        each = {
            "gradient": self.gradients,
            "population_spikes": self.spikes,
            "population_dormant": self.dormant,
            "population_saturated": self.saturated,
            "synapse_clipped": self.clipped,
        }
        return found | {f"{key}/{n}": float(v) for key, vs in each.items() for n, v in vs.items()}


def read_metrics(folder: str | os.PathLike[str]) -> list[Epoch]:
    """Read the epochs that a training has finished so far.

    Raises:
        StorageError: there is no such folder, or the file cannot be read.
        FormatError: the file does not belong to a training.
    """
    where = Path(place(folder))
    if not where.is_dir():
        raise StorageError(
            f"{where}: no such folder; give the folder of a training run (neuroport train -o)"
        )
    path = where / METRICS
    if not os.path.lexists(path):
        return []
    lines = read_bytes(path).splitlines()
    return [
        epoch_of(parse_json(line, f"{path}, line {number}"), f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
    ]


def epoch_of(told: Any, where: str) -> Epoch:
    """Return the epoch of a line.

    Raises:
        FormatError: the line does not hold an epoch.
    """
    numbers = ("epoch", "epochs", *PLAIN)
    if not isinstance(told, dict) or not isinstance(told.get("phase"), str):
        raise FormatError(f"{where}: not the metrics of an epoch; give the folder of a training")
    for key in numbers:
        if key == "epochs" and key not in told:
            continue  # of an older version
        if not _is_number(told.get(key)):
            raise FormatError(f"{where}: {key} is not a number; give the folder of a training")
    activity, gradients = _table(told, "activity"), _table(told, "gradients")
    populations, synapses = _table(activity, "populations"), _table(told, "weights")
    known = _column(populations, "neurons")
    populations = {name: each for name, each in populations.items() if name in known}
    samples = activity.get("samples")
    return Epoch(
        told["phase"],
        int(told["epoch"]),
        int(told.get("epochs") or told["epoch"]),
        loss=float(told["loss"]),
        accuracy=float(told["accuracy"]),
        seconds=float(told["seconds"]),
        samples=int(samples) if isinstance(samples, int) else 0,
        gradients=_numbers(_table(gradients, "blocks")),
        neurons=known,
        spikes=_column(populations, "spikes"),
        dormant=_column(populations, "dormant"),
        saturated=_column(populations, "saturated"),
        weights=_column(synapses, "weights"),
        clipped=_column(synapses, "clipped"),
    )


def _table(told: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = told.get(key)
    return found if isinstance(found, dict) else {}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if _is_number(value)}


def _column(rows: Mapping[str, Any], key: str) -> dict[str, float]:
    return _numbers({name: row.get(key) for name, row in rows.items() if isinstance(row, dict)})


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
