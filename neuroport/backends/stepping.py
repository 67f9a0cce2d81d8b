"""Neurons that both built-in engines step through with the same lines, NumPy or torch.

The sums of sigma-delta populations depend on the frames: no interval can be proven that is worth
having. They are checked here, at every step, to fit 24 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from neuroport.backends.walk import Starts
from neuroport.errors import RangeError
from neuroport.graph import integers
from neuroport.graph.node import (
    Adaptive,
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Delta,
    IntArray,
    LeakyReadout,
    Recurrent,
    ResonateFire,
    Resonator,
    Shape,
    Sigma,
    SigmaDelta,
)

Stepped: TypeAlias = Delta | SigmaDelta | Sigma | ResonateFire | Recurrent | Adaptive | LeakyReadout
States: TypeAlias = tuple[Any, ...]
Constant = Callable[[IntArray, Shape], Any]  # a field of the node, one value per neuron
Product = Callable[[Any], Any]
Own = Callable[[IntArray], Product]  # weights (O, O) -> spikes (N, *shape) through them
Step = Callable[[States, Any], tuple[States, Any]]


def step_through(node: Stepped, arriving: Any, starts: Starts, constant: Constant, own: Own) -> Any:
    """Output (T, N, *shape) of a population; its states reset at ``starts``.

    Raises:
        RangeError: a sum of changes left 24 bits; names the population and the step.
    """
    step, count = stepper(node, tuple(arriving.shape[2:]), constant, own)
    zero = arriving[0] * 0
    out = arriving * 0
    if isinstance(node, Resonator):  # of a real and an imaginary current
        zero, out = zero[:, : zero.shape[1] // 2], out[:, :, : zero.shape[1] // 2]
    states: States = (zero,) * count
    for t in range(len(arriving)):
        if starts.at(t):
            states = (zero,) * count
        states, out[t] = step(states, arriving[t])
        if isinstance(node, (Delta, SigmaDelta, Sigma)):
            # all but the residue, which the others bound
            check_width(node.name, t, states[:-1] if count > 1 else states, arriving[t], out[t])
    return out


def stepper(node: Stepped, shape: Shape, constant: Constant, own: Own) -> tuple[Step, int]:
    """What one step does, (states, current) -> (states, output), and the number of states."""
    match node:
        case Delta():
            exponents = (node.spike_exponent, node.state_exponent)

            def delta(states: States, current: Any) -> tuple[States, Any]:
                act, residue, message = integers.delta_step(
                    states[0], states[1], current, node.threshold, *exponents
                )
                return (act, residue), message

            return delta, 2
        case SigmaDelta():
            exponents = (node.spike_exponent, node.state_exponent)
            bias = constant(node.bias, shape)

            def sigma_delta(states: States, current: Any) -> tuple[States, Any]:
                *kept, message = integers.sigma_delta_step(
                    states[0], states[1], states[2], current, bias, node.threshold, *exponents
                )
                return tuple(kept), message

            return sigma_delta, 3
        case Sigma():

            def sigma(states: States, current: Any) -> tuple[States, Any]:
                total = integers.sigma_step(states[0], current)
                return (total,), total

            return sigma, 1
        case ResonateFire():
            half = shape[0] // 2
            sin, cos = (constant(part, (half, *shape[1:])) for part in (node.sin, node.cos))
            turn = integers.resonate_izhikevich_step if node.izhikevich else integers.resonate_step

            def resonate(states: States, current: Any) -> tuple[States, Any]:
                real, imag = current[:, :half], current[:, half:]
                *kept, spikes = turn(states[0], states[1], real, imag, sin, cos, node.threshold)
                return tuple(kept), spikes

            return resonate, 2
        case LeakyReadout():
            bias, current_decay, voltage_decay = (
                constant(values, shape)
                for values in (node.bias, node.current_decay, node.voltage_decay)
            )

            def leak(states: States, current: Any) -> tuple[States, Any]:
                u, v = states
                u, v = integers.leak_step(u, v, current, bias, current_decay, voltage_decay)
                return (u, v), v

            return leak, 2
        case AdaptiveLif() | AdaptiveRecurrent():
            bias, current_decay, voltage_decay = (
                constant(values, shape)
                for values in (node.bias, node.current_decay, node.voltage_decay)
            )
            adaptation = _adaptation(node, shape, constant)
            listen = own(node.weight) if isinstance(node, AdaptiveRecurrent) else None

            def adapt(states: States, current: Any) -> tuple[States, Any]:
                u, v, rise, hold, *heard = states
                if listen is not None:
                    current = current + listen(heard[0])
                kept, spikes = integers.adaptive_lif_step(
                    (u, v, rise, hold), current, bias, current_decay, voltage_decay, adaptation
                )
                return (*kept, spikes)[: len(states)], spikes

            return adapt, 4 if listen is None else 5
        case AdaptiveResonateFire():
            half = shape[0] // 2
            inner = (half, *shape[1:])
            sin, cos = (constant(part, inner) for part in (node.sin, node.cos))
            adaptation = _adaptation(node, inner, constant)

            def turned(states: States, current: Any) -> tuple[States, Any]:
                real, imag, rise, hold = states
                a_real, a_imag = current[:, :half], current[:, half:]
                return integers.adaptive_resonate_step(
                    (real, imag, rise, hold), a_real, a_imag, sin, cos, adaptation, node.izhikevich
                )

            return turned, 4
        case Recurrent():
            bias, current_decay, voltage_decay, threshold = (
                constant(values, shape)
                for values in (node.bias, node.current_decay, node.voltage_decay, node.threshold)
            )

            hear = own(node.weight)

            def fire(states: States, current: Any) -> tuple[States, Any]:
                u, v, heard = states
                u, v, spikes = integers.lif_step(
                    u, v, current + hear(heard), bias, current_decay, voltage_decay, threshold
                )
                return (u, integers.reset(v, spikes), spikes * 1), spikes

            return fire, 3


def _adaptation(node: Adaptive, shape: Shape, constant: Constant) -> integers.Adaptation:
    rise, hold = (constant(part, shape) for part in (node.threshold_decay, node.refractory_decay))
    return node.threshold, node.threshold_step, rise, hold


def check_width(name: str, step: int, *values: Any) -> None:
    """Raise RangeError where an array, or one in a tuple of arrays, leaves 24 bits."""
    for value in values:
        for array in value if isinstance(value, tuple) else (value,):
            worst = int(abs(array).max())
            if worst > integers.STATE_MAX:
                raise RangeError(
                    f"{name}: a sum of changes reaches {worst} at step {step}, more than 24 bits "
                    "hold; scale the frames down"
                )
