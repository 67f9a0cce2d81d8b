"""Rules for elementwise functions of torch: sums, products, comparisons and gates of spikes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroport.frontends.torch.signal_nodes import SignalNodes, step_number
from neuroport.frontends.torch.traced_tensor import (
    HOST,
    STEP,
    Lost,
    Traced,
)


def same(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = args[0]
    if given.origin is None:
        raise Lost("")
    kinds = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, torch.dtype)]
    if any(not kind.is_floating_point for kind in kinds):
        return whole_numbers(signals, func, base, args, kwargs)
    made = Traced(given.shape)
    made.note(given.origin, "", given.of)
    return made


def whole_numbers(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    origin = signals.sent(args[0])
    if origin.node not in signals.building.binary:
        raise Lost("it rounds values that are not spikes")
    kinds = {"bool": torch.bool, "int": torch.int32, "long": torch.int64, "byte": torch.uint8}
    given = (a for a in (*args[1:], *kwargs.values()) if isinstance(a, torch.dtype))
    return signals.like(origin, origin.node, kinds.get(base) or next(given))


def add(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    left, right = args[:2]
    if all(isinstance(each, Traced) and each.dtype == torch.bool for each in (left, right)):
        raise Lost("of booleans it is an OR; write a | b, or a.float() + b.float()")
    sign = -1.0 if base in ("sub", "subtract", "rsub") else 1.0
    alpha = float(kwargs.get("alpha", args[2] if len(args) > 2 else 1))
    if base == "rsub":
        left, right = right, left
    factors = (1.0, sign * alpha)
    if not (isinstance(left, Traced) and isinstance(right, Traced)):
        constant, given = (right, left) if isinstance(left, Traced) else (left, right)
        of_signal, of_constant = factors if given is left else factors[::-1]
        if not isinstance(constant, Tensor) and constant == 0 and of_signal == 1:
            return signals.unchanged(given)
        if given.origin is not None and given.origin.seen is not None:
            raise Lost(HOST)
        origin = signals.known(given)
        bias = of_constant * signals.over(origin, constant, given)
        name = signals.named_as(base)
        node = signals.building.scaled(name, origin.node, of_signal, bias)
        if origin.node in signals.building.binary and of_signal == -1 and np.all(bias == 1):
            signals.building.binary.add(node)  # 1 - spike
        return signals.like(origin, node)
    summed = _sum_over_steps(signals, left, right, factors)
    if summed is not None:
        return summed
    one, other = signals.aligned(left, right)
    lies = signals.together(one, other)
    name = signals.named_as(base)
    terms = [
        signals.building.scaled(f"{name}.factor", origin.node, factor)
        for origin, factor in ((one, factors[0]), (other, factors[1]))
    ]
    return signals.like(lies, _spread_sum(signals, name, terms))


def _spread_sum(signals: SignalNodes, name: str, terms: list[str]) -> str:
    shapes = {signals.building.shape(term) for term in terms}
    if len(shapes) > 1:
        raise Lost(f"it adds {' and '.join(map(str, sorted(shapes)))}; make shapes equal")
    return signals.building.total(name, terms)


def _sum_over_steps(
    signals: SignalNodes, left: Traced, right: Traced, factors: tuple[float, float]
) -> Traced | None:
    """``total += spikes`` step by step: a sum that the host computes."""
    steps: set[int] = set()
    nodes = set()
    for each in (left, right):
        origin = each.origin
        if origin is None or origin.state or origin.lies != STEP or factors != (1.0, 1.0):
            return None
        if origin.scaled:
            raise Lost(HOST)
        steps |= origin.seen if origin.seen is not None else {step_number(origin)}
        nodes.add(origin.node)
    one, other = left.origin, right.origin
    assert one is not None
    assert other is not None
    if one.seen is None and other.seen is None and one.step == other.step:
        return None
    count = sum(len(o.seen) if o.seen is not None else 1 for o in (one, other))
    if len(nodes) > 1 and one.seen is None and other.seen is None:
        return None  # one of them a step late
    if len(nodes) > 1 or count != len(steps):
        raise Lost(HOST)
    return signals.tensor(replace(one, step=None, seen=frozenset(steps)))


def multiply(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    left, right = args[:2]
    if isinstance(left, Traced) and isinstance(right, Traced):
        if base in ("div", "divide", "true_divide"):
            raise Lost("it divides signals")
        for given in (left, right):
            if given.origin is not None and given.origin.seen is not None:
                raise Lost(HOST)
        one, other = signals.aligned(left, right)
        lies = signals.together(one, other)
        (factor, first), (times, second) = (_spikes(signals, o.node) for o in (one, other))
        if lies.mean or not {first, second} <= signals.building.binary:
            raise Lost(
                "it multiplies values that are not spikes, but a dendrite can only add; add "
                "instead, and put factors into weights"
            )
        found = _gate(signals, "and", [first, second])
        name = signals.named_as(base)
        return signals.like(lies, signals.building.scaled(name, found, factor * times))
    constant, given = (right, left) if isinstance(left, Traced) else (left, right)
    divides = base in ("div", "divide", "true_divide")
    if divides and (given is right or kwargs.get("rounding_mode") is not None):
        raise Lost("it divides by a signal, or rounds")
    if given.origin is not None and given.origin.seen is not None:
        by = signals.array(constant)
        if by.size == 1 and 0 < by.reshape(-1)[0] < np.inf:
            return signals.tensor(replace(given.origin, scaled=True))
        raise Lost(HOST)
    origin = signals.known(given)
    numbers = signals.over(origin, constant, given)
    if divides:
        if not numbers.all():
            raise Lost("it divides by 0")
        numbers = 1 / numbers
    return signals.like(
        origin, signals.building.scaled(signals.named_as(base), origin.node, numbers)
    )


def _spikes(signals: SignalNodes, name: str) -> tuple[float, str]:
    """Return a node as a factor times spikes, if possible."""
    node = signals.building.nodes[name]
    if name in signals.building.binary or node.kind != "Scale" or "bias" in node.values:
        return 1.0, name
    factors = np.unique(node.values["scale"])
    return (float(factors[0]), node.inputs[0]) if len(factors) == 1 else (1.0, name)


def negate(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    origin = signals.known(args[0])
    return signals.like(origin, signals.building.scaled(signals.named_as(base), origin.node, -1.0))


def _gate(signals: SignalNodes, kind: str, nodes: list[str]) -> str:
    name = signals.named_as(kind)
    if len({signals.building.shape(node) for node in nodes}) > 1:
        raise Lost("it takes spikes of different shapes")
    found = signals.building.all_of if kind == "and" else signals.building.any_of
    return found(name, nodes)


def gate(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    if len(args) < 2:
        raise Lost("it compares all values with each other")
    one, other = signals.aligned(*args[:2])
    lies = signals.together(one, other)
    if lies.mean or not {one.node, other.node} <= signals.building.binary:
        raise Lost("it compares values that are not spikes")
    kind = "or" if base in ("maximum", "max", "logical_or", "or", "bitwise_or", "fmax") else "and"
    return signals.like(lies, _gate(signals, kind, [one.node, other.node]))


def complement(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    origin = signals.sent(args[0])
    if origin.node not in signals.building.binary:
        raise Lost("it negates values that are not spikes")
    if args[0].dtype not in (torch.bool, torch.float32):
        raise Lost("it inverts every bit of integers; write 1 - x")
    node = signals.building.scaled(
        signals.named_as("not"), origin.node, -1.0, np.ones(signals.building.shape(origin.node))
    )
    signals.building.binary.add(node)
    return signals.like(origin, node)


def compare(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    left, right = args[:2]
    flip = not isinstance(left, Traced)
    given, constant = (right, left) if flip else (left, right)
    if isinstance(constant, Traced):
        raise Lost("it compares two signals")
    origin = signals.sent(given)
    level = signals.array(constant)
    if level.size != 1:
        raise Lost("it compares with several numbers")
    kind = {"gt": "gt", "ge": "ge", "lt": "lt", "le": "le", "greater": "gt", "less": "lt"}[base]
    if flip:
        kind = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}[kind]
    if kind in ("lt", "le"):
        raise Lost("it fires below a level; 1 - (x > level) says the same")
    at = float(level.reshape(-1)[0])
    if at < 0 or (at == 0 and kind == "ge"):
        raise Lost("it fires without input")
    if kind == "ge":
        at = float(np.nextafter(at, -np.inf))
    name = signals.named_as("above")
    return signals.like(origin, signals.building.above(name, origin.node, at), torch.bool)


def clamp(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    origin = signals.sent(args[0])
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)
    if base == "clamp_max":
        low, high = None, kwargs.get("max", args[1] if len(args) > 1 else None)
    if base == "clamp_min":
        high = None
    limits = (low is None or low == 0) and (high is None or high == 1)
    if not limits or not _is_count(signals, origin.node):
        raise Lost("it clamps values that are not a sum of spikes, or to other limits than 0 and 1")
    if high is None or origin.node in signals.building.binary:
        return signals.like(origin, origin.node)
    return signals.like(origin, signals.building.above(signals.named_as("or"), origin.node, 0.5))


def _is_count(signals: SignalNodes, name: str) -> bool:
    """Whether every value of a node is 0, or 1 or more: of spikes, and of sums of them."""
    node = signals.building.nodes[name]
    if name in signals.building.binary:
        return True
    weights = node.values.get("scale", node.values.get("weight", np.ones(1)))
    counts = node.kind in ("Pass", "Scale", "Matrix", "Linear", "Reshape") and not node.late
    counts = counts and "bias" not in node.values and bool(((weights == 0) | (weights >= 1)).all())
    return counts and all(_is_count(signals, source) for source in node.inputs)
