"""Compute the receptive field of a tile: the neurons that send to it, weight by weight.

A neuron sends to a tile if it has a nonzero weight to at least one neuron of the tile. For a
convolution with taps ``k, l``,

::

    reaches[c, y, x] = or over k, l of
        any weight[o, c, k, l] != 0, o in the tile   and   y = o_y * stride + k * dilation - padding
        for a row o_y of the tile                    and   the same for the columns
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.graph.kernel import Kernel
from neuroport.graph.node import IntArray, Population, Synapse
from neuroport.targets.core_tiles import Box, Span, Tile

Bools: TypeAlias = npt.NDArray[np.bool_]
Patch: TypeAlias = tuple[tuple[slice, slice, slice], Bools]


def reaching(
    synapse: Synapse | Population, source: Box, tile: Tile, parts: tuple[int, ...] = (0,)
) -> Patch:
    """Return the neurons of ``source`` that reach ``tile``: their region, and a mask in it.

    ``parts`` are the first channels of a neuron's currents: ``(0, C)`` for a resonator of C
    channels, which takes 2C. For a recurrent population, the synapse is the recurrent one.
    """
    outputs: npt.NDArray[Any] = np.concatenate([np.arange(*tile.channels) + part for part in parts])
    kernel = synapse.kernel if isinstance(synapse, Synapse) else None
    if kernel is None:
        weight = synapse.own_weight
        if weight is not None:  # over the flattened neurons
            outputs = np.arange(np.prod(source)).reshape(source)[tile.slices].ravel()
        elif isinstance(synapse, Synapse):
            weight = synapse.weight
        assert weight is not None, f"{synapse.name} delivers nothing"
        kept: Bools = (weight[outputs] != 0).any(axis=0)
        return (slice(None), slice(None), slice(None)), kept.reshape(source)
    taps = _taps(kernel, outputs, source[0])
    rows = _touched(kernel, 0, source[1], tile.rows)
    columns = _touched(kernel, 1, source[2], tile.columns)
    y, x = _around(rows.any(axis=0)), _around(columns.any(axis=0))
    rows, columns = rows[:, y], columns[:, x]
    patch = np.zeros((source[0], rows.shape[1], columns.shape[1]), np.bool_)
    for k, row in enumerate(rows):
        for each, column in enumerate(columns):
            patch |= taps[:, k, each, None, None] & row[:, None] & column
    return (slice(None), y, x), patch


def _taps(kernel: Kernel, outputs: IntArray, channels: int) -> Bools:
    """Return whether each tap has a nonzero weight to one of the outputs, (C, kH, kW)."""
    kept = kernel.packed.nonzero()
    into, out_of = channels // kernel.groups, len(kept) // kernel.groups
    found = np.zeros((channels, *kept.shape[2:]), np.bool_)
    for group in range(kernel.groups):
        mine = outputs[outputs // out_of == group]
        found[group * into : (group + 1) * into] = kept[mine].any(axis=0)
    return found


def _touched(kernel: Kernel, axis: int, size: int, span: Span) -> Bools:
    """Return whether each tap reads each input row (``axis`` 0) or column, (taps, size)."""
    first, end = span
    return np.asarray(kernel.landing(axis, size, end) >= first)


def _around(touched: Bools) -> slice:
    """Return the smallest slice that contains all true entries."""
    places = np.flatnonzero(touched)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
