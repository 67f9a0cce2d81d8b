"""Lowering: golden text before and after, and every rule broken and just kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from neuroport.engines.reference import Reference
from neuroport.errors import IllegalError, TargetError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Conv,
    Delay,
    Delta,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
    ResonateFire,
    Sigma,
    SigmaDelta,
)
from neuroport.graph.node_builders import identity
from neuroport.lowering.latency import balance_latency
from neuroport.lowering.unroll import unroll
from neuroport.targets.lowering import lower
from neuroport.targets.rules import refusals, require_legal
from neuroport.targets.target import names, simulator
from neuroport.targets.widths import WIDTHS


def conv(name: str, *inputs: str, kernel: int = 3) -> Conv:
    rng = np.random.default_rng(sum(name.encode()))
    weight = 2 * rng.integers(-4, 5, (2, 2, kernel, kernel))
    return Conv(name, inputs, weight, padding=(kernel // 2, kernel // 2))


def lif(name: str, *inputs: str) -> Lif:
    return Lif(name, inputs, 3)


def body(graph: Graph) -> str:
    """The text of a graph without its headline, which holds the hash."""
    return str(graph).split("\n", 1)[1]


def prove(before: Graph, after: Graph) -> None:
    """Both graphs give the same messages, in ideal time and, once balanced, in chip time."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 2, (before.steps, 3, *before.input.shape))
    engine = Reference()
    want = engine.run(before, frames)
    for node in before.populations:
        assert 0.05 < (want[node.name] != 0).mean() < 0.95, "constant spikes prove nothing"
    for got in (engine.run(after, frames), engine.run(after, frames, time_model="chip")):
        for name in want.messages:
            np.testing.assert_array_equal(got[name], want[name], name)


def membrane() -> Graph:
    """The current of the stem joins that of the second convolution after it."""
    return Graph(
        [
            Input("frames", (2, 4, 4), bits=1),
            conv("stem", "frames"),
            lif("first", "stem"),
            conv("conv1", "first"),
            lif("second", "conv1"),
            conv("conv2", "second"),
            lif("third", "conv2", "stem"),
        ],
        steps=3,
    )


def test_skip_path_is_delayed_by_block_depth() -> None:
    before = membrane()
    after = balance_latency(before)
    assert (
        body(before)
        == """\
input   frames  2x4x4      @0   unsigned 1 bit
conv    stem    2x4x4      @1   w 2x2x3x3 padding 1,1 <- frames
lif     first   2x4x4      @1   threshold 3 decay 4096/0 <- stem
conv    conv1   2x4x4      @2   w 2x2x3x3 padding 1,1 <- first
lif     second  2x4x4      @2   threshold 3 decay 4096/0 <- conv1
conv    conv2   2x4x4      @3   w 2x2x3x3 padding 1,1 <- second
lif     third   2x4x4      @3   threshold 3 decay 4096/0 <- conv2 + stem"""
    )
    assert (
        body(after)
        == """\
input   frames                 2x4x4      @0   unsigned 1 bit
conv    stem                   2x4x4      @1   w 2x2x3x3 padding 1,1 <- frames
lif     first                  2x4x4      @1   threshold 3 decay 4096/0 <- stem
conv    conv1                  2x4x4      @2   w 2x2x3x3 padding 1,1 <- first
lif     second                 2x4x4      @2   threshold 3 decay 4096/0 <- conv1
conv    conv2                  2x4x4      @3   w 2x2x3x3 padding 1,1 <- second
relay   third.carry0           2x4x4      @1   graded <- stem
conv    third.carry0.identity  2x4x4      @2   w 2x1x1x1 groups 2 <- third.carry0
relay   third.carry1           2x4x4      @2   graded <- third.carry0.identity
conv    third.carry1.identity  2x4x4      @3   w 2x1x1x1 groups 2 <- third.carry1
lif     third                  2x4x4      @3   threshold 3 decay 4096/0 \
<- third.carry1.identity + conv2"""
    )
    prove(before, after)


