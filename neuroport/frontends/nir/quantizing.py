"""Quantize a NIR network to a graph of integers, with a record of every node.

Each neuron is converted to the form of the integer neurons (``u`` and ``v`` in real numbers):

    u = (1 - a) u + gain x,    v = (1 - b) v + u + bias,    s = v > threshold,    v = 0 where s

Here ``v`` is counted from ``v_reset``, and ``gain``, ``a``, ``b`` and ``bias`` include ``r``,
``w_in``, ``dt`` and the time constants. This is exact. Then numbers are rounded: decays to 1/4096
per step, and currents to one unit per channel. It is the finest unit with which weights, threshold,
bias and the largest possible sum fit the widths of the hardware. Numbers on a grid of powers of two
keep it, and without leaks lose nothing (:mod:`neuroport.frontends.nir.levels`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from neuroport.frontends.nir import linear
from neuroport.frontends.nir.interpreter import delay_steps
from neuroport.frontends.nir.linear import maps_of
from neuroport.frontends.nir.populations import Building, Whole
from neuroport.frontends.nir.quantized_parts import Form, Place, Quantized, Record, Term
from neuroport.frontends.nir.reading import (
    FIRING,
    NEURONS,
    ORDER,
    PASSING,
    SILENT,
    Array,
    Network,
    Node,
    Shape,
)
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif

TERMS = 256  # paths that may meet at a node


@np.errstate(over="ignore", invalid="ignore")  # infinite weights are refused by name
def quantize_network(
    network: Network,
    dt: float,
    input_node: Input,
    scale: float,
    steps: int,
    potentials: Mapping[str, float],
    one_unit: bool,
    subtract: bool = False,
) -> Quantized:
    """Return the integers of ``network``.

    Args:
        dt: duration of a step in seconds.
        input_node: the input of the graph; its channels are those of all inputs together.
        scale: the real value of an integer frame of 1.
        steps: steps T of a sample.
        potentials: the largest potentials of integrators and outputs on the frames.
        one_unit: use one unit of current for all channels of a population.
        subtract: whether a spike of IF, LIF and CubaLIF subtracts the threshold.

    Raises:
        FormatError: a node has no integer form; the error names it and the nearest alternative.
    """
    found = Quantizing(network, dt, input_node, scale, steps, potentials, one_unit, subtract)
    return found.run()


def input_shape(network: Network) -> Shape:
    """Return the shape of the graph's input: maps side by side, or everything in a row."""
    shapes = [maps_of(node.shape) for node in network.of_kind("Input")]
    if len(shapes) == 1:
        return shapes[0]
    if all(len(shape) == 3 and shape[1:] == shapes[0][1:] for shape in shapes):
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return (sum(math.prod(shape) for shape in shapes),)


