"""The loss of quantization of a NIR network: run it in real numbers and in integers.

The two runs share only the frames, so the differences in a population include those of earlier
populations. The share of differing spikes is defined in :mod:`neuroport.quantization.cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.engines.running import run
from neuroport.frontends.nir.interpreter import Signals
from neuroport.frontends.nir.quantized_parts import Quantized
from neuroport.frontends.nir.reading import NEURONS, Network


@dataclass(frozen=True)
class PopulationCost:
    """One neuron population or output of NIR in both networks.

    Attributes:
        positions: neurons x steps x samples.
        real, integer: spikes of either network; 0 if it sends potentials.
        differing: positions at which exactly one of them fires.
        first: the first step with a difference; None if there is none.
        error: for potentials, the root mean square error relative to that of the real ones.
    """

    name: str
    spikes: bool
    positions: int
    real: int
    integer: int
    differing: int
    first: int | None
    error: float

    @property
    def share(self) -> float:
        """Share of the spikes of either network that only one of them sends."""
        either = (self.real + self.integer + self.differing) / 2
        return self.differing / either if either else 0.0


@dataclass(frozen=True)
class NirCost:
    """The real-valued and the integer network on the same samples, and their ``outputs``."""

    steps: int
    samples: int
    populations: tuple[PopulationCost, ...]
    outputs: tuple[PopulationCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, with the share of every population."""
        found = asdict(self)
        for key in ("populations", "outputs"):
            for entry, population in zip(found[key], getattr(self, key), strict=True):
                entry["share"] = population.share
        return found

    def __str__(self) -> str:
        """Return a table as text."""
        names = [p.name for p in (*self.populations, *self.outputs)]
        width = max(10, *map(len, names))
        lines = [f"quantization on {self.samples} samples of {self.steps} steps"]
        for title, rows in (("population", self.populations), ("output", self.outputs)):
            lines.append(f"{title:{width}}  rate real  integer  that differ")
            for p in rows:
                if p.spikes:
                    rates = "".join(f"{n / p.positions:9.4f}" for n in (p.real, p.integer))
                    lines.append(f"{p.name:{width}}  {rates}{100 * p.share:11.2f} %")
                else:
                    lines.append(f"{p.name:{width}}   potentials, error {100 * p.error:.3g} %")
        return "\n".join(lines)


def cost(
    network: Network,
    quantized: Quantized,
    real: Signals,
    frames: npt.NDArray[Any],
) -> NirCost:
    """Run the integers on ``frames`` and compare them with ``real``, the network's own output."""
    found = integer_signals(network, quantized, frames)
    populations = [_compare(n.name, real[n.name], found[n.name]) for n in network.of_kind(*NEURONS)]
    outputs = [_compare(n.name, real[n.name], found[n.name]) for n in network.of_kind("Output")]
    return NirCost(frames.shape[0], frames.shape[1], tuple(populations), tuple(outputs))


def integer_signals(
    network: Network, quantized: Quantized, frames: npt.NDArray[Any]
) -> Mapping[str, npt.NDArray[Any]]:
    """Return the integer network's values of the NIR neurons and outputs, in real units."""
    messages = run(quantized.graph, frames, on="reference").messages
    found: dict[str, npt.NDArray[Any]] = {}
    for name, place in quantized.places.items():
        if network.nodes[name].kind == "Input":
            continue
        values = messages[place.population]
        if values.dtype != np.bool_:
            values = values / 64 * quantized.unit[place.population]
        flat = values.reshape(*values.shape[:2], -1)
        part = flat[:, :, place.first : place.first + place.count]
        found[name] = part.reshape(*values.shape[:2], *network.nodes[name].shape)
    return found


def _compare(name: str, real: npt.NDArray[Any], found: npt.NDArray[Any]) -> PopulationCost:
    if found.dtype == np.bool_:
        fired = real > 0.5
        differs = fired != found
        steps = np.flatnonzero(differs.reshape(len(differs), -1).any(1))
        counts = (int(fired.sum()), int(found.sum()), int(differs.sum()))
        first = int(steps[0]) if steps.size else None
        return PopulationCost(name, True, real.size, *counts, first, 0.0)
    size = float(np.sqrt(np.mean(real**2)))
    error = float(np.sqrt(np.mean((real - found) ** 2)))
    return PopulationCost(name, False, real.size, 0, 0, 0, None, error / size if size else error)
