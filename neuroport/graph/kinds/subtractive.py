"""Leaky integrate-and-fire neurons that lose an amount when they fire, instead of all voltage.

The subtracting or *soft* reset: snnTorch's default, SpikingJelly's ``v_reset=None``, and that of
most networks converted from ANNs. Neither Lava nor a chip's LIF has it: it runs on the CPU, on
Lava's simulator in a process that steps it by the lines below. Lava's ``ATRLIF`` with a constant
threshold comes near, but a residue of its current drifts unless weights are even and currents
small, and it fires at its threshold.
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
    """A :class:`~neuroport.graph.kinds.lif.Lif` with soft reset: a spike takes off ``subtract``.

    ``v = v - subtract`` where it fired, after :func:`neuroport.graph.integers.lif_step`. The amount
    is in units of the voltage, 64 to one of current, one or one per channel (C,): it is
    ``64 * threshold`` where the threshold itself is taken off at once, and more where a step's leak
    comes first and is not to shrink it (snnTorch's delayed reset: ``64 * threshold / beta``).
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
