"""Messages between cores: every count written out by hand, and the weights asked one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroport.engines.reference import Reference
from neuroport.errors import CompareError, FramesError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    IntArray,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
    ResonateFire,
)
from neuroport.runs.trace import Trace
from neuroport.targets.core_tiles import Tile, box, tiles
from neuroport.targets.message_traffic import Flow, Traffic, measure
from neuroport.targets.receptive_field import reaching
from neuroport.targets.resources import resources
from neuroport.targets.target import Fact, Target, load_target
from tests.tiers import examples

STEPS = 4
LOIHI2 = load_target("loihi2")


def chip(neurons: int) -> Target:
    """A chip whose cores hold so many neurons and as many words as they please."""
    limits: dict[str, int | None] = {key: None for key in LOIHI2.values if key.endswith("_words")}
    values = {key: Fact(v, "test", "seen") for key, v in (limits | {"neurons": neurons}).items()}
    return replace(LOIHI2, name="mine", values={**LOIHI2.values, **values})


def sending(*counts: int, value: int = 1) -> IntArray:
    """(STEPS, 2, neurons): each neuron sends so many messages, all but one in the first sample."""
    sent = np.zeros((STEPS, 2, len(counts)), np.int64)
    for neuron, count in enumerate(counts):
        sent[: max(0, count - 1), 0, neuron] = value
        sent[-1, 1, neuron] = value if count else 0
    return sent


def counted(
    nodes: list[Node], neurons: int, frames: IntArray | None = None, **sent: IntArray
) -> Traffic:
    """The traffic of a network behind one frame, on cores of so many neurons."""
    graph = Graph(nodes, STEPS)
    messages = {name: run.reshape(STEPS, 2, *graph.facts(name).shape) for name, run in sent.items()}
    trace = Trace(messages, dict.fromkeys(messages, "relay"))
    return measure(graph, resources(graph, chip(neurons)), trace, frames)


def flows(traffic: Traffic) -> dict[tuple[int, tuple[int, ...]], int]:
    return {(flow.source, flow.targets): flow.messages for flow in traffic.flows}


def one(*weights: int) -> IntArray:
    """A kernel (1, 1, 1, n)."""
    return np.array(weights).reshape(1, 1, 1, -1)


def line(*more: Node, size: int = 6) -> list[Node]:
    """Frames (1, 1, size), a population ``a`` on which they are copied, and ``more``."""
    return [
        Input("frames", (1, 1, size), bits=1),
        Conv("copy", ("frames",), one(2)),
        Lif("a", ("copy",), 1),
        *more,
    ]


def test_tiles_cut_a_map_by_channels_then_rows_then_columns_and_the_rest_is_smaller() -> None:
    weight = np.full((3, 3, 1, 1), 2)
    graph = Graph(
        [Input("frames", (3, 3, 3)), Conv("c", ("frames",), weight), Relay("r", ("c",))], 1
    )
    found = resources(graph, chip(2))
    assert found.placed[0].tiling.tile == (1, 1, 2)
    cut = tiles(found)
    assert len(cut) == found.cores == 18
    assert cut[1] == Tile("r", (0, 2), (0, 1), (1, 2))
    assert cut[3] == Tile("r", (0, 2), (1, 2), (0, 1))
    assert cut[9] == Tile("r", (2, 3), (0, 1), (0, 1))
    assert cut[9].neurons == 1
    assert sum(tile.neurons for tile in cut) == 27
    assert box((7,)) == (7, 1, 1)


def test_a_convolution_sends_over_borders_of_tiles_only_what_its_kernel_reaches() -> None:
    # tiles of a: 0 = {0, 1}, 1 = {2, 3}, 2 = {4, 5}; of b: 3, 4, 5 alike; a kernel of three taps
    found = counted(
        line(Conv("conv", ("a",), one(2, 2, 2), padding=(0, 1)), Relay("b", ("conv",))),
        2,
        a=sending(1, 2, 3, 4, 1, 2),
    )
    assert flows(found) == {
        (0, (3,)): 1,  # neuron 0 reaches outputs 0 and 1
        (0, (3, 4)): 2,  # neuron 1: 0, 1, 2
        (1, (3, 4)): 3,  # neuron 2: 1, 2, 3
        (1, (4, 5)): 4,  # neuron 3: 2, 3, 4
        (2, (4, 5)): 1,  # neuron 4: 3, 4, 5
        (2, (5,)): 2,  # neuron 5: 4, 5
    }
    assert found.samples == 2
    assert found.frames is None


def test_a_stride_reaches_fewer_and_a_dilation_reaches_farther() -> None:
    # b has outputs 0, 1, 2 on tiles 3 = {0, 1} and 4 = {2}; output o reads 2o - 1, 2o, 2o + 1
    strided = Conv("conv", ("a",), one(2, 2, 2), padding=(0, 1), stride=(1, 2))
    found = counted(line(strided, Relay("b", ("conv",))), 2, a=sending(1, 2, 3, 4, 1, 2))
    assert flows(found) == {
        (0, (3,)): 1 + 2,  # 0: output 0; 1: 0 and 1
        (1, (3,)): 3,  # 2: output 1
        (1, (3, 4)): 4,  # 3: outputs 1 and 2
        (2, (4,)): 1 + 2,
    }
    # output o reads o - 2 and o + 2; what it reads itself has weight 0
    dilated = Conv("conv", ("a",), one(2, 0, 2), padding=(0, 2), dilation=(1, 2))
    found = counted(line(dilated, Relay("b", ("conv",))), 2, a=sending(1, 2, 3, 4, 1, 2))
    assert flows(found) == {(0, (4,)): 3, (1, (3, 5)): 7, (2, (4,)): 3}


def test_a_neuron_without_a_weight_into_a_tile_sends_it_nothing() -> None:
    # four channels on tiles of two: a on 0 and 1, b on 2 and 3
    weight = np.zeros((4, 4, 1, 1), np.int64)
    weight[0, 0] = weight[2, 0] = 2  # channel 0 reaches both tiles
    weight[1, 1] = 2  # channel 1 the first alone
    weight[3, 2] = 2  # channel 2 the second alone; channel 3 reaches nobody
    found = counted(
        [
            Input("frames", (4, 1, 1), bits=1),
            Conv("copy", ("frames",), np.full((4, 4, 1, 1), 2)),
            Lif("a", ("copy",), 1),
            Conv("conv", ("a",), weight),
            Relay("b", ("conv",)),
        ],
        2,
        a=sending(1, 2, 3, 4),
    )
    assert flows(found) == {(0, (2, 3)): 1, (0, (2,)): 2, (1, (3,)): 3}


def test_groups_keep_channels_apart_and_dense_weights_of_zero_count_for_nothing() -> None:
    weight = np.full((4, 2, 1, 1), 2)  # two groups: channels 0, 1 -> 0, 1 and 2, 3 -> 2, 3
    dense = np.zeros((3, 4), np.int64)
    dense[0] = 2, 0, 0, 2
    dense[2] = 0, 2, 0, 0  # neuron 2 has no weight at all
    found = counted(
        [
            Input("frames", (4, 1, 1), bits=1),
            Conv("copy", ("frames",), np.full((4, 4, 1, 1), 2)),
            Lif("a", ("copy",), 1),
            Conv("conv", ("a",), weight, groups=2),
            Lif("b", ("conv",), 1),
            Dense("last", ("b",), dense),
            Readout("potential", ("last",)),
        ],
        2,
        a=sending(1, 2, 3, 4),
        b=sending(4, 3, 2, 1),
    )
    # a on 0, 1; b on 2, 3; the readout's neurons 0, 1 on 4, its neuron 2 on 5
    assert flows(found) == {(0, (2,)): 3, (1, (3,)): 7, (2, (4,)): 4, (2, (5,)): 3, (3, (4,)): 1}


def test_a_graded_message_counts_once_whatever_its_value_and_sign() -> None:
    nodes = line(Relay("b", ("copy",)), Conv("on", ("b",), one(2)), Readout("c", ("on",)), size=2)
    sent = sending(3, 2)
    sent[:, :, 0] *= -70
    sent[:, :, 1] *= 5
    found = counted(nodes, 1, a=sending(1, 1), b=sent)
    # a on 0, 1 has no reader; b on 2, 3; c on 4, 5
    assert flows(found) == {(2, (4,)): 3, (3, (5,)): 2}


def test_a_message_that_two_populations_and_two_synapses_read_is_one_flow_to_their_cores() -> None:
    found = counted(
        line(
            Conv("conv", ("a",), one(2, 2, 2), padding=(0, 1)),
            Conv("skip", ("a",), one(2)),
            Lif("b", ("conv",), 1),
            Conv("next", ("b",), one(2)),
            Relay("c", ("next", "skip")),  # the shortcut joins here
            Lif("d", ("skip",), 1),
            size=4,
        ),
        2,
        a=sending(1, 2, 3, 4),
        b=sending(1, 1, 1, 1),
    )
    # a 0, 1; b 2, 3; c 4, 5; d 6, 7
    assert flows(found) == {
        (0, (2, 4, 6)): 1,
        (0, (2, 3, 4, 6)): 2,
        (1, (2, 3, 5, 7)): 3,
        (1, (3, 5, 7)): 4,
        (2, (4,)): 2,
        (3, (5,)): 2,
    }


def test_messages_through_one_synapse_from_two_sources_are_the_messages_of_each() -> None:
    nodes = line(
        Lif("b", ("copy",), 3), Conv("sum", ("a", "b"), one(2)), Relay("c", ("sum",)), size=2
    )
    found = counted(nodes, 2, a=sending(1, 2), b=sending(0, 1))
    assert flows(found) == {(0, (2,)): 3, (1, (2,)): 1}


def test_a_delayed_message_is_sent_once_and_also_when_it_comes_after_the_sample() -> None:
    nodes = line(
        Delay("late", ("a",), 3), Conv("sum", ("late", "a"), one(2)), Relay("b", ("sum",)), size=2
    )
    found = counted(nodes, 2, a=sending(4, 4))
    assert flows(found) == {(0, (1,)): 8}


def test_a_recurrent_population_reaches_its_own_cores_by_its_own_weights() -> None:
    weight = np.zeros((4, 4), np.int64)
    weight[3, 0] = weight[1, 0] = 2  # neuron 0 is heard by 1, in its tile, and by 3
    weight[0, 2] = 2
    found = counted(
        [
            Input("frames", (4,), bits=1),
            Dense("copy", ("frames",), 2 * np.eye(4, dtype=np.int64)),
            Recurrent("a", ("copy",), weight, 1),
        ],
        2,
        a=sending(1, 2, 3, 4),
    )
    assert flows(found) == {(0, (0, 1)): 1, (1, (0,)): 3}


def test_a_resonator_is_reached_through_its_imaginary_current_too() -> None:
    weight = np.zeros((4, 2), np.int64)  # two resonators: real 0, 1, imaginary 2, 3
    weight[0, 0] = weight[3, 1] = weight[3, 0] = 2
    found = counted(
        [
            Input("frames", (2,), bits=1),
            Dense("copy", ("frames",), 2 * np.eye(2, dtype=np.int64)),
            Lif("a", ("copy",), 1),
            Dense("turn", ("a",), weight),
            ResonateFire("b", ("turn",), 64, 0, 4096),
        ],
        1,
        a=sending(1, 2),
    )
    assert flows(found) == {(0, (2, 3)): 1, (1, (3,)): 2}


def test_frames_are_counted_apart_and_silent_pixels_are_not_sent() -> None:
    frames = sending(3, 0, 1, 2, value=1).reshape(STEPS, 2, 1, 1, 4)
    found = counted(line(size=4), 2, frames, a=sending(1, 1, 1, 1))
    assert found.frames == (Flow(-1, (0,), 3), Flow(-1, (1,), 3))
    assert found.flows == ()


def chain(weight: IntArray) -> Graph:
    nodes = line(Conv("conv", ("a",), weight, padding=(0, 1)), Relay("b", ("conv",)))
    return Graph(nodes, STEPS)


def test_traces_of_another_network_and_frames_of_another_run_are_refused() -> None:
    graph, other = chain(one(2, 2, 2)), chain(one(2, 2, 4))
    found = resources(graph, LOIHI2)
    frames = sending(1, 2, 3, 4, 1, 2).reshape(STEPS, 2, 1, 1, 6)
    trace = Reference().run(graph, frames)
    assert measure(graph, found, trace, frames).frames
    with pytest.raises(CompareError, match=r"network .*, not of .*; run this one"):
        measure(other, resources(other, LOIHI2), trace)
    with pytest.raises(CompareError, match="other frames"):
        measure(graph, found, trace, 1 - frames)
    with pytest.raises(FramesError, match="1 samples of frames, 2 in the trace"):
        measure(graph, found, trace, frames[:, :1])
    with pytest.raises(CompareError, match="a: the trace lacks it"):
        measure(graph, found, replace(trace, messages={"b": trace["b"]}))
    wrong = {"a": trace["a"][..., :3], "b": trace["b"]}
    with pytest.raises(CompareError, match=r"a: the trace holds .*the graph makes it"):
        measure(graph, found, replace(trace, messages=wrong))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Conv, tuple[int, int, int]]:
    groups = draw(st.sampled_from([1, 1, 2]))
    channels, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pair), draw(pair), draw(pair)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weight = 2 * rng.integers(-1, 2, (outputs, channels // groups, *kernel))
    weight *= rng.integers(0, 2, weight.shape)  # a zero where a kernel or channel is pruned, too
    sizes = [
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 8))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    conv = Conv("conv", ("frames",), weight, 0, stride, padding, dilation, groups)
    return conv, (channels, sizes[0], sizes[1])


@settings(max_examples=examples(60), deadline=None)
@given(convolutions(), st.integers(1, 5))
def test_what_reaches_a_tile_is_what_changes_it_when_one_neuron_fires(
    drawn: tuple[Conv, tuple[int, int, int]], neurons: int
) -> None:
    conv, shape = drawn
    sizes = int(np.prod(shape))
    ones = replace(conv, weight=(conv.weight != 0).astype(np.int64))
    graph = Graph([Input("frames", shape, bits=1), ones, Relay("b", ("conv",))], 1)
    frames = np.eye(sizes, dtype=np.int64).reshape(1, sizes, *shape)  # a sample per neuron
    got: Any = Reference().run(graph, frames)["b"][0]
    for tile in tiles(resources(graph, chip(neurons))):
        where, which = reaching(conv, shape, tile)
        reached = np.zeros(shape, np.bool_)
        reached[where] = which
        want = got[(slice(None), *tile.slices)].reshape(sizes, -1).any(axis=1).reshape(shape)
        np.testing.assert_array_equal(reached, want)
