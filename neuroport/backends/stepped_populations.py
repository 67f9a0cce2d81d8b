"""Step populations through time by the code of their kind, in NumPy or torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neuroport.backends.executor import Starts
from neuroport.errors import RangeError
from neuroport.graph import integers
from neuroport.graph.foreign_kinds import OWN
from neuroport.graph.kinds.base import SPIKES, Loop, Population, Spread, States


def step_through(
    node: Population, arriving: Any, starts: Starts, spread: Spread, loop: Loop
) -> Any:
    """Output (T, N, *shape) of a population under (T, N, *arriving); it rests at ``starts``.

    Raises:
        RangeError: a state that the kind says to check left 24 bits, or a kind of another package
            declares spikes and sends other numbers; names population and step.
    """
    if not node.states:  # every step alone, so all at once
        shape = tuple(arriving.shape[2:])
        flat = arriving.reshape(-1, *shape)
        _, sent = node.integrate(node.setup(shape, spread, loop), (), flat)
        return _as_declared(node, sent.reshape(*arriving.shape[:2], *sent.shape[1:]))
    out = arriving[:, :, : node.shape_of(tuple(arriving.shape[2:]))[0]] * 0
    for t, _, sent in steps_of(node, arriving, starts, spread, loop):
        out[t] = sent
    return _as_declared(node, out)


def _as_declared(node: Population, out: Any) -> Any:
    """Return ``out``; a kind of another package that says it spikes must send 0 and 1 only."""
    foreign = not type(node).__module__.startswith(f"{OWN}.")
    if foreign and node.emits == SPIKES and not ((out == 0) | (out == 1)).all():
        worst = int(out.max() if out.max() > 1 else out.min())
        raise RangeError(
            f"{node.name}: a {node.kind} sends {worst}, but its kind declares spikes of 0 and 1; "
            "mend the kind's integrate, or declare what it emits"
        )
    return out


def observe(
    node: Population, arriving: Any, starts: Starts, spread: Spread, loop: Loop
) -> dict[str, Any]:
    """Return :func:`step_through`'s output, as ``sent``, and every state by name, (T, N, *shape).

    States are those that led to the output: before any reset.
    """
    out = arriving[:, :, : node.shape_of(tuple(arriving.shape[2:]))[0]] * 0
    seen = {name: out * 0 for name in (*node.states, "sent")}  # noqa: C420 (an array each)
    for t, states, sent in steps_of(node, arriving, starts, spread, loop):
        for name, value in zip(node.states, states, strict=True):
            seen[name][t] = value
        seen["sent"][t] = sent
    return seen


def steps_of(
    node: Population, arriving: Any, starts: Starts, spread: Spread, loop: Loop
) -> Iterator[tuple[int, States, Any]]:
    """Yield each step, the states before any reset, and what is sent."""
    constants = node.setup(tuple(arriving.shape[2:]), spread, loop)
    zero = arriving[0, :, : node.shape_of(tuple(arriving.shape[2:]))[0]] * 0
    rest: States = (zero,) * len(node.states)
    states = rest
    checked = [node.states.index(name) for name in node.checked_states]
    for t in range(len(arriving)):
        if starts.at(t):
            states = rest
        states, sent = node.integrate(constants, states, arriving[t])
        if checked:
            check_width(node.name, t, *(states[n] for n in checked), arriving[t], sent)
        yield t, states, sent
        states = node.settle(constants, states, sent)


def check_width(name: str, step: int, *values: Any) -> None:
    """Raise RangeError where an array leaves 24 bits."""
    for array in values:
        worst = int(abs(array).max())
        if worst > integers.STATE_MAX:
            raise RangeError(
                f"{name}: a sum of changes reaches {worst} at step {step}, more than 24 bits hold; "
                "scale the frames down"
            )