def test_messages_of_unequal_latency_are_held_before_their_synapse() -> None:
    before = Graph(
        [
            Input("frames", (2, 4, 4), bits=1),
            conv("stem", "frames"),
            lif("first", "stem"),
            conv("conv1", "first"),
            lif("second", "conv1"),
            conv("conv2", "second"),
            lif("third", "conv2"),
            conv("conv3", "third", "first", kernel=1),
            lif("fourth", "conv3"),
        ],
        steps=3,
    )
    after = balance_latency(before)
    assert (
        body(after)
        == """\
input   frames                    2x4x4      @0   unsigned 1 bit
conv    stem                      2x4x4      @1   w 2x2x3x3 padding 1,1 <- frames
lif     first                     2x4x4      @1   threshold 3 decay 4096/0 <- stem
conv    conv1                     2x4x4      @2   w 2x2x3x3 padding 1,1 <- first
lif     second                    2x4x4      @2   threshold 3 decay 4096/0 <- conv1
conv    conv2                     2x4x4      @3   w 2x2x3x3 padding 1,1 <- second
lif     third                     2x4x4      @3   threshold 3 decay 4096/0 <- conv2
conv    first.held.identity       2x4x4      @2   w 2x1x1x1 groups 2 <- first
relay   first.held                2x4x4      @2   graded <- first.held.identity
conv    first.held.held.identity  2x4x4      @3   w 2x1x1x1 groups 2 <- first.held
relay   first.held.held           2x4x4      @3   graded <- first.held.held.identity
conv    conv3                     2x4x4      @4   w 2x2x1x1 <- first.held.held + third
lif     fourth                    2x4x4      @4   threshold 3 decay 4096/0 <- conv3"""
    )
    prove(before, after)


def chain(blocks: int) -> Graph:
    """A membrane stream that gains a branch of two convolutions per block."""
    nodes: list[Node] = [Input("frames", (2, 4, 4), bits=1), conv("stem", "frames")]
    stream: tuple[str, ...] = ("stem",)
    for block in range(blocks):
        nodes += [
            lif(f"a{block}", *stream),
            conv(f"c{block}", f"a{block}"),
            lif(f"b{block}", f"c{block}"),
            conv(f"d{block}", f"b{block}"),
        ]
        stream = (f"d{block}", *stream)
    return Graph([*nodes, lif("end", *stream)], steps=3)


def test_blocks_share_the_relays_of_one_stream() -> None:
    before = chain(3)
    after = balance_latency(before)
    assert body(before).splitlines()[-1].endswith("<- d2 + d1 + d0 + stem")
    assert (
        body(after)
        == """\
input   frames               2x4x4      @0   unsigned 1 bit
conv    stem                 2x4x4      @1   w 2x2x3x3 padding 1,1 <- frames
lif     a0                   2x4x4      @1   threshold 3 decay 4096/0 <- stem
conv    c0                   2x4x4      @2   w 2x2x3x3 padding 1,1 <- a0
lif     b0                   2x4x4      @2   threshold 3 decay 4096/0 <- c0
conv    d0                   2x4x4      @3   w 2x2x3x3 padding 1,1 <- b0
relay   a1.carry0            2x4x4      @1   graded <- stem
conv    a1.carry0.identity   2x4x4      @2   w 2x1x1x1 groups 2 <- a1.carry0
relay   a1.carry1            2x4x4      @2   graded <- a1.carry0.identity
conv    a1.carry1.identity   2x4x4      @3   w 2x1x1x1 groups 2 <- a1.carry1
lif     a1                   2x4x4      @3   threshold 3 decay 4096/0 <- a1.carry1.identity + d0
conv    c1                   2x4x4      @4   w 2x2x3x3 padding 1,1 <- a1
lif     b1                   2x4x4      @4   threshold 3 decay 4096/0 <- c1
conv    d1                   2x4x4      @5   w 2x2x3x3 padding 1,1 <- b1
relay   a2.carry0            2x4x4      @3   graded <- a1.carry1.identity + d0
conv    a2.carry0.identity   2x4x4      @4   w 2x1x1x1 groups 2 <- a2.carry0
relay   a2.carry1            2x4x4      @4   graded <- a2.carry0.identity
conv    a2.carry1.identity   2x4x4      @5   w 2x1x1x1 groups 2 <- a2.carry1
lif     a2                   2x4x4      @5   threshold 3 decay 4096/0 <- a2.carry1.identity + d1
conv    c2                   2x4x4      @6   w 2x2x3x3 padding 1,1 <- a2
lif     b2                   2x4x4      @6   threshold 3 decay 4096/0 <- c2
conv    d2                   2x4x4      @7   w 2x2x3x3 padding 1,1 <- b2
relay   end.carry0           2x4x4      @5   graded <- a2.carry1.identity + d1
conv    end.carry0.identity  2x4x4      @6   w 2x1x1x1 groups 2 <- end.carry0
relay   end.carry1           2x4x4      @6   graded <- end.carry0.identity
conv    end.carry1.identity  2x4x4      @7   w 2x1x1x1 groups 2 <- end.carry1
lif     end                  2x4x4      @7   threshold 3 decay 4096/0 <- end.carry1.identity + d2"""
    )
    prove(before, after)


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_a_stream_costs_two_relays_per_block_whatever_its_length(blocks: int) -> None:
    after = balance_latency(chain(blocks))
    assert sum(isinstance(node, Relay) for node in after) == 2 * blocks
    assert after.balanced


