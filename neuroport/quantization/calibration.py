"""Measure the ranges of currents and voltages of a network on frames, in real numbers.

A proven range covers every possible input. For a stream to which many blocks add, it is many times
larger than the range on any real picture. With ``widths="checked"`` the grid is chosen from the
ranges measured here, times a margin, and engines check them
(:mod:`neuroport.graph.declared_widths`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.capture.connectivity import LayerCall, evaluating, heard
from neuroport.graph import integers
from neuroport.graph.declared_widths import Watch
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import IntArray, Population, per_neuron
from neuroport.nets.batchnorm_lif import NormLif
from neuroport.nets.fused_batchnorm import DeferredCurrent
from neuroport.nets.neuron import Lif
from neuroport.nets.stream import Stream, per_position
from neuroport.nets.synapse import GradedConv, Integrator, Readout, Relay
from neuroport.nets.torch_parts import OnGrid

CALIBRATION = 32  # number of training samples by default
BATCH = 8  # samples per batch


@dataclass
class Ranges:
    """The largest absolute values on the frames, in real units, by layer.

    Attributes:
        arriving: values of neurons' currents and voltages, and of the streams that projections
            read, for each channel (C,).
        products: values of projections' outputs, (C,).
        potentials: values of readouts, summed over positions and steps.
    """

    arriving: dict[str, Tensor] = field(default_factory=dict)
    products: dict[str, Tensor] = field(default_factory=dict)
    potentials: dict[str, Tensor] = field(default_factory=dict)

    def hear(self, name: str, module: nn.Module, args: Sequence[Any], output: Any) -> None:
        """Record a layer's input and output in its real phase."""
        given = args[0].tensor() if isinstance(args[0], DeferredCurrent) else args[0]
        match module:
            case Lif():
                _raise(self.arriving, name, reach(module, given))
            case GradedConv():
                if not module.pixels:
                    _raise(self.arriving, name, _most(given))
                made = output.tensor() if isinstance(output, DeferredCurrent) else output
                _raise(self.products, name, _most(made))
            case Readout():
                weight, bias = module.weights()
                positions = given.shape[3] * given.shape[4]
                current = given.sum((3, 4)) @ weight.T
                voltage = (current + bias * positions).cumsum(0)
                most = torch.maximum(current.abs().max(), voltage.abs().max()).double()
                _raise(self.potentials, name, most)


def _raise(found: dict[str, Tensor], name: str, value: Tensor) -> None:
    found[name] = torch.maximum(found[name], value) if name in found else value


def _most(x: Tensor) -> Tensor:
    """The largest absolute value of each channel of (T, N, C, H, W)."""
    return x.abs().amax((0, 1, 3, 4)).double()


def reach(neuron: Lif, current: Tensor) -> Tensor:
    """Return the largest current, decaying sum or voltage of each channel of neurons.

    ``current`` is (T, N, C, H, W).

    The voltage is bounded over all resets: ``low' = keep min(low, 0) + u`` and ``threshold + u``.
    """
    keep_u, keep_v = (1 - decay / integers.DECAY_UNITY for decay in neuron.decays)
    bias: Tensor | float = 0.0
    threshold = neuron.threshold
    if isinstance(neuron, NormLif):
        _, thresholds, bias = neuron.absorbed()
        bias, threshold = per_position(bias), float(thresholds.max())
    u = low = torch.zeros_like(current[0])
    worst = _most(current)
    for x in current:
        u = keep_u * u + x
        low = keep_v * low.clamp(max=0) + u + bias
        kept = (u + bias).amax((0, 2, 3)).double() + keep_v * threshold
        for value in (u.abs().amax((0, 2, 3)).double(), -low.amin((0, 2, 3)).double(), kept):
            worst = torch.maximum(worst, value)
    return worst


@torch.no_grad()
def observe(net: nn.Module, layers: Sequence[LayerCall], frames: Tensor) -> Ranges:
    """Run ``net`` in real numbers on frames (T, N, C, H, W); it is not changed."""
    real = copy.deepcopy(net)
    for module in real.modules():
        if isinstance(module, OnGrid):
            module.lsb.zero_()
    found = Ranges()
    measured = [each for each in layers if isinstance(each.module, (Lif, GradedConv, Readout))]
    paths, calls = {each.path for each in measured}, [each.name for each in measured]
    modules = [(path, real.get_submodule(path)) for path in sorted(paths)]
    with evaluating(real), heard(real, modules, found.hear, calls):
        for first in range(0, frames.shape[1], BATCH):
            real(frames[:, first : first + BATCH].float())
    return found


@torch.no_grad()
def check_departures(net: nn.Module, graph: Graph, frames: Tensor) -> None:
    """Run ``net``, whose graph is ``graph``, in integers on frames (T, N, C, H, W).

    Raises:
        RangeError: a population exceeds its declared widths.
    """
    watch = Watch(graph)

    def hear(name: str, _: nn.Module, args: Sequence[Any], __: Any) -> None:
        node = graph[name] if name in graph.checked else None
        if isinstance(node, Population):
            arriving = args[0].value if isinstance(args[0], Stream) else args[0]
            watch.look(node, arriving.numpy().astype(np.int64), per_neuron, _no_loop)

    kinds = (Lif, Relay, Integrator)
    modules = [item for item in net.named_modules() if isinstance(item[1], kinds)]
    with evaluating(net), heard(net, modules, hear, graph.checked):
        for first in range(0, frames.shape[1], BATCH):
            net(frames[:, first : first + BATCH].float())
    watch.end()


def _no_loop(weight: IntArray) -> Any:
    raise TypeError(f"no layer of neuroport has recurrent weights {weight.shape}")
