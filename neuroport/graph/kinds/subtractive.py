"""Leaky integrate-and-fire neurons with a soft reset: a spike subtracts an amount.

This *soft* reset is snnTorch's default, SpikingJelly's ``v_reset=None``, and that of most networks
converted from ANNs. Neither Lava nor a chip's LIF has it. It runs on the CPU; on Lava's simulator,
a process of neuroport computes the steps below. Lava's ``ATRLIF`` with a constant threshold is
similar, but it fires at its threshold, and a residue of its current drifts unless weights are even
and currents small.
"""

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
    span,
    voltage_decay,
)
from neuroport.graph.kinds.lif import THRESHOLDS

SUBTRACTS = (
    "its spikes subtract from the voltage, which runs on the CPU only: no LIF of Lava or a chip "
    "does it; train with a reset to zero (snnTorch: reset_mechanism='zero', SpikingJelly: "
    "v_reset=0.)"
)


@kind("subtractivelif", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class SubtractiveLif(Population):
    """A :class:`~neuroport.graph.kinds.lif.Lif` with soft reset: a spike subtracts ``subtract``.

    ``v = v - subtract`` where it fired, after :func:`neuroport.graph.integers.lif_step`. The amount
    is in units of the voltage, 1/64 of a unit of current, with one value or one per channel (C,).
    It is ``64 * threshold`` if the threshold is subtracted immediately. If a leak comes first, the
    amount is larger by the inverse of the leak (snnTorch's delayed reset: ``64 * threshold /
    beta``).
    """

    states = ("u", "v")
    threshold_shift = integers.STATE_SHIFT

    name: str
    inputs: tuple[str, ...]
    threshold: IntArray = constant(0, fits=THRESHOLDS)
    subtract: IntArray = constant(0, integers.STATE_MAX)
    current_decay: IntArray = current_decay()
    voltage_decay: IntArray = voltage_decay()
    bias: IntArray = bias()

    def cpu_only(self) -> str:
        return SUBTRACTS

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        u, v = states
        u, v, spikes = integers.lif_step(
            u, v, current, c.bias, c.current_decay, c.voltage_decay, c.threshold
        )
        return (u, v), spikes

    def settle(self, c: Any, states: States, output: Any) -> States:
        u, v = states
        return u, integers.subtract(v, output, c.subtract)

    def title(self) -> str:
        return "leaky integrate-and-fire, soft reset"

    def text(self) -> str:
        return _text(self)


@kind("subtractiverecurrent", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class SubtractiveRecurrent(Population):
    """A :class:`SubtractiveLif` with recurrent weights, as
    :class:`~neuroport.graph.kinds.lif.Recurrent` does.
    """

    states = ("u", "v", "last")
    threshold_shift = integers.STATE_SHIFT

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    threshold: IntArray = constant(0, fits=THRESHOLDS)
    subtract: IntArray = constant(0, integers.STATE_MAX)
    current_decay: IntArray = current_decay()
    voltage_decay: IntArray = voltage_decay()
    bias: IntArray = bias()

    @property
    def own_weight(self) -> IntArray:
        return self.weight

    def cpu_only(self) -> str:
        return SUBTRACTS

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        u, v, last = states
        u, v, spikes = integers.lif_step(
            u, v, current + c.weight(last), c.bias, c.current_decay, c.voltage_decay, c.threshold
        )
        return (u, v, spikes * 1), spikes

    def settle(self, c: Any, states: States, output: Any) -> States:
        u, v, last = states
        return u, integers.subtract(v, output, c.subtract), last

    def title(self) -> str:
        return "leaky integrate-and-fire, soft reset, recurrent"

    def text(self) -> str:
        return f"own w {span(self.weight)} {_text(self)}"


def _text(node: SubtractiveLif | SubtractiveRecurrent) -> str:
    added = f" bias {span(node.bias)}" if node.bias.any() else ""
    decays = f"{span(node.current_decay)}/{span(node.voltage_decay)}"
    return f"threshold {span(node.threshold)} subtract {span(node.subtract)} decay {decays}{added}"