def test_a_second_consumer_uses_the_relay_that_is_there() -> None:
    before = Graph([*membrane().nodes, lif("fourth", "conv2", "stem")], steps=3)
    after = balance_latency(before)
    assert after["fourth"].inputs == after["third"].inputs == ("third.carry1.identity", "conv2")
    prove(before, after)


def test_populations_without_an_image_are_carried_by_a_dense_identity() -> None:
    rng = np.random.default_rng(4)
    before = Graph(
        [
            Input("frames", (5,), bits=1),
            Dense("stem", ("frames",), rng.integers(-2, 6, (3, 5))),
            lif("first", "stem"),
            Dense("dense", ("first",), rng.integers(-2, 6, (3, 3))),
            lif("second", "dense", "stem"),
        ],
        steps=3,
    )
    after = balance_latency(before)
    carried = after["second.carry0.identity"]
    assert isinstance(carried, Dense)
    np.testing.assert_array_equal(carried.weight, np.eye(3))
    prove(before, after)


@pytest.mark.parametrize("inputs", [("stem", "conv2", "stem"), ("conv2", "stem", "conv2")])
def test_an_input_that_is_summed_twice_stays_summed_twice(inputs: tuple[str, ...]) -> None:
    before = Graph([*membrane().nodes[:-1], lif("third", *inputs)], steps=3)
    prove(before, balance_latency(before))


def test_balanced_graph_is_left_as_it_is() -> None:
    once = balance_latency(membrane())
    assert balance_latency(once).hash == once.hash
    plain = Graph(membrane().nodes[:-1], steps=3)
    assert balance_latency(plain).hash == plain.hash


@pytest.mark.parametrize("taken", ["first.held", "first.held.identity", "third.carry0"])
def test_names_of_inserted_nodes_do_not_collide_with_names_in_use(taken: str) -> None:
    nodes = [
        *membrane().nodes[:-2],
        conv("late", "second", "first"),
        Lif(taken, ("late",), 1),
        conv("other", "second"),
        lif("third", "other", "stem"),
        conv("sum", "third", "second", "first"),
        lif("last", "sum"),
    ]
    before = Graph(nodes, steps=3)
    after = balance_latency(before)
    prove(before, after)
    second = {"third.carry0": "third.carry0~2", "first.held": "first.held~2"}
    assert second.get(taken, "first.held.identity~2") in [node.name for node in after]


def test_population_that_is_named_like_a_relay_is_not_taken_for_it() -> None:
    nodes = [
        *membrane().nodes[:-2],
        conv("conv2", "second"),
        lif("first.held", "conv2"),
        conv("sum", "second", "first"),
        lif("last", "sum"),
    ]
    before = Graph(nodes, steps=3)
    prove(before, balance_latency(before))


