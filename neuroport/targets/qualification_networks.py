"""Test networks that qualify a board: one tiny network for each construct, smallest first.

A rule with an *unproven* finding names the construct here that would prove it
(:mod:`neuroport.targets.rules`). Each network contains little besides the construct: one sample, no
bias and no leak unless these are tested. A board with one fault then fails only in that construct.
Maps are neither square nor symmetric, so that exchanged axes are detected. Nothing was run on
hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.graph.graph import Graph
from neuroport.graph.integers import STATE_SHIFT, leak_step
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    IntArray,
    Lif,
    Node,
    Readout,
    Relay,
    ResonateFire,
    Shape,
    SigmaDelta,
)

STEPS = 4  # a power of two
QUIET = 16  # steps of a sample that is shown for STEPS, so that a late message still falls in it
MAP = (2, 6, 5)
# the sizes in which a construct is tried; a network needs the smallest that is not below its own
PRODUCTS = (10, 12, 16, 20, 24)  # bits of a signed product
MERGED = (2, 8, 32)  # convolutions into one population
EXPONENTS = (7, 10, 15)  # of dense weights; 7 was seen on a chip
COLUMNS = (256, 512)  # columns of a feature map

Frames = npt.NDArray[np.int64]
Made = tuple[list[Node], Frames]
MESSAGES, COUNTS = {"record": "messages"}, {"record": "counts"}


@dataclass(frozen=True, slots=True)
class Construct:
    """One construct to test on a board.

    Attributes:
        name: its name in records and messages.
        what: description.
        make: function that returns its nodes, and frames (T, N, *shape).
        options: options of the run; by default, spikes are streamed.
        used: whether a network needs it; None if a rule decides, or if it concerns only running or
        recording.
        look: where to search if it differs.
        leaves: what a rule still requires of a network on a board with this construct.
    """

    name: str
    what: str
    make: Callable[[], Made]
    options: Mapping[str, str] = field(default_factory=lambda: MESSAGES)
    used: Callable[[Graph], bool] | None = None
    look: str = ""
    leaves: str = ""

    def network(self) -> tuple[Graph, Frames]:
        """Return the network and its frames."""
        nodes, frames = self.make()
        return Graph(nodes, len(frames)), frames


def even(seed: int, *shape: int, most: int = 10) -> IntArray:
    """Return even weights of both signs."""
    found: IntArray = 2 * np.random.default_rng(seed).integers(-most, most + 1, shape)
    return found


def shown(shape: Shape, bits: int = 1, samples: int = 1, steps: int = STEPS) -> Frames:
    """Return frames (steps, samples, *shape), half of them 0; all 0 after the first STEPS."""
    rng = np.random.default_rng(7)
    frames = rng.integers(1, 1 << bits, (STEPS, samples, *shape))
    frames *= rng.integers(0, 2, frames.shape)
    return np.concatenate([frames, np.zeros((steps - STEPS, *frames.shape[1:]), np.int64)])


def _lif(
    name: str,
    inputs: tuple[str, ...],
    threshold: int,
    current_decay: int = 4096,
    voltage_decay: int = 0,
) -> Lif:
    each = (np.array([value]) for value in (threshold, current_decay, voltage_decay))
    return Lif(name, inputs, *each)


def _classes(source: str, size: int) -> list[Node]:
    return [Dense("classes", (source,), even(9, 3, size)), Readout("potential", ("classes",))]


def _chain(samples: int = 1, steps: int = STEPS, **fields: Any) -> Made:
    """Return two dense populations and a readout; ``fields`` are for the first population."""
    nodes: list[Node] = [
        Input("frames", (12,), 1),
        Dense("in", ("frames",), even(3, 10, 12)),
        replace(_lif("first", ("in",), 9), **fields),
        Dense("on", ("first",), even(4, 8, 10)),
        _lif("second", ("on",), 12),
        *_classes("second", 8),
    ]
    return nodes, shown((12,), 1, samples, steps)


def _leaking(field: str, decay: int) -> Made:
    """Return two leaking neurons, of which the first barely exceeds the threshold.

    Both are driven far below it and back. The second gets one unit less and stays below. If the
    decay is wrong by 1/4096, or rounds differently, both end on the same side.
    """
    down, up = np.array([[-126, 254]] * 2), np.array([[0, 0], [0, 1]])
    frames = np.zeros((STEPS, 1, 2), np.int64)
    frames[0, :, 0] = frames[-1, :, 1] = 1
    decays, v = {"current_decay": 4096, "voltage_decay": 0, field: decay}, np.int64(0)
    while v & 63 != 1:  # the least that is above a threshold
        decays[field] += 1
        u, v = np.int64(0), np.int64(0)
        for frame in frames[:, 0]:
            u, v = leak_step(u, v, (down[0] @ frame) << 7, 0, **decays)
    nodes: list[Node] = [
        Input("frames", (2,), 1),
        Dense("far", ("frames",), down, 7),
        Dense("near", ("frames",), -up),
        _lif("first", ("far", "near"), int(v) >> STATE_SHIFT, **decays),
    ]
    return nodes, frames


def _biased() -> Made:
    nodes, frames = _chain(2, bias=np.arange(-5, 5) * 7)
    return [*nodes[:-1], Readout("potential", ("classes",), np.array([5, -7, 0]))], frames


def _weights() -> Made:
    """Return weights of both signs at the ends of their range, and odd weights of one sign."""
    mixed = np.where(np.arange(120).reshape(10, 12) % 3, 254, -254)
    odd = np.random.default_rng(2).integers(0, 256, (8, 10))
    odd[0, :2] = 255, 1
    nodes: list[Node] = [
        Input("frames", (12,), 1),
        Dense("in", ("frames",), mixed),
        _lif("first", ("in",), 300),
        Dense("on", ("first",), odd),
        _lif("second", ("on",), 250),
        *_classes("second", 8),
    ]
    return nodes, shown((12,))


def _readout() -> Made:
    nodes: list[Node] = [Input("frames", (12,), 1), *_classes("frames", 12)]
    return nodes, shown((12,))


def _largest_potential() -> Made:
    """Return a readout that ends at the largest threshold, 514 * 255 + 1, without firing."""
    weight = np.array([[255] * 514 + [1]])
    nodes: list[Node] = [
        Input("frames", (weight.size,), 1),
        Dense("in", ("frames",), weight),
        Readout("potential", ("in",)),
    ]
    once = np.arange(weight.size) % STEPS == np.arange(STEPS)[:, None]
    return nodes, once[:, None].astype(np.int64)


def _stem(**fields: Any) -> Conv:
    given: dict[str, Any] = {"weight": even(1, 4, 2, 3, 2, most=9), "padding": (1, 1), **fields}
    return Conv("stem", ("frames",), **given)


def _mapped(bits: int = 1, **fields: Any) -> Made:
    nodes: list[Node] = [
        Input("frames", MAP, bits),
        _stem(**fields),
        _lif("first", ("stem",), 12 << bits),
    ]
    return nodes, shown(MAP, bits)


def _map_into_dense() -> Made:
    nodes, frames = _mapped()
    return [*nodes, Dense("in", ("first",), even(5, 6, 144)), _lif("second", ("in",), 20)], frames


def _grouped() -> Made:
    nodes, frames = _mapped()
    grouped = Conv("grouped", ("first",), even(6, 4, 2, 3, 3), padding=(1, 1), groups=2)
    return [*nodes, grouped, _lif("second", ("grouped",), 15)], frames


def _merged(count: int) -> Made:
    """Return several convolutions of the same spikes into one population."""
    nodes, frames = _mapped()
    one_by_one = [Conv(f"branch{i}", ("first",), even(20 + i, 3, 4, 1, 1)) for i in range(count)]
    names = tuple(conv.name for conv in one_by_one)
    return [*nodes, *one_by_one, _lif("second", names, 20)], frames


def _pair(one: int, other: int) -> IntArray:
    """Return a kernel of two channels into two: their difference, and its negative."""
    return np.array([[one, -other], [-one, other]])[:, :, None, None]


def _relayed(*, wide: bool) -> Made:
    """Return graded messages of both signs through two relays; ``wide`` needs all 24 bits."""
    first = _pair(254, 2) if wide else even(8, 2, 2, 1, 1)
    last = _pair(126, 2) if wide else even(9, 2, 2, 3, 3)
    nodes: list[Node] = [
        Input("frames", MAP, 8),
        Conv("near", ("frames",), first),
        Relay("held", ("near",)),
        Conv("far", ("held",), last, padding=(0, 0) if wide else (1, 1)),
        Relay("on", ("far",)),
    ]
    return nodes, shown(MAP, 8)


def _rounded(bits: int) -> Made:
    """Return a relay that rounds products of both signs with exactly that many bits."""
    steep = {10: 2, 12: 6, 16: 126, 20: 6, 24: 126}[bits]
    pixels = 7 if bits == 10 else 8
    nodes: list[Node] = [Input("frames", MAP, pixels)]
    if bits > 16:
        nodes += [Conv("far", ("frames",), _pair(254, 2)), Relay("held", ("far",))]
    source = nodes[-1].name
    nodes += [Conv("near", (source,), _pair(steep, 2)), Relay("rounds", ("near",), bits - 7)]
    return nodes, shown(MAP, pixels)


def _exponent(exponent: int) -> Made:
    nodes: list[Node] = [
        Input("frames", (3,), 1),
        Dense("in", ("frames",), np.array([[2, 0, -2], [0, 2, 0], [2, -2, 0]]), exponent),
        _lif("first", ("in",), (2 << exponent) - 1),
    ]
    return nodes, shown((3,))


def _wide(width: int) -> Made:
    nodes: list[Node] = [
        Input("frames", (1, 2, width), 1),
        Conv("stem", ("frames",), even(5, 2, 1, 1, 3), padding=(0, 1)),
        _lif("first", ("stem",), 8),
        Conv("on", ("first",), even(6, 1, 2, 1, 3), padding=(0, 1)),
        _lif("second", ("on",), 8),
    ]
    return nodes, shown((1, 2, width))


def _by_bias() -> Made:
    nodes, frames = _chain()
    return nodes, np.repeat(frames[1:2], STEPS, axis=0)


def _delayed() -> Made:
    nodes, frames = _chain()
    wait: list[Node] = [
        Delay("wait", ("first",), 1),
        Dense("on", ("wait",), even(4, 8, 10)),
    ]
    return [*nodes[:3], *wait, *nodes[4:]], frames


def _resonating() -> Made:
    nodes, frames = _chain()
    one = ResonateFire("first", ("in",), 64, np.array([100]), np.array([100]))
    return [*nodes[:2], one, Dense("on", ("first",), even(4, 8, 5)), *nodes[4:]], frames


def _sigma_delta() -> Made:
    nodes, frames = _chain()
    return [*nodes[:2], SigmaDelta("first", ("in",), 4, np.zeros(1, np.int64))], frames


def _has(graph: Graph, *kinds: type[Node]) -> bool:
    return all(graph.of(kind) for kind in kinds)


def _reads(graph: Graph) -> bool:
    return _has(graph, Conv, Dense)


def _graded(graph: Graph) -> bool:
    return graph.input.bits > 1


def _grouping(graph: Graph) -> bool:
    return any(node.groups > 1 for node in graph.of(Conv))


def _always(graph: Graph) -> bool:
    return True


REFUSES = "the engine refuses it, and says why"


def _each() -> Iterator[Construct]:
    """Yield the constructs in test order."""
    yield Construct(
        "spikes",
        "dense synapses, leaky integrate-and-fire neurons, a readout; adapters and StateProbe",
        partial(_chain, steps=QUIET),
        used=_always,
        look="adapters (PyToNxAdapter, NxToPyAdapter), Dense, LIFReset, StateProbe: is a time "
        "series (neurons, steps)?",
    )
    yield Construct(
        "weights",
        "dense weights at the ends of their eight bits, and odd ones of one sign",
        _weights,
        used=_dense,
        look="the sign mode of Dense",
    )
    yield Construct(
        "leaks",
        "voltages that decay, rounded toward zero",
        partial(_leaking, "voltage_decay", 700),
        used=_leaks,
        look="dv is stored as it is",
    )
    yield Construct(
        "currents",
        "currents that decay, rounded toward zero",
        partial(_leaking, "current_decay", 3000),
        used=_leaks,
        look="du is stored minus one",
    )
    yield Construct(
        "resets",
        "four samples one after the other, and nothing of one in the next",
        partial(_chain, 4),
        used=_always,
        look="reset_interval and reset_offset of LIFReset",
    )
    yield Construct(
        "biases",
        "biases of neurons and readouts, gone before a sample begins",
        _biased,
        used=_always,
        look="bias_exp is 6",
    )
    yield Construct(
        "readout",
        "a potential, read once per sample",
        _readout,
        COUNTS,
        look="embedded_io.state.Read, and timing.read_delay of the site",
    )
    yield Construct(
        "readout-range",
        "a potential of 131,071, the largest that does not fire",
        _largest_potential,
        COUNTS,
        look="the threshold of a readout, 17 bits; the sign of what Read gives, 24 bits",
        leaves="it holds 131,071 and fires beyond: compare with the reference's maximum",
    )
    yield Construct(
        "counters",
        "a counter for every neuron",
        _chain,
        COUNTS,
        look="Sparse and the LIFReset that never fires",
    )
    yield Construct(
        "counters-shared",
        "a counter for all neurons of a population, that arrive together",
        _chain,
        {**COUNTS, "granularity": "layer"},
        look="Sparse with several weights into a neuron",
    )
    yield Construct(
        "convolution",
        "a convolution of frames; maps are (W, H, C) in Lava",
        _mapped,
        used=_convolving,
        look="exchanged axes, a kernel that is not flipped: backends/loihi2/axis_order.py",
    )
    yield Construct(
        "strides",
        "strides, padding and dilation that differ between the axes",
        partial(_mapped, stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        used=_convolving,
        look="the order of axes in backends/loihi2/axis_order.py",
    )
    yield Construct(
        "map-into-dense",
        "dense synapses behind a feature map",
        _map_into_dense,
        used=_reads,
        look="flatten() of a chip's out-port; dense_columns in backends/loihi2/axis_order.py",
    )
    yield Construct(
        "graded-frames",
        "frames of eight bits into a convolution",
        partial(_mapped, 8),
        used=_graded,
        look="spike_exp and num_message_bits of PyToN3ConvAdapter",
    )
    yield Construct(
        "grouped",
        "a grouped convolution, written in full",
        _grouped,
        used=_grouping,
        look="kernels with blocks of zeros",
    )
    for count in MERGED:
        yield Construct(
            sized("merged", count),
            f"{count} convolutions into one population",
            partial(_merged, count),
            look="several Conv into one a_in: does it compile, and does it add up?",
        )
    for exponent in EXPONENTS:
        yield Construct(
            sized("exponent", exponent),
            f"dense weights with exponent {exponent}",
            partial(_exponent, exponent),
            look="weight_exp of Dense",
        )
    yield Construct(
        "relay",
        "graded messages of both signs through two relays",
        partial(_relayed, wide=False),
        used=_relaying,
        look="GradedVec with vth 0, num_message_bits 24, the sign of a message",
    )
    yield Construct(
        "relay-24",
        "graded messages that need all of 24 bits",
        partial(_relayed, wide=True),
        used=_relaying,
        look="num_message_bits 24 of Conv; what NxToPyAdapter keeps of a payload",
    )
    for bits in PRODUCTS:
        yield Construct(
            sized("rounding", bits),
            f"a relay that rounds, with products of {bits} bits",
            partial(_rounded, bits),
            look="ProdNeuron: one too large or small: does the half unit arrive, in the step of "
            "the current? nothing at all: is vth 0? only large ones: how wide is a product?",
        )
    for width in COLUMNS:
        yield Construct(
            sized("width", width),
            f"a feature map of {width} columns",
            partial(_wide, width),
            look="a warning of the compiler: spikes near column 256 n - 1",
        )
    yield Construct(
        "frames-by-bias",
        "a constant frame as biases (--frames-by bias)",
        _by_bias,
        {**MESSAGES, "frames_by": "bias"},
        look="bias_mant of LIFReset",
    )
    yield Construct("delays", "axonal delays", _delayed, look=REFUSES)
    yield Construct("resonator", "neurons that resonate and fire", _resonating, look=REFUSES)
    yield Construct("sigma-delta", "neurons that send changes", _sigma_delta, look=REFUSES)


def _dense(graph: Graph) -> bool:
    return _has(graph, Dense)


def _convolving(graph: Graph) -> bool:
    return _has(graph, Conv)


def _relaying(graph: Graph) -> bool:
    return _has(graph, Relay)


def _leaks(graph: Graph) -> bool:
    return any(n.current_decay.min() < 4096 or n.voltage_decay.max() > 0 for n in graph.of(Lif))


def sized(name: str, size: int) -> str:
    """Return the name of a construct in one of its sizes."""
    return f"{name}-{size}"


def for_size(name: str, sizes: tuple[int, ...], needed: int) -> str:
    """Return the smallest size of a construct that proves ``needed``; none if no size does."""
    return next((sized(name, size) for size in sizes if size >= needed), "")


def for_product(worst: int) -> str:
    """Return the construct that proves products up to ``worst``."""
    return for_size("rounding", PRODUCTS, worst.bit_length() + 1)


CONSTRUCTS = {construct.name: construct for construct in _each()}
