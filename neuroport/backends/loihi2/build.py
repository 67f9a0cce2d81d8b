"""Build stock Lava processes that have hardware models from a lowered graph.

Imported by the worker only.

It differs from the CPU engine's builder in three points. Convolutions are ``Conv``, whose kernels
the chip stores once per core. Feature maps are (W, H, C)
(:mod:`~neuroport.backends.loihi2.axis_order`). Every population has its own copy of each input
synapse and source, because published runs on chips have several synapses into one ``a_in``, and one
``s_out`` into several synapses.

Frames enter through an adapter of the embedded processors, or as biases. Biases are passed to the
constructor as ``bias_mant``, Lava's variable. (A published benchmark sets ``neuron.bias = image``,
which creates a Python attribute that nothing reads, and so measures a network without its image.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lava.proc.conv.process import Conv as ConvProcess
from lava.proc.dense.process import Dense as DenseProcess
from lava.proc.lif.process import LIFReset

from neuroport.backends.lava_cpu.build import sign_mode
from neuroport.backends.lava_cpu.stock_relays import Constants
from neuroport.backends.loihi2.axis_order import (
    conv_arguments,
    dense_columns,
    lava_shape,
    to_lava,
)
from neuroport.backends.loihi2.processes.host import FrameFeed
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import SPIKES
from neuroport.graph.node import (
    Conv,
    IntArray,
    Lif,
    Node,
    Readout,
    Relay,
    Shape,
    Synapse,
    per_neuron,
)
from neuroport.graph.node_builders import bits_for
from neuroport.lowering.exponents import shifted
from neuroport.runs.recording import LIF_COUNT_MAX

GRADED_BITS = 24  # bits of a relay's messages


@dataclass
class BuiltNetwork:
    """Lava processes of populations, and the node that every process represents."""

    graph: Graph
    late: int
    populations: dict[str, Any] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)
    constants: Constants = field(default_factory=Constants)

    def flat(self, name: str) -> Any:
        """Return the output port of a population, flattened."""
        outlet = self.populations[name].s_out
        return outlet if len(outlet.shape) == 1 else outlet.flatten()

    @property
    def anchor(self) -> Any:
        """A process with which to run the network."""
        last = self.populations[self.graph.populations[-1].name]
        return getattr(last, "process", last)


def build(
    graph: Graph, frames: tuple[str, str], late: int, biases: dict[str, IntArray], again: bool
) -> BuiltNetwork:
    """Create and connect the processes of ``graph``.

    Args:
        frames: array files (steps, ...) of the frames, as feature maps (W, H, C) and flat.
        late: steps that the input's adapter takes.
        biases: biases of the populations that read the frames, if frames are not messages.
        again: whether the frames repeat after their end.
    """
    network = BuiltNetwork(graph, late)
    feeds: dict[bool, Any] = {}
    for node in graph.populations:
        shape = graph.facts(node.name).shape
        process = _population(network, node, shape, biases.get(node.name))
        network.populations[node.name] = process
        network.names[getattr(process, "process", process)] = node.name
        for synapse in graph.synapses_into(node.name):
            name, mapped = synapse.name, isinstance(synapse, Conv)
            for source in synapse.inputs:
                if source == graph.input.name:
                    if node.name in biases:
                        continue
                    if mapped not in feeds:
                        feeds[mapped] = _feed(network, frames[not mapped], mapped, again)
                    outlet = feeds[mapped]
                elif mapped:
                    outlet = network.populations[source].s_out
                else:
                    outlet = network.flat(source)
                source_shape = graph.facts(source).shape
                made = _synapse(graph, synapse, graph[source], source_shape)
                network.names[made] = f"{name} from {source} to {node.name}"
                outlet.connect(made.s_in)
                made.a_out.connect(process.a_in)
    network.names |= network.constants.names
    return network


def message_bits(graph: Graph, source: Node) -> int:
    """Return the bits of a sender's messages in Lava: 0 for spikes, else 8, 16 or 24, signed."""
    if source.takes:
        return 0 if source.emits == SPIKES else GRADED_BITS
    facts = graph.facts(source.name)
    low, high = int(facts.low.min()), int(facts.high.max())
    if (low, high) == (0, 1):
        return 0
    needed = 1 + bits_for(0, max(high, -low - 1))
    return next(bits for bits in (8, 16, 24) if needed <= bits)


def _feed(network: BuiltNetwork, path: str, mapped: bool, again: bool) -> Any:
    """Return the out-port of the adapter for frames, for convolutions or flat."""
    from lava.proc.embedded_io.spike import PyToN3ConvAdapter, PyToNxAdapter
    from lava.proc.io.encoder import Compression

    source = network.graph.input
    shape = lava_shape(source.shape) if mapped else (int(np.prod(source.shape)),)
    bits = message_bits(network.graph, source)
    feed = FrameFeed(path=path, shape=shape, again=again)
    if mapped:
        adapter = PyToN3ConvAdapter(
            shape=shape, num_message_bits=bits, spike_exp=0, compression=Compression.DENSE
        )
    else:
        adapter = PyToNxAdapter(shape=shape, num_message_bits=bits)
    feed.s_out.connect(adapter.inp)
    network.names |= {feed: source.name, adapter: f"adapter of {source.name}"}
    return adapter.out


def _population(network: BuiltNetwork, node: Node, shape: Shape, bias: IntArray | None) -> Any:
    graph = network.graph
    match node:
        case Relay():
            return network.constants.relay(node.name, lava_shape(shape), node.shift, node.threshold)
        case Lif():
            constants = {
                "du": int(node.current_decay.max()) - 1,  # Lava adds the one back
                "dv": int(node.voltage_decay.max()),
                "vth": int(node.threshold.max()),
            }
        case Readout():
            constants = {"du": 4095, "dv": 0, "vth": LIF_COUNT_MAX}  # it integrates and never fires
        case _:
            raise TypeError(f"{node.name}: this engine builds no {node.kind}")
    own = np.array(per_neuron(node.bias, shape)) if bias is None else bias
    return LIFReset(
        shape=lava_shape(shape),
        bias_mant=to_lava(own, shape).astype(np.int32),
        bias_exp=6,
        reset_interval=graph.interval,
        # Lava counts steps from 1
        reset_offset=graph.facts(node.name).input_latencies[0] + 1 + network.late,
        **constants,
    )


def _synapse(graph: Graph, node: Synapse, source: Node, shape: Shape) -> Any:
    bits = message_bits(graph, source)
    if isinstance(node, Conv):
        return ConvProcess(
            num_message_bits=bits, **conv_arguments(node.kernel, shifted(node), shape)
        )
    weight: IntArray = np.array(node.weight, np.int32)
    if source.takes:  # flat frames are in the graph's own order
        weight = dense_columns(weight, shape)
    return DenseProcess(
        weights=weight,
        weight_exp=node.exponent,
        num_message_bits=bits,
        sign_mode=sign_mode(node.weight),
    )
