"""Rules for functions of torch that rearrange steps, samples and neurons."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroport.frontends.nir.reading import Shape
from neuroport.frontends.torch.layers import linear_by_matrix
from neuroport.frontends.torch.signal_nodes import SignalNodes
from neuroport.frontends.torch.traced_tensor import (
    BATCH_FIRST,
    FLAT,
    HOST,
    LEAD,
    ONE,
    SAMPLES,
    STATIC,
    STEP,
    WHOLE,
    Lost,
    Origin,
    Traced,
)


def reduce(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    """Means and sums: the host computes those over steps; those over a map are linear."""
    given = args[0]
    origin = signals.known(given)
    dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if dims is None:
        raise Lost(HOST)
    each: list[Any] = [dims] if isinstance(dims, int) else list(dims)
    axes = {int(dim) % given.ndim for dim in each}
    lead = LEAD[origin.lies]
    if axes == {{WHOLE: 0, BATCH_FIRST: 1}.get(origin.lies)}:
        if base == "mean" and not kwargs.get("keepdim") and len(args) < 3:
            return signals.tensor(replace(origin, lies=STEP, mean=True))
        if base == "sum" and not kwargs.get("keepdim") and len(args) < 3:
            seen = frozenset(range(signals.steps))
            return signals.tensor(replace(origin, lies=STEP, seen=seen))
        raise Lost(HOST)
    if min(axes) < lead:
        raise Lost(HOST)
    return linear_by_matrix(signals, func, base, args, kwargs)


def reshape(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = args[0]
    origin = signals.known(given)
    with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
        rest = tuple(
            torch.empty(a.shape, device="meta") if isinstance(a, Tensor) else a for a in args[1:]
        )
        found = func(torch.empty(given.shape, device="meta"), *rest, **kwargs)
    return _placed(signals, origin, tuple(found.shape), signals.named_as(base))


def _placed(signals: SignalNodes, origin: Origin, made: Shape, name: str) -> Traced:
    """Return the layout of steps and samples in a reshaped signal, and the order of neurons."""
    T, N = signals.steps, SAMPLES  # noqa: N806
    shape = signals.building.shape(origin.node)
    size = math.prod(shape)

    def fits(lead: Shape) -> bool:
        return made[: len(lead)] == lead and math.prod(made[len(lead) :]) == size

    every: dict[str, list[tuple[str, Shape]]] = {
        WHOLE: [(WHOLE, (T, N)), (FLAT, (T * N,))],
        BATCH_FIRST: [(BATCH_FIRST, (N, T))],
        FLAT: [(FLAT, (T * N,)), (WHOLE, (T, N))],
        STEP: [(STEP, (N,))],
        STATIC: [(STATIC, (N,)), (ONE, (1, N))],
        ONE: [(ONE, (1, N)), (STATIC, (N,))],
    }
    ways = every[origin.lies]
    if origin.lies == STATIC and made[:1] == (1,) and shape[:1] == (1,):
        ways = ways[::-1]
    for lies, lead in ways:
        if fits(lead):
            rest = made[len(lead) :]
            node = signals.building.reshaped(name, origin.node, rest or (1,))
            found = signals.tensor(replace(origin, node=node, lies=lies))
            if tuple(found.shape) != made:
                raise Lost("it leaves no neurons")
            return found
    raise Lost(
        f"it makes {made} of {shape} at {T} steps and {N} samples: steps and samples must stay "
        "apart from neurons"
    )


def repeat(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = args[0]
    origin = signals.known(given)
    with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
        rest = tuple(
            torch.empty(a.shape, device="meta") if isinstance(a, Tensor) else a for a in args[1:]
        )
        found = func(torch.empty(given.shape, device="meta"), *rest, **kwargs)
    made = tuple(found.shape)
    if made == tuple(given.shape):
        return signals.unchanged(given)
    shape = signals.building.shape(origin.node)
    if origin.lies in (ONE, STATIC) and made[1:] == (SAMPLES, *shape):
        return signals.over_steps(origin, made[0])
    raise Lost("it repeats neurons or samples")


def transpose(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = args[0]
    origin = signals.known(given)
    if origin.lies in (WHOLE, BATCH_FIRST):
        order = torch.arange(given.ndim)
        probe = torch.empty(tuple(int(n) + 2 for n in order), device="meta")
        with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
            found = func(probe, *args[1:], **kwargs)
        now = tuple(int(n) - 2 for n in found.shape)
        if now == (1, 0, *range(2, given.ndim)):
            lies = BATCH_FIRST if origin.lies == WHOLE else WHOLE
            return signals.tensor(replace(origin, lies=lies))
    return linear_by_matrix(signals, func, base, args, kwargs)


def getitem(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given, index = args[0], args[1]
    if not isinstance(given, Traced):
        raise Lost("a signal says which")
    if given.origin is None:
        raise Lost("")
    origin = given.origin
    if origin.seen is not None:
        raise Lost(HOST)
    each: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
    first = each[0]
    full = slice(None)
    steps = signals.steps
    if origin.lies == WHOLE and type(first) is int and all(e == full for e in each[1:]):
        return signals.step_of(origin, first % steps if -steps <= first < steps else first)
    if (
        origin.lies == BATCH_FIRST
        and len(each) > 1
        and first == full
        and type(each[1]) is int
        and all(e == full for e in each[2:])
    ):
        return signals.step_of(origin, each[1] % steps)
    if origin.state:
        raise Lost(HOST)
    if origin.lies == ONE and first == 0 and all(e == full for e in each[1:]):
        return signals.tensor(replace(origin, lies=STATIC))
    lead = LEAD[origin.lies]
    before = 0
    for each_one in each:
        if each_one is Ellipsis:
            before = lead
            break
        if each_one != full or before == lead:
            break
        before += 1
    if before < lead:
        raise Lost(
            "it takes some of the steps or samples; batch_first=True if forward takes (N, T, ...)"
        )
    return linear_by_matrix(signals, func, base, args, kwargs)


def select(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = args[0]
    origin = signals.known(given)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % given.ndim
    index = kwargs.get("index", args[2] if len(args) > 2 else 0)
    at = {WHOLE: 0, BATCH_FIRST: 1}.get(origin.lies)
    if dim == at and type(index) is int:
        return signals.step_of(origin, index % signals.steps)
    return linear_by_matrix(signals, func, base, args, kwargs)


def unbind(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    given = args[0]
    origin = signals.known(given)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % given.ndim
    if dim != {WHOLE: 0, BATCH_FIRST: 1}.get(origin.lies):
        raise Lost("it splits an axis that is not the steps")
    found = [signals.step_of(origin, step) for step in range(signals.steps)]
    return iter(found) if base == "iter" else tuple(found)


def split(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    """Split into single steps (each with an axis of one), or groups of channels."""
    given = args[0]
    origin = signals.known(given)
    probe = torch.empty(given.shape, device="meta")
    with torch._C.DisableTorchFunctionSubclass():  # type: ignore[no-untyped-call]
        shapes = [tuple(part.shape) for part in func(probe, *args[1:], **kwargs)]
    lead, shape = LEAD[origin.lies], signals.building.shape(origin.node)
    wanted = tuple(given.shape[:lead])
    if any(part[:lead] != wanted or part[lead + 1 :] != shape[1:] for part in shapes):
        raise Lost("it splits other than channels")
    found, first = [], 0
    for index, part in enumerate(shapes):
        place = np.zeros((part[lead], shape[0]))
        place[np.arange(part[lead]), first + np.arange(part[lead])] = 1
        first += part[lead]
        name = f"{signals.named_as(base)}.part{index}"
        node = signals.building.across(name, origin.node, place)
        if origin.node in signals.building.binary:
            signals.building.binary.add(node)
        found.append(signals.like(origin, node))
    return tuple(found)


def stack(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    """Stack steps in order."""
    tensors = list(args[0])
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    found = [each.origin if isinstance(each, Traced) else None for each in tensors]
    if any(origin is None for origin in found):
        raise Lost("")
    first = found[0]
    assert first is not None
    alike = {replace(origin, step=None) for origin in found if origin is not None}
    if len(alike) > 1 or first.seen is not None or first.mean:
        raise Lost("it stacks different signals")
    place = dim % (tensors[0].ndim + 1)
    if place > 1 or (place == 1 and first.lies != STEP):
        raise Lost(HOST)
    if first.lies == STATIC and not first.state:
        return signals.over_steps(first, len(tensors))
    if first.lies != STEP or [o.step for o in found if o] != list(range(signals.steps)):
        raise Lost("it stacks some of the steps, or in another order")
    return signals.tensor(replace(first, lies=BATCH_FIRST if place else WHOLE, step=None))


def cat(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    tensors = list(args[0])
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    first, *others = (tensor for tensor in tensors if isinstance(tensor, Traced))
    lies = signals.known(first)
    origins = {id(signal): signals.known(signal) for signal in (first, *others)}
    for signal in others:
        one, other = signals.aligned(first, signal)
        lies = signals.together(one, other)
        origins[id(first)], origins[id(signal)] = one, other
    if dim % tensors[0].ndim != LEAD[lies.lies]:
        raise Lost("it joins other than channels")
    parts: list[str | int] = []
    for tensor in tensors:
        if isinstance(tensor, Traced):
            parts.append(origins[id(tensor)].node)
        elif tensor.any():
            raise Lost("it joins constants other than 0")
        else:
            parts.append(int(tensor.shape[LEAD[lies.lies]]))
    return signals.like(lies, signals.building.beside(signals.named_as(base), parts))


def zeros_like(signals: SignalNodes, func: Any, base: str, args: Any, kwargs: Any) -> Any:
    value = {"zeros_like": 0.0, "new_zeros": 0.0, "ones_like": 1.0, "new_ones": 1.0}.get(base)
    if base in ("full_like", "new_full"):
        value = float(kwargs.get("fill_value", args[-1] if len(args) > 1 else 0))
    if base.startswith("new_"):
        shape = args[1] if len(args) > 1 else kwargs["size"]
        if not isinstance(shape, (tuple, list, torch.Size)):
            shape = tuple(a for a in args[1:] if isinstance(a, int))
        return torch.full(tuple(shape), float(value or 0.0))
    return torch.full(tuple(args[0].shape), float(value or 0.0))
