"""Count the parameters, neurons and multiply-accumulates of a network of neuroport layers.

The counts follow from its connections, without a run, so the network may be on torch's ``meta``
device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from neuroport.capture.connectivity import unwrapped, wiring
from neuroport.nets.composed import Composed
from neuroport.nets.neuron import Mlf
from neuroport.nets.synapse import Direct, GradedConv


@dataclass(frozen=True)
class Counts:
    """Trainable parameters; neurons; and multiply-accumulates of one step.

    ``populations`` counts each level of a multi-level neuron as a neuron, ``neurons`` counts it
    once. ``macs`` are those of all convolutions and the classifier without sparsity.
    ``projection_macs`` are those of 1x1 projections of membrane streams, which multiply real
    values; all other layers after the stem multiply spikes.
    """

    parameters: int
    neurons: int
    populations: int
    macs: int
    projection_macs: int


def count(net: nn.Module, size: tuple[int, int]) -> Counts:
    """Count ``net`` on frames of ``size`` (height, width).

    Raises:
        CaptureError: a graph cannot express the network's ``forward``.
    """
    net = unwrapped(net)
    stems = [m for m in net.modules() if isinstance(m, GradedConv) and m.pixels]
    channels = stems[0].synapse.in_channels if stems else 1
    repeats = {
        f"{name}.levels.{level}"
        for name, module in net.named_modules()
        if isinstance(module, Mlf)
        for level in range(1, len(module.levels))
    }
    neurons = populations = macs = projected = 0
    for layer in wiring(net, (1, 1, channels, *size), checked=False):
        module = layer.module
        if layer.neuron is not None:
            here = math.prod(layer.sends)
            populations += here
            neurons += 0 if layer.path in repeats else here
        elif layer.readout is not None:
            macs += layer.readout.synapse.weight.numel()
        elif layer.synapse is not None:
            # a pooled projection first averages, then multiplies
            synapse, positions = layer.synapse.synapse, math.prod(layer.sends[1:])
            held = module.kernel() if isinstance(module, Composed) else synapse.weight
            here = 0 if isinstance(module, Direct) else held.numel() * positions
            macs += here
            if isinstance(module, GradedConv) and not module.pixels:
                projected += here if synapse.kernel_size == (1, 1) else 0
    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return Counts(parameters, neurons, populations, macs, projected)
