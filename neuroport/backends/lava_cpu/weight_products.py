"""Multiply messages by a synapse's weights, with the fastest product that is proven exact.

A product reads the messages of one step, flat in channel-major order, and returns the current,
int64, exponent included. The weights and the bound on the sums
(:func:`neuroport.graph.float_exactness.largest_sum`) determine which product a synapse uses, so it
is the same in every run:

* :class:`_Scaled`: a multiplication, if every output reads one message, as in an identity.
* :class:`_Windows`: a convolution as a matrix product in float32 or float64, whichever holds every
  partial sum.
* :class:`_Matrix`: sparse integers, if few outputs share a window, few weights are nonzero, or
  neither float type holds the sums.

BLAS multiplied matrices 10 to 20 times faster than SciPy sparse integers, whose product costs about
a nanosecond a weight; copying the windows costs as much as ``OUTPUTS_A_WINDOW`` weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from neuroport.graph.float_exactness import FLOAT32_EXACT, FLOAT64_EXACT, largest_sum
from neuroport.graph.graph import Graph
from neuroport.graph.kernel import Kernel
from neuroport.graph.node import IntArray, Shape, Synapse

Product: TypeAlias = Callable[[npt.NDArray[Any]], IntArray]

OUTPUTS_A_WINDOW = 4  # fewer outputs per window are cheaper as a sparse matrix
DENSE_SHARE = 0.1  # a smaller share of nonzero weights is cheaper as a sparse matrix


def products(graph: Graph, node: Synapse) -> list[tuple[int, Product]]:
    """Return a synapse's products with the messages of each delay: (delay in steps, product)."""
    source, target = graph.facts(node.inputs[0]).shape, graph.facts(node.name).shape
    kind = _exact(largest_sum(graph, node))
    if node.kernel is not None:
        return [(0, _convolution(node.kernel, node.exponent, source, target, kind))]
    return [(delay, _dense(part, node.exponent, kind)) for delay, part in node.by_delay()]


def _exact(worst: int) -> type[np.floating[Any]] | None:
    """Return the float type that holds every integer up to ``worst``."""
    if worst < FLOAT32_EXACT:
        return np.float32
    return np.float64 if worst < FLOAT64_EXACT else None


def _convolution(
    kernel: Kernel,
    exponent: int,
    source: Shape,
    target: Shape,
    kind: type[np.floating[Any]] | None,
) -> Product:
    weight, plain = kernel.weight, (kernel.stride, kernel.padding) == ((1, 1), (0, 0))
    if plain and weight.shape[1:] == (1, 1, 1) and kernel.groups == len(weight):
        return _Scaled(weight.reshape(-1), exponent, source)
    if kind is None or len(weight) < OUTPUTS_A_WINDOW * kernel.groups:
        return _Matrix(conv_matrix(kernel, source, target), exponent)
    return _Windows(kernel, exponent, source, target, kind)


def _dense(weight: IntArray, exponent: int, kind: type[np.floating[Any]] | None) -> Product:
    if kind is None or np.count_nonzero(weight) < DENSE_SHARE * weight.size:
        return _Matrix(csr_matrix(weight), exponent)
    matrix = weight.astype(kind)

    def product(messages: npt.NDArray[Any]) -> IntArray:
        return (matrix @ messages.astype(kind)).astype(np.int64) << exponent

    return product


class _Scaled:
    """``weight[channel] * message``."""

    def __init__(self, weight: IntArray, exponent: int, shape: Shape) -> None:
        self._factor = (weight << exponent)[:, None]
        self._alike = int(self._factor[0, 0]) if np.all(self._factor == self._factor[0]) else None

    def __call__(self, messages: npt.NDArray[Any]) -> IntArray:
        wide = messages.astype(np.int64)
        if self._alike is not None:
            return wide if self._alike == 1 else wide * self._alike
        return (wide.reshape(len(self._factor), -1) * self._factor).reshape(-1)


