"""A kind of neuron that neuroport does not have: leaky integrate-and-fire with a soft reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuroport.graph import integers
from neuroport.graph.kinds.base import (
    SPIKES,
    IntArray,
    Population,
    States,
    bias,
    constant,
    current_decay,
    kind,
    voltage_decay,
)


@kind("softlif", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class SoftLif(Population):
    """A :class:`~neuroport.graph.kinds.lif.Lif` that loses its threshold when it fires."""

    states = ("u", "v")
    threshold_shift = integers.STATE_SHIFT

    name: str
    inputs: tuple[str, ...]
    threshold: IntArray = constant(1, integers.THRESHOLD_MAX)
    current_decay: IntArray = current_decay()
    voltage_decay: IntArray = voltage_decay()
    bias: IntArray = bias()

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        u, v = states
        u, v, spikes = integers.lif_step(
            u, v, current, c.bias, c.current_decay, c.voltage_decay, c.threshold
        )
        return (u, v), spikes

    def settle(self, c: Any, states: States, output: Any) -> States:
        u, v = states
        return u, v - (c.threshold << integers.STATE_SHIFT) * output
