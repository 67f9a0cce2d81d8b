"""Build the integer graph of a network of neuroport's own layers in its integer phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.capture.connectivity import (
    INPUT,
    LayerCall,
    evaluating,
    heard,
    read_wiring,
    unwrapped,
)
from neuroport.errors import CaptureError
from neuroport.graph.array_storage import narrow
from neuroport.graph.chunks import blocks
from neuroport.graph.graph import Graph
from neuroport.graph.integers import CURRENT_MAX
from neuroport.graph.linear_bounds import ungrouped
from neuroport.graph.node import Conv as ConvNode
from neuroport.graph.node import Dense, Input, IntArray, Node, Population, Relay
from neuroport.graph.node import Lif as LifNode
from neuroport.graph.node import Readout as ReadoutNode
from neuroport.graph.node_builders import identity
from neuroport.nets.batchnorm_lif import NormLif
from neuroport.nets.neuron import Lif
from neuroport.nets.pooling import SumPool
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, GradedConv, snap_weight
from neuroport.nets.widths import CHECKED, widths_of


@torch.no_grad()
def integer_graph(net: nn.Module, frames: Tensor, *, check: bool = True) -> Graph:
    """Return the graph of a network in its integer phase.

    The integers come from the module itself: weights from the function that its forward pass uses,
    biases from a run of the first sample of ``frames`` (T, N, C, H, W). With ``check``, the forward
    pass is also checked on that sample.
    """
    net = unwrapped(net)
    with evaluating(net):
        return _integer_graph(net, frames, check)


def _integer_graph(net: nn.Module, frames: Tensor, check: bool) -> Graph:
    layers, forward = read_wiring(net, frames.shape)
    biases: dict[str, IntArray] = {}
    thresholds: dict[str, IntArray] = {}

    def hear(name: str, module: Any, args: Sequence[Any], _: Any) -> None:
        if not isinstance(args[0], Stream):
            raise CaptureError(f"neuron {name!r} is still real-valued; quantize the network first")
        bias = _integers(module.integer_bias(args[0]))
        biases[name] = bias.reshape(-1) if bias.shape[1:] == (1, 1) else bias
        thresholds[name] = _thresholds(module, args[0])

    neurons = {layer.path: layer.neuron for layer in layers if layer.neuron is not None}
    calls = [layer.name for layer in layers if layer.neuron is not None]
    with heard(net, neurons.items(), hear, calls):
        if check:
            forward.check(frames[:, :1].float())
        else:
            net(frames[:, :1].float())  # a forward may count its steps
    stems = (s for s in (layer.synapse for layer in layers) if isinstance(s, GradedConv))
    bits = max((stem.frame_bits for stem in stems if stem.pixels), default=8)
    pools = set[str]()  # relays of sums of spikes, whose widths are proven
    nodes: list[Node] = [Input(INPUT, tuple(frames.shape[2:]), bits=bits)]
    current: dict[str, tuple[str, ...]] = {}

    def sources(layer: LayerCall) -> tuple[str, ...]:
        return tuple(node for name in layer.inputs for node in current.get(name, (name,)))

    for layer in layers:
        name, module = layer.name, layer.module
        if (neuron := layer.neuron) is not None:
            current_decay, voltage_decay = neuron.decays
            nodes.append(
                LifNode(
                    name,
                    sources(layer),
                    thresholds[name],
                    np.full(1, current_decay),
                    np.full(1, voltage_decay),
                    biases[name],
                )
            )
        elif isinstance(module, GradedConv):
            nodes.extend(_graded(name, module, sources(layer)))
            current[name] = (nodes[-1].name,)
        elif (conv := layer.synapse) is not None:
            exponent = int(conv.exponent)
            whole = _conv(name, conv, sources(layer), exponent)
            split = [_of_part(whole, *part) for part in _parts(layer, current)]
            nodes.extend(split)
            current[name] = tuple(node.name for node in split)
        elif isinstance(module, SumPool):
            ones = np.ones((layer.reads[0], 1, *module.kernel_size), np.int64)
            geometry = (module.stride, module.padding, (1, 1), layer.reads[0])
            whole = ConvNode(name, sources(layer), ones, 0, *geometry)
            split = [_of_part(whole, *part) for part in _parts(layer, current)]
            nodes.extend(split)
            nodes.append(Relay(f"{name}.relay", tuple(node.name for node in split)))
            pools.add(nodes[-1].name)
            current[name] = (nodes[-1].name,)
        elif (readout := layer.readout) is not None:
            positions = layer.reads[1] * layer.reads[2]
            weight, inner = _integers(readout.integer_weight()), []
            for own, inputs, part in _parts(layer, current, f"{name}.synapse"):
                each = narrow(weight[:, slice(*part)], (1, positions))
                nodes.append(Dense(own, inputs, each))  # type: ignore[arg-type]  # kept packed
                inner.append(own)
            bias = _integers(readout.integer_bias(positions))
            nodes.append(ReadoutNode(f"{name}.potential", tuple(inner), bias))
    checked = {}
    if widths_of(net) == CHECKED:
        for node in nodes:
            if isinstance(node, Population) and node.name not in pools:
                # a relay before a projection reads the same stream as neurons do
                stream = node.name.endswith(".relay_in")
                checked[node.name] = CURRENT_MAX if stream else node.widest_current
    return Graph(nodes, len(frames), checked=checked)


def _parts(
    layer: LayerCall, current: Mapping[str, tuple[str, ...]], name: str = ""
) -> list[tuple[str, tuple[str, ...], tuple[int, int]]]:
    """A synapse for each part of a concatenation: its name, what it reads, its channels."""
    name = name or layer.name
    found: dict[tuple[int, int], list[str]] = {}
    every = (0, layer.reads[0])
    for source, part in zip(layer.inputs, layer.parts, strict=True):
        found.setdefault(part or every, []).extend(current.get(source, (source,)))
    return [
        (name if part == every else f"{name}.channels{part[0]}to{part[1]}", tuple(inputs), part)
        for part, inputs in found.items()
    ]


def _of_part(
    whole: ConvNode, name: str, inputs: tuple[str, ...], part: tuple[int, int]
) -> ConvNode:
    """The synapse of the channels ``part`` of what ``whole`` reads."""
    if name == whole.name:
        return whole.replace(inputs=inputs)
    weight = np.ascontiguousarray(ungrouped(whole.weight, whole.groups)[:, slice(*part)])
    return whole.replace(name=name, inputs=inputs, weight=weight, groups=1)


def _thresholds(module: Lif, stream: Stream) -> IntArray:
    found = module.thresholds(stream)
    if isinstance(found, int):
        return np.full(1, found)
    each = _integers(found)
    # a population of one threshold is legal where one of several is not
    shared = not isinstance(module, NormLif) and bool((each == each[0]).all())
    return each[:1] if shared else each


def _integers(x: Tensor) -> IntArray:
    rounded = x.detach().cpu().numpy()
    out: IntArray = rounded.astype(np.int64, order="C")
    assert np.array_equal(out, rounded), "an integer expected to be exact is not"
    return out


def _conv(name: str, module: Conv, inputs: tuple[str, ...], exponent: int) -> ConvNode:
    real, unit = module.scaled(module.folded()[0]), module.unit()
    weight = np.empty(real.shape, np.int64)
    for part in blocks(len(real), real.numel()):  # snapping holds several copies
        weight[part] = _integers(snap_weight(real[part], unit))
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


def _graded(name: str, module: GradedConv, inputs: tuple[str, ...]) -> list[Node]:
    nodes: list[Node] = []
    if module.relay_in is not None:
        nodes.append(Relay(f"{name}.relay_in", inputs, int(module.relay_in.shift)))
        inputs = (nodes[-1].name,)
    product = _conv(name, module, inputs, 0)
    nodes.append(product)
    if not module.rounds:
        return nodes
    nodes.append(Relay(f"{name}.relay_out", (name,), int(module.relay_out.shift)))
    nodes.append(
        identity(f"{name}.identity", nodes[-1].name, (product.packed("weight").shape[0], 1, 1))
    )
    return nodes