class Quantizing(Whole):
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
                self.terms[name] = [Term(name)]
            elif node.kind in NEURONS:
                members = network.loops.get(name, (name,))
                self.terms[name] = [Term(name)]
                waiting[members] = waiting.get(members, 0) + 1
            else:
                self.terms[name] = self._passed(node)
        # all terms are known now, including those of loops
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
        return Quantized(
            graph, records, self.places, self.unit, self.dt, self.scale, self.rounded_thresholds
        )

    # -- what is told ------------------------------------------------------------------------

    def _input_told(self, node: Node, first: int) -> str:
        kind = "spikes" if self.input.bits == 1 else f"messages of {self.input.bits} bits"
        scale = "" if self.scale == 1 else f", 1 of them {self.scale:g}"
        alone = math.prod(self.input.shape) == math.prod(node.shape)
        part = "" if alone else f", neurons {first} to {first + math.prod(node.shape) - 1}"
        return f"{kind}{scale}{part}"

    def _alone(self) -> None:
        """Nodes that no other node reads."""
        for name in self.network.nodes:
            if not self.said[name]:
                self.tell(name, (), "no neuron and no output reads it: left out")

    def fresh(self, name: str) -> str:
        """Return ``name``, or a variant that no node or population uses."""
        found, count = name, 2
        while found in self.names or found in self.reserved:
            found, count = f"{name}~{count}", count + 1
        self.names.add(found)
        return found

    # -- linear nodes ------------------------------------------------------------------------

    def _arriving(self, node: Node) -> list[Term]:
        """Return the terms of a node's sources; those of late sources one step later."""
        found: list[Term] = []
        for source in node.inputs:
            if self.network.nodes[source].kind in SILENT and node.kind != "Output":
                raise self.refuse(
                    source,
                    f"an integrator whose potential {node.name} reads: what integers send between "
                    "layers are spikes; let it fire (LIF, IF), or make it an output",
                )
            late = source in node.late
            terms = [Term(source)] if late else self.terms[source]
            found += [replace(term, delay=term.delay + late) for term in terms]
        return _gathered(found)

    def _passed(self, node: Node) -> list[Term]:
        """Return the terms of a linear node, passed through it."""
        arriving = self._arriving(node)
        if node.kind == "Delay":
            steps = delay_steps(node, self.dt)
            parts = [int(n) for n in np.unique(steps)]
            masks = {n: None if len(parts) == 1 else (steps == n).astype(np.float64) for n in parts}
            found = [self._through(node, t, n, masks[n]) for t in arriving for n in parts]
        else:
            found = [self._through(node, term, 0, None) for term in arriving]
        if "bias" in node.values and node.values["bias"].any():
            found.append(Term(None, ((node, None),), constant=np.array(node.values["bias"])))
        if len(found) > TERMS:
            raise self.refuse(
                node.name,
                f"{len(found)} paths without a neuron meet here, more than {TERMS}; put neurons "
                "between the sums",
            )
        return _gathered(found)

    def _through(self, node: Node, term: Term, delay: int, mask: Array | None) -> Term:
        path = (*term.path, (node, mask))
        constant = term.constant
        if constant is not None:
            constant = linear.through(((node, mask),), constant[None])[0]
        return Term(term.source, path, term.delay + delay, constant)

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
        builder = Building(self, name, nodes, forms, terms, looped)
        builder.build()

    def _form(self, node: Node) -> Form:
        value, dt = node.values, self.dt
        one = np.ones(node.shape)
        if node.kind == "Threshold":
            self._check_threshold(node)
            return Form(one, one, one, 0 * one, value["threshold"] * one)
        if node.kind in ("Neuron", "Potential"):
            return self._stepped_form(node)
        for key in ("tau", "tau_mem", "tau_syn"):
            if key in value and float(value[key].min()) < dt * (1 - 1e-9):
                raise self.refuse(
                    node.name,
                    f"{key} is {value[key].min():g} s, shorter than a step of {dt:g} s, so "
                    "that its equation has no stable steps; give a shorter dt, or a longer "
                    "time constant",
                )
        reset = value.get("v_reset", 0 * one)
        threshold = None
        if node.kind in FIRING:
            threshold = value["v_threshold"] - reset
            threshold = np.where(reset == 0, threshold, _meant(threshold))
        if threshold is not None and float(threshold.min()) < 0:
            raise self.refuse(
                node.name,
                "v_threshold is below v_reset, so that it would fire again and again; use a "
                "threshold of v_reset or more",
            )
        subtract = threshold if self.subtract else None
        if node.kind in ("IF", "I"):
            return Form(value["r"] * dt, one, 0 * one, 0 * one, threshold, subtract=subtract)
        tau = value["tau"] if "tau" in value else value["tau_mem"]
        leak = np.minimum(dt / tau, 1.0)
        gain, current = leak * value["r"], one
        if "tau_syn" in value:
            current = np.minimum(dt / value["tau_syn"], 1.0)
            gain = gain * current * value["w_in"]
        bias = leak * (value["v_leak"] - reset)
        return Form(gain, current, leak, bias, threshold, subtract=subtract)

    def _stepped_form(self, node: Node) -> Form:
        """Return the form of a Neuron or Potential, whose values are those of a form."""
        value, one = node.values, np.ones(node.shape)
        for key in ("current_leak", "voltage_leak"):
            keeps = 1 - value[key]
            outside = keeps[(keeps < 0) | (keeps > 1)]
            if outside.size:
                what = key.removesuffix("_leak")
                raise self.refuse(
                    node.name,
                    f"its {what} keeps {outside[0]:g} of itself at every step, and that of an "
                    "integer neuron 0 to 1; give a decay of 0 to 1, or a tau of 1 or more",
                )
        keys = ("gain", "current_leak", "voltage_leak", "bias")
        gain, current, voltage, bias = (value[key] * one for key in keys)
        threshold = value.get("threshold")
        if threshold is not None:
            self._check_threshold(node)
            threshold = _meant(threshold)
        subtract = value.get("subtract")
        if "subtract_late" in value:  # what the rounded leak leaves of it is what counts
            unity = integers.DECAY_UNITY
            left = np.maximum(unity - np.rint(unity * voltage), 1) / unity
            subtract = value["subtract_late"] / left
        return Form(gain, current, voltage, bias, threshold, value.get("inclusive"), subtract)

    def _check_threshold(self, node: Node) -> None:
        lowest = float(node.values["threshold"].min())
        if lowest < 0:
            raise self.refuse(
                node.name,
                f"its threshold is {lowest:g}, so that it would fire without input; give one of 0 "
                f"or more: add {-lowest:g} or more to the threshold, and as much as a bias before "
                "it",
            )

    def _output(self, node: Node) -> None:
        """Return the population of an Output, or a readout without memory for its sum."""
        terms = self._arriving(node)
        if not terms:
            raise self.refuse(node.name, "nothing but zeros arrives")
        (first, *others) = terms
        plain = all(n.kind in PASSING or n.kind in ORDER for n, _ in first.path)
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
                    f"sums the potential of {term.source} with others; give it its own Output",
                )
        one = np.ones(node.shape)
        self.names.add(node.name)
        form = Form(one, one, one, 0 * one, None)
        Building(self, node.name, [node], [form], [terms], False).build()
        self.tell(node.name, [node.name], "the sum at each step: a readout without memory")

    def messages_late(self, source: str, steps: int) -> str:
        """Return the name of a population's messages, ``steps`` later."""
        if steps == 0:
            return source
        if (source, steps) not in self.delayed:
            name = self.fresh(f"{source}.late{steps}")
            self.nodes.append(Delay(name, (source,), steps))
            self.delayed[source, steps] = name
        return self.delayed[source, steps]

    def constant(self, maps: Shape) -> str:
        """Return a population that fires at every step: one neuron, or one per position."""
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
        """Return the smallest and largest message of a population."""
        if source != self.input.name:
            return 0, 1
        bits = self.input.bits
        if self.input.signed:
            return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        return 0, (1 << bits) - 1


