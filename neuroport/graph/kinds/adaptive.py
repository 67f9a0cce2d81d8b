"""Leaky integrate-and-fire neurons whose threshold rises with every spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuroport.graph import integers
from neuroport.graph.kinds.base import (
    SPIKES,
    Facts,
    IntArray,
    Population,
    States,
    bias,
    constant,
    current_decay,
    decay,
    kind,
    span,
    voltage_decay,
)

THRESHOLD_ADAPTS = (
    "its threshold adapts, which runs on the CPU only: no neuron of Lava does it; train with fixed "
    "thresholds (block.cuba, block.rf)"
)


@kind("alif", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class AdaptiveLif(Population):
    """Leaky integrate-and-fire population whose threshold rises with every spike.

    See :func:`neuroport.graph.integers.adaptive_lif_step`. ``threshold`` is the value to which it
    decays. ``threshold`` and ``threshold_step`` are in units of the state, 1/64 of a unit of
    current. Decays have one value, or one per channel (C,); ``bias`` may have one per neuron. Lava
    has no such process, so it runs on the CPU only.
    """

    states = ("u", "v", "rise", "hold")

    name: str
    inputs: tuple[str, ...]
    threshold: int = constant(0, per="node")
    threshold_step: int = constant(per="node")
    threshold_decay: IntArray = decay()
    refractory_decay: IntArray = decay()
    current_decay: IntArray = current_decay(fits=None)
    voltage_decay: IntArray = voltage_decay(fits=None)
    bias: IntArray = bias(fits=None)

    def acts_alone(self) -> bool:
        return self.threshold == 0 or bool(self.bias.any())

    def cpu_only(self) -> str:
        return THRESHOLD_ADAPTS

    def own_current(self) -> tuple[int, int]:
        return _with_bias(self)

    def largest_state(self, facts: Facts) -> int:
        return step_reach(self)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        return _step(c, states, current)

    def text(self) -> str:
        return _text(self)


@kind("recurrentalif", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class AdaptiveRecurrent(Population):
    """An :class:`AdaptiveLif` with recurrent weights, as
    :class:`~neuroport.graph.kinds.lif.Recurrent` does. On the CPU only.
    """

    states = ("u", "v", "rise", "hold", "last")

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    threshold: int = constant(0, per="node")
    threshold_step: int = constant(per="node")
    threshold_decay: IntArray = decay()
    refractory_decay: IntArray = decay()
    current_decay: IntArray = current_decay(fits=None)
    voltage_decay: IntArray = voltage_decay(fits=None)
    bias: IntArray = bias(fits=None)

    @property
    def own_weight(self) -> IntArray:
        return self.weight

    def acts_alone(self) -> bool:
        return self.threshold == 0 or bool(self.bias.any())

    def cpu_only(self) -> str:
        return THRESHOLD_ADAPTS

    def own_current(self) -> tuple[int, int]:
        return _with_bias(self)

    def largest_state(self, facts: Facts) -> int:
        return step_reach(self)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        *inner, last = states
        inner, spikes = _step(c, tuple(inner), current + c.weight(last))
        return (*inner, spikes), spikes

    def text(self) -> str:
        return f"own w {span(self.weight)} {_text(self)}"


def adaptation(c: Any) -> integers.Adaptation:
    """Return the constants of an adaptive threshold in the form that the arithmetic takes."""
    return c.threshold, c.threshold_step, c.threshold_decay, c.refractory_decay


def adaptation_text(node: Any) -> str:
    """Return the constants of an adaptive threshold as text."""
    decays = f"{span(node.threshold_decay)}/{span(node.refractory_decay)}"
    return f"threshold {node.threshold} step {node.threshold_step} adapts {decays}"


def step_reach(node: Any) -> int:
    """Return the larger of an adaptive threshold and its step."""
    return int(max(node.threshold, abs(node.threshold_step)))


def _step(c: Any, states: States, current: Any) -> tuple[Any, Any]:
    return integers.adaptive_lif_step(
        states, current, c.bias, c.current_decay, c.voltage_decay, adaptation(c)
    )


def _with_bias(node: AdaptiveLif | AdaptiveRecurrent) -> tuple[int, int]:
    """Add the bias to the current."""
    low, high = Population.own_current(node)
    return low + int(node.bias.min()), high + int(node.bias.max())


def _text(node: AdaptiveLif | AdaptiveRecurrent) -> str:
    added = f" bias {span(node.bias)}" if node.bias.any() else ""
    decays = f"{span(node.current_decay)}/{span(node.voltage_decay)}"
    return f"{adaptation_text(node)} decay {decays}{added}"
