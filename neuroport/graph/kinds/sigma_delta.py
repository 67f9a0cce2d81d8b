"""Populations that send changes, and populations that sum them.

The range of their states depends on the frames and cannot be proven. Every engine checks during a
run that they fit 24 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroport.graph import integers
from neuroport.graph.kinds.base import (
    CHANGES,
    POTENTIAL,
    Facts,
    IntArray,
    Population,
    Range,
    Shape,
    States,
    bias,
    constant,
    kind,
    span,
    spread,
)


def _exponent() -> Any:
    return constant(0, 7, per="node", default=6)


@kind("delta", emits=CHANGES)
@dataclass(frozen=True, eq=False)
class Delta(Population):
    """Population that sends changes; see :func:`neuroport.graph.integers.delta_step`."""

    states = ("act", "residue")
    checked_states = ("act",)  # which bounds the residue
    proves_current = False

    name: str
    inputs: tuple[str, ...]
    threshold: int = constant(0, per="node")
    spike_exponent: int = _exponent()
    state_exponent: int = _exponent()

    def sends(self, shape: Shape, low: IntArray, high: IntArray) -> Range:
        # what is sent is at most the span of the current and what was held back before
        most = np.maximum(high, 0) - np.minimum(low, 0) + self.threshold
        top = spread(most << self.spike_exponent, shape[0])
        return -top, top

    def largest_state(self, facts: Facts) -> int:
        worst = max(self.threshold, -int(facts.reach_low.min()), int(facts.reach_high.max()))
        return worst << (self.spike_exponent + self.state_exponent)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        act, residue = states
        act, residue, message = integers.delta_step(
            act, residue, current, self.threshold, self.spike_exponent, self.state_exponent
        )
        return (act, residue), message

    def text(self) -> str:
        return _text(self)


@kind("sigmadelta", emits=CHANGES)
@dataclass(frozen=True, eq=False)
class SigmaDelta(Population):
    """Population that receives changes, rectifies their sum plus ``bias``, and sends changes.

    See :func:`neuroport.graph.integers.sigma_delta_step`.
    """

    states = ("sigma", "act", "residue")
    checked_states = ("sigma", "act")  # which bound the residue
    bounded = False
    proves_current = False

    name: str
    inputs: tuple[str, ...]
    threshold: int = constant(0, per="node")
    bias: IntArray = bias(fits=None)
    spike_exponent: int = _exponent()
    state_exponent: int = _exponent()

    def acts_alone(self) -> bool:
        return bool((self.bias > 0).any())  # it rectifies

    def largest_state(self, facts: Facts) -> int:
        worst = max(self.threshold, int(np.abs(self.bias).max()))
        return worst << (self.spike_exponent + self.state_exponent)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        exponents = self.spike_exponent, self.state_exponent
        sigma, act, residue = states
        sigma, act, residue, message = integers.sigma_delta_step(
            sigma, act, residue, current, c.bias, self.threshold, *exponents
        )
        return (sigma, act, residue), message

    def text(self) -> str:
        added = f" bias {span(self.bias)}" if self.bias.any() else ""
        return f"{_text(self)}{added}"


@kind("sigma", gives=POTENTIAL)
@dataclass(frozen=True, eq=False)
class Sigma(Population):
    """Readout of sigma-delta networks: sums the changes it receives, checked to fit 24 bits."""

    states = ("sigma",)
    checked_states = ("sigma",)
    proves_current = False

    name: str
    inputs: tuple[str, ...]

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        total = integers.sigma_step(states[0], current)
        return (total,), total

    def text(self) -> str:
        return "sum"


def _text(node: Delta | SigmaDelta) -> str:
    exponents = f"spike <<{node.spike_exponent} state <<{node.state_exponent}"
    return f"threshold {node.threshold} {exponents}"
