"""Compose a path of linear NIR nodes between two populations into one synapse.

NIR permits any number of linear nodes between two neurons; a graph of integers has one synapse
there. A path is composed in real numbers, before anything is rounded. The result is a convolution
if that is exact, borders included; otherwise a matrix, computed by sending every unit vector
through the path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from neuroport.errors import FormatError
from neuroport.frontends.nir.interpreter import apply
from neuroport.frontends.nir.reading import Array, Node, Shape
from neuroport.graph.linear_bounds import ungrouped

# consecutive linear nodes, and an optional factor after each
Path: TypeAlias = tuple[tuple[Node, Array | None], ...]

LARGEST = 1 << 24  # weights of a matrix
AT_ONCE = 1 << 22  # values of unit vectors


@dataclass(frozen=True, eq=False)
class Window:
    """A convolution (O, I/groups, kH, kW) of maps, zeros around them; ``padding`` is (H, W)."""

    weight: Array
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def pointwise(self) -> bool:
        """Whether every output reads only its own position of the maps."""
        at_home = self.stride == (1, 1) and self.padding == (0, 0)
        return self.weight.shape[2:] == (1, 1) and at_home

    @property
    def each_alone(self) -> bool:
        """Whether every channel is read by one channel, as in pooling."""
        return self.groups == len(self.weight) and self.weight.shape[1] == 1

    def scaled(self, factor: Array) -> Window:
        """Multiply every output channel by its factor."""
        return replace(self, weight=self.weight * factor[:, None, None, None])


def maps_of(shape: Shape) -> Shape:
    """Return a shape as maps (C, H, W) if it has channels and axes; otherwise as a row."""
    if len(shape) == 3:
        return shape
    return (shape[0], 1, shape[1]) if len(shape) == 2 else (int(np.prod(shape)),)


def per_channel(values: Array) -> Array | None:
    """Return one value per channel (C,) of values over (C, ...); None if a channel has several."""
    rows = np.asarray(values).reshape(len(values), -1)
    return rows[:, 0].copy() if bool((rows == rows[:, :1]).all()) else None


def identity(channels: int) -> Window:
    """Return the identity on maps."""
    return Window(np.ones((channels, 1, 1, 1)), groups=channels)


def convolution(path: Path, shape: Shape) -> Window | None:
    """Return the path from maps of ``shape`` as one convolution, or None if that is impossible."""
    if len(shape) not in (2, 3):
        return None
    window, here = identity(shape[0]), maps_of(shape)
    for node, mask in path:
        factor = None if mask is None else per_channel(mask)
        step = _window(node) if len(node.shape) == len(shape) else None
        if step is None or (factor is None and mask is not None):
            return None
        if factor is not None:
            step = step.scaled(factor)
        found = _composed(window, step, maps_of(shape), here)
        if found is None:
            return None
        window, here = found, maps_of(node.shape)
    return window


def _window(node: Node) -> Window | None:
    """Return a node as a convolution."""
    channels = node.shape[0]
    match node.kind:
        case "Conv1d" | "Conv2d":
            weight, (groups,) = node.values["weight"], node.sizes["groups"]
            dilation = _pair(node.sizes["dilation"])
        case "SumPool2d" | "AvgPool2d":
            kernel = _pair(node.sizes["kernel_size"])
            value = 1.0 if node.kind == "SumPool2d" else 1.0 / (kernel[0] * kernel[1])
            weight, groups, dilation = np.full((channels, 1, *kernel), value), channels, (1, 1)
        case "Scale":
            factor = per_channel(node.values["scale"])
            return None if factor is None else identity(channels).scaled(factor)
        case "Flatten" | "Reshape" | "Pass" | "Output" | "Delay":
            return identity(channels) if node.shape == node.takes else None
        case _:
            return None
    top, bottom, left, right = node.sizes["padding"]
    if (top, left) != (bottom, right):  # 'same' with an even kernel: a row of zeros before it
        weight, dilation = _spread(weight, dilation), (1, 1)
        weight = np.pad(weight, ((0, 0), (0, 0), (bottom - top, 0), (right - left, 0)))
    return Window(weight, _pair(node.sizes["stride"]), (bottom, right), dilation, groups)


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def _spread(weight: Array, dilation: tuple[int, int]) -> Array:
    """Return the same kernel without dilation."""
    height, width = (d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True))
    found = np.zeros((*weight.shape[:2], height, width))
    found[:, :, :: dilation[0], :: dilation[1]] = weight
    return found


def _composed(first: Window, then: Window, source: Shape, middle: Shape) -> Window | None:
    """``then`` of ``first``, where what lies beyond the map between them reads only zeros."""
    if not _borders_are_zero(first, then, source, middle):
        return None
    if then.pointwise:
        weight, groups = _kernels(first, then, first.weight.shape[2:])
        return replace(first, weight=weight, groups=groups)
    if first.pointwise:
        weight, groups = _kernels(first, then, then.weight.shape[2:])
        return replace(then, weight=weight, groups=groups)
    first = replace(first, weight=_spread(first.weight, first.dilation), dilation=(1, 1))
    then = replace(then, weight=_spread(then.weight, then.dilation), dilation=(1, 1))
    (h1, w1), (h2, w2) = first.weight.shape[2:], then.weight.shape[2:]
    (s1, s2), (p1, p2) = first.stride, first.padding
    size = (s1 * (h2 - 1) + h1, s2 * (w2 - 1) + w1)
    weight, groups = _kernels(first, then, size)
    return Window(
        weight,
        (s1 * then.stride[0], s2 * then.stride[1]),
        (p1 + s1 * then.padding[0], p2 + s2 * then.padding[1]),
        groups=groups,
    )


def _kernels(first: Window, then: Window, size: tuple[int, ...]) -> tuple[Array, int]:
    """Every kernel of ``then`` over those of ``first``, strides of the first between the taps."""
    if then.each_alone:
        groups, outputs = first.groups, len(then.weight)
        made = np.zeros((outputs, first.weight.shape[1], *size))
        for y, x, tap in _taps(then):
            _put(made, first, y, x, tap[:, 0, None, None, None] * first.weight)
        return made, groups
    if first.each_alone:
        inputs = then.weight.shape[1]
        made = np.zeros((len(then.weight), inputs, *size))
        per = len(then.weight) // then.groups
        own = first.weight[:, 0].reshape(then.groups, inputs, *first.weight.shape[2:])
        own = np.repeat(own, per, axis=0)  # of the inputs that each output reads
        for y, x, tap in _taps(then):
            _put(made, first, y, x, tap[:, :, None, None] * own)
        return made, then.groups
    first, then = _ungrouped(first), _ungrouped(then)
    made = np.zeros((len(then.weight), first.weight.shape[1], *size))
    for y, x, tap in _taps(then):
        _put(made, first, y, x, np.einsum("om,miyx->oiyx", tap, first.weight, optimize=True))
    return made, 1


def _taps(window: Window) -> list[tuple[int, int, Array]]:
    height, width = window.weight.shape[2:]
    return [(y, x, window.weight[:, :, y, x]) for y in range(height) for x in range(width)]


def _put(made: Array, first: Window, y: int, x: int, kernel: Array) -> None:
    """Add a kernel of ``first`` at a tap (y, x) of what reads it."""
    top, left = y * first.stride[0], x * first.stride[1]
    made[:, :, top : top + kernel.shape[2], left : left + kernel.shape[3]] += kernel


def _ungrouped(window: Window) -> Window:
    return replace(window, weight=ungrouped(window.weight, window.groups), groups=1)


def _borders_are_zero(first: Window, then: Window, source: Shape, middle: Shape) -> bool:
    """Whether ``first``, applied beyond its map, gives the zeros that ``then`` reads there."""
    for axis in (0, 1):
        if then.padding[axis] == 0:
            continue
        reach = first.dilation[axis] * (first.weight.shape[2 + axis] - 1)
        stride, padding = first.stride[axis], first.padding[axis]
        before = reach < stride + padding  # one place before the map reads only zeros
        after = stride * middle[1 + axis] - padding >= source[1 + axis]
        if not (before and after):
            return False
    return True


def select(window: Window, channels: int, first: int) -> Window:
    """The same convolution, of ``channels`` maps of which its own begin at ``first``."""
    own = window.weight.shape[1] * window.groups
    if own == channels:
        return window
    whole = _ungrouped(window)
    after = channels - first - own
    return replace(whole, weight=np.pad(whole.weight, ((0, 0), (first, after), (0, 0), (0, 0))))


def matrix(path: Path, shape: Shape) -> Array:
    """The path from messages of ``shape`` as a matrix (outputs, inputs), both flattened.

    Raises:
        FormatError: it would have more than ``LARGEST`` weights.
    """
    inputs = int(np.prod(shape))
    outputs = int(np.prod(path[-1][0].shape)) if path else inputs
    if inputs * outputs > LARGEST:
        raise FormatError(
            f"{path[-1][0].name if path else 'an edge'}: what leads there is no convolution, and "
            f"as a matrix has {outputs:,} x {inputs:,} weights, more than {LARGEST:,}; put a "
            "neuron between the layers, or use parameters that are equal within a channel"
        )
    largest = max([inputs, *(int(np.prod(node.shape)) for node, _ in path)])
    columns = []
    count = max(1, AT_ONCE // largest)
    for start in range(0, inputs, count):
        number = min(count, inputs - start)
        x = np.zeros((number, inputs))
        x[np.arange(number), start + np.arange(number)] = 1
        x = through(path, x.reshape(number, *shape))
        columns.append(x.reshape(number, outputs).T)
    return np.concatenate(columns, axis=1)


def through(path: Path, x: Array) -> Array:
    """What ``x`` (N, *shape) has become at the end of a path, biases left out."""
    for node, mask in path:
        x = apply(node, x) if mask is None else apply(node, x) * mask
    return x
