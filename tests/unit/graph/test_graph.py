"""What a graph refuses, and what it derives from its nodes."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from neuroport.backends.reference import convolve
from neuroport.errors import GraphError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    OWN_KINDS,
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Conv,
    Delay,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Relay,
)
from tests.helpers.neurons import neurons

ONES = np.ones((4, 2, 3, 3), np.int64)


def frame(shape: tuple[int, ...] = (2, 6, 6), **changes: Any) -> Input:
    return Input("frames", shape, **changes)


def conv(weight: Any = ONES, **changes: Any) -> Conv:
    return Conv("synapse", ("frames",), weight, **changes)


def small() -> list[Node]:
    """One node of every kind, with a membrane shortcut."""
    return [
        Input("frames", (2, 6, 6), bits=4),
        Conv("stem", ("frames",), 2 * ONES, padding=(1, 1)),
        Relay("stream", ("stem",), shift=3, threshold=1),
        Conv("base", ("stream",), np.ones((4, 1, 1, 1), np.int64), groups=4),
        Lif("first", ("base",), 7, current_decay=4000, voltage_decay=3072, bias=np.arange(4)),
        Conv("conv1", ("first",), np.full((4, 4, 3, 3), -4), 2, padding=(1, 1)),
        Lif("second", ("conv1", "base"), 9),
        Conv(
            "conv2",
            ("second", "first"),
            np.full((6, 2, 3, 2), 6),
            stride=(2, 1),
            padding=(0, 1),
            dilation=(1, 2),
            groups=2,
        ),
        Lif("third", ("conv2",), 5),
        Delay("later", ("third",), 2),
        Dense("classes", ("later",), np.eye(3, 72, dtype=np.int64) * 2, 1),
        Readout("potential", ("classes",), bias=np.array([-3, 0, 8])),
    ]


REFUSED: dict[str, tuple[Callable[[], list[Node]], int, str]] = {
    "no steps": (lambda: [frame()], 0, "steps is 0"),
    "no input": (lambda: [], 1, "no input"),
    "empty name": (lambda: [frame(), replace(conv(), name="")], 1, "''"),
    "name used twice": (lambda: [frame(), replace(conv(), name="frames")], 1, "'frames'"),
    "dangling input": (lambda: [frame(), replace(conv(), inputs=("ghost",))], 1, "'ghost'"),
    "own input": (lambda: [frame(), replace(conv(), inputs=("synapse",))], 1, "'synapse'"),
    "input comes later": (
        lambda: [frame(), Lif("neuron", ("synapse",), 1), conv()],
        1,
        "neuron: input 'synapse'",
    ),
    "no inputs": (lambda: [frame(), replace(conv(), inputs=())], 1, "synapse: inputs is empty"),
    "input of an input": (lambda: [frame(inputs=("x",))], 1, "frames: an Input takes no inputs"),
    "size of zero": (lambda: [frame((2, 0, 6))], 1, "frames: shape (2, 0, 6)"),
    "no sizes": (lambda: [frame(())], 1, "frames: shape ()"),
    "no bits": (lambda: [frame(bits=0)], 1, "frames: bits is 0"),
    "too many bits": (lambda: [frame(bits=24)], 1, "frames: bits is 24"),
    "neuron on messages": (
        lambda: [frame(), Lif("neuron", ("frames",), 1)],
        1,
        "neuron: takes current, but input 'frames' gives messages",
    ),
    "synapse on current": (
        lambda: [frame(), conv(), Dense("late", ("synapse",), np.ones((1, 64), int))],
        1,
        "late: takes messages, but input 'synapse' gives current",
    ),
    "synapse on potential": (
        lambda: [*small(), Dense("late", ("potential",), np.ones((1, 3), int))],
        1,
        "late: takes messages, but input 'potential' gives potential",
    ),
    "unequal shapes": (
        lambda: [frame(), conv(), conv_named("other", padding=(1, 1)), summed("synapse", "other")],
        1,
        "neuron: inputs are summed but 'synapse' is (4, 4, 4) and 'other' is (4, 6, 6)",
    ),
    "conv on a vector": (lambda: [frame((8,)), conv()], 1, "synapse: a Conv takes (C, H, W)"),
    "weight of a conv with two axes": (lambda: [frame(), conv(np.ones((4, 2), int))], 1, "synapse"),
    "channels": (
        lambda: [frame(), conv(np.ones((4, 3, 3, 3), int))],
        1,
        "synapse: weight (4, 3, 3, 3) takes 3 channels, its input has 2",
    ),
    "no groups": (lambda: [frame(), conv(groups=0)], 1, "synapse: weight (4, 2, 3, 3) in 0 groups"),
    "groups of inputs": (lambda: [frame(), conv(groups=3)], 1, "in 3 groups"),
    "groups of outputs": (
        lambda: [frame(), conv(np.ones((3, 1, 3, 3), int), groups=2)],
        1,
        "synapse: weight (3, 1, 3, 3) in 2 groups",
    ),
    "stride of zero": (lambda: [frame(), conv(stride=(1, 0))], 1, "synapse: stride"),
    "dilation of zero": (lambda: [frame(), conv(dilation=(0, 1))], 1, "synapse: stride"),
    "negative padding": (lambda: [frame(), conv(padding=(-1, 0))], 1, "synapse: stride"),
    "negative exponent": (lambda: [frame(), conv(exponent=-1)], 1, "synapse: exponent is -1"),
    "large exponent": (lambda: [frame(), conv(exponent=17)], 1, "synapse: exponent is 17"),
    "kernel larger than its input": (
        lambda: [frame((2, 2, 2)), conv()],
        1,
        "synapse: kernel (3, 3) leaves nothing",
    ),
    "dilated kernel larger than its input": (
        lambda: [frame(), conv(dilation=(3, 1))],
        1,
        "synapse: kernel (3, 3) leaves nothing",
    ),
    "empty kernel": (lambda: [frame(), conv(np.ones((4, 2, 0, 3), int))], 1, "synapse"),
    "dense of another size": (
        lambda: [frame((8,)), Dense("synapse", ("frames",), np.ones((3, 7), int))],
        1,
        "synapse: weight is (3, 7), its input (8,) needs (outputs, 8)",
    ),
    "dense with three axes": (
        lambda: [frame((8,)), Dense("synapse", ("frames",), np.ones((3, 8, 1), int))],
        1,
        "synapse: weight is (3, 8, 1)",
    ),
    "exponent of a dense": (
        lambda: [frame((8,)), Dense("synapse", ("frames",), np.ones((3, 8), int), 17)],
        1,
        "synapse: exponent is 17",
    ),
    "negative current decay": (
        lambda: [frame(), conv(), Lif("neuron", ("synapse",), 1, current_decay=-1)],
        1,
        "neuron: current_decay is -1",
    ),
    "voltage decay above unity": (
        lambda: [frame(), conv(), Lif("neuron", ("synapse",), 1, voltage_decay=4097)],
        1,
        "neuron: voltage_decay is 4097",
    ),
    "negative threshold": (
        lambda: [frame(), conv(), Lif("neuron", ("synapse",), -1)],
        1,
        "neuron: threshold -1",
    ),
    "readout that grows": (
        lambda: [frame(), conv(), LeakyReadout("neuron", ("synapse",), 4096, -1)],
        1,
        "neuron: voltage_decay is -1",
    ),
    "negative threshold that adapts": (
        lambda: [frame(), conv(), AdaptiveLif("neuron", ("synapse",), -1, 0, 0, 0)],
        1,
        "neuron: threshold -1",
    ),
    "rise that grows": (
        lambda: [frame(), conv(), AdaptiveLif("neuron", ("synapse",), 1, 0, -1, 0)],
        1,
        "neuron: threshold_decay is -1",
    ),
    "refractory state beyond unity": (
        lambda: [
            frame(),
            conv(),
            AdaptiveResonateFire("neuron", ("synapse",), 1, 0, 0, 4097, 0, 0),
        ],
        1,
        "neuron: refractory_decay is 4097",
    ),
    "adaptation of other channels": (
        lambda: [
            frame(),
            conv(),
            AdaptiveResonateFire("neuron", ("synapse",), 1, 0, np.zeros(4, int), 0, 0, 0),
        ],
        1,
        "neuron: threshold_decay is (4,); use (1,) or (2,)",
    ),
    "own weights of another size": (
        lambda: [frame(), conv(), AdaptiveRecurrent("neuron", ("synapse",), [[1]], 1, 0, 0, 0)],
        1,
        "neuron: weight is (1, 1), (4, 4, 4) neurons need (64, 64)",
    ),
    "bias of a neuron": (
        lambda: [frame(), conv(), Lif("neuron", ("synapse",), 1, bias=np.zeros(3, int))],
        1,
        "neuron: bias is (3,)",
    ),
    "bias of a readout": (
        lambda: [frame(), conv(), Readout("neuron", ("synapse",), np.zeros((4, 1), int))],
        1,
        "neuron: bias is (4, 1)",
    ),
    "shift of a relay": (
        lambda: [frame(), conv(), Relay("relay", ("synapse",), shift=24)],
        1,
        "relay: shift is 24",
    ),
    "negative shift": (
        lambda: [frame(), conv(), Relay("relay", ("synapse",), shift=-1)],
        1,
        "relay: shift is -1",
    ),
    "threshold of a relay": (
        lambda: [frame(), conv(), Relay("relay", ("synapse",), threshold=-1)],
        1,
        "threshold -1",
    ),
}


def conv_named(name: str, **changes: Any) -> Conv:
    return replace(conv(**changes), name=name)


def summed(*inputs: str) -> Lif:
    return Lif("neuron", inputs, 1)


@pytest.mark.parametrize("case", REFUSED)
def test_malformed_graph_is_refused_by_name(case: str) -> None:
    nodes, steps, message = REFUSED[case]
    with pytest.raises(GraphError) as caught:
        Graph(nodes(), steps)
    assert message in str(caught.value)


@pytest.mark.parametrize("bits", [1, 23])
def test_bits_of_an_input_end_at_23(bits: int) -> None:
    assert Graph([frame(bits=bits)], 1).facts("frames").high.max() == 2**bits - 1


def test_dense_without_outputs_is_refused() -> None:
    with pytest.raises(GraphError, match="synapse"):
        Graph([frame((8,)), Dense("synapse", ("frames",), np.ones((0, 8), int))], 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", 3.5),
        ("threshold", "3"),
        ("voltage_decay", 0.75),
        ("current_decay", 1.0),
    ],
)
def test_field_that_is_not_an_integer_is_refused(field: str, value: Any) -> None:
    with pytest.raises(GraphError, match="neuron"):
        Graph([frame(), conv(), replace(summed("synapse"), **{field: value})], 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("stride", 2), ("stride", (2,)), ("padding", (1.0, 1.0)), ("exponent", 1.0), ("groups", 1.0)],
)
def test_field_of_a_conv_of_another_type_is_refused(field: str, value: Any) -> None:
    with pytest.raises(GraphError, match="synapse"):
        Graph([frame(), conv(**{field: value})], 1)


@pytest.mark.parametrize("interval", [2, 2.5, "4", True])
def test_interval_that_is_shorter_than_a_sample_or_no_integer_is_refused(interval: Any) -> None:
    with pytest.raises(GraphError, match="interval"):
        Graph([frame()], 3, interval)


def test_steps_that_are_not_an_integer_are_refused() -> None:
    with pytest.raises(GraphError, match="steps"):
        Graph([frame()], 2.5)  # type: ignore[arg-type]


def test_inputs_given_as_one_string_are_refused() -> None:
    # a string is a sequence of names of one letter, so "f" would silently mean ("f",)
    with pytest.raises(GraphError, match="inputs"):
        Graph([Input("f", (2, 6, 6)), Conv("synapse", "f", ONES)], 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("array", [np.ones((4, 2, 3, 3)), np.ones((4, 2, 3, 3), bool)])
def test_arrays_that_are_not_integers_are_refused(array: np.ndarray) -> None:
    with pytest.raises(GraphError, match="synapse: weight: integers expected"):
        conv(array)


def test_weights_beyond_64_bits_are_refused_instead_of_wrapped() -> None:
    with pytest.raises((TypeError, ValueError, GraphError)):
        Graph([frame(), conv(np.full((4, 2, 3, 3), 2**63, np.uint64))], 1)


# -- shapes ----------------------------------------------------------------------------------


def positions(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Places at which a kernel fits, counted one by one."""
    last = size + padding - ((kernel - 1) * dilation + 1)
    return len(range(-padding, last + 1, stride))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((3, 2), (2, 1), (0, 2), (1, 3)),
        ((1, 1), (2, 2), (0, 0), (1, 1)),
        ((2, 3), (3, 2), (1, 0), (2, 1)),
        ((7, 8), (1, 1), (0, 0), (1, 1)),
        ((4, 4), (5, 7), (3, 2), (2, 2)),
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_shape_of_a_conv_counts_the_places_of_its_kernel(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    weight = np.ones((6, 4 // groups, *kernel), int)
    node = conv(weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    found = Graph([frame((4, 7, 8)), node], 1).facts("synapse").shape
    expected = [
        positions(*arguments)
        for arguments in zip((7, 8), kernel, stride, padding, dilation, strict=True)
    ]
    assert found == (6, *expected)


def test_shapes_and_wires_of_every_node() -> None:
    graph = Graph(small(), 3)
    assert {node.name: graph.facts(node.name).shape for node in graph} == {
        "frames": (2, 6, 6),
        "stem": (4, 6, 6),
        "stream": (4, 6, 6),
        "base": (4, 6, 6),
        "first": (4, 6, 6),
        "conv1": (4, 6, 6),
        "second": (4, 6, 6),
        "conv2": (6, 2, 6),
        "third": (6, 2, 6),
        "later": (6, 2, 6),
        "classes": (3,),
        "potential": (3,),
    }
    wires = {node.kind: graph.facts(node.name).wire for node in graph}
    assert wires == {
        "input": "messages",
        "conv": "current",
        "dense": "current",
        "delay": "messages",
        "lif": "messages",
        "relay": "messages",
        "readout": "potential",
    }


def test_dense_flattens_its_input() -> None:
    graph = Graph([frame((2, 3, 5)), Dense("synapse", ("frames",), np.ones((7, 30), int))], 1)
    assert graph.facts("synapse").shape == (7,)


# -- latency ---------------------------------------------------------------------------------


def test_latency_is_the_longest_path_counted_in_synapses() -> None:
    graph = Graph(small(), 3)
    assert [graph.facts(node.name).latency for node in graph] == [
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        4,
        5,
        5,
    ]
    assert graph.depth == 5
    assert graph.facts("second").input_latencies == (3, 2)
    assert graph.facts("conv2").input_latencies == (3, 2)
    assert not graph.balanced


def test_the_former_names_of_latencies_warn() -> None:
    facts = Graph(small(), 3).facts("second")
    with pytest.deprecated_call(match="Facts.latency now"):
        assert facts.skew == facts.latency
    with pytest.deprecated_call(match="Facts.input_latencies now"):
        assert facts.skews == (3, 2)


def test_a_chain_is_balanced() -> None:
    graph = Graph([frame(), conv(), Lif("neuron", ("synapse",), 1)], 1)
    assert graph.balanced
    assert graph.facts("neuron").input_latencies == (1,)


# -- intervals -------------------------------------------------------------------------------


def interval(graph: Graph, name: str) -> list[tuple[int, int]]:
    facts = graph.facts(name)
    return list(zip(facts.low.tolist(), facts.high.tolist(), strict=True))


@pytest.mark.parametrize(
    ("bits", "signed", "expected"),
    [
        (1, False, (0, 1)),
        (8, False, (0, 255)),
        (1, True, (-1, 0)),
        (8, True, (-128, 127)),
        (23, True, (-4194304, 4194303)),
    ],
)
def test_interval_of_the_input_follows_from_its_bits(
    bits: int, signed: bool, expected: tuple[int, int]
) -> None:
    graph = Graph([frame(bits=bits, signed=signed)], 1)
    assert interval(graph, "frames") == [expected] * 2


def test_interval_of_a_conv_sums_positive_and_negative_weights() -> None:
    weight = np.array([[[[2, -4]], [[6, 0]]], [[[-8, 0]], [[0, -2]]]])
    spikes = Graph([frame((2, 1, 2), bits=1), conv(weight, exponent=3)], 1)
    assert interval(spikes, "synapse") == [(-32, 64), (-80, 0)]
    signed = Graph([frame((2, 1, 2), bits=3, signed=True), conv(weight)], 1)  # -4..3
    assert interval(signed, "synapse") == [(8 * -4 - 4 * 3, 8 * 3 + 4 * 4), (-30, 40)]


def test_interval_of_a_grouped_conv_uses_the_channels_of_its_group() -> None:
    nodes: list[Node] = [
        Input("frames", (1, 1, 1), bits=1),
        Conv("spread", ("frames",), np.array([1, -2, 30, 40]).reshape(4, 1, 1, 1)),
        Relay("relay", ("spread",)),
        Conv("synapse", ("relay",), np.array([1, 10, 3, 2]).reshape(2, 2, 1, 1), groups=2),
    ]
    graph = Graph(nodes, 1)
    assert interval(graph, "relay") == [(0, 1), (-2, 0), (0, 30), (0, 40)]
    assert interval(graph, "synapse") == [(-20, 1), (0, 3 * 30 + 2 * 40)]


def test_interval_of_a_dense_repeats_channels_over_positions() -> None:
    nodes: list[Node] = [
        Input("frames", (1, 1, 2), bits=1),
        Conv("spread", ("frames",), np.array([3, -5]).reshape(2, 1, 1, 1)),
        Relay("relay", ("spread",)),
        Dense("synapse", ("relay",), np.array([[1, 2, 10, 20], [-1, 0, 0, 1]]), 1),
    ]
    # flat order: channel 0 at both positions, then channel 1
    assert interval(Graph(nodes, 1), "synapse") == [(2 * -150, 2 * 9), (2 * -8, 0)]


def test_intervals_of_inputs_add_up() -> None:
    other = conv_named("other", weight=-3 * ONES)
    graph = Graph([frame(bits=2), conv(), other, summed("synapse", "other", "synapse")], 1)
    facts = graph.facts("neuron")
    assert facts.reach_low.tolist() == [-3 * 18 * 3] * 4
    assert facts.reach_high.tolist() == [2 * 18 * 3] * 4
    assert interval(graph, "neuron") == [(0, 1)] * 4


def test_interval_of_a_relay_is_shifted_and_rounded() -> None:
    weight = np.array([5, -6, 7, -7]).reshape(4, 1, 1, 1)
    graph = Graph([frame((1, 1, 1), bits=1), conv(weight), Relay("relay", ("synapse",), 2)], 1)
    assert interval(graph, "relay") == [(0, 1), (-1, 0), (0, 2), (-2, 0)]


def test_interval_of_a_readout_is_that_of_its_saturated_state() -> None:
    assert interval(Graph(small(), 1), "potential") == [(-8388607, 8388607)] * 3


def test_intervals_of_convolutions_are_reached_by_some_input() -> None:
    rng = np.random.default_rng(7)
    weight = rng.integers(-5, 6, (2, 1, 2, 2))
    node = conv(weight, padding=(1, 0), groups=2)
    graph = Graph([frame((2, 2, 2), bits=1), node], 1)
    found = [
        convolve(np.array(bits).reshape(1, 1, 2, 2, 2), node)[0, 0]
        for bits in product((0, 1), repeat=8)
    ]
    lows = np.min(found, axis=(0, 2, 3))
    highs = np.max(found, axis=(0, 2, 3))
    assert interval(graph, "synapse") == list(zip(lows.tolist(), highs.tolist(), strict=True))


# -- text and hash ---------------------------------------------------------------------------

GOLDEN = """\
graph {hash} steps=3 nodes=12 depth=5
input   frames     2x6x6      @0   unsigned 4 bit
conv    stem       4x6x6      @1   w 4x2x3x3 padding 1,1 <- frames
relay   stream     4x6x6      @1   >>3 <- stem
conv    base       4x6x6      @2   w 4x1x1x1 groups 4 <- stream
lif     first      4x6x6      @2   threshold 7 decay 4000/3072 bias 0..3 <- base
conv    conv1      4x6x6      @3   w 4x4x3x3 padding 1,1 <<2 <- first
lif     second     4x6x6      @3   threshold 9 decay 4096/0 <- conv1 + base
conv    conv2      6x2x6      @4   w 6x2x3x2 stride 2,1 padding 0,1 dilation 1,2 groups 2 \
<- second + first
lif     third      6x2x6      @4   threshold 5 decay 4096/0 <- conv2
delay   later      6x2x6      @4   2 steps <- third
dense   classes    3          @5   w 3x72 <<1 <- later
readout potential  3          @5   bias -3..8 <- classes"""


def test_text_is_one_line_per_node() -> None:
    graph = Graph(small(), 3)
    assert str(graph) == GOLDEN.format(hash=graph.hash[:12])


def test_text_tells_signed_inputs_and_unshifted_relays() -> None:
    nodes: list[Node] = [frame(signed=True), conv(), Relay("relay", ("synapse",))]
    lines = str(Graph(nodes, 1)).splitlines()
    assert lines[1] == "input   frames   2x6x6      @0   signed 8 bit"
    assert lines[3] == "relay   relay    4x4x4      @1   graded <- synapse"


def test_hash_is_the_one_that_the_format_specifies() -> None:
    graph = Graph(small(), 3)
    parts = [b"steps=3|interval=3"]
    for node in graph:
        parts.append(f"|{node.kind}".encode())
        for name in (field.name for field in fields(node)):
            value = getattr(node, name)
            if isinstance(value, np.ndarray):
                shape = "(" + ", ".join(str(n) for n in value.shape)
                shape += ",)" if value.ndim == 1 else ")"
                parts.append(f"|{name}={shape}".encode())
                parts += [int(n).to_bytes(8, "little", signed=True) for n in value.flatten()]
            else:
                parts.append(f"|{name}={value!r}".encode())
    assert graph.hash == hashlib.sha256(b"".join(parts)).hexdigest()
    # written files hold this value: it must not change while the format's version is 2
    assert graph.hash[:16] == "a828a9c7e4420977"


def _adapting(name: str, **decay: Any) -> list[tuple[str, str, Any]]:
    common = {"threshold": 321, "threshold_step": 91, "refractory_decay": 1, **decay}
    return [(name, field, value) for field, value in common.items()]


def _subtracting(name: str, bias: np.ndarray) -> list[tuple[str, str, Any]]:
    return [
        (name, "threshold", 8),
        (name, "subtract", 449),
        (name, "current_decay", 3001),
        (name, "voltage_decay", 201),
        (name, "bias", bias),
    ]


CHANGES: list[tuple[str, str, Any]] = [
    ("frames", "bits", 5),
    ("frames", "signed", True),
    ("frames", "shape", (2, 6, 7)),
    ("stem", "weight", 4 * ONES),
    ("stem", "exponent", 1),
    ("stem", "padding", (1, 2)),
    ("stem", "stride", (2, 2)),
    ("stem", "dilation", (2, 2)),
    ("stem", "lag", 1),
    ("stream", "shift", 4),
    ("stream", "threshold", 2),
    ("stream", "inputs", ("stem", "stem")),
    ("first", "threshold", 8),
    ("first", "current_decay", 3999),
    ("first", "voltage_decay", 3071),
    ("first", "threshold", np.array([7, 7, 7, 8])),
    ("later", "steps", 1),
    ("first", "bias", np.array([0, 1, 2, 4])),
    ("first", "bias", np.zeros(4, int)),
    ("first", "bias", np.zeros(1, int)),
    ("classes", "weight", 2 * np.eye(3, 72, 1, dtype=np.int64)),
    ("classes", "exponent", 0),
    ("classes", "delay", np.eye(3, 72, dtype=np.int64)),
    ("classes", "lag", 2),
    ("potential", "bias", np.array([-3, 1, 8])),
    ("potential", "name", "logits"),
    ("conv1", "name", "conv3"),
    ("heard", "weight", np.zeros((4, 4), int)),
    ("heard", "threshold", 10),
    ("heard", "current_decay", 3001),
    ("heard", "voltage_decay", 201),
    ("heard", "bias", np.array([0, 1, 2, 4])),
    ("changes", "threshold", 3),
    ("changes", "spike_exponent", 4),
    ("changes", "state_exponent", 5),
    ("units", "threshold", 4),
    ("units", "bias", np.array([1, -2, 4])),
    ("units", "spike_exponent", 4),
    ("units", "state_exponent", 5),
    ("sum", "name", "total"),
    ("phase", "threshold", 641),
    ("phase", "sin", np.array([900, 800, 701])),
    ("phase", "cos", np.array([-30, 1, 8])),
    ("phase", "izhikevich", True),
    ("fading", "current_decay", 1201),
    ("fading", "voltage_decay", np.array([300, 4096, 2])),
    ("fading", "bias", np.array([1, 2, 1])),
    *_adapting("tired", threshold_decay=np.array([9, 90, 901, 4000])),
    ("tired", "current_decay", 3001),
    ("tired", "voltage_decay", 201),
    ("tired", "bias", np.array([0, 1, 2, 4])),
    *_adapting("musing", threshold_decay=401),
    ("musing", "weight", np.zeros((3, 3), int)),
    ("musing", "current_decay", 4001),
    ("musing", "voltage_decay", 101),
    ("musing", "bias", np.array([1, 0, 3])),
    *_adapting("tuned", threshold_decay=701),
    ("tuned", "sin", np.array([900, 2103, 3001])),
    ("tuned", "cos", 3272),
    ("tuned", "izhikevich", True),
    *_subtracting("soft", np.array([0, 0, 1])),
    *_subtracting("murmur", np.array([0, 1, 3])),
    ("murmur", "weight", np.zeros((3, 3), int)),
]


def every() -> list[Node]:
    return [*small(), *neurons("third", (6, 3, 4))]


def changed(name: str, field: str, value: Any) -> Graph:
    """``every()`` up to node ``name``, which is changed."""
    nodes: list[Node] = []
    for node in every():
        if node.name == name:
            return Graph([*nodes, replace(node, **{field: value})], 3)
        nodes.append(node)
    raise AssertionError(name)


def test_hash_changes_with_every_field_of_every_node() -> None:
    covered = {(Graph(every(), 3)[name].kind, field) for name, field, _ in CHANGES}
    for kind, node_type in OWN_KINDS.items():
        # the groups of a convolution follow from the shapes of its weight and its input
        named = {field.name for field in fields(node_type)} - {"name", "inputs", "groups"}
        assert named <= {f for k, f in covered if k == kind}, f"a field of {kind} is not tried"
    hashes = set()
    for name, field, value in CHANGES:
        before = changed(name, "name", name)
        after = changed(name, field, value)
        assert after.hash != before.hash, (name, field)
        hashes.add(after.hash)
    assert len(hashes) == len(CHANGES)
    others = {Graph(small(), *times).hash for times in ((4, 4), (3, 4), (3, 5), (3, 3))}
    assert len(others) == 4
    assert Graph(small(), 3).hash == Graph(small(), 3, 3).hash


def test_hash_tells_the_same_values_in_another_shape_apart() -> None:
    values = np.arange(8)
    flat = Graph([frame((4, 1, 1)), conv(values.reshape(2, 4, 1, 1))], 1)
    tall = Graph([frame((4, 1, 1)), conv(values.reshape(4, 2, 1, 1), groups=2)], 1)
    assert flat.hash != tall.hash


@pytest.mark.parametrize("dtype", ["int8", "int16", ">i4", "uint8", "int64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_hash_ignores_how_the_caller_stored_an_array(dtype: str, order: Any) -> None:
    weight = np.arange(72).reshape(4, 2, 3, 3)
    stored = np.array(weight.astype(dtype), order=order)
    assert Graph([frame(), conv(stored)], 1).hash == Graph([frame(), conv(weight)], 1).hash


def test_hash_ignores_whether_the_caller_gave_lists_or_numpy_integers() -> None:
    plain = Graph([frame(), conv(stride=(2, 1), exponent=1)], 1)
    loose = Conv(
        "synapse",
        ["frames"],  # type: ignore[arg-type]
        ONES,
        np.int64(1),  # type: ignore[arg-type]
        stride=[np.int64(2), 1],  # type: ignore[arg-type]
    )
    assert Graph([frame([2, 6, 6]), loose], 1).hash == plain.hash  # type: ignore[arg-type]


# -- a graph cannot be changed ---------------------------------------------------------------


def test_arrays_are_copies_that_nobody_can_write() -> None:
    weight = np.ones((4, 2, 3, 3), np.int64)
    node = conv(weight)
    weight[:] = 5
    assert node.weight.max() == 1
    for array in (node.weight, summed("x").bias, Readout("r", ("x",), np.zeros(2, int)).bias):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_fields_cannot_be_assigned() -> None:
    with pytest.raises(AttributeError):
        conv().groups = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 9), ("interval", 9), ("nodes", ()), ("checked", {"out": 5})]
)
def test_what_a_graph_says_of_itself_cannot_be_assigned(name: str, value: Any) -> None:
    nodes = [
        Input("frames", (2,), 1),
        Dense("wire", ("frames",), [[1, 2]]),
        Lif("out", ("wire",), 5),
    ]
    graph = Graph(nodes, 3, checked={"out": 7})
    with pytest.raises(GraphError, match=f"{name} of a graph cannot be changed"):
        setattr(graph, name, value)
    with pytest.raises(TypeError):
        graph.checked["out"] = 5  # type: ignore[index]
    for same in (graph, copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert (same.steps, same.interval, same.checked) == (3, 3, {"out": 7})
        assert same.hash == Graph(nodes, 3, checked={"out": 7}).hash


def test_populations_are_neurons_relays_and_readouts_in_order() -> None:
    found = [node.name for node in Graph(small(), 1).populations]
    assert found == ["stream", "first", "second", "third", "potential"]


def test_nodes_are_found_by_name() -> None:
    graph = Graph(small(), 1)
    assert graph["conv1"].inputs == ("first",)
    assert len(graph) == len(list(graph)) == 12
    assert graph.input.name == "frames"
    with pytest.raises(GraphError, match="no node 'ghost'; print it"):
        graph["ghost"]


def test_graph_of_two_inputs_is_told_when_it_is_run() -> None:
    graph = Graph([frame(), Input("other", (2, 6, 6))], 1)
    with pytest.raises(GraphError, match="2 inputs"):
        _ = graph.input


def test_an_input_has_three_sizes_at_most() -> None:
    """As a file holds it."""
    with pytest.raises(GraphError, match=r"more than three sizes; use \(C, H, W\)"):
        Graph([Input("frames", (1, 2, 1, 2))], 1)
