"""Carrying shortcuts: what each way makes of a graph, what it costs, and what it cannot do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import neuroport as port
from neuroport.engines.reference import Reference
from neuroport.errors import IllegalError, TargetError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Readout, Relay
from neuroport.graph.node_builders import identity
from neuroport.lowering.cost import cost
from neuroport.lowering.latency import balance_latency
from neuroport.lowering.layer_chain import chain
from neuroport.lowering.reset_interval import pad_interval
from neuroport.lowering.unroll import unroll
from neuroport.targets.lowering import DEARER, lower, options
from neuroport.targets.target import simulator

RNG = np.random.default_rng(0)
WEIGHT = 2 * RNG.integers(-3, 5, (2, 2, 3, 3))
EYE = np.eye(32, dtype=np.int64)
FRAMES = RNG.integers(0, 2, (3, 4, 2, 4, 4))


def conv(name: str, *inputs: str) -> Conv:
    return Conv(name, inputs, WEIGHT, padding=(1, 1))


def membrane() -> list[Node]:
    """The current of the stem joins that of the second convolution after it."""
    return [
        Input("frames", (2, 4, 4), bits=1),
        conv("stem", "frames"),
        Lif("first", ("stem",), 9),
        conv("conv1", "first"),
        Lif("second", ("conv1",), 12),
        conv("conv2", "second"),
        Lif("third", ("conv2", "stem"), 19),
    ]


def spike() -> list[Node]:
    """The first neuron's spikes join those of the second at a synapse."""
    return [*membrane()[:-2], conv("sum", "second", "first"), Lif("last", ("sum",), 30)]


def body(graph: Graph) -> str:
    """The text of a graph without its hash and without columns."""
    lines = str(graph).splitlines()[1:]
    return "\n".join(" ".join(line.split()) for line in lines)


STEM = """\
input frames 2x4x4 @0 unsigned 1 bit
conv stem 2x4x4 @1 w 2x2x3x3 padding 1,1 <- frames
lif first 2x4x4 @1 threshold 9 decay 4096/0 <- stem
conv conv1 2x4x4 @2 w 2x2x3x3 padding 1,1 <- first
lif second 2x4x4 @2 threshold 12 decay 4096/0 <- conv1
"""


def test_unrolling_with_delays_repeats_the_synapse_and_lets_it_lag() -> None:
    assert (
        body(unroll(Graph(membrane(), 3), "delays"))
        == STEM
        + """\
conv conv2 2x4x4 @3 w 2x2x3x3 padding 1,1 <- second
conv stem.late2 2x4x4 @3 w 2x2x3x3 padding 1,1 lag 2 <- frames
lif third 2x4x4 @3 threshold 19 decay 4096/0 <- conv2 + stem.late2"""
    )


def test_unrolling_with_relays_holds_the_messages_of_the_repeated_synapse() -> None:
    assert (
        body(unroll(Graph(membrane(), 3), "relays"))
        == STEM
        + """\
conv conv2 2x4x4 @3 w 2x2x3x3 padding 1,1 <- second
conv frames.held.identity 2x4x4 @1 w 2x1x1x1 groups 2 <- frames
relay frames.held 2x4x4 @1 graded <- frames.held.identity
conv frames.held.held.identity 2x4x4 @2 w 2x1x1x1 groups 2 <- frames.held
relay frames.held.held 2x4x4 @2 graded <- frames.held.held.identity
conv stem.late2 2x4x4 @3 w 2x2x3x3 padding 1,1 <- frames.held.held
lif third 2x4x4 @3 threshold 19 decay 4096/0 <- conv2 + stem.late2"""
    )


def test_unrolling_splits_a_synapse_whose_messages_are_unequally_late() -> None:
    assert (
        body(unroll(Graph(spike(), 3), "delays"))
        == STEM
        + """\
conv sum 2x4x4 @3 w 2x2x3x3 padding 1,1 <- second
conv sum.from1 2x4x4 @3 w 2x2x3x3 padding 1,1 lag 1 <- first
lif last 2x4x4 @3 threshold 30 decay 4096/0 <- sum + sum.from1"""
    )


