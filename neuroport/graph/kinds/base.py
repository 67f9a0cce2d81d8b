"""Base classes of node kinds; each other file of this folder defines one kind.

A node is immutable and holds integers only. ``inputs`` names the nodes whose outputs are summed at
its input. A node takes and gives one of three signals:

* *messages*: spikes (0/1) or graded integers, sent by populations;
* *current*: the output of a synapse, which a dendrite sums;
* *potential*: the state of a readout.

Graph, text, storage, traces, engines, rules and reports ask the node, and contain no list of kinds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from neuroport.errors import GraphError
from neuroport.graph import integers
from neuroport.graph.array_storage import Packed
from neuroport.graph.border_taps import Inside
from neuroport.graph.kernel import Kernel
from neuroport.graph.kinds.fields import (
    Constant,
    Facts,
    IntArray,
    Pair,
    Shape,
    Unfolding,
    bias,
    by,
    constant,
    current_decay,
    decay,
    declared,
    is_array,
    packed_array,
    pair,
    per_neuron,
    plain_value,
    span,
    spread,
    voltage_decay,
    zero,
)
from neuroport.graph.linear_bounds import Box, LinearMap

Range: TypeAlias = tuple[IntArray, IntArray]  # least and largest value, per channel
States: TypeAlias = tuple[Any, ...]
Spread: TypeAlias = Callable[[IntArray, Shape], Any]  # a field as one value per neuron
Product: TypeAlias = Callable[[Any], Any]
Loop: TypeAlias = Callable[[IntArray], Product]  # weights (O, O) -> spikes (N, *shape) through them

__all__ = [  # noqa: RUF022 - what a kind is written with, wherever it lies
    "CHANGES",
    "Facts",
    "GRADED",
    "IntArray",
    "KINDS",
    "Loop",
    "MESSAGES",
    "Node",
    "POTENTIAL",
    "Pair",
    "Population",
    "Range",
    "SPIKES",
    "Shape",
    "Spread",
    "States",
    "Synapse",
    "bias",
    "by",
    "constant",
    "current_decay",
    "decay",
    "is_array",
    "kind",
    "pair",
    "per_neuron",
    "span",
    "spread",
    "voltage_decay",
    "zero",
]

N = TypeVar("N", bound="Node")

MESSAGES, CURRENT, POTENTIAL = "messages", "current", "potential"
SPIKES, GRADED, CHANGES = "spikes", "graded", "changes"


@dataclass(frozen=True, eq=False)
class Node:
    """A node of a graph.

    Its large arrays are held as narrow as their values allow, and read as int64
    (:class:`~neuroport.graph.kinds.fields.Unfolding`).

    Attributes:
        kind: its name in files, traces and texts.
        takes: ``messages``, ``current``, or empty for an input.
        gives: ``messages``, ``current`` or ``potential``.
        emits: the type of its messages: ``spikes``, ``graded`` or ``changes``; empty if it sends
        none.
    """

    kind: ClassVar[str]
    takes: ClassVar[str]
    gives: ClassVar[str]
    emits: ClassVar[str] = ""

    if TYPE_CHECKING:  # fields of every kind, in an order of its own

        @property
        def name(self) -> str: ...
        @property
        def inputs(self) -> tuple[str, ...]: ...

    def __post_init__(self) -> None:
        """Normalize the fields; the graph reports errors."""
        for item in fields(self):
            value = vars(self)[item.name]
            try:
                tidy = packed_array(value) if is_array(item) else plain_value(value)
            except (TypeError, ValueError) as error:
                raise GraphError(f"{getattr(self, 'name', '?')}: {item.name}: {error}") from error
            object.__setattr__(self, item.name, tidy)

    @property
    def latency(self) -> int:
        """Number of steps that the node takes in chip time."""
        return 0

    @property
    def longest_delay(self) -> int:
        """Number of steps by which the node delays messages, including a synapse's lag."""
        return 0

    @property
    def own_weight(self) -> IntArray | None:
        """Recurrent weights (N, N) for its previous spikes; None without recurrence."""
        return None

    def packed(self, name: str) -> Packed:
        """Return an array as it is held: its shape and size cost nothing, its values are packed."""
        held: Packed = vars(self)[name]
        return held

    def check_types(self) -> None:
        """Refuse fields of the wrong type; arrays were checked when the node was created.

        Raises:
            GraphError: names node and field.
        """
        for item in fields(self):
            if is_array(item):
                continue
            value = getattr(self, item.name)
            if item.name == "name":
                good, wanted = isinstance(value, str), "text"
            elif item.name == "inputs":
                good = isinstance(value, tuple) and all(isinstance(n, str) for n in value)
                wanted = "a tuple of names"
            elif item.type in ("Shape", "Pair"):
                good = isinstance(value, tuple) and all(type(n) is int for n in value)
                good = good and (item.type == "Shape" or len(value) == 2)
                wanted = "a tuple of integers" + ("" if item.type == "Shape" else ", (H, W)")
            else:
                kind = bool if item.type == "bool" else int
                good, wanted = type(value) is kind, f"of type {kind.__name__}"
            if not good:
                raise GraphError(f"{self.name}: {item.name} is {value!r}; it must be {wanted}")

    def infer(
        self, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, IntArray, IntArray]:
        """Infer the shape and the range of the node's output.

        Args:
            shape: of each of its inputs.
            low, high: range of their sum, per channel.

        Raises:
            GraphError: a field does not fit the inputs, or is outside its range.
        """
        raise NotImplementedError

    def text(self) -> str:
        """All fields except name and inputs, as text; arrays as their range of values."""
        shown = [item for item in fields(self) if item.name not in ("name", "inputs")]
        values = [(item, getattr(self, item.name)) for item in shown]
        return " ".join(
            f"{item.name} {span(value) if is_array(item) else value}" for item, value in values
        )

    def title(self) -> str:
        """The node's kind, in a few words."""
        return self.kind

    def details(self) -> list[str]:
        """Its constants as readable text, one line each."""
        return [
            f"{name} {span(values) if isinstance(values, np.ndarray) else values}"
            for name, _, values in self.constants()
        ]

    def constants(self) -> Iterator[tuple[str, Constant, IntArray | int]]:
        """Name, declaration and value of every constant."""
        for item in fields(self):
            found = declared(item)
            if found is not None:
                yield item.name, found, getattr(self, item.name)

    def replace(self: N, **changes: Any) -> N:
        """Return a copy of the node with other values of some fields; it shares the others."""
        held = {item.name: self.packed(item.name) for item in fields(self) if is_array(item)}
        return dataclasses.replace(self, **{**held, **changes})

    def refuse(self, why: str) -> GraphError:
        """Return an error about this node."""
        return GraphError(f"{self.name}: {why}")


