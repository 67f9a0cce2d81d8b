"""The nodes of a graph: neuron populations and the synapses between them.

Nodes are frozen and hold integers only. ``inputs`` names the nodes whose output is summed at the
node's input. What a node takes and gives is one of three wires:

* *messages*: spikes (0/1) or graded integers, sent by populations;
* *current*: what a synapse delivers to a dendrite;
* *potential*: the state of a readout.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroport.errors import GraphError

IntArray: TypeAlias = npt.NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]


def _frozen(array: npt.ArrayLike) -> IntArray:
    raw: npt.NDArray[Any] = np.atleast_1d(np.asarray(array))
    if raw.dtype.kind not in "iu":
        raise TypeError(f"integers expected, got {raw.dtype}")
    if raw.dtype == np.uint64 and raw.size and int(raw.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"integers up to {raw.max()} do not fit 64 bits")
    kept = raw.dtype == np.int64 and raw.flags.c_contiguous and not raw.flags.writeable
    if kept and raw is array and raw.base is None:
        return raw  # the array of another node
    copy = np.array(raw, dtype=np.int64, order="C")
    copy.setflags(write=False)
    return copy


def _plain(value: object) -> object:
    """NumPy integers as Python's, lists as tuples, so that equal nodes have equal hashes."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.bool_):
        return bool(value)
    return int(value) if isinstance(value, np.integer) else value


def is_array(item: Field[Any]) -> bool:
    """Whether a field of a node holds an array of integers."""
    return item.type == "IntArray"


def _tidy(node: object) -> None:
    """Bring the fields of a node into their one form; what is wrong is left for Graph to name."""
    for item in fields(node):  # type: ignore[arg-type]
        value = getattr(node, item.name)
        try:
            tidy = _frozen(value) if is_array(item) else _plain(value)
        except (TypeError, ValueError) as error:
            raise GraphError(f"{getattr(node, 'name', '?')}: {item.name}: {error}") from error
        object.__setattr__(node, item.name, tidy)


def _zero() -> IntArray:
    return np.zeros(1, np.int64)