def test_relays_with_delays_need_one_relay_for_a_shortcut_of_any_span() -> None:
    assert (
        body(balance_latency(Graph(membrane(), 3), "delays"))
        == STEM
        + """\
conv conv2 2x4x4 @3 w 2x2x3x3 padding 1,1 <- second
relay third.carry0 2x4x4 @1 graded <- stem
conv third.carry0.identity 2x4x4 @3 w 2x1x1x1 groups 2 lag 1 <- third.carry0
lif third 2x4x4 @3 threshold 19 decay 4096/0 <- third.carry0.identity + conv2"""
    )


def late_stem() -> list[Node]:
    """A synapse with a lag of its own, an axonal delay, and a dead synapse."""
    return [
        *membrane()[:-2],
        Delay("later", ("first", "frames"), 1),
        Conv("slow", ("later",), WEIGHT, padding=(1, 1), lag=2),
        conv("dead", "second", "frames"),
        conv("conv2", "second"),
        Lif("third", ("conv2", "slow", "stem"), 19),
    ]


@pytest.mark.parametrize("nodes", [membrane, spike, late_stem])
@pytest.mark.parametrize("carry", [balance_latency, unroll])
@pytest.mark.parametrize("align", ["relays", "delays"])
def test_lowered_graph_answers_as_the_original_in_both_times(
    nodes: Callable[[], list[Node]], carry: Callable[[Graph, str], Graph], align: str
) -> None:
    before = Graph(nodes(), 3)
    after = carry(before, align)
    assert after.balanced
    want = Reference().run(before, FRAMES)
    assert all(0.02 < want[node.name].mean() < 0.98 for node in before.populations)
    for time_model in ("ideal", "chip"):
        assert port.compare(want, Reference().run(after, FRAMES, time_model=time_model))
    assert after.hash == carry(after, align).hash, "lowering twice changes nothing"


def test_copies_of_a_synapse_share_their_weights() -> None:
    graph = unroll(Graph(membrane(), 3))
    assert graph["stem"].packed("weight") is graph["stem.late2"].packed("weight")


def test_the_cheapest_carrier_is_taken_unless_one_is_asked_for() -> None:
    graph = Graph(membrane(), 3)
    bills = {(bill.carrier, bill.align): bill for bill in options(graph, simulator())}
    assert set(bills) == {
        ("relay", "relays"),
        ("relay", "delays"),
        ("unroll", "relays"),
        ("unroll", "delays"),
        ("stock", "relays"),
    }
    for (carrier, align), bill in bills.items():
        assert bill.graph is not None
        assert lower(graph, carrier=carrier, align=align).hash == bill.graph.hash
    cheapest = min(bills.values(), key=lambda bill: bill.cost.step_seconds)  # type: ignore[union-attr]
    assert cheapest.graph is not None
    assert lower(graph).hash == cheapest.graph.hash


def test_cost_counts_what_a_graph_asks_of_a_target() -> None:
    graph = Graph(
        [
            Input("frames", (2, 4, 4), bits=4),
            Conv("stem", ("frames",), np.ones((3, 2, 1, 1), int)),
            Lif("first", ("stem",), 1),
            Dense("classes", ("first",), np.eye(5, 48, dtype=np.int64)),
            Readout("potential", ("classes",)),
        ],
        1,
    )
    found = cost(graph)
    assert (found.processes, found.neurons, found.connections) == (5, 48 + 5, 3 * 2 * 16 + 5)
    assert (found.messages, found.graded) == (32 + 48, 32)
    assert found.step_seconds == pytest.approx(5 * 250e-6 + 101 * 0.5e-9)


@pytest.mark.parametrize(("bits", "signed"), [(1, True), (4, True), (4, False)])
def test_messages_that_are_not_0_or_1_cost_as_graded_ones(bits: int, signed: bool) -> None:
    nodes: list[Node] = [
        Input("frames", (3,), bits, signed),
        Dense("in", ("frames",), np.eye(3, dtype=np.int64)),
        Lif("neurons", ("in",), 1),
        Dense("out", ("neurons",), np.eye(3, dtype=np.int64)),
        Readout("classes", ("out",)),
    ]
    graph = Graph(nodes, 1)
    assert graph.facts("frames").graded
    assert not graph.facts("neurons").graded
    assert cost(graph).graded == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"carrier": "pigeon"}, "unknown carrier 'pigeon'; use auto, relay, unroll, stock"),
        ({"align": "hope"}, "unknown align 'hope'; use auto, relays, delays"),
        ({"carrier": "stock", "align": "delays"}, "carrier 'stock' cannot align with 'delays'"),
    ],
)
def test_unknown_way_to_lower_is_refused_with_the_known_ones(
    options: dict[str, str], said: str
) -> None:
    with pytest.raises(TargetError) as caught:
        lower(Graph(membrane(), 3), **options)
    assert said in caught.value.message


