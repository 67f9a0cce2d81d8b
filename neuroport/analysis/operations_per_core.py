"""Count the operations of a synapse per core, step by step.

A population is divided into tiles of (x, y, c) neurons, one per core
(:mod:`neuroport.targets.tiling`). A single tile with the complete population gives the total of the
synapse. A convolution needs no matrix: nonzero weights, rows and columns are counted separately,

::

    operations(core) = sum over c, y, x, tap of
        sent(c, y, x) * taps(core's channels, c, tap) * rows(tap, y, core) * columns(tap, x, core)

A dense synapse has one position. Borders, strides, groups and zero weights are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.graph.graph import Graph
from neuroport.graph.kernel import Kernel
from neuroport.graph.node import IntArray, Shape, Synapse

Tile = tuple[int, int, int]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FanIn:
    """A synapse, or its part with one delay, into the cores of one population.

    Attributes:
        delay: number of steps until a message arrives.
        taps: number of nonzero weights (channel parts, C, kH, kW) of each channel of the source.
        rows: 0/1 (kH, H, row parts): whether a tap carries a row to the rows of a part.
        columns: 0/1 (kW, W, column parts), likewise.
    """

    delay: int
    taps: Floats
    rows: Floats
    columns: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) in which messages are read."""
        return self.taps.shape[1], self.rows.shape[1], self.columns.shape[1]

    def operations(self, sent: npt.NDArray[Any]) -> Floats:
        """Return operations (M, cores) of messages (M, *shape) of 0/1; exact below 2**53."""
        plain = sent.reshape(-1, *self.shape).astype(np.float64)
        along = np.tensordot(plain, self.columns, axes=([3], [1]))  # (M, C, H, kW, X)
        along = np.tensordot(along, self.rows, axes=([2], [1]))  # (M, C, kW, X, kH, Y)
        found = np.tensordot(along, self.taps, axes=([1, 2, 4], [1, 3, 2]))  # (M, X, Y, parts)
        return np.asarray(found.transpose(0, 3, 2, 1).reshape(len(plain), -1))


def fan_ins(
    graph: Graph, synapse: Synapse, shape: Shape, tile: Tile, *, dense: bool = False
) -> list[FanIn]:
    """Return the fan-ins of a population of ``shape``, divided into tiles, through ``synapse``.

    A neuron may take several channels of the current (the real and the imaginary one of a
    resonator). With ``dense``, zero weights count, too.
    """
    if synapse.kernel is not None:
        maps = graph.facts(synapse.inputs[0]).shape, graph.facts(synapse.name).shape
        return [_of_convolution(synapse.kernel, *maps, shape, tile, dense)]
    cores = core_of(shape, tile)
    if not dense:
        return [_of_matrix(weight != 0, cores, delay) for delay, weight in synapse.by_delay()]
    ones = synapse.replace(weight=np.ones_like(synapse.weight))
    return [_of_matrix(weight != 0, cores, delay) for delay, weight in ones.by_delay()]


def own_fan_in(weight: IntArray, shape: Shape, tile: Tile) -> FanIn:
    """Return a population's fan-in from itself through recurrent weights, one step later."""
    return _of_matrix(weight != 0, core_of(shape, tile), 1)


def whole(shape: Shape) -> Tile:
    """Return the tile (x, y, c) that contains a complete population."""
    return (shape[2], shape[1], shape[0]) if len(shape) == 3 else (1, 1, int(np.prod(shape)))


def core_of(shape: Shape, tile: Tile) -> IntArray:
    """Return the core number of every neuron, flattened: channels, then rows, then columns."""
    x, y, c = tile
    if len(shape) != 3:
        return np.arange(int(np.prod(shape))) // c
    rows, columns = ceil(shape[1] / y), ceil(shape[2] / x)
    channel, row, column = np.indices(shape)
    core = (channel // c * rows + row // y) * columns + column // x
    return np.asarray(core.ravel(), np.int64)


def sources(graph: Graph, name: str) -> Iterator[tuple[str, int]]:
    """Return populations and inputs that send into a node, with their delays in steps."""
    for source in graph[name].inputs:
        for node, delay in graph.past_delays(source):
            yield node.name, delay


def _of_matrix(kept: npt.NDArray[np.bool_], cores: IntArray, delay: int) -> FanIn:
    """Return the fan-in of a matrix; ``kept`` is (``k * len(cores)``, inputs)."""
    taps = np.zeros((int(cores.max()) + 1, kept.shape[1]))
    np.add.at(taps, np.resize(cores, len(kept)), kept)
    one = np.ones((1, 1, 1))
    return FanIn(delay, taps[:, :, None, None], one, one)


def _of_convolution(
    kernel: Kernel, source: Shape, target: Shape, shape: Shape, tile: Tile, dense: bool
) -> FanIn:
    kept = kernel.packed.nonzero() | dense
    outputs, inputs = len(kept) // kernel.groups, kept.shape[1]
    parts = np.arange(len(kept)) % shape[0] // tile[2]
    taps = np.zeros((int(parts.max()) + 1, inputs * kernel.groups, *kept.shape[2:]))
    for output, part in enumerate(parts):
        first = output // outputs * inputs
        taps[part, first : first + inputs] += kept[output]
    rows, columns = (
        _in_parts(kernel.landing(axis, source[1 + axis], target[1 + axis]), target[1 + axis], size)
        for axis, size in ((0, tile[1]), (1, tile[0]))
    )
    return FanIn(0, taps, rows, columns)


def _in_parts(landing: IntArray, outputs: int, size: int) -> Floats:
    """Return 0/1 (taps, rows, parts): whether a tap carries a row to a part."""
    found = np.zeros((*landing.shape, ceil(outputs / size)))
    taps, rows = np.nonzero(landing >= 0)
    found[taps, rows, landing[taps, rows] // size] = 1
    return found
