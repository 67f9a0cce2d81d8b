"""Relays that hold a sum once for several readers: exact, and chosen where it saves cores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import neuroport as port
from benchmarks.resources import Still
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay
from neuroport.lowering.shared_sums import share_dendrites, share_messages
from neuroport.targets.lowering import lower
from neuroport.targets.resources import resources
from neuroport.targets.rules import refusals
from neuroport.targets.target import load_target
from tests.helpers.shapes import SHAPES, Shape, ds_resnet, frames_for

LOIHI2 = load_target("loihi2")
FRAMES = frames_for((2, 8, 8), 4, 3)


def levels() -> Graph:
    return SHAPES["ds-resnet, K = 3"](Shape(FRAMES))


@pytest.mark.parametrize(
    "share", [share_dendrites, share_messages, lambda g: share_dendrites(share_messages(g))]
)
@pytest.mark.parametrize("name", SHAPES)
def test_sharing_changes_no_population(share: object, name: str) -> None:
    graph = SHAPES[name](Shape(FRAMES))
    made = share(graph)  # type: ignore[operator]
    want = port.run(graph, FRAMES)
    outcome = port.compare(want, port.run(made, FRAMES))
    assert outcome, str(outcome)
    assert not outcome.only_want
    assert sum(want.sent(name) for name, kind in want.kinds.items() if kind == "lif") > 0
    lowered = port.lower(made, carrier="relay", align="relays")
    assert port.compare(want, port.run(lowered, FRAMES, time_model="chip"))


def test_levels_read_one_identity_and_the_synapse_is_there_once() -> None:
    graph = levels()
    made = share_dendrites(graph)
    shared = [node for node in made if isinstance(node, Relay) and ".shared" in node.name]
    assert shared
    for relay in shared:
        (reader,) = [n for n in made if isinstance(n, Conv) and n.inputs == (relay.name,)]
        units = [n for n in made if isinstance(n, Lif) and n.inputs == (reader.name,)]
        assert len(units) == 3
        assert all(relay.name == n.name for n in made.populations if n.inputs == relay.inputs)


def test_a_convolution_of_several_sources_reads_one_relay_of_their_sum() -> None:
    made = share_messages(levels())
    assert all(len(n.inputs) == 1 for n in made if isinstance(n, Conv) and n.groups == 1)
    sums = [node for node in made if isinstance(node, Relay) and ".sum" in node.name]
    assert sums
    assert max(int(made.facts(relay.name).high.max()) for relay in sums) >= 3


def test_what_one_identity_delivers_is_not_held_again() -> None:
    eye = np.ones((2, 1, 1, 1), np.int64)
    nodes: list[Node] = [
        Input("frames", (2, 4, 4), 1),
        Conv("same", ("frames",), eye, groups=2),
        Lif("low", ("same",), 0),
        Lif("high", ("same",), 1),
        Dense("classes", ("low", "high"), 2 * np.ones((2, 32), np.int64)),
        Readout("potential", ("classes",)),
    ]
    graph = Graph(nodes, 4)
    assert share_dendrites(graph) is graph
    assert share_messages(graph) is graph


def test_published_levels_take_far_fewer_cores_where_relays_hold_their_sum() -> None:
    graph = ds_resnet(Still(3, 32, 32), 3, (64, 128, 256), 3)
    every_other = [
        replace(n, weight=np.arange(n.weight.size).reshape(n.weight.shape) % 2)
        if isinstance(n, Dense)
        else n
        for n in graph
    ]
    graph = Graph(every_other, graph.steps, graph.interval)  # sums that fit
    hala = load_target("hala-point")
    plain = resources(port.lower(graph, carrier="relay", align="relays"), hala)
    lowered = lower(graph, "hala-point", carrier="relay", align="relays")
    shared = resources(lowered, hala)
    assert plain.cores > 250_000
    assert not plain.fits
    assert shared.cores == 2_703  # docs/design.md
    assert shared.fits


@pytest.mark.parametrize("name", SHAPES)
def test_the_chosen_way_never_takes_more_cores_than_one_without_sharing(name: str) -> None:
    graph = SHAPES[name](Shape(FRAMES))
    lowered = lower(graph, "loihi2", carrier="relay", align="relays")
    assert refusals(lowered, LOIHI2) == []
    plain = port.lower(graph, carrier="relay", align="relays")
    assert resources(lowered, LOIHI2).cores <= resources(plain, LOIHI2).cores + 1


def test_wide_levels_take_fewer_cores_where_relays_hold_their_current() -> None:
    rng = np.random.default_rng(0)

    def conv(name: str, inputs: tuple[str, ...], outputs: int, taken: int) -> Conv:
        weight = 2 * rng.integers(-1, 2, (outputs, taken, 3, 3))
        weight[0, 0, 0, 0] = 254
        return Conv(name, inputs, weight, padding=(1, 1))

    nodes: list[Node] = [Input("frames", (64, 8, 8), 1), conv("stem", ("frames",), 96, 64)]
    nodes += [Lif(f"a{k}", ("stem",), 20 + 9 * k) for k in range(3)]
    nodes.append(conv("next", ("a0", "a1", "a2"), 96, 96))
    nodes += [Lif(f"b{k}", ("next",), 20 + 9 * k) for k in range(3)]
    nodes.append(Dense("classes", ("b0", "b1", "b2"), 2 * np.ones((2, 96 * 64), np.int64)))
    nodes.append(Readout("potential", ("classes",)))
    graph = Graph(nodes, 4)
    plain = resources(graph, LOIHI2).cores
    lowered = lower(graph, "loihi2", carrier="relay", align="relays")
    assert resources(lowered, LOIHI2).cores < 0.9 * plain
    assert any(".shared" in node.name or ".sum" in node.name for node in lowered)
