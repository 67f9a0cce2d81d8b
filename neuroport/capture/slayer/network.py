"""Build the graph of a SLAYER network, and find where SLAYER's populations can be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lava.lib.dl.slayer.neuron import sigma_delta
from torch import nn

from neuroport.capture.currents import MessageSum, NodeMessages
from neuroport.capture.forward import INPUT, Forward, evaluating, read, unwrapped
from neuroport.capture.signal_tensors import AxisOrder
from neuroport.capture.slayer.blocks import Reader
from neuroport.capture.slayer.graph_builder import Probe
from neuroport.capture.slayer.modules import at_rest, blocks_of
from neuroport.capture.slayer.neurons import CHANGE
from neuroport.errors import CaptureError, FramesError, NeuroportError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Node
from neuroport.graph.node_builders import input_for

SAMPLES = 2  # that forward is checked on


@dataclass(frozen=True, eq=False)
class Captured:
    """A graph, the forward pass it was read from, its probes in SLAYER, and the frames' encoder.

    ``hosted``: that block's neurons are no part of the graph, which takes their spikes.
    """

    graph: Graph
    forward: Forward
    probes: tuple[Probe, ...]
    encoder: Any
    hosted: bool

    @property
    def unit(self) -> int:
        """The integer that stands in the graph for 1.0 of the encoded frames."""
        return 1 if self.hosted else _unit(self.encoder)


def capture(net: nn.Module, frames: npt.ArrayLike, *, keep_shift: bool) -> Captured:
    """See :func:`neuroport.capture.slayer.integer_graph`."""
    data = np.asarray(frames)
    if data.ndim not in (3, 5):
        raise FramesError(
            f"frames are {data.shape}; SLAYER's blocks take (T, N, C) or (T, N, C, H, W); an image "
            "that forward replicates over the steps (slayer.utils.time.replicate) is replicated "
            "before it, and given with steps"
        )
    net = unwrapped(net)
    try:
        return _capture(net, data, keep_shift=keep_shift)
    except CaptureError as error:
        if not _takes(net, np.moveaxis(data, -1, 0)):
            raise
        raise FramesError(
            f"frames are {data.shape}, which the network takes as (N, *shape, T), SLAYER's axes; "
            "here steps come first, (T, N, *shape): give capture.slayer.frames(net, x)"
        ) from error


def _takes(net: nn.Module, data: npt.NDArray[Any]) -> bool:
    """Return whether ``net`` can be captured with such frames."""
    try:
        _capture(net, data, keep_shift=False)
    except NeuroportError:
        return False
    return True


def _capture(net: nn.Module, data: npt.NDArray[Any], *, keep_shift: bool) -> Captured:
    shape = tuple(data.shape[2:])
    reader = Reader(shape, keep_shift=keep_shift)
    with evaluating(net), at_rest(net):
        given = MessageSum((NodeMessages(INPUT),), shape, raw=True)
        layout = AxisOrder(len(data), steps_last=True)
        forward = read(net, blocks_of(net), given, layout, reader.read)
        reader.finish()
        if not reader.assembly.probes:
            raise CaptureError(f"{type(net).__name__} has no block with neurons")
        x = np.moveaxis(data[:, :SAMPLES], 0, -1).astype(np.float32)
        forward.check(torch.from_numpy(np.ascontiguousarray(x)))
    node = input_for(INPUT, shape, 0, 1) if reader.hosted else _input(shape, data, reader.encoder)
    graph = Graph([node, *reader.assembly.nodes], len(data))
    return Captured(graph, forward, tuple(reader.assembly.probes), reader.encoder, reader.hosted)


def _input(shape: tuple[int, ...], data: npt.NDArray[Any], encoder: Any) -> Node:
    if encoder is not None:
        weight, bias = (
            0.0 if part is None else float(encoder.pre_hook_fx(part.detach()).abs().max())
            for part in (encoder.weight, encoder.bias)
        )
        largest = 4.0 * (weight if encoder.weight is not None else 1.0) + bias
        most = max(1, int(largest * _unit(encoder)))
        return input_for(INPUT, shape, -most, most)
    if not np.all(np.isfinite(data) & (data == np.round(data))):
        raise FramesError(
            "frames are not integers, and no Input block turns them into currents; round them, or "
            "begin the network with block.cuba.Input or block.sigma_delta.Input"
        )
    return input_for(INPUT, shape, int(data.min()), int(data.max()), bits=8)


def _unit(encoder: Any) -> int:
    if encoder is None:
        return 1
    changes = isinstance(encoder.neuron, sigma_delta.Neuron)
    return CHANGE if changes and encoder.weight is not None else int(encoder.neuron.w_scale)
