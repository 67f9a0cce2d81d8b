"""Resonate-and-fire neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuroport.graph import integers
from neuroport.graph.kinds.adaptive import THRESHOLD_ADAPTS, adaptation, adaptation_text, step_reach
from neuroport.graph.kinds.base import (
    SPIKES,
    Facts,
    IntArray,
    Population,
    States,
    constant,
    decay,
    kind,
    span,
)

ONE = integers.DECAY_UNITY


def _rotation() -> Any:
    return constant(-ONE, ONE, unit=f"it is in 1/{ONE}, from -1 to 1")


@kind("resonator", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class ResonateFire(Population):
    """Resonate-and-fire population of C channels under a current of 2C.

    The first C channels of the current are real, the others imaginary. Fires as its phase passes
    zero, :func:`neuroport.graph.integers.resonate_step`, or, with ``izhikevich``, as its imaginary
    part reaches the threshold, :func:`neuroport.graph.integers.resonate_izhikevich_step`. ``sin``
    and ``cos`` have one value or one per channel; ``threshold`` is in units of the state, 1/64 of a
    unit of current.
    """

    states = ("real", "imag")
    currents_per_neuron = 2

    name: str
    inputs: tuple[str, ...]
    threshold: int = constant(0, per="node")
    sin: IntArray = _rotation()
    cos: IntArray = _rotation()
    izhikevich: bool = False

    def acts_alone(self) -> bool:
        return self.izhikevich and self.threshold == 0

    def cpu_only(self) -> str:
        if not self.izhikevich:
            return ""
        return "Izhikevich's resonator runs on the CPU only; use the resonator that fires by phase"

    def largest_state(self, facts: Facts) -> int:
        return self.threshold

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        turn = integers.resonate_izhikevich_step if self.izhikevich else integers.resonate_step
        real, imag = states
        a_real, a_imag = _halves(current)
        real, imag, spikes = turn(real, imag, a_real, a_imag, c.sin, c.cos, self.threshold)
        return (real, imag), spikes

    def text(self) -> str:
        fires = "izhikevich" if self.izhikevich else "phase"
        turns = f"sin {span(self.sin)} cos {span(self.cos)}"
        return f"{fires} threshold {self.threshold} {turns}"


@kind("adrf", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class AdaptiveResonateFire(Population):
    """Resonate-and-fire population whose threshold rises with every spike.

    Currents, ``sin``, ``cos`` and ``izhikevich`` as for :class:`ResonateFire`, the threshold as for
    :class:`~neuroport.graph.kinds.adaptive.AdaptiveLif`; nothing resets the state. See
    :func:`neuroport.graph.integers.adaptive_resonate_step`. It runs on the CPU only.
    """

    states = ("real", "imag", "rise", "hold")
    currents_per_neuron = 2

    name: str
    inputs: tuple[str, ...]
    threshold: int = constant(0, per="node")
    threshold_step: int = constant(per="node")
    threshold_decay: IntArray = decay()
    refractory_decay: IntArray = decay()
    sin: IntArray = _rotation()
    cos: IntArray = _rotation()
    izhikevich: bool = False

    def acts_alone(self) -> bool:
        return self.izhikevich and self.threshold == 0

    def cpu_only(self) -> str:
        return THRESHOLD_ADAPTS

    def largest_state(self, facts: Facts) -> int:
        return step_reach(self)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        return integers.adaptive_resonate_step(
            states, *_halves(current), c.sin, c.cos, adaptation(c), self.izhikevich
        )

    def text(self) -> str:
        fires = "izhikevich" if self.izhikevich else "phase"
        return f"{fires} {adaptation_text(self)} sin {span(self.sin)} cos {span(self.cos)}"


def _halves(current: Any) -> tuple[Any, Any]:
    half = current.shape[1] // 2
    return current[:, :half], current[:, half:]
