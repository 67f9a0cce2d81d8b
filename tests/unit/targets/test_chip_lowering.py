"""Lowering for a chip: the way with the fewest cores, legal on that chip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import neuroport as port
from neuroport.errors import IllegalError, TargetError
from neuroport.graph.graph import Graph
from neuroport.lowering import CARRIERS
from neuroport.targets.core_memory import synapse_words
from neuroport.targets.lowering import best, lower, options, picked
from neuroport.targets.message_traffic import measure
from neuroport.targets.population_demands import (
    CONSTANT,
    SynapseDemand,
    population_demands,
    rounding,
)
from neuroport.targets.resources import resources
from neuroport.targets.rules import refusals
from neuroport.targets.target import Fact, Target, load_target
from tests.helpers.shapes import SHAPES, Shape, ds_resnet, frames_for, ms_resnet

LOIHI2 = load_target("loihi2")
FREE = replace(  # a chip on which every way is legal, so that all are compared
    LOIHI2,
    values={
        **LOIHI2.values,
        **{key: Fact(True, "test", "seen") for key in ("custom_neurons", "convolution_delay")},
    },
)
WAYS = [(way, how) for way in CARRIERS for how in ("relays", "delays")][:-1]


def network(name: str) -> Graph:
    return SHAPES[name](Shape(frames_for((2, 8, 8), 3, 2)))


def test_every_way_is_compared() -> None:
    assert len(WAYS) == 5
    found = options(network("ds-resnet, K = 2"), FREE)
    assert [(option.carrier, option.align) for option in found] == WAYS


@pytest.mark.parametrize("name", SHAPES)
def test_the_fewest_cores_are_never_more_than_those_of_a_forced_way(name: str) -> None:
    graph = network(name)
    fewest = resources(best(options(graph, FREE)), FREE).cores
    forced = []
    for way, how in WAYS:
        try:
            lowered = best(options(graph, FREE, carrier=way, align=how))
        except IllegalError:
            continue
        forced.append(resources(lowered, FREE).cores)
    assert len(forced) >= 4
    assert fewest == min(forced)


def test_what_is_lowered_for_a_chip_breaks_none_of_its_rules_and_gives_the_same_answer() -> None:
    frames = frames_for((2, 8, 8), 3, 2)
    graph = SHAPES["ds-resnet, K = 3"](Shape(frames))
    lowered = port.lower(graph, "loihi2")
    assert lowered.interval == 4
    assert refusals(lowered, LOIHI2) == []
    chip = port.run(lowered, frames, on="reference", time_model="chip")
    assert port.compare(port.run(graph, frames), chip)


def test_a_stream_that_is_rounded_at_a_projection_is_legal_by_relays_alone() -> None:
    frames = frames_for((2, 8, 8), 4, 2)
    graph = ms_resnet(Shape(frames), 1, (4, 6))
    found = {(option.carrier, option.align): option for option in options(graph, LOIHI2)}
    assert found["relay", "relays"].graph is not None
    late = found["relay", "delays"]
    assert late.resources is not None
    assert late.graph is None
    assert "a convolution cannot delay messages; lower with --align relays" in late.refusal
    lowered = port.lower(graph, "loihi2")
    assert refusals(lowered, LOIHI2) == []
    assert port.compare(port.run(graph, frames), port.run(lowered, frames, time_model="chip"))
    assert "1 of 4 relays round, each as Lava's ProdNeuron" in picked(graph, lowered, LOIHI2)


def test_the_neuron_that_gives_relays_their_constants_is_counted() -> None:
    graph = ms_resnet(Shape(frames_for((2, 8, 8), 4, 2)), 1, (4, 6))
    lowered = port.lower(graph, "loihi2")
    found = population_demands(lowered)
    (rounds,) = rounding(lowered)
    constant = next(layer for layer in found if layer.kind == CONSTANT)
    assert constant.neurons == 1
    assert constant.readers == ((rounds, "dense"), (rounds, "dense"))
    fed = next(layer for layer in found if layer.name == rounds)
    assert fed.arriving[-2:] == (SynapseDemand("dense", 1, 1), SynapseDemand("dense", 1, 1))
    (placed,) = [p for p in resources(lowered, LOIHI2).placed if p.layer.name == rounds]
    without = replace(fed, arriving=fed.arriving[:-2])
    neurons = fed.neurons  # all of them on one core: 13 bits for each weight, in 64-bit words
    assert placed.cores == 1
    words = 2 * -(-(neurons * 13 + 4) // 64)
    assert placed.tiling.full.synapse_words == synapse_words(without, fed.shape[0]) + words


def test_its_messages_are_counted_once_per_step_and_core() -> None:
    frames = frames_for((2, 8, 8), 4, 2)
    lowered = port.lower(ms_resnet(Shape(frames), 1, (4, 6)), "loihi2")
    found = resources(lowered, LOIHI2)
    traffic = measure(lowered, found, port.run(lowered, frames))
    names = [tile.population for tile in traffic.tiles]
    (flow,) = [flow for flow in traffic.flows if names[flow.source] == CONSTANT]
    assert [names[core] for core in flow.targets] == rounding(lowered)
    assert flow.messages == frames.shape[0] * frames.shape[1]


def test_a_way_that_the_simulator_refuses_has_no_cores() -> None:
    graph = ms_resnet(Shape(frames_for((2, 8, 8), 4, 2)), 1, (4, 6))
    (option,) = options(graph, FREE, carrier="stock")
    assert (option.resources, option.graph) == (None, None)
    assert "stock NetX file cannot hold" in str(option)


def test_time_and_cores_can_both_be_minimized() -> None:
    graph = ds_resnet(Shape(frames_for((2, 8, 8), 4, 2)), 2, (4,), 2)
    found = options(graph, FREE, carrier="all")
    for minimize in ("time", "cores"):
        lowered = best(found, minimize)
        (option,) = [b for b in found if b.graph is lowered]
        assert option.cost is not None
        for other in found:
            assert other.cost is not None
            assert other.resources is not None
            assert option.resources is not None
            if minimize == "time":
                assert option.cost.step_seconds <= other.cost.step_seconds
            else:
                assert option.resources.cores <= other.resources.cores


def test_the_simulator_is_lowered_for_as_before() -> None:
    graph = network("danet, spike, stage")
    for way in ("auto", "relay", "unroll"):
        want = lower(graph, "lava-cpu", carrier=way)
        assert port.lower(graph, carrier=way).hash == want.hash


def test_cores_of_the_simulator_cannot_be_minimized() -> None:
    graph = network("plain")
    with pytest.raises(TargetError, match="lava-cpu has no cores to minimize"):
        port.lower(graph, minimize="cores")
    with pytest.raises(TargetError, match="cannot minimize 'chips'; use auto, time or cores"):
        port.lower(graph, "loihi2", minimize="chips")
    with pytest.raises(TargetError, match="unknown target 'loihi9'"):
        port.lower(graph, "loihi9")


def test_a_users_chip_is_lowered_for_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'summary = "mine"\nbase = "loihi2"\n[power_of_two_reset]\nvalue = false\n'
        'source = "mine"\nconfidence = "seen"\n'
    )
    assert port.lower(network("plain"), path).interval == 3


def test_a_network_that_needs_more_chips_is_lowered_and_its_option_says_so() -> None:
    small: Target = replace(LOIHI2, values={**LOIHI2.values, "cores": Fact(2, "test", "seen")})
    (option,) = options(network("plain"), small, carrier="relay", align="relays")
    assert option.graph is not None
    assert ", more than there are" in str(option)
    found = options(network("plain"), LOIHI2)
    lowered = best(found)
    assert lowered in [b.graph for b in found]
    assert "more than" not in str(found[0])
    assert found[0].to_dict()["cores"] == resources(lowered, LOIHI2).cores


def test_a_way_on_which_every_population_fits_a_core_is_preferred() -> None:
    graph = SHAPES["danet, membrane, network"](Shape(frames_for((2, 8, 8), 3, 2)))
    tight = replace(FREE, values={**FREE.values, "synapse_words": Fact(160, "test", "seen")})
    found = options(graph, tight)
    lowered = best(found)
    (taken,) = [option for option in found if option.graph is lowered]
    fitting = [b for b in found if b.resources is not None and not b.resources.impossible]
    assert 0 < len(fitting) < len(found)
    assert taken in fitting


def test_a_stock_chain_stays_one_where_its_readout_does_not_fit_a_core() -> None:
    graph = network("ds-resnet, K = 2")
    small = replace(LOIHI2, values={**LOIHI2.values, "axons_in": Fact(100, "test", "seen")})
    found = {(b.carrier, b.align): b for b in options(graph, small)}
    stock, relay = found["stock", "relays"], found["relay", "relays"]
    assert relay.lowered is not None
    assert any(".part" in node.name for node in relay.lowered)
    assert stock.lowered is not None
    assert not any(".part" in node.name for node in stock.lowered)
    assert stock.resources is not None
    assert stock.resources.impossible
