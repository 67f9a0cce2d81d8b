"""The reference engine: the network in plain NumPy, simple enough to be checked by reading.

This module computes each node's output from its input; :mod:`neuroport.backends.executor` has ideal
and chip time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import Starts, evaluate
from neuroport.backends.stepped_populations import observe, step_through
from neuroport.deprecated import moved
from neuroport.errors import RangeError
from neuroport.graph.float_exactness import FLOAT64_EXACT
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Loop, Spread
from neuroport.graph.node import Conv, Delay, Dense, Input, IntArray, Node, Population, per_neuron
from neuroport.runs.trace import versions

__getattr__ = moved(__name__, {"Reference": "neuroport.engines.reference:Reference"})


class NumpyArithmetic:
    """Arrays are int64."""

    name = "reference"

    @property
    def stepping(self) -> tuple[Spread, Loop]:
        return per_neuron, own

    def load(self, frames: npt.NDArray[Any]) -> IntArray:
        return frames.astype(np.int64)

    def output(self, node: Node, arriving: IntArray, starts: Starts) -> IntArray:
        return output(node, arriving, starts)

    def late(self, out: IntArray, steps: int) -> IntArray:
        before = np.zeros((steps, *out.shape[1:]), np.int64)
        return np.asarray(np.concatenate([before, out])[: len(out)])

    def store(self, out: IntArray, messages: npt.NDArray[Any]) -> None:
        messages[:] = out

    def versions(self) -> dict[str, str]:
        return versions("numpy")


def output(node: Node, arriving: IntArray, starts: Starts) -> IntArray:
    """Compute a node's output from its input (T, N, *shape); states reset at ``starts``."""
    match node:
        case Population():
            return np.asarray(step_through(node, arriving, starts, per_neuron, own), np.int64)
        case Conv():
            return convolve(arriving, node) << node.exponent
        case Dense():
            return connect(arriving, node, starts) << node.exponent
        case Delay():
            return delayed(arriving, node.steps, starts)
        case Input():
            return arriving
    raise TypeError(f"{node.name}: the reference has no arithmetic for a {node.kind}")


def states(node: Population, arriving: IntArray, starts: Starts) -> dict[str, IntArray]:
    """Every state by its name, before any reset, and what is ``sent``, each (T, N, *shape)."""
    return observe(node, arriving, starts, per_neuron, own)


def delayed(messages: IntArray, steps: int, starts: Starts) -> IntArray:
    """``messages[t - steps]`` where that is a step of the same sample, else 0."""
    out = np.zeros_like(messages)
    reached = starts.reached(len(messages), steps)
    out[reached] = messages[reached - steps]
    return out


def connect(messages: IntArray, node: Dense, starts: Starts) -> IntArray:
    """Product of (T, N, *shape) with the node's weight, delay by delay, without the exponent."""
    flat = messages.reshape(*messages.shape[:2], -1)
    total = np.zeros((*flat.shape[:2], node.packed("weight").shape[0]), np.int64)
    for steps, weight in node.by_delay():
        total += _product(delayed(flat, steps, starts), weight.T)
    return total


def _product(a: IntArray, b: IntArray) -> IntArray:
    # BLAS multiplies float64 only, and float64 holds every integer below 2**53 exactly: 24-bit
    # messages times 9-bit weights leave room for 2**20 terms in a sum.
    largest = _largest(a) * len(b) * _largest(b)
    if largest < FLOAT64_EXACT:
        return np.asarray((a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64))
    if largest < 1 << 63:
        return np.asarray(a @ b)
    raise RangeError(
        f"a sum of {len(b)} products can reach {largest}, more than 64 bits hold; make weights or "
        "messages smaller"
    )


def _largest(array: IntArray) -> int:
    return max(int(array.max(initial=0)), -int(array.min(initial=0)))


def own(weight: IntArray) -> Callable[[IntArray], IntArray]:
    """Return the map from spikes (N, *shape) to recurrent current through ``weight`` (O, O)."""
    return lambda spikes: _product(spikes.reshape(len(spikes), -1), weight.T).reshape(spikes.shape)


def convolve(x: IntArray, node: Conv) -> IntArray:
    """Cross-correlation of (T, N, C, H, W) with the node's weight, without the exponent."""
    steps, samples, channels = x.shape[:3]
    padding = [(0, 0), (0, 0), (0, 0), *((p, p) for p in node.padding)]
    outputs, _, *kernel = node.packed("weight").shape
    span = tuple(d * (k - 1) + 1 for d, k in zip(node.dilation, kernel, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(  # type: ignore[call-overload]
        np.pad(x, padding), span, axis=(3, 4)
    )
    windows = windows[
        :, :, :, :: node.stride[0], :: node.stride[1], :: node.dilation[0], :: node.dilation[1]
    ]
    height, width = windows.shape[3:5]
    groups, each = node.groups, channels // node.groups
    # (T, N, G, C/G, H, W, kH, kW) -> (G, T*N*H*W, C/G * kH*kW)
    windows = windows.reshape(steps, samples, groups, each, height, width, *kernel)
    rows = np.moveaxis(windows, 2, 0).transpose(0, 1, 2, 4, 5, 3, 6, 7)
    rows = rows.reshape(groups, steps * samples * height * width, -1)
    weight = node.weight.reshape(groups, outputs // groups, -1)
    out = np.stack([_product(r, w.T) for r, w in zip(rows, weight, strict=True)])
    out = out.reshape(groups, steps, samples, height, width, -1)
    # (G, T, N, H, W, O/G) -> (T, N, O, H, W)
    out = out.transpose(1, 2, 0, 5, 3, 4)
    return out.reshape(steps, samples, outputs, height, width)


def find_departure(graph: Graph, frames: npt.NDArray[Any], batch: int = 8) -> None:
    """Run frames (T, N, *shape) on the reference, and raise what first leaves its widths there.

    Raises:
        RangeError: a width was left; nothing is raised where none was.
    """
    for first in range(0, frames.shape[1], batch):
        try:
            part = frames[:, first : first + batch]
            for _ in evaluate(NumpyArithmetic(), graph, part, chip=False):
                pass
        except RangeError as error:
            raise error.later(first) from None
