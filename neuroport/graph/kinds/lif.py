"""Leaky integrate-and-fire neurons, without and with recurrent synapses."""

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

THRESHOLDS = (0, integers.THRESHOLD_MAX)  # 17 bits


@kind("lif", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class Lif(Population):
    """Leaky integrate-and-fire population; see :func:`neuroport.graph.integers.lif_step`.

    Threshold and decays have one value, or one per channel (C,); ``bias`` may have one per neuron.
    """

    states = ("u", "v")
    threshold_shift = integers.STATE_SHIFT
    declarable = True

    name: str
    inputs: tuple[str, ...]
    threshold: IntArray = constant(0, fits=THRESHOLDS)
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
        return u, integers.reset(v, output)

    def leaves(self, c: Any, states: States, current: Any, limit: int) -> Any:
        (u, v), decays = states, (c.current_decay, c.voltage_decay)
        return integers.leak_leaves(u, v, current, c.bias, *decays, limit)

    def title(self) -> str:
        return "leaky integrate-and-fire"

    def details(self) -> list[str]:
        return _details(self)

    def text(self) -> str:
        return _text(self)


@kind("recurrent", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class Recurrent(Population):
    """A :class:`Lif` with recurrent weights: ``current[t] += weight @ spikes[t - 1]``.

    ``weight`` is (N, N) over the flattened neurons. The recurrent synapse takes one step like every
    synapse, so ideal and chip time agree. Its current is 0 at the first step of a sample.
    """

    states = ("u", "v", "last")
    threshold_shift = integers.STATE_SHIFT
    declarable = True

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    threshold: IntArray = constant(0, fits=THRESHOLDS)
    current_decay: IntArray = current_decay()
    voltage_decay: IntArray = voltage_decay()
    bias: IntArray = bias()

    @property
    def own_weight(self) -> IntArray:
        return self.weight

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        u, v, last = states
        u, v, spikes = integers.lif_step(
            u, v, current + c.weight(last), c.bias, c.current_decay, c.voltage_decay, c.threshold
        )
        return (u, v, spikes * 1), spikes

    def settle(self, c: Any, states: States, output: Any) -> States:
        u, v, last = states
        return u, integers.reset(v, output), last

    def leaves(self, c: Any, states: States, current: Any, limit: int) -> Any:
        u, v, last = states
        decays = c.current_decay, c.voltage_decay
        return integers.leak_leaves(u, v, current + c.weight(last), c.bias, *decays, limit)

    def title(self) -> str:
        return "leaky integrate-and-fire, recurrent"

    def details(self) -> list[str]:
        return _details(self)

    def text(self) -> str:
        return f"own w {span(self.weight)} {_text(self)}"


def _details(node: Lif | Recurrent) -> list[str]:
    decays = f"of current {span(node.current_decay)}, of voltage {span(node.voltage_decay)}"
    bias = f"bias {node.bias.min()} to {node.bias.max()}"
    return [f"threshold {span(node.threshold)}", f"decay {decays}", bias]


def _text(node: Lif | Recurrent) -> str:
    added = f" bias {span(node.bias)}" if node.bias.any() else ""
    decays = f"{span(node.current_decay)}/{span(node.voltage_decay)}"
    return f"threshold {span(node.threshold)} decay {decays}{added}"
