"""A network on chips: counts per link, core and host written out; what cannot be mapped is told."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

import neuroport as port
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError, IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Input, Lif, Relay
from neuroport.targets.core_tiles import Tile
from neuroport.targets.mapping import Mapping, map_network, mapping_of
from neuroport.targets.message_traffic import Flow, Traffic
from neuroport.targets.target import Fact, Target, load_target

needs_solver = pytest.mark.skipif(
    find_spec("mtkahypar") is None,
    reason="mtkahypar is not installed; pip install 'neuroport[map]'",
)


def board(chips: int, cores: int, neurons: int = 2) -> Target:
    """Loihi 2 chips of few small cores."""
    base = load_target("loihi2")
    mine = {"chips": chips, "cores": cores, "neurons": neurons}
    values = {key: Fact(value, "test", "seen") for key, value in mine.items()}
    return replace(base, name="small", values={**base.values, **values})


def by_hand(frames: bool = True) -> Traffic:
    """Five tiles of one neuron, two samples."""
    flows = (
        Flow(0, (1, 2, 3), 8),
        Flow(0, (4,), 2),
        Flow(2, (0, 2), 6),  # a recurrent one hears itself, too
        Flow(4, (3,), 20),
    )
    cut = tuple(Tile("abcde"[n], (0, 1), (0, 1), (0, 1)) for n in range(5))
    return Traffic(cut, flows, (Flow(-1, (0, 1, 4), 10),) if frames else None, 2)


def test_links_count_a_message_once_per_chip_and_copies_once_per_core() -> None:
    found = mapping_of(by_hand(), (0, 1, 1, 1, 0), board(2, 3))
    # 0 -> 1, 2, 3: one message to chip 1, three copies; 2 -> 0; 4 -> 3; 0 -> 4 stays on its chip
    assert found.links == {(0, 1): (8 + 20) / 2, (1, 0): 6 / 2}
    assert found.messages == 17
    assert found.busiest_links[0] == ((0, 1), 14)
    assert found.copies == (3 * 8 + 6 + 20) / 2
    assert found.between_cores == (3 * 8 + 2 + 6 + 20) / 2
    assert found.sent == ((3 * 8 + 2) / 2, 0, 6 / 2, 0, 20 / 2)
    assert found.received == (6 / 2, 8 / 2, 8 / 2, (8 + 20) / 2, 2 / 2)
    assert found.host == {0: 5, 1: 5}
    # in order: 0, 1, 2 | 3, 4: 0 -> 3 and 0 -> 4 leave the chip
    assert found.naive == (8 + 2) / 2
    assert found.used == 2


def test_one_chip_has_no_links_and_frames_that_are_not_given_are_not_zero() -> None:
    found = mapping_of(by_hand(frames=False), (0,) * 5, board(1, 5))
    assert (found.links, found.messages, found.copies, found.busiest_links) == ({}, 0, 0, [])
    assert found.between_cores == 26
    assert found.host is None
    told = list(found.lines())
    assert (
        told[0]
        == "5 cores on 1 chips of 5: 0.0 messages between chips per sample; 0.0 if filled in order"
    )
    assert "host: not counted, for want of the frames" in told
    assert json.loads(json.dumps(found.to_dict()))["host"] is None


def strip(size: int = 8) -> Graph:
    """Two layers on a strip of neurons, 3 taps, and a shortcut around the second."""
    taps = np.full((1, 1, 1, 3), 2)
    one = np.full((1, 1, 1, 1), 2)
    return Graph(
        [
            Input("frames", (1, 1, size), bits=1),
            Conv("stem", ("frames",), one),
            Lif("a", ("stem",), 1),
            Conv("conv", ("a",), taps, padding=(0, 1)),
            Lif("b", ("conv",), 1),
            Conv("again", ("b",), taps, padding=(0, 1)),
            Conv("skip", ("a",), one),
            Relay("c", ("again", "skip")),
        ],
        3,
    )


@needs_solver
def test_a_strip_is_cut_across_its_layers_not_between_them() -> None:
    graph, frames = strip(), np.ones((3, 1, 1, 1, 8), np.int64)
    trace = Reference().run(graph, frames)
    assert trace["a"].all()
    assert trace["b"].all()
    found = map_network(graph, board(2, 6), trace, frames)
    # tiles of two neurons, four a layer: two chips hold the left and the right half
    assert found.chips == (0, 0, 1, 1) * 3
    # in each of 3 steps neuron 3 of a and of b crosses to the right, neuron 4 to the left
    assert found.links == {(0, 1): 3 * 2, (1, 0): 3 * 2}
    # in order (a and the left half of b, then the rest): all of a and the left of b reach c
    assert found.naive == 3 * (8 + 4)
    assert found.host == {0: 3 * 4, 1: 3 * 4}
    assert found.samples == 1
    assert [tile.population for tile in found.tiles] == ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    told = "\n".join(found.lines())
    assert "12 cores on 2 chips of 6: 12.0 messages between chips per sample" in told
    assert "chip 0, 6 cores: a (2 of 4), b (2 of 4), c (2 of 4)" in told
    assert "hops are unknown" in told
    as_json = json.loads(json.dumps(found.to_dict()))
    assert as_json["links"][0] == {"from": 0, "to": 1, "messages": 6.0}
    assert as_json["tiles"][2]["chip"] == 1
    assert port.map_network(graph, board(2, 6), trace, frames) == found


def test_a_network_that_fits_one_chip_is_mapped_without_a_partitioner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mtkahypar", None)
    graph = strip()
    trace = Reference().run(graph, np.ones((3, 1, 1, 1, 8), np.int64))
    found = map_network(graph, "oheo-gulch", trace)
    assert isinstance(found, Mapping)
    assert (found.used, found.messages, found.target) == (1, 0, "oheo-gulch")


def test_a_network_that_needs_more_chips_is_told_how_many_and_what_would_help() -> None:
    graph = strip()
    trace = Reference().run(graph, np.ones((3, 1, 1, 1, 8), np.int64))
    with pytest.raises(IllegalError) as caught:
        map_network(graph, board(2, 4), trace)
    assert "12 cores are needed, 4 more than the 8 of small; 3 chips, where there are 2" in str(
        caught.value
    )
    assert "what would make it fit: " in str(
        caught.value
    ) or "no single change makes it fit" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_trace_of_another_network_is_refused() -> None:
    trace = Reference().run(strip(6), np.ones((3, 1, 1, 1, 6), np.int64))
    with pytest.raises(CompareError, match="run this one"):
        map_network(strip(), board(2, 6), trace)
