"""Read the network of a stock file, including fields that NetX itself does not read.

This module handles fields that :mod:`neuroport.netx.stock` refuses, because a chain of nodes cannot
hold them. ``neuron/weight_exp`` becomes part of thresholds and synapses. Delays per channel, of
convolutions and of layers with a bias, become delays of the layers that read them.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from neuroport import hdf5
from neuroport.errors import FormatError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    IntArray,
    Lif,
    Node,
    Relay,
    Shape,
    Synapse,
)
from neuroport.graph.node_builders import identity
from neuroport.netx import layer_starts, schema, stock
from neuroport.netx.field_reader import LARGEST
from neuroport.netx.stock import GivenFrames

LARGEST_POWER = 3  # SLAYER's WgtScaleBatchNorm clamps there, and exports the unclamped power
T = TypeVar("T")
Layers = dict[int, dict[str, Any]]
Path = str | os.PathLike[str]


def repaired(
    path: Path,
    *,
    steps: int | None = None,
    frames: GivenFrames = None,
    delay_shift: bool = False,
    free_running: bool = False,
) -> Graph:
    """Return the graph of a stock file, with SLAYER's meaning.

    Args:
        steps, frames: see :func:`neuroport.netx.read`.
        delay_shift, free_running: see :func:`neuroport.netx.read`.

    Raises:
        StorageError, FormatError: see there; also for a ``weight_exp`` that no graph can express.
    """

    def build(content: Content) -> Graph:
        if free_running:
            plain = content.graph(steps, frames)
            return layer_starts.free_running(plain, hosted=content.hosted)
        return replace(content, delay_shift=delay_shift).graph(steps, frames)

    return opened(path, build)


def opened(path: Path, build: Callable[[Content], T]) -> T:
    """Return ``build`` of the file's content, tried in a child first, as files are untrusted."""
    name = os.fspath(path)
    return hdf5.read(
        path,
        stock.WHAT,
        lambda file: stock._content(file, path),
        lambda groups: build(Content(name, groups)),
    )


@dataclass(frozen=True, eq=False)
class Content:
    """The content of a stock file: groups as dictionaries, and settings that the file lacks.

    ``delay_shift``: whether SLAYER trained it with blocks whose output is one step late.
    """

    path: str
    groups: dict[str, Any]
    delay_shift: bool = False

    @property
    def layers(self) -> Layers:
        return {
            index: each.values for index, each in enumerate(stock._layers(self.groups, self.path))
        }

    @property
    def hosted(self) -> bool:
        """Whether the network begins with neurons without a synapse, driven by the host."""
        first = plain(self.layers[0])
        return first.get(schema.TYPE) == "input" and schema.NEURON in first

    def graph(
        self,
        steps: int | None,
        frames: GivenFrames,
        without: Container[tuple[str, int]] = (),
    ) -> Graph:
        """Return the network; ``without`` holds ignored (field, layer), which NetX ignores, too."""
        groups = copy.deepcopy(self.groups)
        powers: dict[int, int] = {}
        delays: dict[int, IntArray] = {}
        for index, layer in Content(self.path, groups).layers.items():
            if power := _power(self.path, index, layer):
                powers[index] = power
            late = delay_per_channel(layer)
            if late is not None:
                del layer["delay"]
                delays[index] = late
        graph = stock._graph(groups, self.path, steps, frames)
        for index, power in powers.items():
            if ("weight_exp", index) not in without:
                graph = _scaled(self.path, graph, index, power)
        for index, late in delays.items():
            if ("delay", index) not in without:
                graph = _delayed(graph, f"layer{index}", late)
        return layer_starts.shifted(graph) if self.delay_shift else graph


def delay_per_channel(layer: dict[str, Any]) -> IntArray | None:
    """Return delays of feature maps or of a dense layer with a bias, which NetX gets wrong."""
    layer = plain(layer)
    kind = layer.get(schema.TYPE)
    delay: Any = layer.get("delay")
    bias: Any = layer.get("bias")
    shape: Any = layer.get("shape")
    if kind not in ("conv", "pool", "dense") or not _numbers(delay) or not _numbers(shape):
        return None
    if kind == "dense" and not (_numbers(bias) and bias.any()):
        return None
    sizes = shape.reshape(-1)
    channels = int(np.prod(sizes) if kind == "dense" else sizes[0])
    late = delay.reshape(-1)
    sound = late.size in (1, channels) and np.all((late >= 0) & (late == np.round(late)))
    return np.broadcast_to(late.astype(np.int64), (channels,)) if sound else None


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a layer that are words, 32-bit numbers, or groups of these."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found[name] = plain(value)
        elif isinstance(value, str) or _numbers(value):
            found[name] = value
    return found


def _numbers(value: Any) -> bool:
    if not isinstance(value, np.ndarray) or value.size == 0 or value.dtype.kind not in "iufb":
        return False
    return bool(np.all(np.abs(value.astype(np.float64)) < LARGEST))


