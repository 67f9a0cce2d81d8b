"""Fields of nodes: constants with their ranges, shapes and bounds, and their printed text."""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.deprecated import renamed
from neuroport.graph import integers
from neuroport.graph.array_storage import Packed, hold

IntArray: TypeAlias = npt.NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Constant:
    """The range and shape that a constant of a node kind may have.

    Attributes:
        low, high: the range in which the kind's equation is meaningful; None: unlimited.
        per: ``node`` (one number), ``channel`` (one, or one per channel) or ``neuron`` (those, or
            one per neuron).
        fits: the range of its field on Lava and on chips, if lowering must require a narrower one.
        ``threshold``, ``bias`` and names that end in ``_decay`` have such fields.
        unit: its unit, for error messages.
    """

    low: int | None
    high: int | None
    per: str
    fits: tuple[int, int] | None = None
    unit: str = ""

    def refusal(self, name: str, values: IntArray | int) -> str | None:
        """Return why values are outside the range; None if they are inside."""
        for value in (int(np.min(values)), int(np.max(values))):
            if self.low == 0 and self.high is None and value < 0:
                return f"{name} {value} is negative"
            if (self.low is not None and value < self.low) or (
                self.high is not None and value > self.high
            ):
                says = self.unit or f"use {self.low}..{self.high}"
                return f"{name} is {value}; {says}"
        return None

    def shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Return the shapes that its array may have in a population of ``shape``."""
        return ((1,), shape[:1], *((shape,) if self.per == "neuron" else ()))


def constant(
    low: int | None = None,
    high: int | None = None,
    *,
    per: str = "channel",
    default: int | None = None,
    fits: tuple[int, int] | None = None,
    unit: str = "",
) -> Any:
    """Declare an integer constant of a kind; see :class:`Constant`."""
    metadata = {"constant": Constant(low, high, per, fits, unit)}
    if default is None:
        return field(metadata=metadata)
    if per == "node":
        return field(default=default, metadata=metadata)
    return field(default_factory=lambda: np.full(1, default, np.int64), metadata=metadata)


def current_decay(required: bool = False, fits: tuple[int, int] | None = (1, 4096)) -> Any:
    """Fraction of the current that decays per step, in 1/4096; Lava stores it minus one."""
    return _decay(None if required else 4096, fits)


def voltage_decay(required: bool = False, fits: tuple[int, int] | None = (0, 4095)) -> Any:
    """Fraction of the voltage that decays per step, in 1/4096."""
    return _decay(None if required else 0, fits)


def decay() -> Any:
    """Another decay, in 1/4096 per step."""
    return _decay(None, None)


def _decay(default: int | None, fits: tuple[int, int] | None) -> Any:
    unit = "decays are 0..4096, in 1/4096 per step"
    return constant(0, integers.DECAY_UNITY, default=default, fits=fits, unit=unit)


def bias(fits: tuple[int, int] | None = (-integers.BIAS_MAX, integers.BIAS_MAX)) -> Any:
    """A constant that is added to a current or voltage at every step."""
    return constant(per="neuron", default=0, fits=fits)


def is_array(item: Field[Any]) -> bool:
    """Return whether a field of a node holds an array of integers."""
    return item.type == "IntArray"


def declared(item: Field[Any]) -> Constant | None:
    """Return the declaration of a constant's field, or None for other fields."""
    found: Constant | None = item.metadata.get("constant")
    return found


def packed_array(array: npt.ArrayLike | Packed) -> Packed:
    """Return integers as a node holds them (:func:`neuroport.graph.array_storage.hold`).

    Raises:
        TypeError, ValueError: they are no integers of 64 bits.
    """
    if isinstance(array, Packed):
        return hold(array)  # the array of another node, or of a file
    raw: npt.NDArray[Any] = np.atleast_1d(np.asarray(array))
    if raw.dtype.kind not in "iu":
        raise TypeError(f"integers expected, got {raw.dtype}")
    if raw.dtype == np.uint64 and raw.size and int(raw.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"integers up to {raw.max()} do not fit 64 bits")
    return hold(raw)


class Unfolding:
    """A field of a node that holds its array packed, and gives it as int64, read-only.

    Each reading of a large array unfolds it anew, so that a graph takes as little memory as its
    file. A shape costs nothing: :meth:`neuroport.graph.kinds.base.Node.packed`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, node: Any, owner: type) -> IntArray:
        if node is None or self.name not in vars(node):
            raise AttributeError(f"{owner.__name__} has no {self.name}")
        held = vars(node)[self.name]
        # until __post_init__ has packed it, it is what was given
        return held.unfolded() if isinstance(held, Packed) else held

    def __set__(self, node: Any, value: Any) -> None:
        vars(node)[self.name] = value


def plain_value(value: object) -> object:
    """Convert NumPy integers and lists to Python integers and tuples, for equal hashes."""
    if isinstance(value, (list, tuple)):
        return tuple(plain_value(item) for item in value)
    if isinstance(value, np.bool_):
        return bool(value)
    return int(value) if isinstance(value, np.integer) else value


def zero() -> IntArray:
    """The one number 0."""
    return np.zeros(1, np.int64)


def per_neuron(values: IntArray, shape: Shape) -> IntArray:
    """Spread a field given once, per channel (C,) or per neuron (shape) to all neurons."""
    if values.shape != shape:
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(values, shape)


def spread(bound: IntArray, channels: int) -> IntArray:
    """Spread a bound given once or per channel to all channels."""
    return np.broadcast_to(bound, (channels,)).astype(np.int64)


def span(values: IntArray) -> str:
    """Return the range of an array's values as text: ``5`` or ``3..7``."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}..{high}"


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Properties derived from a node and its inputs.

    ``low`` and ``high`` bound the node's output per channel, in the worst case over all inputs that
    the graph permits (low <= 0 <= high, which includes the 0 before the first step);
    ``reach_low`` and ``reach_high`` bound the sum at the node's input. For a convolution, only taps
    that are used together count (:mod:`neuroport.graph.border_taps`), and messages of relays are
    bounded as one linear map (:mod:`neuroport.graph.linear_bounds`).
    ``latency`` is the longest path to the node in chip time, counted in synapses, and
    ``input_latencies`` those of its inputs: unequal ones must be balanced before a run in chip
    time.
    """

    shape: Shape
    wire: str
    latency: int
    input_latencies: tuple[int, ...]
    low: IntArray
    high: IntArray
    reach_low: IntArray
    reach_high: IntArray

    @property
    def worst(self) -> int:
        """The largest absolute value of the sum at the node's input."""
        return max(int(self.reach_high.max()), -int(self.reach_low.min()))

    @property
    def graded(self) -> bool:
        """Whether the node can send anything but 0 and 1."""
        return int(self.low.min()) < 0 or int(self.high.max()) > 1

    @property
    def skew(self) -> int:
        """The former name of ``latency``."""
        renamed("Facts.skew", "Facts.latency")
        return self.latency

    @property
    def skews(self) -> tuple[int, ...]:
        """The former name of ``input_latencies``."""
        renamed("Facts.skews", "Facts.input_latencies")
        return self.input_latencies


TIMES = "\N{MULTIPLICATION SIGN}"


def by(sizes: tuple[int, ...]) -> str:
    """Join sizes by a multiplication sign: 16 by 28 by 28."""
    return TIMES.join(str(n) for n in sizes)


def pair(sizes: Pair) -> str:
    """Return two sizes as text, once if they are equal."""
    return str(sizes[0]) if sizes[0] == sizes[1] else by(sizes)