def _meant(difference: Array) -> Array:
    """Return a difference of numbers without the last bits, which are those of its rounding.

    40 bits remain, more than a float32 has: 0.7 - 0.2 is 0.5, and not 0.49999999999999994.
    """
    mantissa, exponent = np.frexp(difference)
    found: Array = np.ldexp(np.rint(np.ldexp(mantissa, 40)), exponent - 40)
    return found


def _silent(name: str, source: str, here: Shape, shape: Shape) -> Conv:
    """Return a convolution of zeros from maps of one size to maps of another."""
    sizes = list(zip(here[1:], shape[1:], strict=True))
    padding = [max(0, -(-(there - size) // 2)) for size, there in sizes]
    kernel = [size + 2 * p - there + 1 for (size, there), p in zip(sizes, padding, strict=True)]
    weight = np.zeros((shape[0], here[0], *kernel), np.int64)
    return Conv(name, (source,), weight, padding=(padding[0], padding[1]))


def _gathered(terms: list[Term]) -> list[Term]:
    """Add up constants of the same delay, in the order of their sources."""
    found = [term for term in terms if term.source is not None]
    constants: dict[int, Term] = {}
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


def _check_records(graph: Graph, records: tuple[Record, ...]) -> None:
    """Check that every node has a record and every record a node; otherwise neuroport has a bug."""
    silent = [record.source for record in records if not record.what]
    named = {name for record in records for name in record.targets}
    lost = [node.name for node in graph if node.name not in named]
    if silent or lost:
        raise AssertionError(f"nodes without a record: {silent} of NIR, {lost} of the graph")
