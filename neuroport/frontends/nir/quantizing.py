"""A NIR network becomes a graph of integers, and says of every node what became of it.

Each neuron is brought into the one form that the integers have (``u`` and ``v`` in real numbers):

    u = (1 - a) u + gain x,    v = (1 - b) v + u + bias,    s = v > threshold,    v = 0 where s

in which ``v`` is counted from ``v_reset``, and ``r``, ``w_in``, ``dt`` and time constants are in
``gain``, ``a``, ``b`` and ``bias``. That is exact; then come integers: decays in 1/4096 per step,
and per channel one unit of current, the finest with which weights, threshold, bias and the largest
sum that can arrive fit the widths of the hardware. Numbers that lie on a grid of powers of two keep
it, and lose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from neuroport.errors import FormatError
from neuroport.frontends.nir import linear
from neuroport.frontends.nir.interpreter import delay_steps
from neuroport.frontends.nir.linear import Path, Window, maps_of, per_channel
from neuroport.frontends.nir.reading import (
    FIRING,
    NEURONS,
    PASSING,
    SILENT,
    Array,
    Network,
    Node,
    Shape,
)
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, IntArray, LeakyReadout, Lif, Readout
from neuroport.graph.node import Node as GraphNode
from neuroport.graph.node import Recurrent

TERMS = 256  # paths that may meet at a node
EXPONENT = 16
RESOLUTION = 1 << 12  # units that a threshold should have at least
ROOM = 4  # times what the frames showed, that a potential may reach before it saturates


class Record(NamedTuple):
    """What became of one node of NIR: the nodes of the graph that hold it, and how."""

    source: str
    kind: str
    targets: tuple[str, ...]
    what: str


@dataclass(frozen=True, eq=False)
class Quantized:
    """A graph, and how it stands to the network that it was made of.

    Attributes:
        records: of every node of NIR, in order.
        places: of Inputs, neurons and Outputs of NIR the population, and which of its neurons.
        unit: per population the real value of one unit of current, per neuron.
        dt: seconds of a step.
        scale: the real value of an integer frame of 1.
    """

    graph: Graph
    records: tuple[Record, ...]
    places: dict[str, Place]
    unit: dict[str, Array]
    dt: float
    scale: float


@dataclass(frozen=True)
class Place:
    """Where the values of a NIR node are: neurons ``first`` and on of a population of ``shape``."""

    population: str
    shape: Shape
    first: int
    count: int

    @property
    def whole(self) -> bool:
        """Whether it is all of the population."""
        return self.count == math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class _Term:
    """A path of linear nodes from a source, or what biases on the way have added up to.

    ``constant`` is what arrives at every step from ``delay`` on, where ``source`` is none.
    """

    source: str | None
    path: Path = ()
    delay: int = 0
    constant: Array | None = None


@dataclass(eq=False)
class _Form:
    """A neuron in the form of the integers, per neuron of NIR's shape."""

    gain: Array
    current_leak: Array
    voltage_leak: Array
    bias: Array
    threshold: Array | None


@dataclass(eq=False)
class _Synapse:
    """A real-valued synapse: a convolution of maps, or a matrix."""

    name: str
    sources: tuple[tuple[str, int], ...]  # (population, steps late): the sum of their messages
    real: Window | Array
    terms: list[_Term] = field(default_factory=list)

    @property
    def weight(self) -> Array:
        return self.real.weight if isinstance(self.real, Window) else self.real

    def rows(self) -> Array:
        """Weights of each output channel or neuron, (O, everything)."""
        return self.weight.reshape(len(self.weight), -1)


def quantize_network(
    network: Network,
    dt: float,
    input_node: Input,
    scale: float,
    steps: int,
    potentials: Mapping[str, float],
) -> Quantized:
    """The integers of ``network``.

    Args:
        dt: seconds of a step.
        input_node: the input of the graph; its channels are those of all inputs together.
        scale: the real value of an integer frame of 1.
        steps: steps T of a sample.
        potentials: the largest potentials that integrators and outputs showed on the frames.

    Raises:
        FormatError: what has no integers, by name, with the nearest change that has.
    """
    return _Quantizing(network, dt, input_node, scale, steps, potentials).run()


def input_shape(network: Network) -> Shape:
    """Shape of the one input of the graph: maps side by side, or everything in a row."""
    shapes = [maps_of(node.shape) for node in network.of_kind("Input")]
    if len(shapes) == 1:
        return shapes[0]
    if all(len(shape) == 3 and shape[1:] == shapes[0][1:] for shape in shapes):
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return (sum(math.prod(shape) for shape in shapes),)


