"""Read stock NetX files, written by lava-dl 0.6, as integer graphs.

The layers of such a file become synapses and populations named ``layer<i>``. The integers in the
file are authoritative. Losses and omissions of NetX's own reader (wrongly rescaled weights,
truncated resonators) are not repeated. A layer that no graph can express is an error that names
layer and field.

Source: ``lava/lib/dl/netx/hdf5.py`` and ``lava/lib/dl/slayer/block/base.py`` of lava-dl 0.6.0.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.errors import FormatError, GraphError
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import span
from neuroport.graph.node import (
    Conv,
    Dense,
    Input,
    IntArray,
    LeakyReadout,
    Lif,
    Node,
    Pair,
    Readout,
    Relay,
    Shape,
)
from neuroport.graph.node_builders import identity, input_for
from neuroport.netx import schema
from neuroport.netx.field_reader import Entry
from neuroport.netx.neuron import input_bits, population
from neuroport.netx.pooling import pooled

WHAT = "a stock NetX file"
GIVEN = (
    "give your frames (--frames FILE; in Python frames=array, or frames=Input('input', ({}, H, W), "
    "bits=1))"
)
STEPS = "give steps, the T of your frames (--steps T), or the frames (--frames FILE)"
LARGEST_EYE = 1024
DEPTH = 4  # layer/0/weight/real


GivenFrames: TypeAlias = Node | npt.NDArray[Any] | None  # the input, or what shows it


def is_stock(path: str | os.PathLike[str]) -> bool:
    """Return whether the file holds layers of NetX and no neuroport graph."""

    def stock(file: h5py.File) -> bool:
        # a damaged file of neuroport must not pass for the NetX layers that lie beside its graph
        ours = "graph" in file or not {"format", "hash"}.isdisjoint(file.attrs)
        return schema.LAYERS in file and not ours

    return hdf5.read(path, "a neuroport network file", stock, bool)


def transform(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return ``(weight, bias)`` of the input layer.

    The host computes ``frames = weight * image + bias`` from an image of real numbers and truncates
    it to integers; NetX also leaves this to its caller. The frames are then the currents of the
    input neurons.
    """

    def build(content: Any) -> tuple[int, int]:
        first = _layers(content, os.fspath(path))[0]
        return first.integer("weight", 64), first.integer("bias", 0)

    return hdf5.read(path, WHAT, lambda file: _content(file, path), build)


def _content(file: h5py.File, path: str | os.PathLike[str]) -> dict[str, Any]:
    found = {}
    for name in (schema.LAYERS, "simulation"):
        group = file.get(name)
        if isinstance(group, h5py.Group):
            found[name] = hdf5.plain_tree(group, f"{path}: {name}", os.path.getsize(path), DEPTH)
    return found


def _layers(content: dict[str, Any], path: str) -> list[Entry]:
    layers = content.get(schema.LAYERS)
    if not layers:
        raise FormatError(f"{path}: its group 'layer' is empty; not {WHAT}")
    top = Entry(layers, f"{path}: {schema.LAYERS}")
    entries = [top.child(str(index)) for index in range(len(layers))]
    top.finish()
    return entries


def _graph(content: Any, path: str, steps: int | None, frames: GivenFrames) -> Graph:
    if isinstance(frames, np.ndarray) and steps is None and frames.ndim:
        steps = len(frames)
    chain = _Chain(frames)
    for index, entry in enumerate(_layers(content, path)):
        kind = entry.text(schema.TYPE)
        entry.where += f" ({kind})"
        match kind:
            case "input":
                chain.input(index, entry)
            case "flatten":
                chain.flatten(entry)
            case "conv":
                chain.conv(index, entry)
            case "dense" | "dense_rec":
                chain.dense(index, entry, recurrent=kind == "dense_rec")
            case "pool":
                chain.pool(index, entry)
            case "average":
                chain.average(index, entry)
            case "convT" | "unpool":
                entry.refuse(
                    schema.TYPE,
                    f"is {kind}, no convolution of what it reads; give port.quantize the SLAYER "
                    "network itself",
                )
            case _:
                entry.refuse(schema.TYPE, "is a layer that neuroport does not know")
        entry.finish()
    chain.end(path)
    simulation = Entry(content.get("simulation", {}), f"{path}: simulation")
    if steps is None and simulation.has("tSample"):
        steps = simulation.integer("tSample")
    if steps is None:
        raise FormatError(f"{path}: does not say how many steps a sample lasts; {STEPS}")
    try:
        graph = _with_readouts(Graph(chain.nodes, steps))
    except GraphError as error:
        raise FormatError(f"{path}: {error.message}; the file cannot be run") from error
    for name, shape in chain.shapes.items():
        if graph.facts(name).shape != shape:
            raise FormatError(
                f"{path}: {name}: field shape is {shape}, its weight and its input make it "
                f"{graph.facts(name).shape}; export the network again"
            )
    return graph


