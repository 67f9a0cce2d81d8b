"""A lowered graph as the chain of layers that NetX, lava-dl's HDF5 reader, can express.

All populations of one latency become one layer, their channels side by side; the synapses between
two layers become one block-structured weight; spike relays ride along as channels with an identity
weight. What NetX cannot do (graded messages inside the network, delays, layers of several sizes,
weights that its reader corrupts) is refused with the reason.

Sources: ``lava/lib/dl/netx/hdf5.py`` and ``utils.py`` (``optimize_weight_bits``) of lava-dl 0.6.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

import numpy as np

from neuroport.errors import IllegalError
from neuroport.graph import integers
from neuroport.graph.array_storage import Packed, hold
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED, MESSAGES
from neuroport.graph.node import (
    Conv,
    Dense,
    IntArray,
    Lif,
    Node,
    Pair,
    Readout,
    Relay,
    Shape,
    Synapse,
    per_neuron,
)

CONV_WEIGHT_MAX = (1 << 15) - 1


@dataclass(frozen=True, eq=False)
class ChainLayer:
    """One layer of a NetX chain; the last fields have one value per channel (C,).

    ``packed`` are its weights as a node holds them; ``members`` maps each population of the graph
    to its channels in the layer.
    """

    shape: Shape
    packed: Packed
    stride: Pair
    padding: Pair
    groups: int
    threshold: IntArray
    current_decay: IntArray
    voltage_decay: IntArray
    bias: IntArray
    members: dict[str, tuple[int, int]]

    @property
    def weight(self) -> IntArray:
        """The weights, read-only."""
        return self.packed.unfolded()


def chain(graph: Graph) -> list[ChainLayer]:
    """Return the layers of ``graph``, first to last.

    Raises:
        IllegalError: NetX cannot express the graph; the error names the node and the reason.
    """
    if graph.checked:
        raise IllegalError(
            f"{next(iter(graph.checked))}: {graph.widths}, and NetX checks nothing while it runs; "
            "quantize with widths='proven'"
        )
    levels: list[list[Node]] = [[] for _ in range(graph.depth + 1)]
    for node in graph:
        if node.takes != MESSAGES:
            levels[graph.facts(node.name).latency].append(node)
        elif not isinstance(node, Synapse):
            _refuse(node, "NetX has no delay of messages")
        elif node.delays:
            _refuse(node, "NetX has no late synapse; lower with align='relays'")
    if not graph.balanced:
        raise IllegalError("inputs with unequal latency meet; lower the graph with carrier='stock'")
    while not levels[-1]:
        levels.pop()  # synapses whose current no node reads
    return [_layer(graph, *pair) for pair in pairwise(levels)]


def _layer(graph: Graph, sources: list[Node], targets: list[Node]) -> ChainLayer:
    places = _places(graph, sources)
    members = _places(graph, targets)
    for node in targets:
        _check_population(graph, node)
    synapses = [
        (synapse, node) for node in targets for name in node.inputs if (synapse := graph[name])
    ]
    first = graph.facts(sources[0].name).shape
    shape = (members[targets[-1].name][1], *graph.facts(targets[0].name).shape[1:])
    if len(shape) == 3:
        weight, stride, padding = _convolution(graph, synapses, places, members, first, shape)
    else:
        weight = _matrix(graph, synapses, places, members, first)
        stride, padding = (1, 1), (0, 0)
    only = synapses[0][0]
    groups = 1
    if len(synapses) == len(sources) == 1 and getattr(only, "groups", 1) > 1:
        only = graph.expect(only.name, Conv)
        groups, weight = only.groups, (only.weight << only.exponent) * len(only.inputs)
        stride, padding = only.stride, only.padding
        if only.dilation != (1, 1):
            weight = _dilated(weight, only.dilation)
    values = {
        field: np.concatenate([_value(graph, node, field) for node in targets])
        for field in ("threshold", "current_decay", "voltage_decay", "bias")
    }
    return ChainLayer(shape, hold(weight), stride, padding, groups, members=members, **values)


def _places(graph: Graph, nodes: list[Node]) -> dict[str, tuple[int, int]]:
    """Return the channels of each population when they are placed side by side."""
    sizes = {graph.facts(node.name).shape[1:] for node in nodes}
    if len(sizes) > 1:
        found = ", ".join(f"{n.name} {graph.facts(n.name).shape}" for n in nodes)
        _refuse(nodes[-1], f"NetX has one size of feature map in a layer, here meet {found}")
    places, start = {}, 0
    for node in nodes:
        stop = start + graph.facts(node.name).shape[0]
        places[node.name], start = (start, stop), stop
    return places


def _check_population(graph: Graph, node: Node) -> None:
    match node:
        case Relay() if not _is_spike_relay(graph, node):
            _refuse(node, "it sends graded messages, NetX's neurons send spikes")
        case Lif() | Readout() if node.bias.ndim > 1:
            _refuse(node, "its bias differs by position, NetX has one per channel")
        case Relay() | Lif() | Readout():
            return
        case _:
            _refuse(node, f"neuroport writes no layer of NetX for a {node.kind}")


def _is_spike_relay(graph: Graph, node: Relay) -> bool:
    facts = graph.facts(node.name)
    plain = node.shift == 0 and node.threshold == 0
    return plain and int(facts.reach_low.min()) >= 0 and int(facts.reach_high.max()) <= 1


def _value(graph: Graph, node: Node, field: str) -> IntArray:
    """Return the constants of the CUBA neuron that represents a population, one per channel."""
    channels = graph.facts(node.name).shape[0]
    passive = {"threshold": 0, "current_decay": 4096, "voltage_decay": 0, "bias": 0}
    match node:
        case Readout():
            passive["threshold"] = _unreachable(graph, node)
    found = getattr(node, field, None)
    return per_neuron(
        found if isinstance(found, np.ndarray) else np.array([passive[field]]), (channels,)
    )


def _unreachable(graph: Graph, node: Readout) -> int:
    """Return a threshold that the potential cannot exceed, so that it integrates like a readout."""
    facts = graph.facts(node.name)
    reach = max(int(facts.reach_high.max()), -int(facts.reach_low.min()))
    worst = (reach + int(np.abs(node.bias).max())) * graph.interval
    # a saturated potential exceeds 17 bits, but not 17 bits plus one (on the CPU only)
    return integers.THRESHOLD_MAX + int(worst > integers.THRESHOLD_MAX)


def _scale(node: Node) -> int:
    # twice the weight, because NetX drops the odd bit of a mixed-sign matrix; a relay fires at 0
    return 2 if node.emits == GRADED else 1


def _dilated(weight: IntArray, dilation: Pair) -> IntArray:
    """Return a dilated kernel with explicit zeros between its taps."""
    size = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    wide = np.zeros((*weight.shape[:2], *size), np.int64)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


def _convolution(
    graph: Graph,
    synapses: list[tuple[Node, Node]],
    places: dict[str, tuple[int, int]],
    members: dict[str, tuple[int, int]],
    source: Shape,
    target: Shape,
) -> tuple[IntArray, Pair, Pair]:
    """Return one kernel over all channels that contains every kernel of the layer."""
    kernels = []
    for synapse, node in synapses:
        synapse = graph.expect(synapse.name, Conv)  # no other synapse gives feature maps
        kernels.append(
            (synapse, node, _dilated(synapse.weight << synapse.exponent, synapse.dilation))
        )
    strides = {synapse.stride for synapse, _, _ in kernels}
    if len(strides) > 1:
        _refuse(kernels[-1][0], f"NetX has one stride in a layer, here meet {sorted(strides)}")
    (stride,) = strides
    padding = (
        max(synapse.padding[0] for synapse, _, _ in kernels),
        max(synapse.padding[1] for synapse, _, _ in kernels),
    )
    size = []
    for axis in (0, 1):
        least = max(padding[axis] - s.padding[axis] + w.shape[2 + axis] for s, _, w in kernels)
        # add zero taps at the end until the merged kernel gives as many rows as each kernel did
        span = source[1 + axis] + 2 * padding[axis]
        fitting = [
            k for k in range(least, span + 1) if (span - k) // stride[axis] + 1 == target[1 + axis]
        ]
        if not fitting:
            _refuse(
                kernels[-1][0], "no kernel of one padding does what the kernels of its layer do"
            )
        size.append(fitting[0])
    inputs = max(stop for _, stop in places.values())
    merged = np.zeros((target[0], inputs, *size), np.int64)
    for synapse, node, weight in kernels:
        start = members[node.name][0]
        y, x = (padding[axis] - synapse.padding[axis] for axis in (0, 1))
        each_out = len(weight) // synapse.groups
        each_in = weight.shape[1]
        for name in synapse.inputs:
            for group in range(synapse.groups):
                rows = slice(start + group * each_out, start + (group + 1) * each_out)
                left = places[name][0] + group * each_in
                part = weight[group * each_out : (group + 1) * each_out] * _scale(node)
                merged[
                    rows,
                    left : left + each_in,
                    y : y + weight.shape[2],
                    x : x + weight.shape[3],
                ] += part
    worst = int(np.abs(merged).max())
    if worst > CONV_WEIGHT_MAX:
        _refuse(kernels[0][0], f"a weight with its exponent is {worst}, too large for NetX")
    return merged, stride, padding


def _matrix(
    graph: Graph,
    synapses: list[tuple[Node, Node]],
    places: dict[str, tuple[int, int]],
    members: dict[str, tuple[int, int]],
    source: Shape,
) -> IntArray:
    each = int(np.prod(source[1:]))
    inputs = max(stop for _, stop in places.values()) * each
    merged = np.zeros((max(stop for _, stop in members.values()), inputs), np.int64)
    for synapse, node in synapses:
        synapse = graph.expect(synapse.name, Dense)
        start, stop = members[node.name]
        for name in synapse.inputs:
            left, right = (place * each for place in places[name])
            merged[start:stop, left:right] += (synapse.weight << synapse.exponent) * _scale(node)
    low, high = int(merged.min()), int(merged.max())
    first = synapses[0][0]
    if high <= 0:
        _refuse(first, f"its layer's weights span {low}..{high}; NetX corrupts such a matrix")
    if low < 0 and (np.any(merged & 1) and max(-low, high) > 127):
        _refuse(first, f"its layer's weights span {low}..{high}, some odd; NetX needs 9 bits")
    if (low < 0 and max(-low, high) > integers.WEIGHT_MAX) or high > 255:
        _refuse(first, f"its layer's weights span {low}..{high}; NetX clips them to 8 bits")
    return merged


def _refuse(node: Node, reason: str) -> NoReturn:
    raise IllegalError(f"{node.name}: {reason}; a stock NetX file cannot hold this network")
