"""A graph of integer nodes; everything derivable is computed once, when it is built.

*Ideal time*: synapses take no time; this defines the network's answer. *Chip time*: each synapse
takes one step. ``skew`` is the number of steps by which a node lags in chip time: the longest path
counted in synapses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import reduce

import numpy as np

from neuroport.errors import GraphError
from neuroport.graph import integers
from neuroport.graph.blocks import blocks
from neuroport.graph.linear import Box, Budget, Current, Sum, reach
from neuroport.graph.node import (
    KIND,
    Adaptive,
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Conv,
    Delay,
    Delta,
    Dense,
    Input,
    IntArray,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
    ResonateFire,
    Resonator,
    SelfConnected,
    Shape,
    Sigma,
    SigmaDelta,
    is_array,
    is_population,
)
from neuroport.graph.text import fields_text


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What follows from a node and its inputs.

    ``low`` and ``high`` bound the node's output per channel (worst case over every input the graph
    permits; low <= 0 <= high, so what reads 0 at a border or before the first step is within);
    ``reach_low`` and ``reach_high`` bound what arrives at the node, summed. Convolutions of what
    relays pass on are bounded as one linear map (:mod:`neuroport.graph.linear`). ``skews``
    lists the skews of the inputs: unequal ones must be balanced before a run in chip time.
    """

    shape: Shape
    wire: str
    skew: int
    skews: tuple[int, ...]
    low: IntArray
    high: IntArray
    reach_low: IntArray
    reach_high: IntArray

    @property
    def graded(self) -> bool:
        """Whether the node can send anything but 0 and 1."""
        return int(self.low.min()) < 0 or int(self.high.max()) > 1


