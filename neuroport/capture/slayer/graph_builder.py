"""Nodes of the graph as blocks are read one after the other.

The graph has no step between blocks, SLAYER has one where ``delay_shift`` is set. What a block
sends is therefore known as :class:`~neuroport.capture.currents.MessageSum`: nodes whose messages
are summed, their delays, and by how many steps SLAYER has it later (``shift``). Delays become nodes
or delays of synapses where they are consumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from neuroport.capture.currents import MessageSum, NodeMessages
from neuroport.capture.forward import INPUT
from neuroport.capture.slayer.neurons import NeuronMapping
from neuroport.capture.slayer.weights import Linear, as_matrix, parts, section
from neuroport.errors import CaptureError
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    IntArray,
    Node,
    Relay,
    Shape,
    Synapse,
)
from neuroport.graph.node_builders import identity


@dataclass(frozen=True, eq=False)
class Probe:
    """The place in the SLAYER network whose output equals that of a population of the graph.

    Attributes:
        call: the call of a block in which it runs, as ``forward`` was read.
        module: its output (N, *shape, T), or all its outputs in that call, one after the other.
        shift: steps by which SLAYER has it later.
        unit: what SLAYER's 1.0 is in the graph.
    """

    name: str
    kind: str
    call: str
    module: nn.Module
    shift: int
    unit: int


class Assembly:
    """The nodes so far."""

    def __init__(self, shape: Shape) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {INPUT: shape}  # as the graph has them
        self.probes: list[Probe] = []
        self.read: set[str] = set()  # nodes that a synapse reads
        self._delays: set[str] = set()

    def is_flat(self, value: MessageSum, linear: Linear | None = None) -> bool:
        """Return whether the graph must hold a map's output for ``value`` as a flat vector."""
        if linear is not None and linear.is_matrix:
            return len(linear.target) > 1
        flat = [len(self.shapes[term.node]) == 1 for term in value.terms]
        return len(value.shape) == 3 and any(flat)

    def connect(self, name: str, value: MessageSum, linear: Linear, exponent: int) -> list[str]:
        """Synapses that deliver ``linear`` of ``value``; their names, to be summed."""
        if self.is_flat(value, linear):
            linear = as_matrix(name, linear)
        names: list[str] = []
        for terms in self._alike(value):
            delay = terms[0].delay
            own = section(linear, value, terms[0])
            for weight in parts(name, own.weight):
                part = replace(own, weight=weight)
                if delay is None or np.all(delay == delay[0]):
                    steps = 0 if delay is None else int(delay[0])
                    self._synapse(name, names, self._late(terms, steps), part, exponent)
                elif part.is_matrix:
                    inputs = tuple(term.node for term in terms)
                    late = np.broadcast_to(delay, weight.shape)
                    self._synapse(name, names, inputs, part, exponent, late)
                else:
                    self._by_channel(name, names, terms, delay, part, exponent)
        return names

    def populate(
        self,
        name: str,
        inputs: list[str],
        shape: Shape,
        made: NeuronMapping,
        probe: nn.Module,
        shift: int,
    ) -> MessageSum:
        """Add the population and give what it sends."""
        twin = next((heard.name for heard in self.probes if heard.module is probe), None)
        if twin is not None and getattr(probe, "persistent_state", False):
            raise CaptureError(
                f"block {name!r} shares its neurons with {twin!r}, and they keep their state from "
                "one call to the next; give each block its own"
            )
        node = made.make(name, tuple(inputs))
        self.nodes.append(node)
        self.shapes[name] = self._shape_of(inputs[0], made.is_complex)
        self.probes.append(Probe(name, made.kind, name, probe, shift, made.unit))
        return MessageSum((NodeMessages(name),), shape, shift, made.unit)

    def relay(self, name: str, value: MessageSum, probe: nn.Module) -> None:
        """A population that sends the delayed messages of a block which no other block reads."""
        term = value.terms[0]
        assert term.delay is not None
        shape = self.shapes[term.node]
        each = term.delay.reshape(value.shape[0], -1)[:, 0]
        if len(shape) == 3:
            weight = np.ones((shape[0], 1, 1, 1), np.int64)
            linear = Linear(weight, shape, shape, groups=shape[0])
            names: list[str] = []
            self._by_channel(name, names, [term], np.repeat(each, shape[1] * shape[2]), linear, 0)
        else:
            size = shape[0]
            eye = np.eye(size, dtype=np.int64)
            linear = Linear(eye, shape, shape)
            names = []
            delay = np.broadcast_to(term.delay, eye.shape)
            self._synapse(name, names, (term.node,), linear, 0, delay)
        self.nodes.append(Relay(name, tuple(names)))
        self.shapes[name] = shape
        call = name.removesuffix(".delayed")
        self.probes.append(Probe(name, "relay", call, probe, value.shift, value.unit))

    def unity(self, name: str, source: str) -> str:
        """A synapse that delivers messages unchanged."""
        shape = self.shapes[source]
        if len(shape) not in (1, 3):
            raise CaptureError(f"frames of shape {shape}; use (C,) or (C, H, W)")
        self.nodes.append(identity(f"{name}.synapse", source, shape))
        self.shapes[f"{name}.synapse"] = shape
        return f"{name}.synapse"

    # -- parts ---------------------------------------------------------------------------------

    def _shape_of(self, current: str, is_complex: bool) -> Shape:
        first, *others = self.shapes[current]
        return (first // 2 if is_complex else first, *others)

    def _alike(self, value: MessageSum) -> list[list[NodeMessages]]:
        """Terms that one synapse can read: of one shape, one delay and the same channels."""
        groups: dict[tuple[Shape, bytes, object], list[NodeMessages]] = {}
        for term in value.terms:
            delay = b"" if term.delay is None or not term.delay.any() else term.delay.tobytes()
            self.read.add(term.node)
            kept = term if delay else replace(term, delay=None)
            groups.setdefault((self.shapes[term.node], delay, term.part), []).append(kept)
        return list(groups.values())

    def _late(self, terms: list[NodeMessages], steps: int) -> tuple[str, ...]:
        """Names of the terms' messages, ``steps`` later."""
        if steps == 0:
            return tuple(term.node for term in terms)
        found = []
        for term in terms:
            name = f"{term.node}.delay{steps}"
            if name not in self._delays:
                self._delays.add(name)
                self.nodes.append(Delay(name, (term.node,), steps))
                self.shapes[name] = self.shapes[term.node]
            found.append(name)
        return tuple(found)

    def _by_channel(
        self,
        name: str,
        names: list[str],
        terms: list[NodeMessages],
        delay: IntArray,
        linear: Linear,
        exponent: int,
    ) -> None:
        """A convolution per delay, of the channels that have it."""
        each = delay.reshape(linear.source[0], -1)[:, 0]
        outputs, each_in = linear.weight.shape[:2]
        group = np.arange(outputs) // (outputs // linear.groups)
        channel = group[:, None] * each_in + np.arange(each_in)  # that a weight reads
        for steps in np.unique(each):
            weight = linear.weight * (each[channel] == steps)[:, :, None, None]
            part = replace(linear, weight=weight)
            self._synapse(name, names, self._late(terms, int(steps)), part, exponent)

    def _synapse(
        self,
        name: str,
        names: list[str],
        inputs: tuple[str, ...],
        linear: Linear,
        exponent: int,
        delay: IntArray | None = None,
    ) -> None:
        node_name = f"{name}.synapse" + (str(len(names)) if names else "")
        node: Synapse
        if linear.is_matrix:
            late = np.zeros(1, np.int64) if delay is None else delay
            node = Dense(node_name, inputs, linear.weight, exponent, late)
            self.shapes[node_name] = (len(linear.weight),)
        else:
            node = Conv(
                node_name,
                inputs,
                linear.weight,
                exponent,
                linear.stride,
                linear.padding,
                linear.dilation,
                linear.groups,
            )
            self.shapes[node_name] = (len(linear.weight), *linear.target[1:])
        self.nodes.append(node)
        names.append(node_name)