class _Chain:
    """The nodes so far, and the input of the next layer.

    Delays that no synapse of the layer itself can hold (of feature maps, and of layers with a bias)
    were removed before (:mod:`neuroport.netx.unread_fields`).
    """

    def __init__(self, frames: GivenFrames) -> None:
        self.nodes: list[Node] = []
        self.frames = frames if isinstance(frames, Input) else None
        self.given = input_of(frames) if isinstance(frames, np.ndarray) else None
        self.source = ""
        self.shape: Shape = ()
        self.shapes: dict[str, Shape] = {}  # as the file has them

    def add(self, node: Node, shape: Shape) -> str:
        self.nodes.append(node)
        self.source, self.shape = node.name, shape
        return node.name

    def begin(self, node: Input, entry: Entry) -> None:
        """Add the input; an input of the caller replaces that of the file."""
        if self.given is not None and not node.signed:  # the range of frames, not their shape
            node = replace(node, bits=self.given.bits, signed=self.given.signed)
        given = self.frames or node
        if given.shape != node.shape:
            entry.refuse("shape", f"is {node.shape}, the frames that you give are {given.shape}")
        self.add(given, given.shape)

    # -- layers ----------------------------------------------------------------------------

    def input(self, index: int, entry: Entry) -> None:
        shape = entry.sizes("shape")
        if index:
            entry.refuse(schema.TYPE, "stands behind another layer")
        if not entry.has(schema.NEURON):
            self.begin(Input("input", shape, bits=1), entry)
            return
        entry.pass_over("weight", "bias")  # the host's transform
        neuron = entry.child(schema.NEURON)
        self.begin(Input("input", shape, bits=input_bits(neuron), signed=True), entry)
        if len(shape) < 3 and int(np.prod(shape)) > LARGEST_EYE:
            entry.refuse("shape", f"is {shape}: neurons in rows of up to {LARGEST_EYE}")
        synapse = self.add(identity(f"layer{index}.synapse", self.source, shape), shape)
        flat = shape if len(shape) == 3 else (int(np.prod(shape)),)
        self.add(population(f"layer{index}", synapse, neuron, None, first=True), flat)

    def flatten(self, entry: Entry) -> None:
        sizes = entry.sizes("shape")
        if self.shape and np.prod(sizes) != np.prod(self.shape):
            entry.refuse("shape", f"is {sizes}, its input {self.shape}")

    def conv(self, index: int, entry: Entry) -> None:
        shape = entry.sizes("shape")
        entry.pass_over("inChannels", "outChannels", "kernelSize")  # the weight says them
        stride, padding = entry.pair("stride", 1), entry.pair("padding", 0)
        dilation, groups = entry.pair("dilation", 1), entry.integer("groups", 1)
        weight, is_complex = self._weight(entry)
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        if weight.ndim != 4 or len(shape) != 3:
            entry.refuse("weight", f"is {weight.shape}; it must be (O, I/groups, kH, kW)")
        if is_complex and groups > 1:
            entry.refuse("groups", "splits complex channels, which no graph expresses")
        if not self.nodes:
            self._open(entry, shape, weight, stride, padding, dilation, groups)
        self._convolve(index, entry, weight, is_complex, stride, padding, dilation, groups)

    def pool(self, index: int, entry: Entry) -> None:
        """Add SLAYER's pooling as a convolution of each channel; NetX builds none."""
        entry.pass_over("kernelSize")  # the weight says it
        weight, is_complex = self._weight(entry)
        if is_complex:
            entry.refuse("weight", "pools complex channels, which no graph expresses")
        if not self.nodes:
            given = self._maps()
            if given is None:
                entry.refuse("shape", f"leaves the size of the input open; {GIVEN.format('C')}")
            self.add(given, given.shape)
        stride, padding = entry.pair("stride", 0), entry.pair("padding", 0)
        weight, padding = pooled(
            entry, weight, self.shape, stride, padding, entry.pair("dilation", 1)
        )
        self._convolve(index, entry, weight, False, stride, padding, (1, 1), self.shape[0])

    def _convolve(
        self,
        index: int,
        entry: Entry,
        weight: IntArray,
        is_complex: bool,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> None:
        """Add a convolution and its neurons."""
        shape = entry.sizes("shape")
        name = f"layer{index}"
        node = Conv(
            f"{name}.synapse",
            (self.source,),
            weight,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        self.add(node, shape)
        self._neurons(name, entry, shape, is_complex)
        self._delay(entry, shape, None)

    def dense(self, index: int, entry: Entry, *, recurrent: bool) -> None:
        count = int(np.prod(entry.sizes("shape")))
        entry.pass_over("inFeatures", "outFeatures")  # the weight says them
        weight, is_complex = self._weight(entry)
        rows = 2 * count if is_complex else count
        if weight.ndim == 1:  # NetX stores a single row flat
            weight = weight.reshape(rows, -1) if weight.size % rows == 0 else weight
        if weight.ndim != 2 or len(weight) != rows:
            entry.refuse("weight", f"is {weight.shape}; {count} neurons need as many rows")
        if not self.nodes:
            self.begin(Input("input", (weight.shape[1],), bits=1), entry)
        name = f"layer{index}"
        self.add(Dense(f"{name}.synapse", (self.source,), weight), (count,))
        own = None
        if recurrent:
            own = entry.integers("weight_rec").reshape(-1)
            if own.size != count * count:
                entry.refuse("weight_rec", f"holds {own.size} weights, not {count} x {count}")
            if entry.has("delay"):
                entry.refuse("delay", "of a recurrent layer: NetX scales its weights wrongly")
            own = own.reshape(count, count)
        self._neurons(name, entry, (count,), is_complex, own)
        self._delay(entry, (count,), weight)

    def average(self, index: int, entry: Entry) -> None:
        """Add the number of spikes of each group, as graded messages.

        This is SLAYER's mean times the size of the group.
        """
        count, inputs = int(np.prod(entry.sizes("shape"))), int(np.prod(self.shape or (0,)))
        if inputs == 0 or inputs % count:
            entry.refuse("shape", f"asks for {count} groups of {inputs} neurons")
        weight = np.repeat(np.eye(count, dtype=np.int64), inputs // count, axis=1)
        synapse = Dense(f"layer{index}.synapse", (self.source,), weight)
        self.add(synapse, (count,))
        self.add(Relay(f"layer{index}", (synapse.name,)), (count,))

    def end(self, path: str) -> None:
        """Refuse a chain without a layer."""
        if len(self.nodes) < 2:
            raise FormatError(f"{path}: holds no layer that computes")

    # -- parts -----------------------------------------------------------------------------

    def _weight(self, entry: Entry) -> tuple[IntArray, bool]:
        """Return weights as stored; if they are complex, real rows above imaginary rows."""
        if not entry.is_group("weight"):
            return entry.integers("weight"), False
        parts = entry.child("weight")
        real, imag = parts.integers("real"), parts.integers("imag")
        parts.finish()
        if real.shape != imag.shape:
            entry.refuse("weight", f"has real {real.shape} and imaginary {imag.shape} parts")
        return np.concatenate([real, imag]), True

    def _neurons(
        self,
        name: str,
        entry: Entry,
        shape: Shape,
        is_complex: bool,
        own: IntArray | None = None,
    ) -> None:
        bias = entry.integers("bias") if entry.has("bias") else None
        if entry.has(schema.NEURON):
            neuron = entry.child(schema.NEURON)
            node = population(name, self.source, neuron, bias, own=own, is_complex=is_complex)
        elif bias is not None and bias.any():
            entry.refuse("bias", "of a layer without neurons would not be integrated by NetX")
        elif own is not None or is_complex:
            entry.refuse(schema.NEURON, "is missing")
        else:
            node = Readout(name, (self.source,))
        self.shapes[name] = shape
        self.add(node, shape)

    def _delay(self, entry: Entry, shape: Shape, weight: IntArray | None) -> None:
        """Apply the layer's delays, per synapse, per input or per neuron, to its synapse.

        Without a bias, delaying a layer's input delays its output.
        """
        if not entry.has("delay"):
            return
        delay = entry.integers("delay")
        if int(delay.min()) < 0:
            entry.refuse("delay", f"is {delay.min()}; a delay is 0 or more steps")
        if weight is not None and delay.shape == weight.shape:
            self._into_synapse(delay)
            return
        late = delay.reshape(-1)
        if late.size in (1, shape[0]):
            if weight is not None:
                late = np.broadcast_to(late, shape[:1])
                rows = np.tile(late, len(weight) // len(late))  # real and imaginary rows alike
                self._into_synapse(np.broadcast_to(rows[:, None], weight.shape))
        elif weight is not None and late.size == weight.shape[1]:
            self._into_synapse(np.broadcast_to(late, weight.shape))
        else:
            entry.refuse("delay", f"is {delay.shape}, neither per channel nor per input")

    def _into_synapse(self, delay: IntArray) -> None:
        synapse = self.nodes[-2]
        assert isinstance(synapse, Dense)
        self.nodes[-2] = synapse.replace(delay=synapse.delay + delay)

    def _open(
        self,
        entry: Entry,
        shape: Shape,
        weight: IntArray,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        """Return the input of a file that begins with a convolution."""
        channels = weight.shape[1] * groups
        if self.frames is not None:
            self.add(self.frames, self.frames.shape)
        elif max(stride) > 1:
            given = self._maps()
            if given is None:
                entry.refuse(
                    "shape",
                    "leaves the size of the input open, because of the stride; "
                    + GIVEN.format(channels),
                )
            self.add(given, given.shape)
        else:
            size = tuple(
                n - 2 * p + d * (k - 1)
                for n, p, d, k in zip(shape[1:], padding, dilation, weight.shape[2:], strict=True)
            )
            self.begin(Input("input", (channels, *size), bits=1), entry)

    def _maps(self) -> Input | None:
        """Return the caller's input if it has feature maps."""
        given = self.frames or self.given
        return given if given is not None and len(given.shape) == 3 else None


def input_of(frames: npt.NDArray[Any], name: str = "input") -> Input | None:
    """Return the input node for integer frames (T, N, *shape): spikes or graded messages.

    None for other frames, which :func:`neuroport.runs.frames.check_frames` reports.
    """
    if frames.ndim < 3 or frames.dtype.kind not in "iub" or frames.size == 0:
        return None
    shape = tuple(frames.shape[2:])
    return input_for(name, shape, int(frames.min()), int(frames.max()), bits=8)


def _with_readouts(graph: Graph) -> Graph:
    """Replace integrating neurons that provably never fire by readouts.

    Their voltage, the sum of currents and biases, is the output. It stays below the threshold by
    the proven bounds, or because the threshold exceeds every possible voltage.
    """
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Lif) and int(node.threshold.min()) >= integers.THRESHOLD_MAX:
            plain = not node.voltage_decay.any() and np.all(node.current_decay == 4096)
            if plain and _never_fires(graph, node):
                nodes.append(Readout(node.name, node.inputs, node.bias))
                continue
            if int(node.threshold.min()) > integers.THRESHOLD_MAX:
                decays = (node.current_decay, node.voltage_decay)
                nodes.append(LeakyReadout(node.name, node.inputs, *decays, node.bias))
                continue
            if int(node.threshold.max()) > integers.THRESHOLD_MAX:
                raise GraphError(
                    f"{node.name}: vThMant is {span(node.threshold)}: some of its neurons never "
                    "fire, and some may; use one threshold"
                )
        nodes.append(node)
    return Graph(nodes, graph.steps)


def _never_fires(graph: Graph, node: Lif) -> bool:
    if int(node.threshold.min()) > integers.THRESHOLD_MAX:
        return True
    facts = graph.facts(node.name)
    reach = max(-int(facts.reach_low.min()), int(facts.reach_high.max()))
    return (reach + int(np.abs(node.bias).max())) * graph.steps <= integers.THRESHOLD_MAX