class _Quantizing:
    def __init__(
        self,
        network: Network,
        dt: float,
        input_node: Input,
        scale: float,
        steps: int,
        potentials: Mapping[str, float],
    ) -> None:
        self.potentials = potentials
        self.network = network
        self.dt = dt
        self.scale = scale
        self.steps = steps
        self.input = input_node
        self.nodes: list[GraphNode] = [input_node]
        self.names = {input_node.name}
        self.reserved = {n.name for n in network.of_kind(*NEURONS, "Output")}
        self.places: dict[str, Place] = {}
        self.terms: dict[str, list[_Term]] = {}
        self.unit: dict[str, Array] = {}
        self.said: dict[str, list[str]] = {name: [] for name in network.nodes}
        self.targets: dict[str, list[str]] = {name: [] for name in network.nodes}
        self.delayed: dict[tuple[str, int], str] = {}
        self.constants: dict[Shape, tuple[str, str]] = {}  # synapse and population, by shape

    def run(self) -> Quantized:
        network = self.network
        first = 0
        for node in network.of_kind("Input"):
            count = math.prod(node.shape)
            self.places[node.name] = Place(self.input.name, self.input.shape, first, count)
            self.tell(node.name, [self.input.name], self._input_told(node, first))
            first += count
        waiting: dict[tuple[str, ...], int] = {}
        for name, node in network.nodes.items():
            if node.kind == "Input":
                self.terms[name] = [_Term(name)]
            elif node.kind in NEURONS:
                members = network.loops.get(name, (name,))
                self.terms[name] = [_Term(name)]
                waiting[members] = waiting.get(members, 0) + 1
            else:
                self.terms[name] = self._passed(node)
        # terms are all known now: those of loops, which come back, too
        for members in waiting:
            self._population(members)
        for node in network.of_kind("Output"):
            self._output(node)
        self._alone()
        graph = Graph(self.nodes, self.steps)
        records = tuple(
            Record(
                name,
                node.kind,
                tuple(dict.fromkeys(self.targets[name])),
                "; ".join(dict.fromkeys(self.said[name])),
            )
            for name, node in network.nodes.items()
        )
        _check_records(graph, records)
        return Quantized(graph, records, self.places, self.unit, self.dt, self.scale)

    # -- what is told ------------------------------------------------------------------------

    def tell(self, name: str, targets: Iterable[str], what: str) -> None:
        self.targets[name].extend(targets)
        self.said[name].append(what)

    def _input_told(self, node: Node, first: int) -> str:
        kind = "spikes" if self.input.bits == 1 else f"messages of {self.input.bits} bits"
        scale = "" if self.scale == 1 else f", 1 of them {self.scale:g}"
        alone = math.prod(self.input.shape) == math.prod(node.shape)
        part = "" if alone else f", neurons {first} to {first + math.prod(node.shape) - 1}"
        return f"{kind}{scale}{part}"

    def _alone(self) -> None:
        """Nodes that nothing reads."""
        for name in self.network.nodes:
            if not self.said[name]:
                self.tell(name, (), "no neuron and no output reads it: left out")

    def fresh(self, name: str) -> str:
        """``name``, or a variant that no node has and no population will take."""
        found, count = name, 2
        while found in self.names or found in self.reserved:
            found, count = f"{name}~{count}", count + 1
        self.names.add(found)
        return found

    def refuse(self, name: str, why: str) -> FormatError:
        return FormatError(f"{self.network.where}: {name}: {why}")

    # -- linear nodes ------------------------------------------------------------------------

    def _arriving(self, node: Node) -> list[_Term]:
        """What the sources of a node send; of late ones a step later."""
        found: list[_Term] = []
        for source in node.inputs:
            if self.network.nodes[source].kind in SILENT and node.kind != "Output":
                raise self.refuse(
                    source,
                    f"an integrator whose potential {node.name} reads: what integers send between "
                    "layers are spikes; let it fire (LIF, IF), or make it an output",
                )
            late = source in node.late
            terms = [_Term(source)] if late else self.terms[source]
            found += [replace(term, delay=term.delay + late) for term in terms]
        return _gathered(found)

    def _passed(self, node: Node) -> list[_Term]:
        """What arrives at a linear node, through it."""
        arriving = self._arriving(node)
        if node.kind == "Delay":
            steps = delay_steps(node, self.dt)
            parts = [int(n) for n in np.unique(steps)]
            masks = {
                n: None if len(parts) == 1 else (steps == n).astype(np.float64) for n in parts
            }
            found = [self._through(node, t, n, masks[n]) for t in arriving for n in parts]
        else:
            found = [self._through(node, term, 0, None) for term in arriving]
        if "bias" in node.values and node.values["bias"].any():
            found.append(_Term(None, ((node, None),), constant=np.array(node.values["bias"])))
        if len(found) > TERMS:
            raise self.refuse(
                node.name,
                f"{len(found)} paths without a neuron meet here, more than {TERMS}; put neurons "
                "between the sums",
            )
        return _gathered(found)

    def _through(self, node: Node, term: _Term, delay: int, mask: Array | None) -> _Term:
        path = (*term.path, (node, mask))
        constant = term.constant
        if constant is not None:
            constant = linear.through(((node, mask),), constant[None])[0]
        return _Term(term.source, path, term.delay + delay, constant)

    # -- populations -------------------------------------------------------------------------

    def _population(self, members: tuple[str, ...]) -> None:
        nodes = [self.network.nodes[name] for name in members]
        forms = [self._form(node) for node in nodes]
        terms = [self._arriving(node) for node in nodes]
        looped = members[0] in self.network.loops
        if looped and any(node.kind in SILENT for node in nodes):
            silent = next(node for node in nodes if node.kind in SILENT)
            raise self.refuse(silent.name, "an integrator in a loop; let it fire (LIF, CubaLIF)")
        name = "+".join(members)
        if len(members) > 1:
            name = self.fresh(name)
        self.names.add(name)
        builder = _Building(self, name, nodes, forms, terms, looped)
        builder.build()

    def _form(self, node: Node) -> _Form:
        value, dt = node.values, self.dt
        one = np.ones(node.shape)
        if node.kind == "Threshold":
            return _Form(one, one, one, 0 * one, value["threshold"] * one)
        for key in ("tau", "tau_mem", "tau_syn"):
            if key in value and float(value[key].min()) < dt * (1 - 1e-9):
                raise self.refuse(
                    node.name,
                    f"{key} is {value[key].min():g} s, shorter than a step of {dt:g} s, so that its "
                    "equation has no stable steps; give a shorter dt, or a longer time constant",
                )
        reset = value.get("v_reset", 0 * one)
        threshold = value["v_threshold"] - reset if node.kind in FIRING else None
        if threshold is not None and float(threshold.min()) < 0:
            raise self.refuse(
                node.name,
                "v_threshold is below v_reset, so that it would fire again and again; use a "
                "threshold of v_reset or more",
            )
        if node.kind in ("IF", "I"):
            return _Form(value["r"] * dt, one, 0 * one, 0 * one, threshold)
        tau = value["tau"] if "tau" in value else value["tau_mem"]
        leak = np.minimum(dt / tau, 1.0)
        gain, current = leak * value["r"], one
        if "tau_syn" in value:
            current = np.minimum(dt / value["tau_syn"], 1.0)
            gain = gain * current * value["w_in"]
        return _Form(gain, current, leak, leak * (value["v_leak"] - reset), threshold)

    def _output(self, node: Node) -> None:
        """The population that an Output is, or a readout without memory of what is summed there."""
        terms = self._arriving(node)
        if not terms:
            raise self.refuse(node.name, "nothing but zeros arrives")
        (first, *others) = terms
        plain = all(n.kind in PASSING or n.kind == "Flatten" for n, _ in first.path)
        neuron = first.source is not None and self.network.nodes[first.source].kind in NEURONS
        if neuron and plain and not others and not first.delay:
            assert first.source is not None
            place = self.places[first.source]
            self.places[node.name] = place
            self.tell(node.name, [place.population], f"what {first.source} sends")
            for step, _ in first.path:
                self.tell(step.name, [place.population], "order of the neurons, which stays")
            return
        for term in terms:
            if term.source is not None and self.network.nodes[term.source].kind in SILENT:
                raise self.refuse(
                    node.name,
                    f"sums the potential of {term.source} with others; give it an Output of its own",
                )
        one = np.ones(node.shape)
        self.names.add(node.name)
        form = _Form(one, one, one, 0 * one, None)
        _Building(self, node.name, [node], [form], [terms], False).build()
        self.tell(node.name, [node.name], "the sum at each step: a readout without memory")

    def messages_late(self, source: str, steps: int) -> str:
        """Name of the messages of a population, so many steps later."""
        if steps == 0:
            return source
        if (source, steps) not in self.delayed:
            name = self.fresh(f"{source}.late{steps}")
            self.nodes.append(Delay(name, (source,), steps))
            self.delayed[source, steps] = name
        return self.delayed[source, steps]

    def constant(self, maps: Shape) -> str:
        """Name of a population that fires at every step: one neuron, or one for each place."""
        shape = (1, *maps[1:]) if len(maps) == 3 else (1,)
        if shape not in self.constants:
            name = self.fresh("constant" if len(shape) == 1 else f"constant.{shape[1]}x{shape[2]}")
            start = self.fresh(f"{name}.start")
            here = self.input.shape
            if len(shape) == 1:
                wires: Conv | Dense = Dense(
                    start, (self.input.name,), np.zeros((1, math.prod(here)), np.int64)
                )
            else:
                wires = _silent(start, self.input.name, here, shape)
            zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
            self.nodes += [wires, Lif(name, (start,), zero, bias=one)]
            self.unit[name] = np.ones(shape)
            self.constants[shape] = (start, name)
        return self.constants[shape][1]

    def message_range(self, source: str) -> tuple[int, int]:
        """Least and most that a population sends."""
        if source != self.input.name:
            return 0, 1
        bits = self.input.bits
        if self.input.signed:
            return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        return 0, (1 << bits) - 1