@pytest.mark.parametrize("shape", [(4,), (3, 2, 5), (2, 3)])
def test_identity_delivers_every_message_unchanged(shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(-128, 128, (2, 3, *shape))
    frame = Input("frames", shape, signed=True)
    graph = Graph([frame, identity("same", "frames", shape), Relay("out", ("same",))], 2)
    assert graph.facts("out").latency == 1
    got = Reference().run(graph, frames)["out"]
    np.testing.assert_array_equal(got.reshape(frames.shape), frames)


@pytest.mark.parametrize("carry", [balance_latency, unroll])
def test_branches_that_are_hundreds_of_steps_late_are_aligned(
    carry: Callable[[Graph, str], Graph],
) -> None:
    nodes: list[Node] = [
        Input("frames", (2,), bits=1),
        Dense("late", ("frames",), 2 * np.eye(2, dtype=int), lag=300),
        Dense("also", ("frames",), 3 * np.eye(2, dtype=int), lag=300),
        Lif("first", ("late",), 1),
        Lif("second", ("also",), 1),
        Dense("deep", ("first",), [[4, 1], [1, -4]]),
        Lif("third", ("deep", "late", "also"), 6),
        Dense("sum", ("third", "first", "second"), [[1, 3], [-3, 4]]),
        Lif("last", ("sum",), 3),
    ]
    before = Graph(nodes, steps=3)
    after = carry(before, "delays")
    assert after.balanced
    assert after.depth == before.depth == 303
    prove(before, after)


# -- rules -----------------------------------------------------------------------------------


def dense(*weights: int, exponent: int = 0, bits: int = 1) -> list[Node]:
    """An input and one output neuron's synapse, for a rule to look at."""
    shape = (len(weights),)
    weight = np.array([weights])
    return [Input("frames", shape, bits), Dense("synapse", ("frames",), weight, exponent)]


def neuron(
    threshold: int = 1, current_decay: int = 1, voltage_decay: int = 0, bias: int = 0
) -> list[Node]:
    population = Lif(
        "neuron", ("synapse",), threshold, current_decay, voltage_decay, np.array([bias])
    )
    return [*dense(2, -2), population]


def readout(bias: int) -> list[Node]:
    return [*dense(2, -2), Readout("neuron", ("synapse",), np.array([bias]))]


def driven(*weights: int, reads: Callable[[str], Node] = lambda name: lif("neuron", name)) -> list:
    return [*dense(*weights), reads("synapse")]


def two_currents(first: int, second: int, reads: Node) -> list[Node]:
    """A population that sums two synapses of up to ``weight << 16``."""
    return [
        *dense(first, exponent=16),
        Dense("other", ("frames",), np.array([[second]]), 16),
        replace(reads, inputs=("synapse", "other")),
    ]


def two_messages(bits: int) -> list[Node]:
    """A synapse without weights, into which two graded messages of ``bits`` bits go."""
    return [
        *dense(1, bits=bits),
        Relay("relay", ("synapse",)),
        Dense("silent", ("relay", "relay"), np.zeros((1, 1), int)),
    ]


def late(delay: int = 0, lag: int = 0) -> list[Node]:
    frame = Input("frames", (2,), bits=1)
    return [frame, Dense("synapse", ("frames",), np.array([[2, -2]]), 0, [[0, delay]], lag)]


def axonal(steps: int) -> list[Node]:
    return [Input("frames", (2,), bits=1), Delay("later", ("frames",), steps)]


def recurrent(*weights: int, own: int = 0, **constants: int) -> list[Node]:
    return driven(
        *weights, reads=lambda name: Recurrent("neuron", (name,), [[own]], 9, **constants)
    )


def resonator(*weights: int, threshold: int = 64) -> list[Node]:
    frames, synapse = dense(*weights)
    both = replace(synapse, weight=np.concatenate([synapse.weight, synapse.weight]))
    return [frames, both, ResonateFire("neuron", ("synapse",), threshold, 100, 4000)]


def adaptive(*weights: int, threshold: int = 64, step: int = 0, bias: int = 0) -> list[Node]:
    frames, synapse = dense(*weights)
    tired = AdaptiveLif("neuron", ("synapse",), threshold, step, 0, 0, bias=bias)
    return [frames, synapse, tired]


def fading(*weights: int, bias: int = 0) -> list[Node]:
    return driven(*weights, reads=lambda name: LeakyReadout("neuron", (name,), 9, 9, bias))


def tuned(*weights: int) -> list[Node]:
    *before, neuron = resonator(*weights)
    return [*before, AdaptiveResonateFire("neuron", neuron.inputs, 64, 0, 0, 0, 100, 4000)]


def musing(*weights: int, own: int) -> list[Node]:
    return driven(
        *weights,
        reads=lambda name: AdaptiveRecurrent("neuron", (name,), [[own]], 64, 0, 0, 0),
    )


def changes(bits: int, threshold: int = 0, *, spike: int = 6, state: int = 6) -> list[Node]:
    frames = Input("frames", (1,), bits=bits)
    synapse = Dense("synapse", ("frames",), np.array([[1]]))
    return [frames, synapse, Delta("neuron", ("synapse",), threshold, spike, state)]


def units(threshold: int, bias: int = 0) -> list[Node]:
    """Sums of what sigma-delta neurons send are unproven, and left to the run."""
    unit = SigmaDelta("neuron", ("wide",), threshold, [bias])
    wide = Dense("wide", ("changes",), np.array([[254]]), 16)
    last = Dense("last", ("neuron",), np.array([[254]]), 16)
    before = [
        replace(node, name="changes") if node.name == "neuron" else node for node in changes(8)
    ]
    return [*before, wide, unit, last, Sigma("sum", ("last",))]


EXACT = (255,) * 514 + (1,)  # 131071 = 2**17 - 1
KEPT: dict[str, tuple[str, Callable[[], list[Node]]]] = {
    "mixed 254": ("weights_fit_eight_bits", lambda: dense(254, -254, 2, 0)),
    "positive 255": ("weights_fit_eight_bits", lambda: dense(255, 1, 0)),
    "negative 255": ("weights_fit_eight_bits", lambda: dense(-255, -1, 0)),
    "no weight": ("weights_fit_eight_bits", lambda: dense(0, 0)),
    "threshold": ("threshold_fits", lambda: neuron(threshold=131071)),
    "bias": ("bias_fits", lambda: neuron(bias=4095)),
    "negative bias": ("bias_fits", lambda: neuron(bias=-4095)),
    "bias of a readout": ("bias_fits", lambda: readout(-4095)),
    "slowest current": ("decays_fit", lambda: neuron(current_decay=1)),
    "fastest current": ("decays_fit", lambda: neuron(current_decay=4096)),
    "fastest voltage": ("decays_fit", lambda: neuron(voltage_decay=4095)),
    "slowest voltage": ("decays_fit", lambda: neuron(voltage_decay=0)),
    "current": ("currents_fit", lambda: driven(*EXACT)),
    "negative current": ("currents_fit", lambda: driven(*(-w for w in EXACT))),
    "current of a readout": (
        "currents_fit",
        lambda: driven(*EXACT, reads=lambda name: Readout("neuron", (name,))),
    ),
    "relay takes more than a neuron": (
        "currents_fit",
        lambda: two_currents(2, 2, Relay("neuron", ())),
    ),
    "current of a leaking readout": ("currents_fit", lambda: fading(*EXACT)),
    "bias of a leaking readout": ("bias_fits", lambda: fading(2, bias=-4095)),
    "current of a recurrent neuron": ("currents_fit", lambda: recurrent(*EXACT[1:], own=255)),
    "current of a resonator": ("currents_fit", lambda: resonator(*EXACT)),
    "bias of a recurrent neuron": ("bias_fits", lambda: recurrent(2, bias=-4095)),
    "own weights": ("weights_fit_eight_bits", lambda: recurrent(2, own=-255)),
    "threshold of a resonator": ("states_fit", lambda: resonator(2, threshold=2**23 - 1)),
    "threshold that adapts": (
        "states_fit",
        lambda: adaptive(2, threshold=2**23 - 1, step=1 - 2**23),
    ),
    "current of an adaptive neuron": ("currents_fit", lambda: adaptive(*EXACT[1:], bias=255)),
    "current of an adaptive resonator": ("currents_fit", lambda: tuned(*EXACT)),
    "current of an adaptive recurrent neuron": (
        "currents_fit",
        lambda: musing(*EXACT[1:], own=255),
    ),
    "change": ("states_fit", lambda: changes(11)),
    "threshold of changes": ("states_fit", lambda: changes(1, 2047)),
    "threshold of units": ("states_fit", lambda: units(2047, -2047)),
    "sum of a synapse": ("accumulators_fit", lambda: dense(1, bits=23)),
    "sum of a relay": ("accumulators_fit", lambda: two_currents(64, 63, Relay("neuron", ()))),
    "sum of messages": ("accumulators_fit", lambda: two_messages(22)),
    "longest lag": ("delays_fit", lambda: late(lag=62)),
    "longest delay": ("delays_fit", lambda: late(delay=60, lag=2)),
    "longest axonal delay": ("delays_fit", lambda: axonal(62)),
    "equal latency": ("latencies_agree", lambda: list(balance_latency(membrane()))),
}
BROKEN: dict[str, tuple[str, str, Callable[[], list[Node]]]] = {
    "mixed 256": ("weights_fit_eight_bits", "-2..256", lambda: dense(256, -2)),
    "mixed -256": ("weights_fit_eight_bits", "-256..2", lambda: dense(-256, 2)),
    "mixed and odd": ("weights_fit_eight_bits", "-2..3", lambda: dense(3, -2)),
    "positive 256": ("weights_fit_eight_bits", "0..256", lambda: dense(256, 0)),
    "negative 256": ("weights_fit_eight_bits", "-256..0", lambda: dense(-256, 0)),
    "threshold": ("threshold_fits", "131072", lambda: neuron(threshold=131072)),
    "bias": ("bias_fits", "4096", lambda: neuron(bias=4096)),
    "negative bias": ("bias_fits", "4096", lambda: neuron(bias=-4096)),
    "bias of a readout": ("bias_fits", "4096", lambda: readout(-4096)),
    "no current decay": ("decays_fit", "0/0", lambda: neuron(current_decay=0)),
    "full voltage decay": ("decays_fit", "1/4096", lambda: neuron(voltage_decay=4096)),
    "current": ("currents_fit", "131072", lambda: driven(*EXACT, 1)),
    "negative current": ("currents_fit", "131072", lambda: driven(*(-w for w in EXACT), -1)),
    "current of a readout": (
        "currents_fit",
        "131072",
        lambda: driven(*EXACT, 1, reads=lambda name: Readout("neuron", (name,))),
    ),
    "current of a leaking readout": ("currents_fit", "131072", lambda: fading(*EXACT, 1)),
    "bias of a leaking readout": ("bias_fits", "4096", lambda: fading(2, bias=-4096)),
    "current of a recurrent neuron": (
        "currents_fit",
        "131072",
        lambda: recurrent(*EXACT[1:], 1, own=255),
    ),
    "current of a resonator": ("currents_fit", "131072", lambda: resonator(*EXACT, 1)),
    "bias of a recurrent neuron": ("bias_fits", "4096", lambda: recurrent(2, bias=4096)),
    "threshold of a recurrent neuron": (
        "threshold_fits",
        "131072",
        lambda: driven(2, reads=lambda name: Recurrent("neuron", (name,), [[0]], 131072)),
    ),
    "decay of a recurrent neuron": ("decays_fit", "0/0", lambda: recurrent(2, current_decay=0)),
    "own weights": ("weights_fit_eight_bits", "-256..-256", lambda: recurrent(2, own=-256)),
    "threshold of a resonator": ("states_fit", "8388608", lambda: resonator(2, threshold=2**23)),
    "threshold that adapts": ("states_fit", "8388608", lambda: adaptive(2, threshold=2**23)),
    "step of a threshold": ("states_fit", "8388608", lambda: adaptive(2, step=-(2**23))),
    "current of an adaptive neuron": (
        "currents_fit",
        "131072",
        lambda: adaptive(*EXACT[1:], bias=256),
    ),
    "current of an adaptive resonator": ("currents_fit", "131072", lambda: tuned(*EXACT, 1)),
    "current of an adaptive recurrent neuron": (
        "currents_fit",
        "131072",
        lambda: musing(*EXACT[1:], 1, own=255),
    ),
    "own weights of an adaptive neuron": (
        "weights_fit_eight_bits",
        "-256..-256",
        lambda: musing(2, own=-256),
    ),
    "change": ("states_fit", "16773120", lambda: changes(12)),
    "threshold of changes": ("states_fit", "8388608", lambda: changes(1, 2048)),
    "threshold of units": ("states_fit", "8388608", lambda: units(2048)),
    "bias of units": ("states_fit", "8388608", lambda: units(0, -2048)),
    "sum of currents": ("currents_fit", "262144", lambda: two_currents(2, 2, lif("neuron"))),
    "sum of a synapse": ("accumulators_fit", "8388608", lambda: dense(128, exponent=16)),
    "negative sum of a synapse": (
        "accumulators_fit",
        "8388608",
        lambda: dense(-128, exponent=16),
    ),
    "sum of a relay": (
        "accumulators_fit",
        "8388608",
        lambda: two_currents(64, 64, Relay("neuron", (), shift=4)),
    ),
    "sum of messages": ("accumulators_fit", "16777214", lambda: two_messages(23)),
    "lag": ("delays_fit", "63", lambda: late(lag=63)),
    "delay and lag": ("delays_fit", "63", lambda: late(delay=60, lag=3)),
    "axonal delay": ("delays_fit", "63", lambda: axonal(63)),
    "unequal latency of currents": (
        "latencies_agree",
        "conv2 @3, stem @1",
        lambda: list(membrane()),
    ),
    "unequal latency of messages": (
        "latencies_agree",
        "second @2, first @1",
        lambda: [*membrane().nodes[:-2], conv("late", "second", "first")],
    ),
}


def test_every_rule_is_broken_and_just_kept_by_some_test() -> None:
    rules = {rule.__name__ for rule in WIDTHS}
    assert {rule for rule, _ in KEPT.values()} == rules
    assert {rule for rule, _, _ in BROKEN.values()} == rules


@pytest.mark.parametrize("case", KEPT)
def test_graph_at_the_edge_of_a_rule_is_legal(case: str) -> None:
    graph = Graph(KEPT[case][1](), 1)
    assert list(refusals(graph, simulator())) == []
    require_legal(graph)


@pytest.mark.parametrize("case", BROKEN)
def test_graph_just_beyond_a_rule_breaks_that_rule_only(case: str) -> None:
    rule, message, build = BROKEN[case]
    graph = Graph(build(), 1)
    (found,) = refusals(graph, simulator())
    assert found.rule == rule
    assert message in found.message
    with pytest.raises(IllegalError) as caught:
        require_legal(graph)
    assert str(caught.value) == f"illegal for lava-cpu: {found}"
    assert f"{found.node}: " in str(caught.value)


def test_all_violations_are_reported_at_once() -> None:
    nodes: list[Node] = [
        *dense(3, -2),
        Lif("neuron", ("synapse",), 131072, 0, 4096, np.array([5000])),
    ]
    graph = Graph(nodes, 1)
    found = list(refusals(graph, simulator()))
    assert [(v.node, v.rule) for v in found] == [
        ("synapse", "weights_fit_eight_bits"),
        ("neuron", "threshold_fits"),
        ("neuron", "bias_fits"),
        ("neuron", "decays_fit"),
    ]
    with pytest.raises(IllegalError) as caught:
        lower(graph)
    for violation in found:
        assert str(violation) in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_long_list_of_violations_ends_with_their_number() -> None:
    nodes = dense(2)
    nodes += [Lif(f"neuron{index}", ("synapse",), 131072) for index in range(11)]
    with pytest.raises(IllegalError) as caught:
        require_legal(Graph(nodes, 1))
    assert str(caught.value).count("threshold_fits") == 8
    assert str(caught.value).endswith("; and 3 more")


def test_lowering_balances_before_it_checks() -> None:
    graph = lower(membrane(), carrier="relay", align="relays")
    assert graph.hash == balance_latency(membrane()).hash


@pytest.mark.parametrize("use", [partial(require_legal, membrane()), partial(lower, membrane())])
def test_unknown_target_is_refused_with_the_known_ones(use: Callable[[str], object]) -> None:
    with pytest.raises(TargetError, match="unknown target 'loihi9'") as caught:
        use("loihi9")
    for known in names():
        assert known in str(caught.value)


def test_unknown_target_is_refused_by_a_check() -> None:
    with pytest.raises(TargetError, match="loihi9"):
        require_legal(membrane(), "loihi9")
