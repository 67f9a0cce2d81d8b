"""One population of NIR neurons with its synapses: from real numbers to nodes of the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from neuroport.errors import FormatError
from neuroport.frontends.nir import linear
from neuroport.frontends.nir.levels import Levels
from neuroport.frontends.nir.linear import Window, maps_of, per_channel
from neuroport.frontends.nir.quantized_parts import Form, Place, Synapse, Term, by_channel, shortest
from neuroport.frontends.nir.reading import (
    NEURONS,
    ORDER,
    PASSING,
    Array,
    Network,
    Node,
    Shape,
)
from neuroport.graph import integers
from neuroport.graph.node import (
    Conv,
    Dense,
    Input,
    IntArray,
    LeakyReadout,
    Lif,
    Readout,
    Recurrent,
    SubtractiveLif,
    SubtractiveRecurrent,
)
from neuroport.graph.node import Node as GraphNode

LAST_BITS = 1e-12  # of a float: less is no rounding to integers


class Whole:
    """The network while its populations are made, and what each of them asks of it."""

    def __init__(
        self,
        network: Network,
        dt: float,
        input_node: Input,
        scale: float,
        steps: int,
        potentials: Mapping[str, float],
        one_unit: bool,
        subtract: bool = False,
    ) -> None:
        self.one_unit = one_unit
        self.subtract = subtract
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
        self.terms: dict[str, list[Term]] = {}
        self.unit: dict[str, Array] = {}
        self.rounded_thresholds: dict[str, int] = {}
        self.said: dict[str, list[str]] = {name: [] for name in network.nodes}
        self.targets: dict[str, list[str]] = {name: [] for name in network.nodes}
        self.delayed: dict[tuple[str, int], str] = {}
        self.constants: dict[Shape, tuple[str, str]] = {}  # synapse and population, by shape

    def tell(self, name: str, targets: Iterable[str], what: str) -> None:
        self.targets[name].extend(targets)
        self.said[name].append(what)

    def refuse(self, name: str, why: str) -> FormatError:
        return FormatError(f"{self.network.where}: {name}: {why}")

    def constant(self, maps: Shape) -> str:
        """Name of a population that fires at every step: one neuron, or one for each place."""
        raise NotImplementedError

    def fresh(self, name: str) -> str:
        """``name``, or a variant that no node has and no population will take."""
        raise NotImplementedError

    def message_range(self, source: str) -> tuple[int, int]:
        """Least and most that a population sends."""
        raise NotImplementedError

    def messages_late(self, source: str, steps: int) -> str:
        """Name of the messages of a population, so many steps later."""
        raise NotImplementedError


class Building:
    """One population with its synapses, from real numbers to nodes."""

    def __init__(
        self,
        whole: Whole,
        name: str,
        members: list[Node],
        forms: list[Form],
        terms: list[list[Term]],
        looped: bool,
    ) -> None:
        self.whole = whole
        self.name = name
        self.members = members
        self.forms = forms
        self.terms = terms
        self.looped = looped
        self.synapses: list[Synapse] = []
        self.own: Array | None = None  # the matrix of a loop
        self.own_terms: list[Term] = []

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
        levels += [
            level for level in (form.threshold, form.inclusive, form.subtract) if level is not None
        ]
        if any(per_channel(level) is None for level in levels):
            return False
        gain = per_channel(form.gain)
        assert gain is not None
        bias = np.array(form.bias, np.float64)
        found: dict[Any, tuple[Window, list[Term]]] = {}
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
            self.synapses.append(Synapse(self._named(terms[0]), sources, window, terms))
        self.forms = [replace(form, bias=bias)]
        self.shape = maps_of(node.shape)
        self._loop()
        return True

    def _window(self, term: Term) -> Window | None:
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

    def _key(self, term: Term) -> tuple[Any, ...]:
        """What terms share that are one synapse of the sum of several populations."""
        steps = tuple((node.name, id(mask)) for node, mask in term.path)
        alone = () if steps else (term.source,)
        return (steps, term.source in self._inputs(), *alone)

    def _source(self, term: Term, maps: Shape) -> str:
        return (
            self.whole.constant(maps)
            if term.source is None
            else (self.whole.places[term.source].population)
        )

    # -- as a row ----------------------------------------------------------------------------

    def _as_row(self) -> None:
        """Every neuron a channel of its own, all synapses matrices."""
        sizes = [math.prod(node.shape) for node in self.members]
        self.shape = (sum(sizes),)
        found: dict[tuple[tuple[str, int], ...], Synapse] = {}
        biases: list[Array] = []
        row = 0
        for form, terms, size in zip(self.forms, self.terms, sizes, strict=True):
            gain = form.gain.reshape(-1)
            bias = form.bias.reshape(-1).astype(np.float64)
            alike: dict[Any, list[Term]] = {}
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
        firing = [form.threshold for form in self.forms if form.threshold is not None]
        subtracting = [form.subtract for form in self.forms if form.subtract is not None]
        if subtracting and len(subtracting) < len(self.forms):
            raise self.whole.refuse(
                self.name,
                "neurons of one loop of which some subtract at a spike and others reset to zero; "
                "give all of them one reset",
            )
        inclusive = [
            np.zeros(1) * form.gain if form.inclusive is None else form.inclusive
            for form in self.forms
        ]
        self.forms = [
            Form(
                _row([form.gain for form in self.forms]),
                _row([form.current_leak for form in self.forms]),
                _row([form.voltage_leak for form in self.forms]),
                np.concatenate(biases),
                _row(firing) if firing else None,
                _row(inclusive),
                _row(subtracting) if subtracting else None,
            )
        ]
        self._loop(sizes)

    def _add_rows(
        self,
        found: dict[tuple[tuple[str, int], ...], Synapse],
        group: list[Term],
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
            found[sources] = Synapse(self._named(term), sources, np.zeros((total, columns)))
        synapse = found[sources]
        synapse.weight[row : row + len(part), first : first + part.shape[1]] += part
        synapse.terms.extend(group)

    # -- loops -------------------------------------------------------------------------------

    def _inputs(self) -> set[str]:
        return {node.name for node in self.whole.network.of_kind("Input")}

    def _is_own(self, term: Term) -> bool:
        return self.looped and term.source in {node.name for node in self.members}

    def _is_bias(self, term: Term, form: Form) -> bool:
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

    def _named(self, term: Term) -> str:
        """Name for a synapse: that of the node with its weights, or of what it connects."""
        heavy = [
            node.name
            for node, _ in term.path
            if "weight" in node.values or "kernel_size" in node.sizes
        ]
        return heavy[-1] if heavy and term.constant is None else f"{self.name}.synapse"

    # -- integers ----------------------------------------------------------------------------

    def _quantize(self) -> None:
        whole, form, shape = self.whole, self.forms[0], self.shape
        channels = shape[0]
        if not self.synapses:
            self.synapses = [self._nothing()]
        levels = self._levels(form)
        if not levels.finite():
            raise whole.refuse(
                self.name,
                "its weights, times its gain (r, w_in, dt/tau) and added up, exceed 1.8e308, the "
                "largest float64; make them smaller",
            )
        unit = levels.unit()
        names = []
        for synapse in self.synapses:
            weight, exponent, error = levels.integers(synapse.rows(), synapse, unit)
            names.append(self._add(synapse, weight, exponent, error))
            if error and exponent and self._is_constant(synapse):
                rest = self._rest(synapse, (weight << exponent) * unit[:, None])
                names.append(self._add(rest, *levels.integers(rest.rows(), rest, unit)))
        self.whole.unit[self.name] = np.broadcast_to(
            unit.reshape(-1, *[1] * (len(shape) - 1)), shape
        ).copy()
        bias = np.rint(form.bias.reshape(channels, -1) / unit[:, None]).astype(np.int64)
        bias_field = shortest(bias.reshape(shape))
        told = self._add_neurons(tuple(names), form, levels, unit, bias_field)
        first = 0
        for node in self.members:
            count = math.prod(node.shape)
            whole.places[node.name] = Place(self.name, shape, first, count)
            if node.kind in NEURONS:
                whole.tell(node.name, [self.name], told + self._part(node, first))
            first += count

    def _is_constant(self, synapse: Synapse) -> bool:
        populations = {name for _, name in self.whole.constants.values()}
        return all(source in populations for source, _ in synapse.sources)

    def _rest(self, synapse: Synapse, held: Array) -> Synapse:
        """What rounding left of biases, which drive a neuron at every step, as a synapse."""
        weight = synapse.weight - held.reshape(synapse.weight.shape)
        real = replace(synapse.real, weight=weight) if isinstance(synapse.real, Window) else weight
        return replace(synapse, name=f"{synapse.name}.rest", real=real)

    def _levels(self, form: Form) -> Levels:
        whole = self.whole
        shown = [whole.potentials.get(node.name) for node in self.members]
        known = [value for value in shown if value is not None]
        return Levels(
            form,
            self.synapses,
            self.own,
            self.shape[0],
            whole.steps,
            whole.message_range,
            max(known, default=None),
            whole.one_unit,
        )

    def _part(self, node: Node, first: int) -> str:
        if len(self.members) == 1:
            return "" if len(node.shape) == 1 or len(self.shape) > 1 else ", in a row"
        last = first + math.prod(node.shape) - 1
        return f", neurons {first} to {last}; in its loop every edge between neurons takes a step"

    def _nothing(self) -> Synapse:
        """A synapse without effect, for neurons that only a bias drives."""
        here = self.whole.input
        real = np.zeros((self.shape[0], math.prod(here.shape)))
        return Synapse(f"{self.name}.synapse", ((here.name, 0),), real)

    def _add(self, synapse: Synapse, weight: IntArray, exponent: int, error: float) -> str:
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
            if always in {population for population, _ in synapse.sources}:
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

    def _tell_path(self, term: Term, name: str, weight: IntArray, error: float) -> None:
        most = int(np.abs(weight).max(initial=0))
        rounding = "exact"
        if error > LAST_BITS:
            rounding = f"weights to {most}, rounded by {100 * error:.1g} % of the largest at most"
        weighty = [node for node, _ in term.path if node.kind not in (*PASSING, *ORDER)]
        if not weighty:
            whole = self.members[0].name
            self.whole.tell(whole, [name], f"hears {term.source} directly ({rounding})")
        for node, _ in term.path:
            if node.kind in PASSING:
                self.whole.tell(node.name, [name], "its edges, joined")
                continue
            if node.kind in ORDER:
                self.whole.tell(node.name, [name], "reads in this order")
                continue
            alone = len(weighty) == 1
            part = (
                "" if alone else f", one with {', '.join(n.name for n in weighty if n is not node)}"
            )
            what = "bias" if term.constant is not None else "weights"
            if what == "bias":
                self.whole.tell(node.name, [name], f"bias at {self.name}")
            else:
                self.whole.tell(node.name, [name], f"{rounding}{part}")

    def _add_neurons(
        self, names: tuple[str, ...], form: Form, levels: Levels, unit: Array, bias: IntArray
    ) -> str:
        channels = self.shape[0]
        kept = levels.kept(unit)
        current, voltage = (
            np.rint(integers.DECAY_UNITY * by_channel(leak, channels)).astype(np.int64)
            for leak in (form.current_leak, form.voltage_leak)
        )
        fires = form.threshold is not None
        highest = integers.DECAY_UNITY - 1 if fires else integers.DECAY_UNITY
        current, voltage = np.maximum(current, 1), np.minimum(voltage, highest)
        told = [] if kept.all() else [f"1 unit of current is {unit.min():.4g}" + _to(unit)]
        for what, real, rounded in (
            ("current", by_channel(form.current_leak, channels), current),
            ("voltage", by_channel(form.voltage_leak, channels), voltage),
        ):
            off = np.abs(real * integers.DECAY_UNITY - rounded) * ~kept
            worst = int(np.argmax(off))
            if off[worst] > 1e-6:
                told.append(f"{what} decays by {rounded[worst]}/4096 a step for {real[worst]:.6g}")
        for term in (t for terms in self.terms for t in terms):
            if term.constant is not None and self._is_bias(term, form):
                for step, _ in term.path:
                    self.whole.tell(step.name, [self.name], f"bias of {self.name}")
        decays: dict[str, Any] = {
            "current_decay": shortest(current),
            "voltage_decay": shortest(voltage),
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
        threshold = levels.thresholds(unit)
        if (threshold < 0).any():
            raise self.whole.refuse(
                self.members[0].name,
                "fires at a threshold of 0, and so at every step; give a threshold above "
                "where its voltage rests",
            )
        if not kept.all():
            self.whole.rounded_thresholds[self.name] = int(threshold[~kept].min())
        fields = {"threshold": shortest(threshold), "bias": bias, **decays}
        if form.subtract is not None:
            real = by_channel(form.subtract, channels)
            scaled = real / unit * (1 << integers.STATE_SHIFT)
            amount = np.rint(scaled)
            fields["subtract"] = shortest(amount.astype(np.int64))
            told.append("a spike subtracts")
            worst = int(np.argmax(np.abs(scaled - amount) * ~kept))
            lies = amount[worst] * unit[worst] / (1 << integers.STATE_SHIFT)
            if not kept[worst] and f"{lies:.6g}" != f"{real[worst]:.6g}":
                told[-1] += f" {lies:.6g} for {real[worst]:.6g}"
        if self.own is None:
            alone = Lif if form.subtract is None else SubtractiveLif
            self.whole.nodes.append(alone(self.name, names, **fields))
        else:
            weight, _, error = levels.integers(self.own, None, unit)
            heard = Recurrent if form.subtract is None else SubtractiveRecurrent
            self.whole.nodes.append(heard(self.name, names, weight, **fields))
            for term in self.own_terms:
                self._tell_path(term, self.name, weight, error)
        top = f"threshold {threshold.min()}" + (
            "" if threshold.min() == threshold.max() else f" to {threshold.max()}"
        )
        if kept.all():
            room = levels.room(unit)
            within = "" if room is None else f" while its voltage stays within {room:,.6g}"
            told.append(f"exact{within}")
        return ", ".join([top, *told])


def _row(parts: list[Array]) -> Array:
    return np.concatenate([part.reshape(-1) for part in parts])


def _to(unit: Array) -> str:
    return "" if unit.min() == unit.max() else f" to {unit.max():.4g}"