def test_a_carrier_that_is_not_possible_is_refused_with_the_reason() -> None:
    nodes = [*membrane(), Relay("graded", ("conv2",))]
    with pytest.raises(IllegalError, match="graded: it sends graded messages"):
        lower(Graph(nodes, 3), carrier="stock")


@pytest.mark.parametrize(("steps", "interval"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (9, 16)])
def test_interval_is_padded_to_the_next_power_of_two(steps: int, interval: int) -> None:
    graph = Graph(membrane(), steps)
    assert pad_interval(graph).interval == interval
    assert lower(graph, power_of_two_interval=True).interval == interval
    assert pad_interval(Graph(membrane(), steps, 17)).interval == 32


def test_samples_with_idle_steps_between_them_answer_as_those_without() -> None:
    graph = lower(Graph([*membrane(), *late_stem()[5:6]], 3), power_of_two_interval=True)
    assert graph.interval == 4
    want = Reference().run(Graph(membrane(), 3), FRAMES)
    assert port.compare(want, Reference().run(graph, FRAMES, time_model="chip"))


# -- the chain of NetX layers ----------------------------------------------------------------


def dense_layer(*weights: int) -> list[Node]:
    return [
        Input("frames", (len(weights),), bits=1),
        Dense("synapse", ("frames",), [list(weights)]),
        Lif("neuron", ("synapse",), 1),
    ]


NOT_A_CHAIN: dict[str, tuple[str, Callable[[], list[Node]]]] = {
    "unequal latency": ("unequal latency meet", membrane),
    "axonal delay": (
        "later: NetX has no delay",
        lambda: [*membrane()[:3], Delay("later", ("first",), 1)],
    ),
    "lag": (
        "late: NetX has no late synapse",
        lambda: [*membrane()[:3], Conv("late", ("first",), WEIGHT, lag=1)],
    ),
    "synaptic delay": (
        "late: NetX has no late synapse",
        lambda: [
            *membrane()[:3],
            Dense("late", ("first",), np.eye(32, dtype=int), 0, np.eye(32, dtype=int)),
        ],
    ),
    "graded relay": (
        "sends graded messages",
        lambda: [*membrane()[:2], Relay("relay", ("stem",))],
    ),
    "bias by position": (
        "differs by position",
        lambda: [*membrane()[:2], Lif("first", ("stem",), 1, bias=np.ones((2, 4, 4), int))],
    ),
    "two sizes": (
        "one size of feature map",
        lambda: [*membrane()[:3], Conv("small", ("frames",), WEIGHT), Lif("tiny", ("small",), 1)],
    ),
    "two strides": (
        "one stride in a layer",
        lambda: [
            Input("frames", (2, 3, 3), bits=1),
            Conv("a", ("frames",), WEIGHT),
            Conv("b", ("frames",), WEIGHT, stride=(3, 3)),
            Lif("neuron", ("a", "b"), 1),
        ],
    ),
    "silent matrix": ("span 0..0", lambda: dense_layer(0, 0)),
    "no positive weight": ("span -2..0", lambda: dense_layer(-2, 0)),
    "odd and wide": ("some odd", lambda: dense_layer(-2, 129)),
    "too wide": ("NetX clips", lambda: dense_layer(-2, 256)),
    "too wide and positive": ("NetX clips", lambda: dense_layer(2, 256)),
    "wide kernel": (
        "too large for NetX",
        lambda: [
            Input("frames", (1, 2, 2), bits=1),
            Conv("stem", ("frames",), np.full((1, 1, 1, 1), 2), 14),
            Lif("neuron", ("stem",), 1),
        ],
    ),
}