class Graph:
    """Nodes in topological order, checked and annotated.

    Args:
        nodes: every node after the nodes it names as inputs.
        steps: number of steps T a sample lasts; states reset between samples.
        interval: steps from the start of a sample to that of the next in chip time, T or more.

    Raises:
        GraphError: naming the node, the field and the fix.
    """

    __slots__ = ("_facts", "_hash", "_named", "interval", "nodes", "steps")

    def __init__(self, nodes: Iterable[Node], steps: int, interval: int | None = None) -> None:
        self.nodes: tuple[Node, ...] = tuple(nodes)
        if not isinstance(steps, (int, np.integer)) or steps < 1:
            raise GraphError(
                f"steps is {steps!r}; a sample lasts a whole number of steps, 1 or more"
            )
        self.steps = int(steps)
        period = self.steps if interval is None else interval
        if type(period) is bool or not isinstance(period, (int, np.integer)) or period < steps:
            raise GraphError(
                f"interval is {interval!r}; samples follow each other every so many whole steps, "
                f"{steps} or more"
            )
        self.interval = int(period)
        self._facts: dict[str, Facts] = {}
        self._hash: str | None = None
        linear = _Linear()
        for node in self.nodes:
            _check_types(node)
            if not node.name or node.name in self._facts:
                raise GraphError(f"node name {node.name!r} is empty or used twice; rename one")
            self._facts[node.name] = linear.narrowed(node, self._derive(node))
        self._named = {node.name: node for node in self.nodes}
        if not any(isinstance(node, Input) for node in self.nodes):
            raise GraphError("the graph has no input; add an Input node")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self._named[name]

    def __str__(self) -> str:
        """One line per node, stable, so that passes can be compared with diff."""
        interval = f" interval={self.interval}" if self.interval != self.steps else ""
        lines = [
            f"graph {self.hash[:12]} steps={self.steps}{interval} nodes={len(self)} "
            f"depth={self.depth}"
        ]
        width = max(len(node.name) for node in self)
        kinds = max(8, *(len(KIND[type(node)]) + 1 for node in self))
        for node in self:
            facts = self.facts(node.name)
            shape = "x".join(str(n) for n in facts.shape)
            source = f" <- {' + '.join(node.inputs)}" if node.inputs else ""
            lines.append(
                f"{KIND[type(node)]:{kinds}}{node.name:{width}}  {shape:10} @{facts.skew:<3} "
                f"{fields_text(node)}{source}"
            )
        return "\n".join(lines)

    def facts(self, name: str) -> Facts:
        """Shape, wire, skew and value interval of a node."""
        return self._facts[name]

    @property
    def input(self) -> Input:
        """The one input of the graph."""
        found = [node for node in self.nodes if isinstance(node, Input)]
        if len(found) != 1:
            raise GraphError(f"{len(found)} inputs; neuroport runs graphs with exactly one")
        return found[0]

    @property
    def populations(self) -> tuple[Node, ...]:
        """Every node that a trace records: neurons, relays and readouts."""
        return tuple(n for n in self.nodes if is_population(n))

    @property
    def depth(self) -> int:
        """Largest skew: steps from the first frame to the last node's answer in chip time."""
        return max(facts.skew for facts in self._facts.values())

    @property
    def balanced(self) -> bool:
        """Whether all inputs that meet have equal skew, so that the graph can run in chip time."""
        return all(len(set(facts.skews)) <= 1 for facts in self._facts.values())

    @property
    def hash(self) -> str:
        """SHA-256 over every node, field and weight: equal hashes mean the same network."""
        if self._hash is None:
            digest = hashlib.sha256(f"steps={self.steps}|interval={self.interval}".encode())
            for node in self.nodes:
                digest.update(f"|{KIND[type(node)]}".encode())
                for item in fields(node):
                    value = getattr(node, item.name)
                    if isinstance(value, np.ndarray):
                        digest.update(f"|{item.name}={value.shape}".encode())
                        digest.update(np.ascontiguousarray(value, "<i8").data)
                    else:
                        digest.update(f"|{item.name}={value!r}".encode())
            self._hash = digest.hexdigest()
        return self._hash

    # -- derivation ------------------------------------------------------------------------

    def _derive(self, node: Node) -> Facts:
        if isinstance(node, Input):
            return self._derive_input(node)
        sources = [self._source(node, name) for name in node.inputs]
        if not sources:
            raise GraphError(f"{node.name}: inputs is empty; name at least one node")
        wanted = "current" if is_population(node) else "messages"
        for name, source in zip(node.inputs, sources, strict=True):
            if source.wire != wanted:
                raise GraphError(
                    f"{node.name}: takes {wanted}, but input {name!r} gives {source.wire}; "
                    f"put a {'relay or neuron' if wanted == 'messages' else 'synapse'} between them"
                )
            if source.shape != sources[0].shape:
                raise GraphError(
                    f"{node.name}: inputs are summed but {node.inputs[0]!r} is "
                    f"{sources[0].shape} and {name!r} is {source.shape}; make the shapes equal"
                )
        reach_low = reduce(np.add, [s.low for s in sources])  # of one source its own array
        reach_high = reduce(np.add, [s.high for s in sources])
        skews = tuple(s.skew for s in sources)
        shape, wire, low, high = self._output(node, sources[0].shape, reach_low, reach_high)
        skew = max(skews) + (1 + node.lag if isinstance(node, (Conv, Dense)) else 0)
        return Facts(shape, wire, skew, skews, low, high, reach_low, reach_high)

    def _source(self, node: Node, name: str) -> Facts:
        if name not in self._facts:
            raise GraphError(
                f"{node.name}: input {name!r} is not a node before it; "
                "order nodes so that inputs come first, and do not form cycles"
            )
        return self._facts[name]

    def _derive_input(self, node: Input) -> Facts:
        if node.inputs:
            raise GraphError(f"{node.name}: an Input takes no inputs; remove {node.inputs}")
        if not node.shape or any(n < 1 for n in node.shape):
            raise GraphError(f"{node.name}: shape {node.shape} must hold positive sizes")
        if not 1 <= node.bits <= integers.STATE_BITS - 1:
            raise GraphError(f"{node.name}: bits is {node.bits}; use 1 (spikes) to 23")
        low = -(1 << (node.bits - 1)) if node.signed else 0
        high = (1 << (node.bits - 1)) - 1 if node.signed else (1 << node.bits) - 1
        channels = np.ones(node.shape[0], np.int64)
        bounds = (channels * low, channels * high)
        return Facts(node.shape, "messages", 0, (), *bounds, *bounds)

    def _output(
        self, node: Node, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, str, IntArray, IntArray]:
        match node:
            case Conv():
                return self._conv_output(node, shape, low, high)
            case Dense():
                count = int(np.prod(shape))
                if node.weight.ndim != 2 or node.weight.shape[1] != count or len(node.weight) < 1:
                    raise GraphError(
                        f"{node.name}: weight is {node.weight.shape}, its input {shape} needs "
                        f"(outputs, {count})"
                    )
                _check_synapse(node)
                if node.delay.shape not in ((1,), node.weight.shape):
                    raise GraphError(
                        f"{node.name}: delay is {node.delay.shape}; use 0 or one per weight "
                        f"{node.weight.shape}"
                    )
                if int(node.delay.min()) < 0:
                    raise GraphError(f"{node.name}: a delay is {node.delay.min()}; use 0 or more")
                each = count // shape[0]  # inputs per channel, channel-major when flattened
                lo, hi = (
                    np.repeat(_spread(low, shape[0]), each),
                    np.repeat(_spread(high, shape[0]), each),
                )
                lo, hi = _bounds(node.weight[None], lo[None, :, None], hi[None, :, None])
                lo, hi = (bound.ravel() << node.exponent for bound in (lo, hi))
                return (len(lo),), "current", lo, hi
            case Delay():
                if node.steps < 0:
                    raise GraphError(f"{node.name}: steps is {node.steps}; a delay is 0 or more")
                return shape, "messages", np.minimum(low, 0), np.maximum(high, 0)
            case Lif() | Recurrent():
                for item in ("threshold", "current_decay", "voltage_decay"):
                    _check_values(node.name, item, getattr(node, item), ((1,), shape[:1]))
                _check_values(node.name, "bias", node.bias, ((1,), shape[:1], shape))
                _check_decay(node.name, "current_decay", node.current_decay)
                _check_decay(node.name, "voltage_decay", node.voltage_decay)
                if int(node.threshold.min()) < 0:
                    raise GraphError(f"{node.name}: threshold {node.threshold.min()} is negative")
                _check_own(node, shape)
                zeros = np.zeros(shape[0], np.int64)
                return shape, "messages", zeros, zeros + 1
            case Delta():
                _check_change(node)
                # what is sent is at most the span of the current and what was held back before
                span = np.maximum(high, 0) - np.minimum(low, 0) + node.threshold
                top = _spread(span << node.spike_exponent, shape[0])
                return shape, "messages", -top, top
            case SigmaDelta():
                _check_change(node)
                _check_values(node.name, "bias", node.bias, ((1,), shape[:1], shape))
                top = np.full(shape[0], integers.MESSAGE_MAX, np.int64)
                return shape, "messages", -top, top
            case Sigma():
                top = np.full(shape[0], integers.STATE_MAX, np.int64)
                return shape, "potential", -top, top
            case AdaptiveLif() | AdaptiveRecurrent():
                _check_own(node, shape)
                _check_values(node.name, "bias", node.bias, ((1,), shape[:1], shape))
                _check_adaptation(node, shape[:1])
                _check_leaks(node, shape)
                zeros = np.zeros(shape[0], np.int64)
                return shape, "messages", zeros, zeros + 1
            case ResonateFire() | AdaptiveResonateFire():
                return self._resonator_output(node, shape)
            case Relay():
                if not 0 <= node.shift < integers.STATE_BITS or node.threshold < 0:
                    raise GraphError(
                        f"{node.name}: shift {node.shift} must be 0..23, threshold "
                        f"{node.threshold} must not be negative"
                    )
                lo, hi = (integers.round_shift(b, node.shift) for b in (low, high))
                return shape, "messages", np.minimum(lo, 0), np.maximum(hi, 0)
            case LeakyReadout():
                _check_values(node.name, "bias", node.bias, ((1,), shape[:1], shape))
                _check_leaks(node, shape)
                top = np.full(shape[0], integers.STATE_MAX, np.int64)
                return shape, "potential", -top, top
            case Readout():
                _check_values(node.name, "bias", node.bias, ((1,), shape[:1], shape))
                top = np.full(shape[0], integers.STATE_MAX, np.int64)
                return shape, "potential", -top, top
            case _:
                raise GraphError(f"{node.name}: unknown node {type(node).__name__}")

    def _resonator_output(
        self, node: Resonator, shape: Shape
    ) -> tuple[Shape, str, IntArray, IntArray]:
        if shape[0] % 2:
            raise GraphError(
                f"{node.name}: its current has {shape[0]} channels; give real and imaginary ones, "
                "as many of each"
            )
        half = shape[0] // 2
        for item in ("sin", "cos"):
            values = getattr(node, item)
            _check_values(node.name, item, values, ((1,), (half,)))
            if np.abs(values).max() > integers.DECAY_UNITY:
                raise GraphError(f"{node.name}: |{item}| exceeds 4096, which is 1")
        if isinstance(node, AdaptiveResonateFire):
            _check_adaptation(node, (half,))
        elif node.threshold < 0:
            raise GraphError(f"{node.name}: threshold {node.threshold} is negative")
        zeros = np.zeros(half, np.int64)
        return (half, *shape[1:]), "messages", zeros, zeros + 1

    def _conv_output(
        self, node: Conv, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, str, IntArray, IntArray]:
        weight, groups = node.weight, node.groups
        if len(shape) != 3:
            raise GraphError(
                f"{node.name}: a Conv takes (C, H, W), its input is {shape}; use Dense"
            )
        if weight.ndim != 4 or groups < 1 or shape[0] % groups or weight.shape[0] % groups:
            raise GraphError(
                f"{node.name}: weight {weight.shape} in {groups} groups does not fit {shape[0]} "
                "channels; weight is (O, I/groups, kH, kW)"
            )
        if weight.shape[1] != shape[0] // groups:
            raise GraphError(
                f"{node.name}: weight {weight.shape} takes {weight.shape[1] * groups} channels, "
                f"its input has {shape[0]}"
            )
        if min(node.stride) < 1 or min(node.dilation) < 1 or min(node.padding) < 0:
            raise GraphError(f"{node.name}: stride and dilation start at 1, padding at 0")
        _check_synapse(node)
        size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                shape[1:], node.padding, node.dilation, weight.shape[2:], node.stride, strict=True
            )
        )
        if min(size) < 1 or min(weight.shape) < 1:
            raise GraphError(
                f"{node.name}: kernel {weight.shape[2:]} leaves nothing of an input {shape}; "
                "use a smaller kernel or more padding"
            )
        lo, hi = _spread(low, shape[0]), _spread(high, shape[0])
        # all groups at once: a loop would let a small file ask for a million turns
        taps = weight.reshape(groups, weight.shape[0] // groups, -1)
        number = weight.shape[2] * weight.shape[3]
        lo, hi = (np.repeat(bound, number).reshape(groups, -1, 1) for bound in (lo, hi))
        low_out, high_out = (b.ravel() << node.exponent for b in _bounds(taps, lo, hi))
        return (weight.shape[0], *size), "current", low_out, high_out


class _Linear:
    """What the nodes of a graph are as linear maps, while it is derived."""

    def __init__(self) -> None:
        self.currents: dict[str, Current] = {}
        self.messages: dict[str, Box] = {}
        self.budget = Budget()

    def narrowed(self, node: Node, facts: Facts) -> Facts:
        """The facts with the range that follows from the linear map that leads to the node."""
        if isinstance(node, Conv):
            messages = tuple(self.messages[name] for name in node.inputs)
            current = Current(node.weight, messages, node.groups, 2.0**node.exponent)
            self.currents[node.name] = current
            self.budget.earn(node.weight.size)
            if node.groups == 1 and any(isinstance(message, Sum) for message in messages):
                low, high = reach(current, self.budget)  # currents are whole numbers within
                low, high = (
                    np.maximum(np.ceil(low), facts.low),
                    np.minimum(np.floor(high), facts.high),
                )
                return replace(facts, low=low.astype(np.int64), high=high.astype(np.int64))
        elif facts.wire == "messages":
            self.messages[node.name] = self._sent(node, facts)
        return facts

    def _sent(self, node: Node, facts: Facts) -> Box:
        if isinstance(node, Relay) and all(name in self.currents for name in node.inputs):
            currents = tuple(self.currents[name] for name in node.inputs)
            if any(current.mixes for current in currents):
                error = node.threshold + (0.5 if node.shift else 0.0)
                return Sum(facts.low, facts.high, currents, 2.0**-node.shift, error)
        return Box(facts.low, facts.high)


def _check_types(node: Node) -> None:
    """Refuse fields of the wrong type; arrays were checked when the node was made."""
    for item in fields(node):
        value = getattr(node, item.name)
        if is_array(item):
            continue
        if item.name == "name":
            good, wanted = isinstance(value, str), "text"
        elif item.name == "inputs":
            good = isinstance(value, tuple) and all(isinstance(n, str) for n in value)
            wanted = "a tuple of names"
        elif item.name in ("shape", "stride", "padding", "dilation"):
            good = isinstance(value, tuple) and all(type(n) is int for n in value)
            good = good and (item.name == "shape" or len(value) == 2)
            wanted = "a tuple of integers" + ("" if item.name == "shape" else ", (H, W)")
        else:
            kind = bool if item.type == "bool" else int
            good, wanted = type(value) is kind, f"of type {kind.__name__}"
        if not good:
            raise GraphError(f"{node.name}: {item.name} is {value!r}; it must be {wanted}")


def _bounds(weight: IntArray, low: IntArray, high: IntArray) -> tuple[IntArray, IntArray]:
    """Interval of ``weight @ x`` for low <= x <= high; (G, O, I) by (G, I, 1)."""
    low, high = high + low, high - low
    middle = weight @ low
    span = np.empty_like(middle)
    for part in blocks(weight.shape[1], weight.size):  # all absolute values are another weight
        span[:, part] = np.abs(weight[:, part]) @ high
    return (middle - span) >> 1, (middle + span) >> 1


def _spread(bound: IntArray, channels: int) -> IntArray:
    return np.broadcast_to(bound, (channels,)).astype(np.int64)


def _check_synapse(node: Conv | Dense) -> None:
    if not 0 <= node.exponent <= 16:
        raise GraphError(f"{node.name}: exponent is {node.exponent}; use 0..16")
    if node.lag < 0:
        raise GraphError(f"{node.name}: lag is {node.lag}; a synapse cannot answer early")


def _check_change(node: Delta | SigmaDelta) -> None:
    if node.threshold < 0:
        raise GraphError(f"{node.name}: threshold {node.threshold} is negative")
    for item in ("spike_exponent", "state_exponent"):
        if not 0 <= getattr(node, item) <= 7:
            raise GraphError(f"{node.name}: {item} is {getattr(node, item)}; use 0..7")


def _check_own(node: Node, shape: Shape) -> None:
    count = int(np.prod(shape))
    if isinstance(node, SelfConnected) and node.weight.shape != (count, count):
        raise GraphError(
            f"{node.name}: weight is {node.weight.shape}, {shape} neurons need ({count}, {count})"
        )


def _check_leaks(node: AdaptiveLif | AdaptiveRecurrent | LeakyReadout, shape: Shape) -> None:
    for item in ("current_decay", "voltage_decay"):
        _check_values(node.name, item, getattr(node, item), ((1,), shape[:1]))
        _check_decay(node.name, item, getattr(node, item))


def _check_adaptation(node: Adaptive, channels: Shape) -> None:
    if node.threshold < 0:
        raise GraphError(f"{node.name}: threshold {node.threshold} is negative")
    for item in ("threshold_decay", "refractory_decay"):
        _check_values(node.name, item, getattr(node, item), ((1,), channels))
        _check_decay(node.name, item, getattr(node, item))


def _check_decay(name: str, field: str, values: IntArray) -> None:
    for value in (int(values.min()), int(values.max())):
        if not 0 <= value <= integers.DECAY_UNITY:
            raise GraphError(f"{name}: {field} is {value}; decays are 0..4096, in 1/4096 per step")


def _check_values(name: str, field: str, values: IntArray, shapes: tuple[Shape, ...]) -> None:
    if values.shape not in shapes:
        allowed = " or ".join(str(shape) for shape in dict.fromkeys(shapes))
        raise GraphError(f"{name}: {field} is {values.shape}; use {allowed}")
