"""Readouts: neurons that never fire and whose voltage is the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuroport.graph import integers
from neuroport.graph.kinds.base import (
    POTENTIAL,
    IntArray,
    Population,
    States,
    bias,
    current_decay,
    kind,
    span,
    voltage_decay,
)


@kind("readout", gives=POTENTIAL)
@dataclass(frozen=True, eq=False)
class Readout(Population):
    """Population that never fires: ``v = saturate24(v + wrap24(a << 6) + (bias << 6))``."""

    states = ("v",)
    declarable = True

    name: str
    inputs: tuple[str, ...]
    bias: IntArray = bias()

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        v = integers.readout_step(states[0], current, c.bias)
        return (v,), v

    def leaves(self, c: Any, states: States, current: Any, limit: int) -> Any:
        v = states[0]
        return integers.leak_leaves(v * 0, v, current, c.bias, integers.DECAY_UNITY, 0, limit)

    def title(self) -> str:
        return "readout, never fires"

    def details(self) -> list[str]:
        return [f"bias {self.bias.min()} to {self.bias.max()}"]

    def text(self) -> str:
        return f"bias {span(self.bias)}"


@kind("leakyreadout", gives=POTENTIAL)
@dataclass(frozen=True, eq=False)
class LeakyReadout(Population):
    """Population that never fires and outputs its voltage.

    It leaks like a :class:`~neuroport.graph.kinds.lif.Lif`.

    See :func:`neuroport.graph.integers.leak_step`. It runs on the CPU only.
    """

    states = ("u", "v")
    declarable = True

    name: str
    inputs: tuple[str, ...]
    current_decay: IntArray = current_decay(required=True, fits=None)
    voltage_decay: IntArray = voltage_decay(required=True, fits=None)
    bias: IntArray = bias()

    def cpu_only(self) -> str:
        return (
            "it leaks, and a readout on a chip does not: it runs on the CPU only; use a readout "
            "without leaks"
        )

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        u, v = states
        u, v = integers.leak_step(u, v, current, c.bias, c.current_decay, c.voltage_decay)
        return (u, v), v

    def leaves(self, c: Any, states: States, current: Any, limit: int) -> Any:
        (u, v), decays = states, (c.current_decay, c.voltage_decay)
        return integers.leak_leaves(u, v, current, c.bias, *decays, limit)

    def text(self) -> str:
        decays = f"{span(self.current_decay)}/{span(self.voltage_decay)}"
        return f"decay {decays} bias {span(self.bias)}"
