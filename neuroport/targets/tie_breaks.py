"""Break ties between options with equal cores: messages between chips, then the slowest step.

No run exists when a network is lowered, so both are bounds: they assume that every neuron sends at
every step, and that chips are filled in the order of the network. Nothing was run on hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from neuroport.targets.resources import Placed, Resources

TIMES = ("synop_ns", "neuron_ns", "step_us")


@dataclass(frozen=True, slots=True, order=True)
class Weight:
    """Messages between chips in one step, once per destination chip, and the longest step."""

    between_chips: int
    slowest_us: float


def weight(found: Resources) -> Weight:
    """Return the bounds for a network on its cores."""
    per_chip = found.target["cores"]
    ends = list(accumulate((p.cores for p in found.placed), initial=0))
    chips = {
        p.layer.name: set(range(first // per_chip, (last - 1) // per_chip + 1))
        for p, first, last in zip(found.placed, ends[:-1], ends[1:], strict=True)
    }
    between = 0
    for placed in found.placed:
        own = chips[placed.layer.name]
        reached = set().union(*(chips[name] for name, _ in placed.layer.readers))
        between += placed.layer.neurons * len(reached - own)
    return Weight(between, max((_step_us(found, p) for p in found.placed), default=0.0))


def _step_us(found: Resources, placed: Placed) -> float:
    synop, neuron, least = (
        found.target.cost(n) or 0.0 for n in ("synop_ns", "neuron_ns", "step_us")
    )
    neurons = float(np.prod(placed.tiling.tile))
    heard = sum(each.axons * each.copies for each in placed.layer.arriving)
    return max(neurons * heard * synop / 1e3, neurons * neuron / 1e3, least)