@pytest.mark.parametrize("case", NOT_A_CHAIN)
def test_what_netx_cannot_express_is_refused_with_the_reason(case: str) -> None:
    said, nodes = NOT_A_CHAIN[case]
    with pytest.raises(IllegalError) as caught:
        chain(Graph(nodes(), 3))
    assert said in caught.value.message


def test_a_layer_holds_all_populations_of_one_latency_side_by_side() -> None:
    layers = chain(lower(Graph(spike(), 3), carrier="stock"))
    assert [layer.members for layer in layers] == [
        {"first": (0, 2)},
        {"second": (0, 2), "first.held": (2, 4)},
        {"last": (0, 2)},
    ]
    stem, inner, last = (layer.weight for layer in layers)
    np.testing.assert_array_equal(stem, WEIGHT)
    np.testing.assert_array_equal(inner[:2], WEIGHT)
    centre = np.zeros((2, 2, 3, 3), int)
    centre[[0, 1], [0, 1], 1, 1] = 2  # twice the identity: NetX drops odd bits
    np.testing.assert_array_equal(inner[2:], centre)
    np.testing.assert_array_equal(last, np.concatenate([WEIGHT, WEIGHT], axis=1))
    np.testing.assert_array_equal(layers[1].threshold, [12, 12, 0, 0])


def test_synapses_without_listeners_are_left_out_of_the_chain() -> None:
    nodes = [*membrane()[:3], conv("dead", "first")]
    assert [layer.members for layer in chain(Graph(nodes, 3))] == [{"first": (0, 2)}]


def test_kernels_of_different_size_are_merged_around_one_centre() -> None:
    point = np.array([[[[4]], [[6]]]])
    nodes: list[Node] = [
        Input("frames", (2, 5, 5), bits=1),
        Conv("wide", ("frames",), WEIGHT[:1], stride=(2, 2), padding=(1, 1)),
        Conv("point", ("frames",), point, 1, stride=(2, 2)),
        Lif("neuron", ("wide", "point"), 1),
    ]
    (layer,) = chain(Graph(nodes, 1))
    want = np.array(WEIGHT[:1])
    want[0, :, 1, 1] += [8, 12]
    np.testing.assert_array_equal(layer.weight, want)
    assert (layer.stride, layer.padding) == ((2, 2), (1, 1))


@pytest.mark.parametrize(("bias", "threshold"), [(0, 131071), (43434, 131071), (43435, 131072)])
def test_a_readout_becomes_a_neuron_that_cannot_fire(bias: int, threshold: int) -> None:
    # (256 + 43434) * 3 steps = 131070: below, a threshold of 17 bits is out of reach
    nodes = [*dense_layer(254, 2)[:2], Readout("out", ("synapse",), [bias])]
    (layer,) = chain(Graph(nodes, 3))
    assert layer.threshold == [threshold]
    assert (layer.current_decay, layer.voltage_decay, layer.bias) == ([4096], [0], [bias])


def test_identity_with_a_lag_is_late() -> None:
    graph = Graph([Input("frames", (3,)), identity("same", "frames", (3,), lag=4)], 1)
    assert graph.facts("same").latency == 5


def test_deep_network_is_lowered_without_unrolling_it_to_the_end() -> None:
    nodes: list[Node] = [
        Input("frames", (1, 2, 2), bits=1),
        Conv("stem", ("frames",), np.full((1, 1, 1, 1), 2)),
    ]
    stream = ["stem"]
    for block in range(40):
        nodes += [
            Lif(f"neuron{block}", tuple(stream), 3),
            Conv(f"conv{block}", (f"neuron{block}",), np.full((1, 1, 1, 1), 2)),
        ]
        stream.append(f"conv{block}")
    graph = Graph([*nodes, Lif("last", tuple(stream), 3)], 2)
    bills = {
        (bill.carrier, bill.align): bill for bill in options(graph, simulator(), carrier="auto")
    }
    given_up = bills["unroll", "relays"]
    assert given_up.graph is None
    assert "several times those of another way" in given_up.refusal
    whole = options(graph, simulator(), carrier="unroll", align="relays")[0].cost
    assert whole is not None
    assert whole.processes > DEARER * len(port.lower(graph))
