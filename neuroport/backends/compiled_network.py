"""The fast engine on a CPU: one compiled call runs samples through all nodes.

A thread runs a sample through the complete network before it begins the next one, so that messages
stay in its caches (:file:`neuroport/kernels/network.c`). Messages have 8, 16 or 32 bits, whichever
the graph's intervals prove to be enough. Synapses add up in 32 bits, by the processor's 8- and
16-bit products where the weights allow it. Results are exact: :func:`whole` returns None for a
graph whose sums could exceed 32 bits, and for nodes of other kinds. Declared widths are checked in
the same pass (:mod:`neuroport.graph.declared_widths` proves that 32 bits are enough for that,
too).
"""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import AtOnce, evaluate
from neuroport.backends.reference import NumpyArithmetic, find_departure
from neuroport.errors import BackendError, RangeError
from neuroport.graph import integers
from neuroport.graph.declared_widths import samples_of_stream
from neuroport.graph.graph import Graph
from neuroport.graph.linear_bounds import ungrouped
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    IntArray,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Relay,
    Shape,
    Synapse,
    per_neuron,
)
from neuroport.kernels.compilation import kernels
from neuroport.kernels.network_kernel import (
    BYTES,
    LIF,
    LOAD,
    READOUT,
    RELAY,
    SHORTS,
    SOURCES,
    SYNAPSE,
    WORDS,
    OperationStruct,
    Program,
    ScratchValue,
    packed,
)
from neuroport.runs.trace import versions

KINDS: dict[type[Node], int] = {
    Input: LOAD,
    Relay: RELAY,
    Delay: RELAY,
    Lif: LIF,
    Readout: READOUT,
    LeakyReadout: READOUT,
}
WORD_MAX = (1 << 31) - 1
NARROW_MAX = (1 << 15) - 1
FIELD_MAX = 1 << 24  # a bias or threshold below this fits in 32 bits as a state
MOST_WEIGHTS = 1 << 28  # a grouped synapse up to this size is expanded to a dense one
ALL = 1 << 62  # number of steps that stands for a sample without an end
CACHES = 1 << 24  # bytes; a longer record does not stay in a processor's caches
MOMENT = 10**11  # products per call: about a second
HALVINGS = {integers.DECAY_UNITY >> shift: shift for shift in range(13)}


@dataclass(frozen=True)
class Part:
    """A shifted value; a node's output is the sum of its parts."""

    place: int
    shift: int = 0


