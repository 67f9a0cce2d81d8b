"""Cores of a network: what a core holds, which limit binds, what does not fit and what mends it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    Lif,
    Readout,
    Recurrent,
    Relay,
    ResonateFire,
)
from neuroport.targets.core_memory import fill, synapse_words
from neuroport.targets.population_demands import (
    PopulationDemand,
    SynapseDemand,
    population_demands,
    weight_bits,
)
from neuroport.targets.remedies import changes, shortfall
from neuroport.targets.resources import Resources, resources
from neuroport.targets.spike_counters import cost, with_counters
from neuroport.targets.target import Fact, Target, load_target
from neuroport.targets.verdict import check

LOIHI2 = load_target("loihi2")


def having(**limits: int | None) -> Target:
    """A Loihi 2 chip with other limits."""
    mine = {key: Fact(value, "test", "seen") for key, value in limits.items()}
    return replace(LOIHI2, name="mine", values={**LOIHI2.values, **mine})


def dense(
    name: str, neurons: int, inputs: int, bits: int = 8, **fields: object
) -> PopulationDemand:
    made = PopulationDemand(name, "lif", (neurons,), (SynapseDemand("dense", inputs, bits),))
    return replace(made, **fields)


def feature_map(name: str, *shape: int, axons: int = 27, **fields: object) -> PopulationDemand:
    return replace(
        PopulationDemand(name, "lif", shape, (SynapseDemand("conv", axons, 8),)), **fields
    )


def one(layer: PopulationDemand, target: Target = LOIHI2) -> tuple[tuple[int, int, int], int, str]:
    (placed,) = resources([layer], target).placed
    return placed.tiling.tile, placed.cores, placed.binding


def test_weight_bits_drop_common_zeros_and_count_a_sign_only_where_signs_mix() -> None:
    assert weight_bits(np.array([0, 0])) == 1
    assert weight_bits(np.array([1, 0])) == 1
    assert weight_bits(np.array([255, 3])) == 8
    assert weight_bits(np.array([-254, 254])) == 8
    assert weight_bits(np.array([-8, 6])) == 3  # -4..3
    assert weight_bits(np.array([-8, 8])) == 2  # -1..1
    assert weight_bits(np.array([-10, -3])) == 4


def graph() -> Graph:
    """Two levels behind one dendrite, a relay beside them, a delay, and a readout."""
    weight = 2 * np.arange(-3, 3).repeat(9)[:54].reshape(3, 2, 3, 3)
    same = np.full((1, 48), 2)
    return Graph(
        [
            Input("frames", (2, 4, 4), bits=1),
            Conv("stem", ("frames",), weight, padding=(1, 1)),
            Lif("low", ("stem",), 5),
            Lif("high", ("stem",), 9),
            Relay("held", ("stem",)),
            Delay("wait", ("low",), 1),
            Dense("sum", ("wait", "high"), same),
            Dense("other", ("held",), same),
            Readout("potential", ("sum", "other")),
        ],
        4,
    )


def test_layers_are_the_populations_with_their_synapses_readers_and_levels() -> None:
    low, high, held, potential = population_demands(graph())
    stem = (SynapseDemand("conv", 18, 3, outside=True),)
    assert low == PopulationDemand("low", "lif", (3, 4, 4), stem, (("potential", "dense"),), 2)
    assert high == replace(low, name="high")
    assert held == replace(low, name="held", kind="relay", levels=1)
    assert potential.arriving == (SynapseDemand("dense", 48, 1, 2), SynapseDemand("dense", 48, 1))
    assert potential.readers == ()


def test_levels_are_told_from_populations_that_only_share_a_dendrite() -> None:
    nodes = list(graph().nodes)
    parted = [*nodes[:6], replace(nodes[6], inputs=("high",)), replace(nodes[7], inputs=("held",))]
    parted += [replace(nodes[8], inputs=("sum",)), Readout("rest", ("other",))]
    assert {layer.name: layer.levels for layer in population_demands(Graph(parted, 4))}["low"] == 1


def test_levels_that_wait_in_relays_are_still_levels() -> None:
    weight = np.full((1, 3, 1, 1), 2)
    nodes = [
        *graph().nodes[:4],
        *(
            part
            for name in ("low", "high")
            for part in (
                Conv(f"{name}.same", (name,), weight),
                Relay(f"{name}.held", (f"{name}.same",)),
            )
        ),
    ]
    nodes.append(Dense("sum", ("low.held", "high.held"), np.full((1, 16), 2)))
    found = population_demands(Graph([*nodes, Readout("potential", ("sum",))], 4))
    assert [layer.levels for layer in found] == [2, 2, 1, 1, 1]


def test_a_recurrent_population_hears_itself_and_a_resonator_has_two_sums() -> None:
    nodes = [
        Input("frames", (6,), bits=1),
        Dense("in", ("frames",), np.full((4, 6), 2)),
        Recurrent("loop", ("in",), np.full((4, 4), -2), 9),
        ResonateFire("turn", ("in",), 64, np.array([100]), np.array([100])),
    ]
    loop, turn = population_demands(Graph(nodes, 4))
    assert loop.arriving == (
        SynapseDemand("dense", 6, 1, outside=True),
        SynapseDemand("dense", 4, 1),
    )
    assert loop.readers == (("loop", "dense"),)
    assert turn.shape == (2,)
    assert turn.arriving == (SynapseDemand("dense", 6, 1, spread=2, outside=True),)
    assert synapse_words(turn, 2) == 6 * 1  # 4 sums of 13 bits and 4: 56 bits


def test_grouped_convolutions_are_counted_in_full() -> None:
    weight = np.full((4, 1, 1, 1), 1)
    nodes = [Input("frames", (4, 2, 2), bits=1), Conv("same", ("frames",), weight, groups=4)]
    (found,) = population_demands(Graph([*nodes, Lif("l", ("same",), 0)], 2))
    assert found.arriving[0].axons == 4


def test_a_convolution_stores_a_slot_per_tap_and_a_dense_synapse_one_per_input() -> None:
    assert synapse_words(feature_map("a", 64, 8, 8), 64) == 27 * (1 + 8)
    assert synapse_words(feature_map("a", 64, 8, 8), 65) == 27 * (1 + 9)
    assert synapse_words(dense("a", 9, 100), 3) == 100  # 3 * 20 + 4 bits
    assert synapse_words(dense("a", 9, 100), 4) == 200
    twice = replace(dense("a", 9, 100), arriving=(SynapseDemand("dense", 100, 8, copies=2),))
    assert synapse_words(twice, 3) == 200


def test_axons_are_counted_per_reader() -> None:
    readers = (("map", "conv"), ("flat", "dense"))
    layer = feature_map("a", 8, 4, 4, readers=readers)
    full = fill(layer, 16, 4, {"map": 3}, 64)
    assert (full.axon_map_words, full.axon_memory_words) == (16 + 64, 16 * 3)
    assert full.memory_words == 64 + full.synapse_words + 80 + 48 + 4
    alone = fill(replace(layer, readers=()), 16, 4, {}, 64)
    assert (alone.axon_map_words, alone.axon_memory_words, alone.axons_in) == (64, 0, 1)


def test_columns_are_cut_in_powers_of_two_and_rows_in_halves() -> None:
    assert one(feature_map("a", 16, 28, 28)) == ((8, 28, 16), 4, "neurons")
    assert one(feature_map("a", 16, 10, 5)) == ((5, 10, 16), 1, "neurons")


def test_channels_are_halved_until_the_synapses_fit() -> None:
    wide = feature_map("a", 512, 14, 14, axons=2304)
    tile, cores, binding = one(wide)
    assert tile == (8, 14, 32)
    assert cores == 2 * 16
    assert binding == "synapse_words"
    assert 2304 * (1 + 4) <= 16000 < 2304 * (1 + 8)


def test_a_reader_split_into_parts_is_listed_once_per_part() -> None:
    first = feature_map("first", 16, 7, 7, readers=(("wide", "conv"),))
    wide = feature_map("wide", 512, 7, 7, axons=144 * 16)
    placed = resources([first, wide], LOIHI2).placed[0]
    assert placed.tiling.full.axon_memory_words == 49 * 16


def test_a_limit_on_all_words_splits_channels_where_none_of_the_parts_is_exceeded() -> None:
    layer = feature_map("a", 64, 7, 7, axons=900)
    assert one(layer)[1] == 1
    words = 900 * 9
    assert one(layer, having(memory_words=words + 1000))[1] > 1


def test_flat_populations_are_split_by_need_and_doubled_while_exceeded() -> None:
    assert one(dense("a", 100, 2560, bits=3), having(synapse_words=12000))[:2] == ((1, 1, 9), 12)
    assert one(dense("a", 100, 2560, bits=3))[:2] == ((1, 1, 25), 4)
    assert one(dense("a", 5000, 1)) == ((1, 1, 2500), 2, "neurons")


def test_the_binding_limit_is_the_one_without_which_fewest_cores_are_needed() -> None:
    assert one(dense("a", 100, 2560))[2] == "synapse_words"
    assert one(feature_map("a", 16, 112, 112))[2] == "neurons"
    assert one(dense("a", 100, 10), having(axon_map_words=10))[2] == "axon_map_words"


def test_chips_are_whole_and_cores_hold_one_population_each() -> None:
    many = [dense(f"n{k}", 10, 10) for k in range(121)]
    found = resources(many, LOIHI2)
    assert (found.cores, found.chips, found.fits) == (121, 2, False)
    assert resources(many[:120], LOIHI2).fits
    assert resources(many, load_target("kapoho-point")).fits


def test_levels_and_relays_are_counted() -> None:
    found = resources(graph(), LOIHI2)
    assert found.units == {2: 48}
    assert found.relays == (48, 1)
    assert found.neurons == 3 * 48 + 1
    assert "48 of them in relays on 1 cores, 48 units of 2 levels" in str(found)


def test_every_level_has_its_own_copy_of_the_synapses() -> None:
    low, high, *_ = resources(graph(), LOIHI2).placed
    assert low.tiling.full.synapse_words == high.tiling.full.synapse_words == 18 * 2


def test_what_not_one_neuron_of_fits_is_named_with_need_and_limit() -> None:
    layer = dense("huge", 10, 20_000)
    found = resources([layer], LOIHI2)
    assert not found.fits
    assert [p.layer.name for p in found.impossible] == ["huge"]
    lines = shortfall(found)
    several = replace(layer, arriving=(SynapseDemand("dense", 9_000, 8, copies=2),))
    assert "; sum its 2 sources in a relay first" in shortfall(resources([several], LOIHI2))[0]
    assert len(lines) == 1  # its axons exceed the core by no more
    assert lines[0] == (
        "huge: one neuron needs 20,000 synapse words, a core has 16,000; pool before it"
    )


def test_what_does_not_fit_is_told_by_how_much() -> None:
    found = resources([dense(f"n{k}", 10, 10) for k in range(125)], LOIHI2)
    assert shortfall(found) == [
        "125 cores are needed, 5 more than the 120 of loihi2; 2 chips, where there are 1"
    ]
    assert shortfall(resources([dense("n", 10, 10)], LOIHI2)) == []


def crowded() -> list[PopulationDemand]:
    """130 cores, whose number the bits of the weights decide."""
    names = [f"n{k}" for k in range(26)]
    read = [(name, "dense") for name in names[1:]]
    return [
        dense(name, 160, 1400, readers=(after,) if after else ())
        for name, after in zip(names, [*read, None], strict=True)
    ]


def test_every_change_offered_makes_it_fit_and_the_cheapest_is_first() -> None:
    found = resources(crowded(), LOIHI2)
    assert found.cores == 130
    offered = changes(crowded(), found)
    channels, bits, board = offered
    assert channels.what == "95 % of the channels of every population that others read"
    assert bits.what == "weights of at most 5 bits (now 8)"
    assert board.what == "kapoho-point, which has 960 cores"
    assert channels.lost < bits.lost == 3 / 8
    fewer = [replace(a, arriving=(replace(a.arriving[0], bits=5),)) for a in crowded()]
    assert resources(fewer, LOIHI2).cores == bits.cores == 104
    more = [replace(a, arriving=(replace(a.arriving[0], bits=6),)) for a in crowded()]
    assert not resources(more, LOIHI2).fits
    assert channels.cores <= 120 < board.cores == 130


def test_no_board_is_offered_for_a_chip_of_the_users() -> None:
    found = resources(crowded(), having(cores=100))
    assert all("which has" not in change.what for change in changes(crowded(), found))


def test_frames_keep_their_size_when_channels_are_made_fewer() -> None:
    outside = replace(
        dense("a", 10, 20_000), arriving=(SynapseDemand("dense", 20_000, 8, outside=True),)
    )
    assert changes([outside], resources([outside], LOIHI2)) == []
    inside = [dense("before", 20_000, 1, readers=(("a", "dense"),)), dense("a", 10, 20_000)]
    (only,) = changes(inside, resources(inside, LOIHI2))
    assert "% of the channels" in only.what


def test_a_verdict_is_true_only_if_it_fits_and_breaks_no_rule() -> None:
    weight = np.full((2, 2, 3, 3), 2)
    nodes = [
        Input("frames", (2, 4, 4), bits=1),
        Conv("stem", ("frames",), weight, padding=(1, 1)),
        Lif("first", ("stem",), 9),
    ]
    assert check(Graph(nodes, 4), LOIHI2)
    assert not check(Graph(nodes, 3), LOIHI2)
    small = check(Graph(nodes, 4), having(synapse_words=20))
    assert not small
    lines = list(small.lines())
    assert "does not fit: first: one neuron needs 36 synapse words, a core has 20" in "\n".join(
        lines
    )
    assert lines[-1].startswith("does not fit mine, 0 violations of 21 rules")
    assert lines[-1].endswith("not run on hardware")


def test_a_verdict_as_data_holds_what_its_lines_say() -> None:
    found = check(graph(), LOIHI2)
    data = found.to_dict()
    assert data["resources"]["cores"] == found.resources.cores == 4
    assert [p["name"] for p in data["resources"]["populations"]] == [
        *("low", "high", "held", "potential")
    ]
    assert data["resources"]["populations"][0]["levels"] == 2
    assert data["violations"] == []
    assert data["caveat"].endswith("not run on hardware")


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_resources_stay_within_every_limit_of_the_chip(name: str) -> None:
    target = load_target(name)
    rng = np.random.default_rng(0)
    made = []
    for k in range(40):
        channels, side, axons = (int(n) for n in rng.integers(1, (300, 60, 400)))
        made.append(feature_map(f"m{k}", channels, side, side + k % 3, axons=axons))
        made.append(dense(f"d{k}", channels, axons))
    found: Resources = resources(made, target)
    for placed in found.placed:
        assert not placed.tiling.exceeded
        assert placed.fraction <= 1
        assert placed.tiling.full.neurons <= target["neurons"]
        tile = placed.tiling.tile
        assert placed.cores * int(np.prod(tile)) >= placed.layer.neurons


# -- counters ----------------------------------------------------------------------------------


def placed_counter(
    granularity: str, layer: PopulationDemand
) -> tuple[tuple[int, int, int], int, int]:
    """Tile, cores and synapse words of the counters of one population."""
    _, counter = with_counters([layer], granularity)
    assert counter.name == f"{layer.name}.counter"
    (placed,) = resources([counter], LOIHI2).placed
    return placed.tiling.tile, placed.cores, placed.tiling.full.synapse_words


def test_counters_take_a_word_per_neuron_that_they_count() -> None:
    counted = feature_map("a", 16, 28, 28)
    assert placed_counter("neuron", counted) == ((1, 1, 3136), 4, 3136)
    assert placed_counter("channel", counted) == ((1, 1, 16), 1, 12_544)
    assert placed_counter("layer", counted) == ((1, 1, 1), 1, 12_544)


def test_counters_that_do_not_fit_a_core_are_split_and_one_counter_is_not() -> None:
    large = feature_map("a", 8, 50, 50)  # 20,000 neurons, 16,000 words
    assert placed_counter("channel", large) == ((1, 1, 4), 2, 10_000)
    _, counter = with_counters([large], "layer")
    found = resources([counter], LOIHI2)
    assert not found.fits
    assert "a.counter: one neuron needs 20,000 synapse words" in shortfall(found)[0]


def test_counted_neurons_have_an_axon_more_and_graded_ones_no_counter() -> None:
    network = [
        dense("a", 100, 10, readers=(("b", "dense"),)),
        replace(dense("b", 100, 100), kind="relay"),
        replace(dense("c", 10, 100), kind="readout"),
    ]
    counted = with_counters(network, "neuron")
    assert [layer.name for layer in counted] == ["a", "a.counter", "b", "c"]
    alone, found = resources(network, LOIHI2), resources(counted, LOIHI2)
    axons = [r.placed[0].tiling.full.axon_map_words for r in (alone, found)]
    assert axons == [100, 200]
    assert found.placed[1].tiling.full.axons_in == 100
    priced = cost("neuron", found, alone)
    assert (priced.counters, priced.cores, priced.more_cores) == (100, 1, 1)
    assert priced.not_counted == ("b",)
    assert str(priced).endswith("graded, not counted: b")
