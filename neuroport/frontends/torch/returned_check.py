"""Compare what forward returns, of neurons drawn at random, with what the network sends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap, zip_longest
from typing import Any

import numpy as np
from torch import Tensor

from neuroport.capture.source_lines import defined
from neuroport.errors import CaptureError
from neuroport.frontends.nir.reading import Array
from neuroport.frontends.torch.drawn_neurons import Drawn
from neuroport.frontends.torch.forward_pass import Followed
from neuroport.frontends.torch.traced_tensor import (
    BATCH_FIRST,
    FLAT,
    ONE,
    STATIC,
    STEP,
    WHOLE,
    Origin,
    Traced,
)

# float32 against float64, through norms of many channels
CLOSE = 1e-3  # relative to the largest value of a neuron
ROUNDING = 1e-5  # relative to the largest value of all neurons


def close(got: Array, want: Array) -> bool:
    """Whether numbers, of samples or steps first, are equal up to the rounding of float32."""
    if got.shape != want.shape:
        return False
    sizes = np.maximum(np.abs(want), np.abs(got))
    if sizes.ndim > 1:
        sizes = sizes.max(0, keepdims=True, initial=0)
    most = CLOSE * sizes + ROUNDING * sizes.max(initial=0)
    return bool((np.abs(got - want) <= most).all())


def compare_returned(
    found: Followed, returned: list[Any], values: dict[str, list[Array]], drawn: Drawn
) -> None:
    """Compare what forward returned with what the captured network sends.

    What the host computed of it is noted in ``found.said``, unless it is the sum of all steps times
    a positive number: then its classes are those of the network.

    Raises:
        CaptureError: it is something else.
    """
    forward = f"{type(found.net).__name__}.forward{defined(found.net)}"
    steps_of: dict[tuple[str, str], set[int]] = {}
    reset = {p.name for p in found.populations if p.cell.fires}  # whose voltages are left out
    at_end = [tensor for tensor, _ in _pairs(found.returned[-1], returned[-1], forward)]
    for call, (traced, out) in enumerate(zip(found.returned, returned, strict=True)):
        last = call == len(returned) - 1
        pairs = list(_pairs(traced, out, forward))
        if not all(starmap(_same_node, zip_longest([tensor for tensor, _ in pairs], at_end))):
            raise CaptureError(
                f"{forward} returns something else at step {call} than at the last one; a network "
                "sends the same at all steps: use the same layers at every step"
            )
        for tensor, got in pairs:
            origin = tensor.origin
            if all("\0" in node and node.partition("\0")[0] in reset for node in tensor.of):
                continue
            if origin is None:
                if last and not _is_sum(tensor, got, values, drawn, found.steps):
                    found.said.append(f"returns what {tensor.computed or tensor.made_by}")
                continue
            want = _expected(origin, values, drawn)
            now = found.way != STEP or origin.step is None or origin.step == call
            scaled = origin.scaled and _is_multiple(got, want)
            if not now or not (scaled or close(got, want)):
                raise CaptureError(
                    f"{forward} returns something else than what {origin.node!r} sends (tried with "
                    "spikes drawn at random); return what layers and neurons send at each step, "
                    "their sum or their mean over the steps, and compute the rest outside"
                )
            if origin.mean or (found.way == STEP and origin.step is not None):
                continue
            steps = {origin.step} if origin.step is not None else origin.seen
            if steps is not None and last:
                steps_of.setdefault((origin.node, origin.state), set()).update(steps)
    for (node, state), steps in steps_of.items():
        whole = len(steps) == found.steps
        final = steps == {found.steps - 1} and (state or node not in found.building.binary)
        if not whole and not final:
            told = ", ".join(map(str, sorted(steps)))
            found.said.append(f"returns of {node!r} only step {told}")


def _same_node(one: Traced | None, other: Traced | None) -> bool:
    if one is None or other is None:
        return False
    if one.origin is None and other.origin is None:
        return True  # of the host, which is told
    return one.origin is not None and other.origin is not None and _kind(one) == _kind(other)


def _kind(tensor: Traced) -> tuple[str, str]:
    assert tensor.origin is not None
    return tensor.origin.node, tensor.origin.state


def _pairs(traced: Any, out: Any, forward: str) -> Iterator[tuple[Traced, Array]]:
    """Signals that were returned while forward was followed, with their numbers."""
    if isinstance(traced, Traced) and isinstance(out, Tensor):
        yield traced, out.detach().double().numpy()
        return
    if isinstance(traced, dict) and isinstance(out, dict) and traced.keys() == out.keys():
        traced, out = list(traced.values()), list(out.values())
    both = isinstance(traced, (tuple, list)) and isinstance(out, (tuple, list))
    if both and len(traced) == len(out):
        for one, other in zip(traced, out, strict=True):
            yield from _pairs(one, other, forward)
    elif isinstance(traced, Traced) or both:
        raise CaptureError(
            f"{forward} returns other things with other values; what it does must be the same for "
            "all frames"
        )


def _expected(origin: Origin, values: dict[str, list[Array]], drawn: Drawn) -> Array:
    """The numbers of a signal, by its layout."""
    by_step = drawn.states[origin.node][origin.state] if origin.state else values[origin.node]
    whole = np.stack(by_step)
    if origin.seen is not None:
        return np.asarray(whole[sorted(origin.seen)].sum(0))
    if origin.mean:
        return np.asarray(whole.mean(0))
    found = {
        WHOLE: whole,
        BATCH_FIRST: whole.swapaxes(0, 1),
        FLAT: whole.reshape(-1, *whole.shape[2:]),
        STEP: whole[origin.step or 0],
        STATIC: whole[0],
        ONE: whole[:1],
    }
    return np.asarray(found[origin.lies])


def _is_sum(
    tensor: Traced, got: Array, values: dict[str, list[Array]], drawn: Drawn, steps: int
) -> bool:
    """Whether it is what a node sends at all steps, or its sum or a voltage at the end, times a
    positive number."""
    if len(tensor.of) != 1:
        return False
    node, _, state = next(iter(tensor.of)).partition("\0")
    whole = np.stack(drawn.states[node][state] if state else values[node])
    if got.size == whole.size and close(got.reshape(whole.shape), whole):
        return True
    want = drawn.states[node][state][steps - 1] if state else sum(values[node])
    return _is_multiple(got, np.asarray(want))


def _is_multiple(got: Array, want: Array) -> bool:
    if got.size != want.size:
        return False
    got = got.reshape(want.shape)
    factor = float((got * want).sum()) / (float((want * want).sum()) or 1.0)
    return factor > 0 and close(got, factor * want)