def _power(path: str, index: int, layer: dict[str, Any]) -> int:
    """Remove and return ``weight_exp``; 0 if there is none."""
    neuron = layer.get(schema.NEURON)
    if not isinstance(neuron, dict):
        return 0
    found: Any = neuron.get("weight_exp")
    if not _numbers(found) or found.size != 1 or found.flat[0] != np.round(found.flat[0]):
        return 0
    power = int(found.flat[0])
    if abs(power) > LARGEST_POWER:
        raise FormatError(
            f"{path}: layer/{index}/neuron: field weight_exp is {power}; SLAYER computed with at "
            f"most {LARGEST_POWER} unless told otherwise, and the file does not say what with; "
            "capture the SLAYER network itself"
        )
    del neuron["weight_exp"]
    return power


def _scaled(path: str, graph: Graph, index: int, power: int) -> Graph:
    """Multiply thresholds by ``2**power``, instead of dividing currents by it."""
    lif = graph[f"layer{index}"]
    where = f"{path}: layer/{index}/neuron: field weight_exp is {power}"
    if not isinstance(lif, Lif):
        raise FormatError(f"{where}, of neurons that are not CUBA; capture the SLAYER network")
    forgets = bool(np.all(lif.current_decay == 4096))
    if not forgets or (power > 0 and lif.voltage_decay.any()):
        raise FormatError(
            f"{where}, of neurons that leak: SLAYER scaled their decayed current, on a grid that "
            "no neuron has; train with current_decay=1 and voltage_decay=0, or MeanOnlyBatchNorm"
        )
    if power > 0:
        return _replaced(graph, {lif.name: lif.replace(threshold=lif.threshold << power)})
    (synapse,) = (graph[name] for name in lif.inputs)
    assert isinstance(synapse, Synapse)
    return _replaced(
        graph,
        {
            lif.name: lif.replace(bias=lif.bias << -power),
            synapse.name: synapse.replace(exponent=synapse.exponent - power),
        },
    )


def _replaced(graph: Graph, nodes: dict[str, Node]) -> Graph:
    return Graph([nodes.get(node.name, node) for node in graph], graph.steps)


def _delayed(graph: Graph, name: str, late: IntArray) -> Graph:
    """Delay the messages of ``name`` by ``late`` steps, one number per channel."""
    if not late.any():
        return graph
    shape = graph.facts(name).shape
    nodes: list[Node] = []
    split: dict[str, tuple[str, ...]] = {}  # synapse -> the synapses that it became
    delays: set[int] = set()
    for node in graph:
        if any(source in split for source in node.inputs):
            inputs = tuple(part for source in node.inputs for part in split.get(source, (source,)))
            node = node.replace(inputs=inputs)
        if name not in node.inputs:
            nodes.append(node)
            continue
        parts = _parts(node, name, shape, late)
        for steps, part in parts:
            if steps and steps not in delays:
                delays.add(steps)
                nodes.append(Delay(f"{name}.delay{steps}", (name,), steps))
            nodes.append(part)
        split[node.name] = tuple(part.name for _, part in parts)
    if not split:  # the last layer: the output itself is late
        synapse = identity(f"{name}.delayed.synapse", name, shape)
        parts = _parts(synapse, name, shape, late)
        for steps, part in parts:
            if steps:
                nodes.append(Delay(f"{name}.delay{steps}", (name,), steps))
            nodes.append(part)
        nodes.append(Relay(f"{name}.delayed", tuple(part.name for _, part in parts)))
    return Graph(nodes, graph.steps)


def _parts(node: Node, name: str, shape: Shape, late: IntArray) -> list[tuple[int, Node]]:
    """Yield synapses that read ``name`` with one delay each and that sum to ``node``."""
    match node:
        case Dense():
            each = np.repeat(late, int(np.prod(shape)) // len(late))
            delay = np.broadcast_to(node.delay, node.weight.shape) + each
            return [(0, node.replace(delay=delay))]
        case Conv():
            return _kernels(node, name, late)
    raise TypeError(f"{node.name}: a {node.kind} takes no late messages")


def _kernels(node: Conv, name: str, late: IntArray) -> list[tuple[int, Node]]:
    outputs, each_in = node.weight.shape[:2]
    group = np.arange(outputs) // (outputs // node.groups)
    channel = group[:, None] * each_in + np.arange(each_in)
    found: list[tuple[int, Node]] = []
    for steps in map(int, np.unique(late)):
        weight = node.weight * (late[channel] == steps)[:, :, None, None]
        source = f"{name}.delay{steps}" if steps else name
        inputs = tuple(source if read == name else read for read in node.inputs)
        own = node.name if not found else f"{node.name}{len(found)}"
        found.append((steps, node.replace(name=own, inputs=inputs, weight=weight)))
    return found