def _silent(name: str, source: str, here: Shape, shape: Shape) -> Conv:
    """A convolution of zeros from maps of one size to maps of another."""
    sizes = list(zip(here[1:], shape[1:], strict=True))
    padding = [max(0, -(-(there - size) // 2)) for size, there in sizes]
    kernel = [size + 2 * p - there + 1 for (size, there), p in zip(sizes, padding, strict=True)]
    weight = np.zeros((shape[0], here[0], *kernel), np.int64)
    return Conv(name, (source,), weight, padding=(padding[0], padding[1]))


def _gathered(terms: list[_Term]) -> list[_Term]:
    """Constants of the same delay as one, in the order of what sends."""
    found = [term for term in terms if term.source is not None]
    constants: dict[int, _Term] = {}
    for term in terms:
        if term.source is None:
            before = constants.get(term.delay)
            if before is None:
                constants[term.delay] = term
                continue
            assert before.constant is not None
            assert term.constant is not None
            nodes = dict.fromkeys((*before.path, *term.path))
            constants[term.delay] = replace(
                before, path=tuple(nodes), constant=before.constant + term.constant
            )
    return [*found, *constants.values()]


class _Building:
    """One population with its synapses, from real numbers to nodes."""

    def __init__(
        self,
        whole: _Quantizing,
        name: str,
        members: list[Node],
        forms: list[_Form],
        terms: list[list[_Term]],
        looped: bool,
    ) -> None:
        self.whole = whole
        self.name = name
        self.members = members
        self.forms = forms
        self.terms = terms
        self.looped = looped
        self.synapses: list[_Synapse] = []
        self.own: Array | None = None  # the matrix of a loop
        self.own_terms: list[_Term] = []

    def build(self) -> None:
        if not self._as_maps():
            self._as_row()
        self._quantize()

    # -- as maps -----------------------------------------------------------------------------

    def _as_maps(self) -> bool:
        """Whether the population could keep the shape of its maps; its synapses, if so."""
        node, form = self.members[0], self.forms[0]
        if len(self.members) > 1 or len(node.shape) not in (2, 3):
            return False
        levels = [form.gain, form.current_leak, form.voltage_leak]
        levels += [] if form.threshold is None else [form.threshold]
        if any(per_channel(level) is None for level in levels):
            return False
        gain = per_channel(form.gain)
        assert gain is not None
        bias = np.array(form.bias, np.float64)
        found: dict[Any, tuple[Window, list[_Term]]] = {}
        for term in self.terms[0]:
            if self._is_own(term):
                continue  # a matrix in any shape
            if term.constant is not None:
                reaching = term.constant * form.gain
                if self._is_bias(term, form):
                    bias = bias + reaching
                    continue
                each = per_channel(reaching)
                if each is None or len(self.whole.input.shape) != 3:
                    return False
                found["constant", term.delay] = Window(each[:, None, None, None]), [term]
                continue
            assert term.source is not None
            window = self._window(term)
            if window is None:
                return False
            place = self.whole.places[term.source]
            key = (*self._key(term), place.shape[0], place.first)
            found.setdefault(key, (window.scaled(gain), []))[1].append(term)
        if not found:
            return False
        for window, terms in found.values():
            sources = tuple((self._source(term, maps_of(node.shape)), term.delay) for term in terms)
            self.synapses.append(_Synapse(self._named(terms[0]), sources, window, terms))
        self.forms = [replace(form, bias=bias)]
        self.shape = maps_of(node.shape)
        self._loop()
        return True

    def _window(self, term: _Term) -> Window | None:
        """A path as a convolution of the population that it comes from."""
        assert term.source is not None
        place = self.whole.places[term.source]
        shape = self.whole.network.nodes[term.source].shape
        if len(place.shape) != 3 or maps_of(shape)[1:] != place.shape[1:]:
            return None
        window = linear.convolution(term.path, shape)
        if window is None:
            return None
        area = place.shape[1] * place.shape[2]
        window = linear.select(window, place.shape[0], place.first // area)
        if term.source in self._inputs():
            window = window.scaled(np.full(len(window.weight), self.whole.scale))
        return window

    def _key(self, term: _Term) -> tuple[Any, ...]:
        """What terms share that are one synapse of the sum of several populations."""
        steps = tuple((node.name, id(mask)) for node, mask in term.path)
        alone = () if steps else (term.source,)
        return (steps, term.source in self._inputs(), *alone)

    def _source(self, term: _Term, maps: Shape) -> str:
        return self.whole.constant(maps) if term.source is None else (
            self.whole.places[term.source].population
        )

    # -- as a row ----------------------------------------------------------------------------

    def _as_row(self) -> None:
        """Every neuron a channel of its own, all synapses matrices."""
        sizes = [math.prod(node.shape) for node in self.members]
        self.shape = (sum(sizes),)
        found: dict[tuple[tuple[str, int], ...], _Synapse] = {}
        biases: list[Array] = []
        row = 0
        for form, terms, size in zip(self.forms, self.terms, sizes, strict=True):
            gain = form.gain.reshape(-1)
            bias = form.bias.reshape(-1).astype(np.float64)
            alike: dict[Any, list[_Term]] = {}
            for term in terms:
                if self._is_own(term):
                    continue
                if term.constant is None:
                    assert term.source is not None
                    place = self.whole.places[term.source]
                    alike.setdefault((*self._key(term), place.shape, place.first), []).append(term)
                elif self._is_bias(term, form):
                    bias = bias + term.constant.reshape(-1) * gain
                else:
                    alike["constant", term.delay] = [term]
            for group in alike.values():
                self._add_rows(found, group, gain, row)
            biases.append(bias)
            row += size
        self.synapses = list(found.values())
        first = self.forms[0]
        self.forms = [
            _Form(
                *(
                    np.concatenate([np.reshape(getattr(form, level), -1) for form in self.forms])
                    for level in ("gain", "current_leak", "voltage_leak")
                ),
                np.concatenate(biases),
                None
                if first.threshold is None
                else np.concatenate([np.reshape(form.threshold, -1) for form in self.forms]),
            )
        ]
        self._loop(sizes)

    def _add_rows(
        self,
        found: dict[tuple[tuple[str, int], ...], _Synapse],
        group: list[_Term],
        gain: Array,
        row: int,
    ) -> None:
        """Add a path, from one population or the sum of several, to the matrix from there."""
        whole, term = self.whole, group[0]
        if term.constant is not None:
            part, first, columns = (term.constant.reshape(-1) * gain)[:, None], 0, 1
        else:
            assert term.source is not None
            place = whole.places[term.source]
            first, columns = place.first, math.prod(place.shape)
            part = linear.matrix(term.path, whole.network.nodes[term.source].shape)
            part = part * gain[:, None]
            if term.source in self._inputs():
                part = part * whole.scale
        sources = tuple(sorted((self._source(each, (1,)), each.delay) for each in group))
        if sources not in found:
            total = self.shape[0]
            if total * columns > linear.LARGEST:
                raise whole.refuse(
                    self.name,
                    f"its synapses from {sources[0][0]} are a matrix of {total:,} x {columns:,} "
                    f"weights, more than {linear.LARGEST:,}; use parameters that are equal "
                    "within a channel, so that they stay convolutions",
                )
            found[sources] = _Synapse(self._named(term), sources, np.zeros((total, columns)))
        synapse = found[sources]
        synapse.weight[row : row + len(part), first : first + part.shape[1]] += part
        synapse.terms.extend(group)

    # -- loops -------------------------------------------------------------------------------

    def _inputs(self) -> set[str]:
        return {node.name for node in self.whole.network.of_kind("Input")}

    def _is_own(self, term: _Term) -> bool:
        return self.looped and term.source in {node.name for node in self.members}

    def _is_bias(self, term: _Term, form: _Form) -> bool:
        """Whether what arrives at every step can be the bias of the voltage."""
        return term.delay == 0 and bool((form.current_leak == 1).all())

    def _loop(self, sizes: list[int] | None = None) -> None:
        """What the population hears of itself, (neurons, neurons)."""
        if not self.looped:
            return
        sizes = sizes or [math.prod(self.members[0].shape)]
        starts = dict(zip((n.name for n in self.members), np.cumsum([0, *sizes[:-1]]), strict=True))
        total = sum(sizes)
        if total * total > linear.LARGEST:
            raise self.whole.refuse(
                self.name,
                f"a loop over {total:,} neurons has {total * total:,} weights, more than "
                f"{linear.LARGEST:,}; use fewer neurons",
            )
        own = np.zeros((total, total))
        gains = self.forms[0].gain.reshape(-1)
        for node, terms, size in zip(self.members, self.terms, sizes, strict=True):
            row = int(starts[node.name])
            for term in terms:
                if not self._is_own(term):
                    continue
                if term.delay != 1:
                    raise self.whole.refuse(
                        node.name,
                        f"what comes back to it takes {term.delay} steps; a loop takes the one "
                        "step of its synapse: leave the Delay in it out",
                    )
                assert term.source is not None
                shape = self.whole.network.nodes[term.source].shape
                part = linear.matrix(term.path, shape) * gains[row : row + size, None]
                column = int(starts[term.source])
                own[row : row + size, column : column + part.shape[1]] += part
                self.own_terms.append(term)
        self.own = own

    def _named(self, term: _Term) -> str:
        """Name for a synapse: that of the node with its weights, or of what it connects."""
        heavy = [
            node.name for node, _ in term.path if "weight" in node.values or "kernel_size" in node.sizes
        ]
        return heavy[-1] if heavy and term.constant is None else f"{self.name}.synapse"

    # -- integers ----------------------------------------------------------------------------

    def _quantize(self) -> None:
        whole, form, shape = self.whole, self.forms[0], self.shape
        channels = shape[0]
        if not self.synapses:
            self.synapses = [self._nothing()]
        levels = _Levels(self, form)
        unit, exact = levels.unit()
        names = []
        for synapse in self.synapses:
            names.append(self._add(synapse, *levels.integers(synapse.rows(), synapse, unit)))
        self.whole.unit[self.name] = np.broadcast_to(
            unit.reshape(-1, *[1] * (len(shape) - 1)), shape
        ).copy()
        bias = np.rint(form.bias.reshape(channels, -1) / unit[:, None]).astype(np.int64)
        bias_field = _shortest(bias.reshape(shape))
        told = self._add_neurons(tuple(names), form, unit, bias_field, exact)
        first = 0
        for node in self.members:
            count = math.prod(node.shape)
            whole.places[node.name] = Place(self.name, shape, first, count)
            if node.kind in NEURONS:
                whole.tell(node.name, [self.name], told + self._part(node, first))
            first += count

    def _part(self, node: Node, first: int) -> str:
        if len(self.members) == 1:
            return "" if len(node.shape) == 1 or len(self.shape) > 1 else ", in a row"
        last = first + math.prod(node.shape) - 1
        return f", neurons {first} to {last}; in its loop every edge between neurons takes a step"

    def _nothing(self) -> _Synapse:
        """A synapse without effect, for neurons that only a bias drives."""
        here = self.whole.input
        real = np.zeros((self.shape[0], math.prod(here.shape)))
        return _Synapse(f"{self.name}.synapse", ((here.name, 0),), real)

    def _add(self, synapse: _Synapse, weight: IntArray, exponent: int, error: float) -> str:
        whole = self.whole
        name = whole.fresh(synapse.name)
        sources = tuple(whole.messages_late(*source) for source in synapse.sources)
        real = synapse.real
        if isinstance(real, Window):
            shape = real.weight.shape
            geometry = (real.stride, real.padding, real.dilation, real.groups)
            node: GraphNode = Conv(name, sources, weight.reshape(shape), exponent, *geometry)
        else:
            node = Dense(name, sources, weight.reshape(real.shape), exponent)
        whole.nodes.append(node)
        for term in synapse.terms:
            self._tell_path(term, name, weight, error)
        for start, always in whole.constants.values():
            if (always, 0) in [(population, 0) for population, _ in synapse.sources]:
                for term in synapse.terms:
                    for step, _ in term.path:
                        whole.tell(
                            step.name,
                            [start, always],
                            "its bias enters late or a current that decays: from a neuron that "
                            "always fires",
                        )
        for (population, late), source in zip(synapse.sources, sources, strict=True):
            if late:
                whole.tell(self.members[0].name, [source], f"hears {population} late")
                for term in synapse.terms:
                    for step, _ in term.path:
                        if step.kind == "Delay":
                            whole.tell(step.name, [source], f"{late} steps")
        if not synapse.terms:
            whole.tell(self.members[0].name, [name], "hears nothing")
        return name

    def _tell_path(self, term: _Term, name: str, weight: IntArray, error: float) -> None:
        most = int(np.abs(weight).max(initial=0))
        rounding = "exact"
        if error:
            rounding = f"weights to {most}, rounded by {100 * error:.1g} % of the largest at most"
        weighty = [node for node, _ in term.path if node.kind not in (*PASSING, "Flatten")]
        if not weighty:
            whole = self.members[0].name
            self.whole.tell(whole, [name], f"hears {term.source} directly ({rounding})")
        for node, _ in term.path:
            if node.kind in PASSING:
                self.whole.tell(node.name, [name], "its edges, joined")
                continue
            if node.kind == "Flatten":
                self.whole.tell(node.name, [name], "reads in this order")
                continue
            alone = len(weighty) == 1
            part = "" if alone else f", one with {', '.join(n.name for n in weighty if n is not node)}"
            what = "bias" if term.constant is not None else "weights"
            if what == "bias":
                self.whole.tell(node.name, [name], f"bias at {self.name}")
            else:
                self.whole.tell(node.name, [name], f"{rounding}{part}")

    def _add_neurons(
        self, names: tuple[str, ...], form: _Form, unit: Array, bias: IntArray, exact: bool
    ) -> str:
        channels = self.shape[0]
        current, voltage = (
            np.rint(integers.DECAY_UNITY * _channel(leak, channels)).astype(np.int64)
            for leak in (form.current_leak, form.voltage_leak)
        )
        fires = form.threshold is not None
        highest = integers.DECAY_UNITY - 1 if fires else integers.DECAY_UNITY
        current, voltage = np.maximum(current, 1), np.minimum(voltage, highest)
        told = [] if exact else [f"1 unit of current is {unit.min():.4g}" + _to(unit)]
        for what, real, whole in (
            ("current", _channel(form.current_leak, channels), current),
            ("voltage", _channel(form.voltage_leak, channels), voltage),
        ):
            worst = int(np.argmax(np.abs(real - whole / integers.DECAY_UNITY)))
            if abs(real[worst] * integers.DECAY_UNITY - whole[worst]) > 1e-6:
                told.append(f"{what} decays by {whole[worst]}/4096 a step for {real[worst]:.6g}")
        for term in (t for terms in self.terms for t in terms):
            if term.constant is not None and self._is_bias(term, form):
                for node, _ in term.path:
                    self.whole.tell(node.name, [self.name], f"bias of {self.name}")
        decays: dict[str, Any] = {
            "current_decay": _shortest(current),
            "voltage_decay": _shortest(voltage),
        }
        if not fires:
            integrates = bool((current == integers.DECAY_UNITY).all() and (voltage == 0).all())
            node: GraphNode = (
                Readout(self.name, names, bias=bias)
                if integrates
                else LeakyReadout(self.name, names, bias=bias, **decays)
            )
            self.whole.nodes.append(node)
            return ", ".join([*told, "sends its potential"])
        assert form.threshold is not None
        real_threshold = _channel(form.threshold, channels) / unit
        near = np.rint(real_threshold)
        whole_number = np.abs(real_threshold - near) < 1e-9 * np.maximum(1, near)
        threshold = np.where(whole_number | (not exact), near, np.floor(real_threshold))
        threshold = threshold.astype(np.int64)
        fields = {"threshold": _shortest(threshold), "bias": bias, **decays}
        if self.own is None:
            self.whole.nodes.append(Lif(self.name, names, **fields))
        else:
            levels = _Levels(self, form)
            weight, _, error = levels.integers(self.own, None, unit)
            self.whole.nodes.append(Recurrent(self.name, names, weight, **fields))
            for term in self.own_terms:
                self._tell_path(term, self.name, weight, error)
        top = f"threshold {threshold.min()}" + (
            "" if threshold.min() == threshold.max() else f" to {threshold.max()}"
        )
        return ", ".join([top, *told] if told or not exact else [top, "exact"])


class _Levels:
    """Which real value one unit of current stands for, channel by channel."""

    def __init__(self, building: _Building, form: _Form) -> None:
        self.building = building
        self.form = form
        self.channels = building.shape[0]
        own = building.own
        self.rows = [synapse.rows() for synapse in building.synapses]
        self.own = None if own is None else self._by_channel(own)
        threshold = form.threshold
        self.threshold = (
            np.zeros(self.channels) if threshold is None else _channel(threshold, self.channels)
        )
        self.bias = np.abs(form.bias.reshape(self.channels, -1)).max(1)
        self.sum = self._reach()

    def _by_channel(self, own: Array) -> Array:
        return own.reshape(self.channels, -1)

    def _reach(self) -> Array:
        """The largest current that can be at a neuron, real, over all steps that add up."""
        return self._most(self.rows, self.building.own) * self._times()

    def _most(self, rows: list[Array], own: Array | None) -> Array:
        """The largest sum of a step that weights of the synapses, and of a loop, can give."""
        up, down = np.zeros(self.channels), np.zeros(self.channels)
        for synapse, weight in zip(self.building.synapses, rows, strict=True):
            positive, negative = (
                np.maximum(sign * weight, 0).reshape(self.channels, -1).sum(1) for sign in (1, -1)
            )
            for source, _ in synapse.sources:
                low, high = self.building.whole.message_range(source)
                up += positive * high - negative * low
                down += negative * high - positive * low
        if own is not None:
            for sign, side in ((1, up), (-1, down)):
                heard = np.maximum(sign * own, 0).sum(1)
                side += heard.reshape(self.channels, -1).max(1)
        most: Array = np.maximum(up, down)
        return most

    def _times(self) -> Array:
        """How often a current adds up before it has decayed, or the sample is over."""
        leak = _channel(self.form.current_leak, self.channels)
        leak = np.maximum(np.rint(leak * integers.DECAY_UNITY), 1) / integers.DECAY_UNITY
        times: Array = (1 - (1 - leak) ** self.building.whole.steps) / leak
        return times

    def unit(self) -> tuple[Array, bool]:
        """Per channel; and whether all weights and biases are whole in it."""
        grid = self._grid()
        if grid is not None:
            return grid, True
        largest = [np.abs(rows).max(1, initial=0) for rows in self.rows]
        own = [] if self.own is None else [np.abs(self.own).max(1, initial=0)]
        heard = np.array([*largest, *own])
        with np.errstate(divide="ignore"):
            finest = np.where(heard > 0, heard, np.inf).min(0) / integers.WEIGHT_MAX
        if self.form.threshold is not None:
            finest = np.minimum(finest, self.threshold / RESOLUTION)
        slack = 0.98  # what rounding weights adds to their sum
        floors = [
            self.threshold / integers.THRESHOLD_MAX,
            self.bias / integers.BIAS_MAX,
            self.sum / (slack * integers.CURRENT_MAX),
            *(each / integers.WEIGHT_MAX for each in own),
            *(each / (integers.WEIGHT_MAX * 2.0**EXPONENT) for each in largest),
        ]
        if self.form.threshold is None:
            floors.append(self._held() / integers.CURRENT_MAX)
        floor = np.max(floors, axis=0)
        unit = np.maximum(np.where(np.isfinite(finest), finest, 0), floor)
        unit = np.where(unit > 0, unit, 1.0)
        # one exponent for all channels: that with which each can use all bits of its weights
        top = np.max(largest, axis=0) / integers.WEIGHT_MAX
        heard_of = top > 0
        if heard_of.any():
            wanted = math.ceil(math.log2(max(float((top / unit).max()), 1.0)))
            with np.errstate(divide="ignore"):
                room = np.where(floor > 0, top / floor, 2.0**EXPONENT)[heard_of]
            most = math.floor(math.log2(max(float(room.min()), 1.0)))
            shared = 2.0 ** min(wanted, most)
            unit = np.where(heard_of, np.maximum(floor, top / shared), unit)
        while not self._fits(unit):
            unit = unit * 1.05
        return unit, False

    def _held(self) -> Array:
        """How far the potential of an integrator should go before it saturates."""
        leak = _channel(self.form.voltage_leak, self.channels)
        steps = self.building.whole.steps
        times = np.where(leak > 0, (1 - (1 - leak) ** steps) / np.maximum(leak, 1e-12), steps)
        most = (self.sum + self.bias) * times
        shown = [self.building.whole.potentials.get(n.name) for n in self.building.members]
        known = [ROOM * value for value in shown if value is not None]
        held: Array = np.minimum(most, max(known)) if known else most
        return held

    def _fits(self, unit: Array) -> bool:
        """Whether the sums of rounded weights, and the current that they build up, fit."""
        rows = []
        for synapse, real in zip(self.building.synapses, self.rows, strict=True):
            weight, exponent, _ = self.integers(real, synapse, unit)
            rows.append((weight << exponent).astype(np.float64))
        own = self.building.own
        if own is not None:
            own = self.integers(own, None, unit)[0].astype(np.float64)
        return bool((self._most(rows, own) * self._times() <= integers.CURRENT_MAX).all())

    def _grid(self) -> Array | None:
        """Powers of two in which all numbers are whole and fit, None where there are none."""
        steps = []
        parts = [*self.rows, *([] if self.own is None else [self.own])]
        bias = self.form.bias.reshape(self.channels, -1)
        for channel in range(self.channels):
            found = [_lowest_bit(part[channel]) for part in parts] + [_lowest_bit(bias[channel])]
            known = [n for n in found if n is not None]
            steps.append(min(known, default=0))
        unit = np.ldexp(1.0, np.array(steps))
        for _ in range(2):
            if self._exact(unit):
                break
            unit = unit / 2  # weights of both signs are even
        else:
            return None
        leaks = bool((self.form.voltage_leak > 0).any() or (self.form.current_leak < 1).any())
        while leaks and self._exact(unit / 2):  # what decays has values between
            unit = unit / 2
        return unit

    def _exact(self, unit: Array) -> bool:
        if (self.threshold / unit > integers.THRESHOLD_MAX).any():
            return False
        if (self.bias / unit > integers.BIAS_MAX).any() or (
            self.sum / unit > integers.CURRENT_MAX
        ).any():
            return False
        if self.form.threshold is None and (self._held() / unit > integers.CURRENT_MAX).any():
            return False
        every = [(rows, synapse) for rows, synapse in zip(self.rows, self.building.synapses, strict=True)]
        if any(self.integers(rows, synapse, unit)[2] for rows, synapse in every):
            return False
        own = self.building.own
        return own is None or self.integers(own, None, unit)[2] == 0

    def integers(
        self, rows: Array, synapse: _Synapse | None, unit: Array
    ) -> tuple[IntArray, int, float]:
        """Weights, their exponent, and how far they are from what they stand for.

        The distance is the largest, relative to the largest weight. ``synapse`` is None for a population's own weights, which have no exponent.
        """
        scaled = rows.reshape(self.channels, -1) / unit[:, None]
        largest = float(np.abs(scaled).max(initial=0))
        mixed = bool((rows > 0).any() and (rows < 0).any())
        exponent = 0
        if synapse is not None:
            most = integers.WEIGHT_MAX * (1 + 1e-9)
            while largest > most * 2.0**exponent and exponent < EXPONENT:
                exponent += 1
        step = 2.0**exponent * (2 if mixed else 1)
        whole = np.rint(scaled / step) * (2 if mixed else 1)
        limit = integers.WEIGHT_MAX
        whole = np.clip(whole, -limit, limit)
        error = float(np.abs(whole * 2.0**exponent - scaled).max(initial=0)) / (largest or 1)
        return whole.astype(np.int64).reshape(rows.shape), exponent, error


def _lowest_bit(values: Array) -> int | None:
    """The exponent of the lowest bit that any of the values has, None where all are 0."""
    found = values[values != 0]
    if not found.size:
        return None
    mantissa, exponent = np.frexp(found)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    low = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    return int((exponent - 53 + low).min())


def _channel(values: Array, channels: int) -> Array:
    """One value per channel, of values that are equal within it."""
    return np.asarray(values, np.float64).reshape(channels, -1)[:, 0]


def _shortest(values: IntArray) -> IntArray:
    """One value where all are equal, one per channel where they are within it, else all."""
    if (values == values.flat[0]).all():
        return values.reshape(-1)[:1]
    rows = values.reshape(len(values), -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else values


def _to(unit: Array) -> str:
    return "" if unit.min() == unit.max() else f" to {unit.max():.4g}"


def _check_records(graph: Graph, records: tuple[Record, ...]) -> None:
    """Nothing is dropped, and nothing comes from nowhere: a fault of ours otherwise."""
    silent = [record.source for record in records if not record.what]
    named = {name for record in records for name in record.targets}
    lost = [node.name for node in graph if node.name not in named]
    if silent or lost:
        raise AssertionError(f"nodes without a record: {silent} of NIR, {lost} of the graph")