class CompiledNetwork(AtOnce):
    """A graph as a list of operations; ``chip`` selects chip time instead of ideal time."""

    name = "fast"

    def __init__(self, graph: Graph, library: ctypes.CDLL, chip: bool = False) -> None:
        self._begin(graph, graph, library, chip)
        for node in graph:
            if isinstance(node, Synapse):
                self._connect(node)
            else:
                self._send(node)
        self._program = Program(library, self._operations, self._places)

    def _begin(
        self, graph: Graph, readers: Iterable[Node], library: ctypes.CDLL, chip: bool
    ) -> None:
        """Begin an empty list of operations; ``readers`` are the nodes that read messages."""
        self.graph, self.chip = graph, chip
        self._lanes = int(library.network_lanes())
        self._largest_byte = int(library.network_largest_byte())
        self._readers: dict[str, list[Node]] = {node.name: [] for node in graph}
        for node in readers:
            for name in dict.fromkeys(node.inputs):
                self._readers[name].append(node)
        self._places: list[ScratchValue] = []
        self._operations: list[OperationStruct] = []
        self._kept: list[npt.NDArray[Any]] = []  # arrays that operations point to
        self._numbers: dict[str, int] = {}  # operations that send messages
        self._parts: dict[str, list[Part]] = {}
        self._work = 1  # products per step of a sample
        self._live: dict[str, npt.NDArray[np.uint8]] = {}
        self._declared: dict[str, int] = {}  # operations of populations with declared widths

    def fill(
        self,
        frames: npt.NDArray[Any],
        into: Mapping[str, npt.NDArray[Any]],
        counts: Mapping[str, npt.NDArray[Any]] | None = None,
        granularity: str = "neuron",
    ) -> None:
        """Run frames (T, N, *shape); write the messages of populations into the arrays.

        Arrays are (T, N, *shape), bool for spikes and int32 for others. The axes of steps and
        samples may have any stride; the other axes are dense. A call runs only as many samples as
        take about a second, so that a run can be interrupted.
        """
        import torch

        steps, samples = frames.shape[:2]
        threads = torch.get_num_threads()
        moment = max(threads, MOMENT // (self._work * steps))
        for first in range(0, samples, moment):
            part = slice(first, first + moment)
            given = np.ascontiguousarray(frames[:, part], np.int32)
            self._point({name: array[:, part] for name, array in into.items()}, given)
            looked = self._look(steps, given.shape[1])
            self._program.run(steps, given.shape[1], threads)
            if looked.any():
                self._tell(frames, first + int(looked.argmax()))

    def _look(self, steps: int, samples: int) -> npt.NDArray[np.uint8]:
        """Enable checks of declared widths; the result marks the samples that exceeded one."""
        left = np.zeros(samples, np.uint8)
        for name, number in self._declared.items():
            operation = self._program.operations[number]
            live = np.ones(steps, np.uint8)
            if self.chip:
                many = samples_of_stream(self.graph, steps)
                sample, step = np.divmod(np.arange(steps) - operation.first, operation.interval)
                live[:] = (sample >= 0) & (sample < many) & (step < self.graph.steps)
            self._live[name] = live
            operation.live, operation.left = live.ctypes.data, left.ctypes.data
        return left

    def _tell(self, frames: npt.NDArray[Any], sample: int) -> None:
        """Find and raise the first exceeded width in a sample that is known to have one.

        Raises:
            RangeError: as :func:`neuroport.backends.reference.find_departure`.
        """
        if self.chip:
            for _ in evaluate(NumpyArithmetic(), self.graph, frames, chip=True):
                pass
        else:
            try:
                find_departure(self.graph, frames[:, sample : sample + 1])
            except RangeError as error:
                raise error.later(sample) from None
        raise BackendError(
            f"sample {sample} left a declared width in the compiled engine and does not on the "
            "reference: a bug of neuroport, please report it"
        )

    def versions(self) -> dict[str, str]:
        """Versions of the kernels and of the thread library."""
        return versions("torch", "numpy")

    def _point(self, into: Mapping[str, npt.NDArray[Any]], given: npt.NDArray[Any]) -> None:
        """Set the addresses of frames and messages in the operations."""
        past = sum(array.nbytes for array in into.values()) > CACHES
        for name, number in self._numbers.items():
            operation = self._program.operations[number]
            array = given if operation.what == LOAD else into.get(name)
            operation.record = None if array is None else array.ctypes.data
            if array is given:  # NumPy gives the stride of an axis of one sample no meaning
                operation.samples = given.shape[1]
            else:
                operation.samples = 0 if array is None else array.strides[0] // array.strides[1]
            operation.past = past

    def _send(self, node: Node) -> None:
        """Add the operation of a node that sends messages, or of a readout."""
        parts = [part for name in node.inputs for part in self._parts[name]]
        self._numbers[node.name] = len(self._operations)
        operation = self._operation(KINDS[type(node)], parts)
        facts = self.graph.facts(node.name)
        operation.first, operation.interval = self._starts(node)
        match node:
            case Relay():
                operation.shift, operation.threshold = node.shift, node.threshold
            case Delay():
                operation.late = node.steps
            case Readout():
                forgets, keeps = np.full(1, integers.DECAY_UNITY), np.zeros(1, np.int64)
                self._step(operation, facts.shape, forgets, keeps, bias=node.bias)
            case LeakyReadout():
                decays = node.current_decay, node.voltage_decay
                self._step(operation, facts.shape, *decays, bias=node.bias)
            case Lif():
                decays = node.current_decay, node.voltage_decay
                fields = {"bias": node.bias, "limit": node.threshold}
                self._step(operation, facts.shape, *decays, **fields)
        if node.name in self.graph.checked:
            operation.declared = self.graph.checked[node.name]
            self._declared[node.name] = self._numbers[node.name]
        self._parts[node.name] = [self._message(node)]

    def _message(self, node: Node) -> Part:
        """Return where the last operation writes a node's messages."""
        readers = self._readers[node.name]
        halo = max((max(getattr(r, "padding", (0,))) for r in readers), default=0)
        shape = planes(self.graph.facts(node.name).shape)
        return self._make(shape, _kind(self.graph, node), halo)

    def _starts(self, node: Node) -> tuple[int, int]:
        """Return a sample's first step at a node, and the number of steps to the next sample."""
        if not self.chip:
            return 0, self.graph.steps
        latencies = self.graph.facts(node.name).input_latencies
        return (latencies[0] if latencies else 0), self.graph.interval

    def _step(
        self,
        operation: OperationStruct,
        shape: Shape,
        current_decay: IntArray,
        voltage_decay: IntArray,
        **states: IntArray,
    ) -> None:
        """Add constants of neurons: (height, width, channels), or (channels) if that suffices."""
        fields = {name: values << integers.STATE_SHIFT for name, values in states.items()}
        keep_u = integers.DECAY_UNITY - current_decay
        keep_v = integers.DECAY_UNITY - voltage_decay
        one = int(keep_v.flat[0])
        if not keep_u.any() and (keep_v == one).all() and one in HALVINGS:
            operation.simple, operation.decay_shift = 1, HALVINGS[one]
        else:
            fields |= {"keep_u": keep_u, "keep_v": keep_v}
        spread = {
            name: np.broadcast_to(per_neuron(values, shape), shape).reshape(planes(shape))
            for name, values in fields.items()
        }
        operation.everywhere = all((x == x[:, :1, :1]).all() for x in spread.values())
        for name, x in spread.items():
            kept = x[:, :1, :1] if operation.everywhere else x
            padded = -(-len(kept) // self._lanes) * self._lanes
            last = np.zeros((*kept.shape[1:], padded), np.int32)
            last[..., : len(kept)] = kept.transpose(1, 2, 0)
            setattr(operation, name, self._pointer(last))

    def _connect(self, node: Synapse) -> None:
        """Add operations that multiply a synapse's inputs; a shortcut uses its source directly."""
        heard = [part for name in node.inputs for part in self._parts[name]]
        late = 1 + node.lag if self.chip else 0
        if is_carried(node):
            shift = min(31, node.exponent + int(node.weight.flat[0]).bit_length() - 1)
            if late:
                heard = [
                    self._copied(part, self._places[part.place].kind, 0, late) for part in heard
                ]
            self._parts[node.name] = [Part(part.place, shift) for part in heard]
            return
        self._parts[node.name] = []
        for part in heard:
            for steps, weight in kernels_by_delay(node, self._places[part.place].shape):
                said = part
                if steps:
                    kind = self._places[part.place].kind
                    said = self._copied(part, kind, 0, steps, *self._starts(node))
                self._parts[node.name].append(self._multiplied(node, weight, said, late))

    def _multiplied(self, node: Synapse, weight: IntArray, part: Part, late: int) -> Part:
        """Add the sums of a synapse over one value."""
        source = self._places[part.place]
        kind, weight, halved = self._products_of(source.kind, weight, self._highest(node))
        if kind != source.kind:
            part = self._copied(part, kind, source.halo)
        operation = self._operation(SYNAPSE, [Part(part.place, node.exponent + halved)])
        operation.late, operation.kernel = late, weight.shape[2:]
        operation.stride = operation.dilation = 1, 1
        if isinstance(node, Conv):
            operation.stride, operation.padding = node.stride, node.padding
            operation.dilation = node.dilation
        operation.words, laid = packed(weight, kind, self._lanes)
        if kind == BYTES:
            operation.narrow = narrow_words(weight, self._highest(node))
        operation.weight = self._pointer(laid)
        shape = planes(self.graph.facts(node.name).shape)
        self._work += weight.size * shape[1] * shape[2]
        return self._make(shape, WORDS)

    def _highest(self, node: Synapse) -> int:
        return max(int(self.graph.facts(name).high.max()) for name in node.inputs)

    def _products_of(self, kind: int, weight: IntArray, high: int) -> tuple[int, IntArray, int]:
        """Return how values of a kind are multiplied: as which kind, by which weights, which shift.

        Even weights, the common case on Loihi, are halved.
        """
        if kind == BYTES and high <= self._largest_byte:
            even = not (weight & 1).any()
            halved = weight >> 1 if even else weight
            if _fit(halved, np.int8):
                return BYTES, halved, int(even)
        if kind != WORDS and self._largest_byte and _fit(weight, np.int16):
            return SHORTS, weight, 0
        return WORDS, weight, 0

    def _copied(
        self, part: Part, kind: int, halo: int, late: int = 0, first: int = 0, interval: int = ALL
    ) -> Part:
        """Add a delayed copy of a value: 0 in the first ``late`` steps of every sample."""
        source = self._places[part.place]
        operation = self._operation(RELAY, [Part(part.place)])
        operation.late, operation.first, operation.interval = late, first, interval
        return Part(self._make(source.shape, kind, halo).place, part.shift)

    def _operation(self, what: int, parts: list[Part]) -> OperationStruct:
        """Add an operation with these parts."""
        operation = OperationStruct(
            what=what, out=len(self._places), sources=len(parts), interval=ALL
        )
        for number, part in enumerate(parts):
            operation.source[number], operation.exponent[number] = part.place, part.shift
            self._places[part.place].read = len(self._operations)
        self._operations.append(operation)
        return operation

    def _make(self, shape: tuple[int, int, int], kind: int, halo: int = 0) -> Part:
        """Return where the last operation writes."""
        made = len(self._operations) - 1
        self._places.append(ScratchValue(shape, kind, halo, made, made))
        return Part(len(self._places) - 1)

    def _pointer(self, array: npt.NDArray[Any]) -> int:
        self._kept.append(array)
        return int(array.ctypes.data)


def whole(graph: Graph, time_model: str) -> CompiledNetwork | None:
    """Compile the graph to one call; None if there are no kernels or they cannot run this graph."""
    library = kernels()
    if library is None or not fits(graph):
        return None
    return CompiledNetwork(graph, library, time_model == "chip")


def fits(graph: Graph, nodes: Iterable[Node] | None = None) -> bool:
    """Return whether all nodes (of ``nodes``) have a compiled operation and fit in 32 bits."""
    parts: defaultdict[str, int] = defaultdict(lambda: 1)  # kinds of nodes' outputs
    for node in graph if nodes is None else nodes:
        facts = graph.facts(node.name)
        bounds = (facts.low, facts.high, facts.reach_low, facts.reach_high)
        most = max(int(abs(bound).max()) for bound in bounds)
        heard = sum(parts[name] for name in node.inputs)
        if most > WORD_MAX or len(facts.shape) not in (1, 3) or heard > SOURCES:
            return False
        parts[node.name] = 1
        match node:
            case Relay() if max(most + (1 << min(node.shift, 31)), node.threshold) > WORD_MAX:
                return False
            case Lif() if int(abs(node.threshold).max()) >= FIELD_MAX:
                return False
            case Lif() | Readout() | LeakyReadout():
                if int(abs(node.bias).max()) >= FIELD_MAX:
                    return False
            case Conv() | Dense():
                groups = getattr(node, "groups", 1)
                parts[node.name] = heard * sum(1 for _ in node.by_delay())
                if not _fit(node.weight, np.int32) or not 0 <= node.exponent < 31:
                    return False
                if node.packed("weight").size * groups > MOST_WEIGHTS and not is_carried(node):
                    return False
            case Input() | Relay() | Delay():
                pass
            case _:
                return False
    return True


def every_operation(side: int) -> Graph:
    """A graph with every operation, to compare kernels on a device with those of the CPU.

    Of its synapses some have weights or messages of 15 bits and others of 8, some read large maps
    of ``side`` times ``side`` and others small ones. About half of its neurons fire.
    """
    rng = np.random.default_rng(0)

    def weight(*shape: int, most: int) -> IntArray:
        found = rng.integers(-most, most + 1, shape)
        found.flat[:2] = most, -most
        return found

    def lif(name: str, source: str, channels: int, threshold: int, forgets: int) -> Lif:
        return Lif(
            name,
            (source,),
            threshold=np.full(channels, threshold),
            current_decay=np.full(channels, forgets),
            voltage_decay=np.full(channels, 1000),
            bias=rng.integers(-9, 10, channels),
        )

    half = side // 2
    nodes: list[Node] = [
        Input("frames", (3, side, side)),
        Conv("stem", ("frames",), weight(64, 3, 3, 3, most=20), padding=(1, 1)),
        lif("first", "stem", 64, 500, integers.DECAY_UNITY),
        Conv("narrow", ("first",), weight(64, 64, 3, 3, most=127), padding=(1, 1)),
        lif("second", "narrow", 64, 100, 2000),
        Relay("graded", ("narrow",), shift=4, threshold=3),
        Conv("heavy", ("graded",), weight(16, 64, 1, 1, most=300), stride=(2, 2)),
        Conv("down", ("second",), weight(16, 64, 1, 1, most=99), stride=(2, 2), exponent=3),
        Lif("third", ("heavy", "down"), threshold=np.array([9000]), bias=np.array([50])),
        Delay("late", ("third",), 1),
        Dense("out", ("late",), weight(10, 16 * half * half, most=99)),
        Readout("answer", ("out",), bias=np.arange(10)),
    ]
    return Graph(nodes, 2)


def planes(shape: Shape) -> tuple[int, int, int]:
    """Return channels, height and width."""
    channels, height, width = (*shape, 1, 1)[:3]
    return channels, height, width


def _kind(graph: Graph, node: Node) -> int:
    """Return the narrowest kind that holds a node's messages."""
    facts = graph.facts(node.name)
    low, high = int(facts.low.min()), int(facts.high.max())
    if isinstance(node, (Readout, LeakyReadout)):
        return WORDS
    if low >= 0 and high <= 255:
        return BYTES
    return SHORTS if low >= -(1 << 15) and high < 1 << 15 else WORDS


def is_carried(node: Synapse) -> bool:
    """Whether a synapse is a shortcut: each neuron reads its own position with one weight."""
    if not isinstance(node, Conv) or node.packed("weight").shape != (node.groups, 1, 1, 1):
        return False
    first = int(node.weight.flat[0])
    return (
        tuple(node.stride) == (1, 1)
        and tuple(node.padding) == (0, 0)
        and first > 0
        and first & (first - 1) == 0
        and bool((node.weight == first).all())
    )


def kernels_by_delay(node: Synapse, source: tuple[int, int, int]) -> Iterator[tuple[int, IntArray]]:
    """Return weights (outputs, channels, height, width) of one group for each delay in steps."""
    groups = getattr(node, "groups", 1)
    for steps, weight in node.by_delay():
        if weight.ndim == 4:
            yield steps, ungrouped(weight, groups)
        else:
            yield steps, weight.reshape(len(weight), *source)


def narrow_words(weight: IntArray, high: int) -> int:
    """Return of how many words the sums of pairs fit in 16 bits, in any order.

    A word holds four channels of bytes from 0 to ``high``; its pairs are channels 0 and 1, and 2
    and 3. All words of a weight (O, C, H, W), if they fit.
    """
    outputs, channels = weight.shape[:2]
    sizes = np.zeros((outputs, -(-channels // 4) * 4, *weight.shape[2:]), np.int64)
    sizes[:, :channels] = abs(weight.astype(np.int64)) * high
    pairs = sizes.reshape(outputs, -1, 2, 2, *weight.shape[2:]).sum(3)
    if pairs.sum((1, 3, 4)).max() <= NARROW_MAX:
        return int(pairs[0, :, 0].size)
    return NARROW_MAX // max(1, int(pairs.max()))


def _fit(weight: IntArray, kind: type[np.signedinteger[Any]]) -> bool:
    info = np.iinfo(kind)
    return bool(weight.min() >= info.min and weight.max() <= info.max)