class Population(Node):
    """A set of neurons, which receive a current. A trace records their messages.

    A kind declares its constants as fields, its states, and two steps: :meth:`integrate` and
    :meth:`settle`. They define the kind. They use only operators that NumPy arrays and torch
    tensors share, and every engine without an implementation of its own for the kind computes them.

    Attributes:
        states: names of its states, in order; all are 0 when a sample begins.
        currents_per_neuron: number of channels of the current for each channel of neurons.
        proves_current: whether its summed current must be proven to fit the state.
        checked_states: states for which no bound can be proven. Engines check at every step that
        they, the current and the messages fit 24 bits.
        threshold_shift: bits between the unit of its threshold and that of the compared state; None
        if the threshold varies or does not exist.
        bounded: whether its current bounds its messages; otherwise engines check them.
        declarable: whether its widths may be declared, and checked by :meth:`leaves`.
    """

    takes = CURRENT
    gives = MESSAGES
    declarable: ClassVar[bool] = False
    states: ClassVar[tuple[str, ...]] = ()
    currents_per_neuron: ClassVar[int] = 1
    proves_current: ClassVar[bool] = True
    checked_states: ClassVar[tuple[str, ...]] = ()
    threshold_shift: ClassVar[int | None] = None
    bounded: ClassVar[bool] = True

    @property
    def rounds(self) -> bool:
        """Whether it sends its current rounded to fewer bits, like a relay with a shift."""
        return False

    def shape_of(self, arriving: Shape) -> Shape:
        """Return the shape of the neurons for a current of a shape."""
        return (arriving[0] // self.currents_per_neuron, *arriving[1:])

    def infer(
        self, shape: Shape, low: IntArray, high: IntArray
    ) -> tuple[Shape, IntArray, IntArray]:
        if shape[0] % self.currents_per_neuron:
            raise self.refuse(
                f"its current has {shape[0]} channels; give real and imaginary ones, as many of "
                "each"
            )
        own = self.shape_of(shape)
        for name, what, values in self.constants():
            if isinstance(values, np.ndarray) and values.shape not in what.shapes(own):
                allowed = " or ".join(str(shape) for shape in dict.fromkeys(what.shapes(own)))
                raise self.refuse(f"{name} is {values.shape}; use {allowed}")
            why = what.refusal(name, values)
            if why is not None:
                raise self.refuse(why)
        count = int(np.prod(own))
        if self.own_weight is not None and self.own_weight.shape != (count, count):
            raise self.refuse(
                f"weight is {self.own_weight.shape}, {own} neurons need ({count}, {count})"
            )
        return own, *self.sends(own, low, high)

    def sends(self, shape: Shape, low: IntArray, high: IntArray) -> Range:
        """Return the output range of neurons of ``shape``, per channel, for currents low..high."""
        if self.emits == SPIKES:
            return np.zeros(shape[0], np.int64), np.ones(shape[0], np.int64)
        most = integers.STATE_MAX if self.gives == POTENTIAL else integers.MESSAGE_MAX
        top = np.full(shape[0], most, np.int64)
        return -top, top

    def as_sum(self, currents: tuple[LinearMap, ...], low: IntArray, high: IntArray) -> Box:
        """Return its output as a sum of currents with a bounded error, or as a range."""
        return Box(low, high)

    def own_current(self) -> tuple[int, int]:
        """Return the range of the current that recurrent weights add to the input."""
        weight = self.own_weight
        if weight is None:
            return 0, 0
        low, high = np.minimum(weight, 0).sum(1).min(), np.maximum(weight, 0).sum(1).max()
        return int(low), int(high)

    def acts_alone(self) -> bool:
        """Return whether it may send without input, so that its start time affects the result."""
        return any(name == "bias" and np.any(values) for name, _, values in self.constants())

    def cpu_only(self) -> str:
        """The reason why it cannot run on a chip, and an alternative; empty if it can."""
        return ""

    def largest_state(self, facts: Facts) -> int:
        """Largest threshold and bias in units of the state, if the state limits them."""
        return 0

    def setup(self, arriving: Shape, spread: Spread, loop: Loop) -> Any:
        """Return the constants as an engine's arrays, by name; ``weight`` is a function of spikes.

        Args:
            arriving: shape of the current.
            spread: function that spreads a field to one value per neuron.
            loop: function that builds the product with the recurrent weights.
        """
        shape = self.shape_of(arriving)
        own = {} if self.own_weight is None else {"weight": loop(self.own_weight)}
        values = {
            name: spread(value, shape) if isinstance(value, np.ndarray) else value
            for name, _, value in self.constants()
        }
        return SimpleNamespace(**values, **own)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        """Return states and output of a step, before any reset.

        Args:
            c: the result of :meth:`setup`.
            states: states after the previous step, each (N, *shape).
            current: (N, *arriving).
        """
        raise NotImplementedError

    def settle(self, c: Any, states: States, output: Any) -> States:
        """Return the states after the output was sent."""
        return states

    def leaves(self, c: Any, states: States, current: Any, limit: int) -> Any:
        """Return where a step exceeds its widths: ``|current| > limit``, or a state 24 bits.

        The arguments are those of :meth:`integrate`; returns truth values (N, *shape).
        """
        raise NotImplementedError

    @property
    def widest_current(self) -> int:
        """The largest current that may be declared."""
        return integers.CURRENT_MAX if self.proves_current else integers.MESSAGE_MAX

    def step(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        """Compute one step; returns (states, output)."""
        states, output = self.integrate(c, states, current)
        return self.settle(c, states, output), output


class Synapse(Node):
    """A node that turns messages into a current; it takes one step on Lava and on chips.

    ``lag`` is the number of additional steps that it takes in chip time, to align branches. It has
    no effect in ideal time.
    """

    takes = MESSAGES
    gives = CURRENT

    if TYPE_CHECKING:  # fields of every synapse

        @property
        def weight(self) -> IntArray: ...
        @property
        def exponent(self) -> int: ...
        @property
        def lag(self) -> int: ...

    @property
    def latency(self) -> int:
        return 1 + self.lag

    @property
    def longest_delay(self) -> int:
        return self.lag

    @property
    def delays(self) -> bool:
        """Whether messages take more than the one step of every synapse."""
        return self.longest_delay > 0

    def by_delay(self) -> Iterator[tuple[int, IntArray]]:
        """Return each delay in steps, shortest first, with its weights (others are 0)."""
        yield 0, self.weight

    @property
    def kernel(self) -> Kernel | None:
        """The kernel of a convolution; None if every position has its own weights."""
        return None

    def inside(self, source: Shape) -> Inside | None:
        """Return the taps used together on a map of shape ``source``; None if one uses all."""
        return None

    def reading(self, channels: IntArray, size: int) -> Synapse:
        """Return the synapse reduced to some of its input channels, of ``size`` messages each.

        Raises:
            GraphError: its channels are grouped.
        """
        raise NotImplementedError

    def fan_out(self, source: Shape, target: Shape) -> IntArray:
        """Return the number of nonzero weights for each message of a frame of shape ``source``."""
        raise NotImplementedError

    def as_current(self, messages: tuple[Box, ...], source: Shape) -> LinearMap | None:
        """Return the synapse as a linear map of messages of shape ``source``."""
        return None

    def check_synapse(self) -> None:
        """Refuse fields that no synapse can have.

        Raises:
            GraphError: names node and field.
        """
        if not 0 <= self.exponent <= 16:
            raise self.refuse(f"exponent is {self.exponent}; use 0..16")
        if self.lag < 0:
            raise self.refuse(f"lag is {self.lag}; a synapse cannot answer early")

    def suffix(self) -> str:
        """Exponent and lag as text."""
        exponent = f" <<{self.exponent}" if self.exponent else ""
        return exponent + (f" lag {self.lag}" if self.lag else "")


# -- the register ------------------------------------------------------------------------------

KINDS: dict[str, type[Node]] = {}
K = TypeVar("K", bound=type[Node])


def kind(name: str, *, emits: str = "", gives: str = "") -> Callable[[K], K]:
    """Register a frozen dataclass as a kind of node.

    Args:
        name: its name in files, traces and texts: lower-case letters, digits and ``_``.
        emits: ``spikes``, ``graded`` or ``changes``, of a population that sends messages.
        gives: ``potential``, of a readout.

    Raises:
        GraphError: the name is taken, or the class does not define a kind.
    """

    def register(cls: K) -> K:
        if not (name.isidentifier() and name == name.lower()):
            raise GraphError(f"kind {name!r}: use lower-case letters, digits and _")
        other = KINDS.get(name)
        if other is not None and _place(other) != _place(cls):
            raise GraphError(f"kind {name!r} is {'.'.join(_place(other))}; take another name")
        parameters = vars(cls).get("__dataclass_params__")
        if parameters is None or not parameters.frozen or parameters.eq:
            raise GraphError(
                f"{cls.__name__}: put @dataclass(frozen=True, eq=False) under @kind({name!r})"
            )
        base = next((b for b in cls.__mro__[1:] if "kind" in vars(b)), None)
        if base is not None:
            raise GraphError(
                f"{cls.__name__} inherits from {base.__name__}, which is a kind itself; engines "
                "would take one for the other: inherit from Population or Synapse"
            )
        said, answers = emits or cls.emits, (gives or getattr(cls, "gives", "")) == POTENTIAL
        if issubclass(cls, Population) and said not in (SPIKES, GRADED, CHANGES) and not answers:
            raise GraphError(
                f"{cls.__name__}: say what it sends, @kind({name!r}, emits=...): {SPIKES!r}, "
                f"{GRADED!r} or {CHANGES!r}, or gives={POTENTIAL!r}"
            )
        for item in fields(cls):
            if is_array(item):
                setattr(cls, item.name, Unfolding(item.name))
        cls.kind = name
        cls.emits, cls.gives = emits or cls.emits, gives or cls.gives
        KINDS[name] = cls
        return cls

    return register


def _place(cls: type[Node]) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__
