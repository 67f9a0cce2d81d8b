"""Data structures for quantizing a NIR network, and the records of its nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from neuroport.frontends.nir.linear import Path, Window
from neuroport.frontends.nir.reading import Array, Shape
from neuroport.graph.graph import Graph
from neuroport.graph.node import IntArray


class Record(NamedTuple):
    """What a NIR node became: the nodes of the graph that hold it, and how."""

    source: str
    kind: str
    targets: tuple[str, ...]
    what: str


@dataclass(frozen=True, eq=False)
class Quantized:
    """A graph, and how it relates to its NIR network.

    Attributes:
        records: what every NIR node became, in order.
        places: the population, and which of its neurons, for Inputs, neurons and Outputs of NIR.
        unit: for each population the real value of one unit of current, per neuron.
        dt: seconds of a step.
        scale: the real value of an integer frame of 1.
        rounded_thresholds: the lowest threshold of each population of which rounding may change
            spikes, in units of current.
    """

    graph: Graph
    records: tuple[Record, ...]
    places: dict[str, Place]
    unit: dict[str, Array]
    dt: float
    scale: float
    rounded_thresholds: dict[str, int]


@dataclass(frozen=True)
class Place:
    """Where the values of a NIR node are: neurons from ``first`` on of a population."""

    population: str
    shape: Shape
    first: int
    count: int

    @property
    def whole(self) -> bool:
        """Whether it covers the complete population."""
        return self.count == math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Term:
    """A path of linear nodes from a source, or the sum of biases on the way.

    If there is no ``source``, ``constant`` arrives at every step from ``delay`` on.
    """

    source: str | None
    path: Path = ()
    delay: int = 0
    constant: Array | None = None


@dataclass(eq=False)
class Form:
    """A neuron in the form of the integers, per neuron of NIR's shape."""

    gain: Array
    current_leak: Array
    voltage_leak: Array
    bias: Array
    threshold: Array | None
    inclusive: Array | None = None  # more than 0 if it also fires at its threshold
    subtract: Array | None = (
        None  # amount that a spike subtracts from the voltage, if it does not reset it
    )


@dataclass(eq=False)
class Synapse:
    """A real-valued synapse: a convolution of maps, or a matrix."""

    name: str
    sources: tuple[tuple[str, int], ...]  # (population, delay in steps): the sum of their messages
    real: Window | Array
    terms: list[Term] = field(default_factory=list)

    @property
    def weight(self) -> Array:
        return self.real.weight if isinstance(self.real, Window) else self.real

    def rows(self) -> Array:
        """Weights of each output channel or neuron, (O, everything)."""
        return self.weight.reshape(len(self.weight), -1)


def by_channel(values: Array, channels: int) -> Array:
    """Return one value per channel, of values that are equal within channels."""
    return np.asarray(values, np.float64).reshape(channels, -1)[:, 0]


def shortest(values: IntArray) -> IntArray:
    """Return one value if all are equal, one per channel if equal within channels, else all."""
    if (values == values.flat[0]).all():
        return values.reshape(-1)[:1]
    rows = values.reshape(len(values), -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else values
