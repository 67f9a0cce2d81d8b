"""From a trained network of neuroport's own layers in its integer phase to the integer graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.capture.wiring import INPUT, Layer, evaluating, wiring
from neuroport.errors import CaptureError
from neuroport.graph.blocks import blocks
from neuroport.graph.edit import identity
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv as ConvNode
from neuroport.graph.node import Dense, Input, IntArray, Node, Relay
from neuroport.graph.node import Lif as LifNode
from neuroport.graph.node import Readout as ReadoutNode
from neuroport.nets.neuron import Lif
from neuroport.nets.normed import NormLif
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, GradedConv, Readout, snap_weight


@torch.no_grad()
def integer_graph(net: nn.Module, frames: Tensor) -> Graph:
    """The graph of a network in its integer phase.

    Integers are read out of the module itself: the weights with the function that its forward pass
    uses, the biases while it runs ``frames`` (T, N, C, H, W), of which only shape and T matter.
    """
    layers = wiring(net)
    biases, positions = _observe(net, layers, frames[:1, :1])
    # side by side, before anything lies between them that is freed again
    weights = {
        layer.name: np.empty(layer.module.kernel().shape, np.int64)
        for layer in layers
        if isinstance(layer.module, Conv)
    }
    nodes: list[Node] = [Input(INPUT, tuple(frames.shape[2:]), bits=8)]
    current: dict[str, str] = {}

    def sources(layer: Layer) -> tuple[str, ...]:
        return tuple(current.get(name, name) for name in layer.inputs)

    for layer in layers:
        name, module = layer.name, layer.module
        if isinstance(module, Lif):
            current_decay, voltage_decay = module.decays
            nodes.append(
                LifNode(
                    name,
                    sources(layer),
                    _thresholds(module),
                    np.full(1, current_decay),
                    np.full(1, voltage_decay),
                    biases[name],
                )
            )
        elif isinstance(module, GradedConv):
            nodes.extend(_graded(name, module, sources(layer), weights[name]))
            current[name] = nodes[-1].name
        elif isinstance(module, Conv):
            exponent = int(module.exponent)
            nodes.append(_conv(name, module, sources(layer), exponent, weights[name]))
        else:
            weight = np.repeat(_integers(module.integer_weight()), positions[name], axis=1)
            weight.setflags(write=False)  # the graph need not copy it
            nodes.append(Dense(f"{name}.synapse", sources(layer), weight))
            nodes.append(ReadoutNode(f"{name}.potential", (nodes[-1].name,), biases[name]))
    return Graph(nodes, len(frames))


def _observe(
    net: nn.Module, layers: list[Layer], frames: Tensor
) -> tuple[dict[str, IntArray], dict[str, int]]:
    """Integer biases of every population, and positions H*W under every readout."""
    biases: dict[str, IntArray] = {}
    positions: dict[str, int] = {}
    handles = []

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, args: Sequence[Any]) -> None:
            x = args[0]
            if isinstance(module, Lif):
                if not isinstance(x, Stream):
                    raise CaptureError(
                        f"neuron {name!r} is still real-valued; quantize the network first"
                    )
                bias = _integers(module.integer_bias(x))
                biases[name] = bias.reshape(-1) if bias.shape[1:] == (1, 1) else bias
            elif isinstance(module, Readout):
                positions[name] = x.shape[-2] * x.shape[-1]
                biases[name] = _integers(module.integer_bias(positions[name]))

        return module.register_forward_pre_hook(hook)

    for layer in layers:
        if isinstance(layer.module, (Lif, Readout)):
            handles.append(watch(layer.name, layer.module))
    try:
        with evaluating(net):
            net(frames.float())
    finally:
        for handle in handles:
            handle.remove()
    return biases, positions


def _thresholds(module: Lif) -> IntArray:
    if isinstance(module, NormLif):
        return _integers(module.integer_thresholds())
    return np.full(1, module.integer_threshold)


def _integers(x: Tensor) -> IntArray:
    rounded = x.detach().cpu().numpy()
    out: IntArray = rounded.astype(np.int64, order="C")
    assert np.array_equal(out, rounded), "an integer expected to be exact is not"
    out.setflags(write=False)  # the graph need not copy it
    return out


def _conv(
    name: str, module: Conv, inputs: tuple[str, ...], exponent: int, weight: IntArray
) -> ConvNode:
    """The node of a convolution, whose integers are written into ``weight``."""
    real, unit = module.folded()[0], module.unit()
    for part in blocks(len(real), real.numel()):  # snapping holds several copies
        weight[part] = _integers(snap_weight(real[part], unit))
    weight.setflags(write=False)  # the graph need not copy it
    return ConvNode(
        name,
        inputs,
        weight,
        exponent,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
    )


def _graded(name: str, module: GradedConv, inputs: tuple[str, ...], weight: IntArray) -> list[Node]:
    nodes: list[Node] = []
    if module.relay_in is not None:
        nodes.append(Relay(f"{name}.relay_in", inputs, int(module.relay_in.shift)))
        inputs = (nodes[-1].name,)
    nodes.append(_conv(name, module, inputs, 0, weight))
    nodes.append(Relay(f"{name}.relay_out", (name,), int(module.relay_out.shift)))
    nodes.append(identity(f"{name}.identity", nodes[-1].name, (len(weight), 1, 1)))
    return nodes