class _Matrix:
    """A sparse matrix of integers (outputs, inputs)."""

    def __init__(self, matrix: csr_matrix, exponent: int) -> None:
        self._matrix, self._exponent = matrix.astype(np.int64), exponent

    def __call__(self, messages: npt.NDArray[Any]) -> IntArray:
        current: IntArray = self._matrix.dot(messages.astype(np.int64))
        return current << self._exponent


class _Windows:
    """A convolution as weights (G, O/G, I/G * kH * kW) times windows (G, I/G * kH * kW, H * W).

    The windows are a view of the padded messages and are set up once. A step copies messages in and
    windows out, and multiplies.
    """

    def __init__(
        self,
        kernel: Kernel,
        exponent: int,
        source: Shape,
        target: Shape,
        kind: type[np.floating[Any]],
    ) -> None:
        channels, height, width = source
        outputs, out_height, out_width = target
        (top, left), groups = kernel.padding, kernel.groups
        padded = np.zeros((channels, height + 2 * top, width + 2 * left), kind)
        self._inner = padded[:, top : top + height, left : left + width]
        plane, row, column = padded.strides
        windows = np.lib.stride_tricks.as_strided(
            padded,
            (channels, *kernel.packed.shape[2:], out_height, out_width),
            (
                plane,
                row * kernel.dilation[0],
                column * kernel.dilation[1],
                row * kernel.stride[0],
                column * kernel.stride[1],
            ),
            writeable=False,
        )
        self._windows = windows
        self._copied = _room(kind.__name__, windows.size).reshape(windows.shape)
        self._columns = self._copied.reshape(groups, -1, out_height * out_width)
        self._weight = kernel.weight.reshape(groups, outputs // groups, -1).astype(kind)
        self._exponent = exponent

    def __call__(self, messages: npt.NDArray[Any]) -> IntArray:
        self._inner[...] = messages.reshape(self._inner.shape)
        self._copied[...] = self._windows
        current: IntArray = np.matmul(self._weight, self._columns).reshape(-1).astype(np.int64)
        return current << self._exponent


@cache
def _room(kind: str, size: int) -> npt.NDArray[Any]:
    """Return a scratch array for windows, shared by products of the same size (cached)."""
    return np.empty(size, kind)


def conv_matrix(kernel: Kernel, source: Shape, target: Shape) -> csr_matrix:
    """Return the convolution as a sparse matrix (outputs, inputs), in channel-major order."""
    _, height, width = source
    outputs, out_height, out_width = target
    weight = kernel.weight
    each_in, each_out = weight.shape[1], outputs // kernel.groups
    rows, columns, values = [], [], []
    for ky in range(weight.shape[2]):
        y = np.arange(out_height) * kernel.stride[0] - kernel.padding[0] + ky * kernel.dilation[0]
        for kx in range(weight.shape[3]):
            x = (
                np.arange(out_width) * kernel.stride[1]
                - kernel.padding[1]
                + kx * kernel.dilation[1]
            )
            oy = np.flatnonzero((y >= 0) & (y < height))
            ox = np.flatnonzero((x >= 0) & (x < width))
            place_out = (oy[:, None] * out_width + ox[None, :]).reshape(-1)
            place_in = (y[oy][:, None] * width + x[ox][None, :]).reshape(-1)
            tap = weight[:, :, ky, kx]
            out_channel, in_channel = np.nonzero(tap)
            row = (out_channel * out_height * out_width)[:, None] + place_out
            in_channel = in_channel + out_channel // each_out * each_in
            column = (in_channel * height * width)[:, None] + place_in
            rows.append(row.reshape(-1))
            columns.append(column.reshape(-1))
            values.append(np.repeat(tap[tap != 0], len(place_out)))
    shape = (outputs * out_height * out_width, int(np.prod(source)))
    triple = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return csr_matrix(triple, shape=shape, dtype=np.int32)