def per_neuron(values: IntArray, shape: Shape) -> IntArray:
    """A field given once, per channel (C,) or per neuron (shape), spread over all neurons."""
    if values.shape != shape:
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(values, shape)


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """Frames entering the network: spikes (``bits=1``) or graded messages of ``bits`` bits."""

    name: str
    shape: Shape
    bits: int = 8
    signed: bool = False
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """``current = (weight * messages) << exponent``, cross-correlation as in torch.

    ``weight`` is (O, I/groups, kH, kW); ``stride``, ``padding``, ``dilation`` are (H, W). ``lag``
    is the number of steps that the synapse takes in chip time beyond its one: it aligns branches
    and has no meaning in ideal time.
    """

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    exponent: int = 0
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    lag: int = 0

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """``current[t] = (sum_i weight[:, i] * messages[t - delay[:, i], i]) << exponent``.

    ``weight`` is (O, I), over the flattened messages. ``delay``, 0 or (O, I), is part of the
    network: messages of before the sample's first step are 0. ``lag`` as for :class:`Conv`.
    """

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    exponent: int = 0
    delay: IntArray = field(default_factory=_zero)
    lag: int = 0

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """The same messages ``steps`` later (an axonal delay), 0 at the first steps of a sample."""

    name: str
    inputs: tuple[str, ...]
    steps: int

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Lif:
    """Leaky integrate-and-fire population; see :func:`neuroport.graph.integers.lif_step`.

    Threshold and decays are one value, or one per channel (C,); ``bias`` may be one per neuron.
    """

    name: str
    inputs: tuple[str, ...]
    threshold: IntArray
    current_decay: IntArray = field(default_factory=lambda: np.full(1, 4096, np.int64))
    voltage_decay: IntArray = field(default_factory=_zero)
    bias: IntArray = field(default_factory=_zero)

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Relay:
    """Stateless graded relay: ``m = (a + 2**(shift-1)) >> shift``, 0 where |m| <= threshold."""

    name: str
    inputs: tuple[str, ...]
    shift: int = 0
    threshold: int = 0

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Population that never fires: ``v = saturate24(v + wrap24(a << 6) + (bias << 6))``."""

    name: str
    inputs: tuple[str, ...]
    bias: IntArray = field(default_factory=_zero)

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class LeakyReadout:
    """Population that leaks as a :class:`Lif`, never fires, and gives its voltage.

    See :func:`neuroport.graph.integers.leak_step`. It runs on the CPU only.
    """

    name: str
    inputs: tuple[str, ...]
    current_decay: IntArray
    voltage_decay: IntArray
    bias: IntArray = field(default_factory=_zero)

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Recurrent:
    """A :class:`Lif` that hears itself: ``current[t] += weight @ spikes[t - 1]``.

    ``weight`` is (N, N) over the flattened neurons. The loop through its synapse takes the one step
    that every synapse takes, so ideal and chip time agree; the first step of a sample hears 0.
    """

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    threshold: IntArray
    current_decay: IntArray = field(default_factory=lambda: np.full(1, 4096, np.int64))
    voltage_decay: IntArray = field(default_factory=_zero)
    bias: IntArray = field(default_factory=_zero)

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """Sends changes of its current; see :func:`neuroport.graph.integers.delta_step`."""

    name: str
    inputs: tuple[str, ...]
    threshold: int
    spike_exponent: int = 6
    state_exponent: int = 6

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class SigmaDelta:
    """Receives changes, rectifies their sum plus ``bias``, and sends changes.

    See :func:`neuroport.graph.integers.sigma_delta_step`. How far its states go depends on the
    frames: no interval is proven, every engine checks while it runs that they fit 24 bits.
    """

    name: str
    inputs: tuple[str, ...]
    threshold: int
    bias: IntArray = field(default_factory=_zero)
    spike_exponent: int = 6
    state_exponent: int = 6

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class Sigma:
    """Sums the changes it receives, checked to fit 24 bits: the readout of sigma-delta networks."""

    name: str
    inputs: tuple[str, ...]

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class ResonateFire:
    """Resonate-and-fire population of C channels under a current of 2C.

    The first C channels of the current are real, the others imaginary. Fires as its phase passes
    zero, :func:`neuroport.graph.integers.resonate_step`, or, with ``izhikevich``, as its imaginary
    part reaches the threshold, :func:`neuroport.graph.integers.resonate_izhikevich_step`. ``sin``
    and ``cos`` are one value or one per channel; ``threshold`` counts units of the state, 64 to one
    of current.
    """

    name: str
    inputs: tuple[str, ...]
    threshold: int
    sin: IntArray
    cos: IntArray
    izhikevich: bool = False

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveLif:
    """Leaky integrate-and-fire population whose threshold rises with every spike.

    See :func:`neuroport.graph.integers.adaptive_lif_step`. ``threshold``, to which it falls back,
    and ``threshold_step`` count units of the state, 64 to one of current. Decays are one value, or
    one per channel (C,); ``bias`` may be one per neuron. Lava has none: it runs on the CPU only.
    """

    name: str
    inputs: tuple[str, ...]
    threshold: int
    threshold_step: int
    threshold_decay: IntArray
    refractory_decay: IntArray
    current_decay: IntArray = field(default_factory=lambda: np.full(1, 4096, np.int64))
    voltage_decay: IntArray = field(default_factory=_zero)
    bias: IntArray = field(default_factory=_zero)

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveRecurrent:
    """An :class:`AdaptiveLif` that hears itself, as :class:`Recurrent` does. On the CPU only."""

    name: str
    inputs: tuple[str, ...]
    weight: IntArray
    threshold: int
    threshold_step: int
    threshold_decay: IntArray
    refractory_decay: IntArray
    current_decay: IntArray = field(default_factory=lambda: np.full(1, 4096, np.int64))
    voltage_decay: IntArray = field(default_factory=_zero)
    bias: IntArray = field(default_factory=_zero)

    def __post_init__(self) -> None:
        _tidy(self)


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveResonateFire:
    """Resonate-and-fire population whose threshold rises with every spike.

    Currents, ``sin``, ``cos`` and ``izhikevich`` as for :class:`ResonateFire`, the threshold as for
    :class:`AdaptiveLif`; nothing resets the state. See
    :func:`neuroport.graph.integers.adaptive_resonate_step`. It runs on the CPU only.
    """

    name: str
    inputs: tuple[str, ...]
    threshold: int
    threshold_step: int
    threshold_decay: IntArray
    refractory_decay: IntArray
    sin: IntArray
    cos: IntArray
    izhikevich: bool = False

    def __post_init__(self) -> None:
        _tidy(self)


Synapse: TypeAlias = Conv | Dense
SelfConnected: TypeAlias = Recurrent | AdaptiveRecurrent
Adaptive: TypeAlias = AdaptiveLif | AdaptiveRecurrent | AdaptiveResonateFire
Resonator: TypeAlias = ResonateFire | AdaptiveResonateFire
Neuron: TypeAlias = (
    Lif
    | Relay
    | Readout
    | Recurrent
    | Delta
    | SigmaDelta
    | Sigma
    | ResonateFire
    | LeakyReadout
    | AdaptiveLif
    | AdaptiveRecurrent
    | AdaptiveResonateFire
)
Population: TypeAlias = Input | Neuron
Node: TypeAlias = Population | Synapse | Delay

NODE_TYPES: dict[str, type[Node]] = {
    "input": Input,
    "conv": Conv,
    "dense": Dense,
    "delay": Delay,
    "lif": Lif,
    "relay": Relay,
    "readout": Readout,
    "recurrent": Recurrent,
    "delta": Delta,
    "sigmadelta": SigmaDelta,
    "sigma": Sigma,
    "resonator": ResonateFire,
    "leakyreadout": LeakyReadout,
    "alif": AdaptiveLif,
    "recurrentalif": AdaptiveRecurrent,
    "adrf": AdaptiveResonateFire,
}
KIND: dict[type[Node], str] = {node: kind for kind, node in NODE_TYPES.items()}


def is_synapse(node: Node) -> bool:
    """Whether the node gives a current (and costs one step on Lava and Loihi)."""
    return isinstance(node, (Conv, Dense))


def is_population(node: Node) -> bool:
    """Whether the node takes a current; a trace records its output."""
    return isinstance(node, Neuron)
