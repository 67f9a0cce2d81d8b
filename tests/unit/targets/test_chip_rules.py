"""Rules of a chip: each broken by a small graph, each with what mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
    Relay,
    ResonateFire,
    Sigma,
    SigmaDelta,
)
from neuroport.lowering.exponents import split_exponents
from neuroport.targets.rules import REFUSED, UNPROVEN, findings, refusals, rule_names
from neuroport.targets.target import Target, load_target

KERNEL = np.full((2, 2, 3, 3), 2)
LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")


def conv(name: str, *inputs: str, **fields: object) -> Conv:
    return replace(Conv(name, inputs, KERNEL, padding=(1, 1)), **fields)


def chain(*nodes: Node, bits: int = 1) -> list[Node]:
    return [Input("frames", (2, 4, 4), bits=bits), *nodes]


def plain() -> list[Node]:
    return chain(conv("stem", "frames"), Lif("first", ("stem",), 9))


def graph(*nodes: Node, steps: int = 4, bits: int = 1) -> Graph:
    return Graph(chain(*nodes, bits=bits), steps)


def broken(network: Graph, target: Target = LOIHI2) -> list[tuple[str, str, str]]:
    return [(f.rule, f.node, f.severity) for f in findings(network, target)]


def message(network: Graph, target: Target = LOIHI2) -> str:
    (only,) = findings(network, target)
    return only.message


def custom(tmp_path: Path, **values: object) -> Target:
    lines = ['summary = "mine"', 'base = "loihi2"']
    for key, value in values.items():
        shown = str(value).lower() if isinstance(value, bool) else value
        lines += [f"[{key}]", f"value = {shown}", 'source = "test"', 'confidence = "seen"']
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    return load_target(tmp_path / "mine.toml")


def test_a_chain_of_spikes_breaks_no_rule_on_either_chip() -> None:
    network = Graph(plain(), 4)
    assert broken(network, LOIHI1) == broken(network, LOIHI2) == []


def test_rules_are_those_of_the_widths_and_those_of_the_chip() -> None:
    assert rule_names()[:2] == ["weights_fit_eight_bits", "threshold_fits"]
    assert rule_names()[-1] == "width_is_exact"
    assert len(set(rule_names())) == len(rule_names()) == 21


def test_the_width_rules_hold_on_chips_too() -> None:
    wide = graph(replace(conv("stem", "frames"), weight=KERNEL + 1), Lif("first", ("stem",), 9))
    odd = replace(wide.nodes[1], weight=np.where(np.arange(36).reshape(KERNEL.shape) % 2, 3, -3))
    assert broken(graph(odd, wide.nodes[2])) == [("weights_fit_eight_bits", "stem", REFUSED)]


@pytest.mark.parametrize(("steps", "count"), [(3, 1), (4, 0), (5, 1), (16, 0)])
def test_samples_must_follow_each_other_every_power_of_two_steps(steps: int, count: int) -> None:
    network = Graph(plain(), steps)
    assert len(broken(network)) == count
    assert broken(network, LOIHI1) == []
    if count:
        assert "--power-of-two-interval" in message(network)


def test_loihi_1_sends_spikes_only() -> None:
    pixels = Graph([Input("frames", (2, 4, 4), bits=8), *plain()[1:]], 4)
    assert broken(pixels) == []
    assert broken(pixels, LOIHI1) == [("messages_fit", "frames", REFUSED)]
    relayed = graph(conv("a", "frames"), Relay("r", ("a",)), conv("b", "r"), Lif("l", ("b",), 9))
    assert broken(relayed) == []
    assert [rule for rule, *_ in broken(relayed, LOIHI1)] == ["messages_fit", "neuron_exists"]


def test_a_relay_of_spikes_runs_on_loihi_1() -> None:
    eye = np.eye(2, dtype=np.int64).reshape(2, 2, 1, 1)
    same = replace(conv("same", "first"), weight=eye, padding=(0, 0))
    network = Graph([*plain(), same, Relay("held", ("same",))], 4)
    assert broken(network, LOIHI1) == []


def test_messages_wider_than_the_payload_are_refused(tmp_path: Path) -> None:
    relayed = graph(conv("a", "frames"), Relay("r", ("a",)), bits=8)
    high = 18 * 2 * 255
    assert high.bit_length() == 14
    assert broken(relayed, custom(tmp_path, message_bits=15)) == []
    assert broken(relayed, custom(tmp_path, message_bits=14)) == [("messages_fit", "r", REFUSED)]


def test_rounding_is_lavas_prodneuron_whose_widths_nobody_published(tmp_path: Path) -> None:
    rounded = graph(conv("a", "frames"), Relay("r", ("a",), shift=2))
    assert broken(rounded) == [("neuron_exists", "r", UNPROVEN)]
    assert "as Lava's ProdNeuron, with products up to 38" in message(rounded)
    assert ("neuron_exists", "r", REFUSED) in broken(rounded, LOIHI1)
    assert broken(rounded, custom(tmp_path, custom_neurons=True)) == []


@pytest.mark.parametrize(("weight", "severity"), [(2, UNPROVEN), (4, REFUSED)])
def test_a_current_with_half_a_unit_fits_the_24_bits_of_a_prodneurons_input(
    weight: int, severity: str
) -> None:
    eye = Conv("a", ("frames",), np.full((2, 1, 1, 1), weight), 16, groups=2)
    # 31 * 4 << 16 alone fits 24 bits; with half a unit, 1 << 18, it does not
    rounded = graph(eye, Relay("r", ("a",), shift=19), bits=5)
    found = [each for each in broken(rounded) if each[:2] == ("neuron_exists", "r")]
    assert found == [("neuron_exists", "r", severity)]


def test_resonators_are_unproven_and_izhikevichs_is_refused() -> None:
    one = ResonateFire("r", ("a",), 64, np.array([100]), np.array([100]))
    assert broken(graph(conv("a", "frames"), one)) == [("neuron_exists", "r", UNPROVEN)]
    other = replace(one, izhikevich=True)
    assert broken(graph(conv("a", "frames"), other)) == [("neuron_exists", "r", REFUSED)]
    assert ("neuron_exists", "r", REFUSED) in broken(graph(conv("a", "frames"), one), LOIHI1)


def test_adaptive_thresholds_run_on_the_cpu_only_unless_the_user_has_microcode(
    tmp_path: Path,
) -> None:
    for neuron in (
        AdaptiveLif("n", ("a",), 64, 9, 100, 100),
        AdaptiveRecurrent("n", ("a",), np.zeros((32, 32), int), 64, 9, 100, 100),
        AdaptiveResonateFire("n", ("a",), 64, 9, 100, 100, 100, 100),
    ):
        network = graph(conv("a", "frames"), neuron)
        assert broken(network) == [("neuron_exists", "n", REFUSED)]
        assert "threshold adapts" in message(network)
        assert "custom_neurons" in message(network)
        assert broken(network, custom(tmp_path, custom_neurons=True)) == []


def test_a_readout_that_leaks_runs_on_the_cpu_only() -> None:
    network = graph(conv("a", "frames"), LeakyReadout("n", ("a",), 4096, 100))
    for target in (LOIHI1, LOIHI2):
        assert broken(network, target) == [("neuron_exists", "n", REFUSED)]
    assert "without leaks" in message(network)


def test_sigma_delta_networks_lack_a_reset() -> None:
    network = graph(
        conv("a", "frames"),
        Delta("delta", ("a",), 1),
        conv("b", "delta"),
        SigmaDelta("both", ("b",), 1),
        conv("c", "both"),
        Sigma("sum", ("c",)),
    )
    assert broken(network) == [("reset_exists", n, UNPROVEN) for n in ("delta", "both")]


def test_a_convolution_cannot_delay_messages() -> None:
    late = graph(conv("stem", "frames", lag=1), Lif("first", ("stem",), 9))
    assert broken(late) == [("delays_exist", "stem", REFUSED)]
    assert "--align relays" in message(late)
    axonal = graph(Delay("wait", ("frames",), 2), conv("stem", "wait"), Lif("first", ("stem",), 9))
    assert broken(axonal) == [("delays_exist", "stem", REFUSED)]
    assert "axonal" in message(axonal)


def test_a_dense_synapse_delays_by_all_that_holds_its_messages(tmp_path: Path) -> None:
    weight = np.full((3, 32), 2)
    delay = np.zeros((3, 32), np.int64)
    delay[1, 1] = 3
    dense = Dense("sum", ("wait",), weight, delay=delay, lag=2)
    network = graph(Delay("wait", ("frames",), 4), dense, Lif("first", ("sum",), 9))
    assert broken(network) == []
    assert broken(network, custom(tmp_path, delay=9)) == []
    assert broken(network, custom(tmp_path, delay=8)) == [("delays_exist", "sum", REFUSED)]


def test_kernels_strides_paddings_and_dilations_have_fields_of_their_own(tmp_path: Path) -> None:
    small = custom(tmp_path, kernel=3)
    assert broken(Graph(plain(), 4), small) == []
    for field, value in (("stride", (1, 4)), ("padding", (4, 1)), ("dilation", (1, 4))):
        wide = Input("frames", (2, 9, 9), bits=1)
        network = Graph([wide, conv("stem", "frames", **{field: value}), plain()[2]], 4)
        assert broken(network, small) == [("geometry_fits", "stem", REFUSED)]


def test_large_exponents_were_not_seen_on_a_chip() -> None:
    def flat(exponent: int) -> Graph:
        stem = Dense("stem", ("frames",), np.full((2, 32), 2), exponent)
        return graph(stem, Lif("first", ("stem",), 9))

    assert broken(flat(7)) == []
    assert broken(flat(8)) == [("exponent_fits", "stem", UNPROVEN)]


@pytest.mark.parametrize(("weight", "exponent", "fits"), [(2, 6, 1), (2, 7, 0), (254, 0, 1)])
def test_a_convolution_holds_its_exponent_in_its_weights(
    weight: int, exponent: int, fits: int
) -> None:
    mixed = np.where(np.arange(36).reshape(KERNEL.shape) % 2, weight, -weight)
    network = graph(
        conv("stem", "frames", weight=mixed, exponent=exponent), Lif("first", ("stem",), 9)
    )
    assert broken(network) == ([] if fits else [("exponent_fits", "stem", REFUSED)])


@pytest.mark.parametrize(("exponent", "cure"), [(7, "neuroport lower --target"), (12, "one LSB")])
def test_a_convolution_of_too_many_kernels_is_not_sent_to_the_lowering_that_left_it(
    exponent: int, cure: str
) -> None:
    mixed = np.where(np.arange(36).reshape(KERNEL.shape) % 2, 2, -2)
    network = graph(
        conv("stem", "frames", weight=mixed, exponent=exponent), Lif("first", ("stem",), 9)
    )
    (found,) = refusals(network, load_target("loihi2"))
    assert cure in found.message
    lowered = split_exponents(network)
    assert bool(refusals(lowered, load_target("loihi2"))) == (exponent == 12)
    assert ("lower it for the chip" in found.message) == (exponent == 7)


@pytest.mark.parametrize("field", ["threshold", "current_decay", "voltage_decay"])
def test_a_population_has_one_threshold_and_one_pair_of_decays(field: str) -> None:
    first = replace(Lif("first", ("stem",), 9), **{field: np.array([100, 200])})
    network = graph(conv("stem", "frames"), first)
    assert broken(network) == [("constants_are_shared", "first", REFUSED)]
    assert field in message(network)
    same = replace(first, **{field: np.array([100, 100])})
    assert broken(graph(conv("stem", "frames"), same)) == []


def test_a_readout_that_could_fire_is_unproven() -> None:
    def network(bias: int) -> Graph:
        dense = Dense("sum", ("frames",), np.full((1, 32), 254))
        return graph(dense, Readout("potential", ("sum",), np.array([bias])), steps=16)

    limit = 131_071 // 16 - 32 * 254
    assert broken(network(limit)) == []
    assert broken(network(limit + 1)) == [("readout_does_not_fire", "potential", UNPROVEN)]
    assert "131,088 in the worst case" in message(network(limit + 2))


def test_convolutions_that_meet_are_unproven_and_grouped_ones_are_written_in_full() -> None:
    two = graph(conv("a", "frames"), conv("b", "frames"), Lif("first", ("a", "b"), 9))
    assert broken(two) == [("dendrite_is_known", "first", UNPROVEN)]
    assert message(two).startswith("2 convolutions meet here")
    shared = Graph(
        [
            *plain(),
            Lif("other", ("stem",), 9),
            conv("sum", "first", "other"),
            Lif("last", ("sum",), 9),
        ],
        4,
    )
    assert broken(shared) == [("dendrite_is_known", "last", UNPROVEN)]
    grouped = replace(conv("a", "frames"), weight=KERNEL[:, :1], groups=2)
    assert broken(graph(grouped, Lif("first", ("a",), 9))) == []


def test_wide_feature_maps_may_lose_spikes() -> None:
    def network(width: int) -> Graph:
        nodes = [Input("frames", (2, 4, width), bits=1), *plain()[1:]]
        return Graph(nodes, 4)

    assert broken(network(223)) == broken(network(300), LOIHI1) == []
    assert broken(network(224)) == [("width_is_exact", "stem", UNPROVEN)]


def test_refusals_leave_out_what_is_only_unproven() -> None:
    two = graph(conv("a", "frames"), conv("b", "frames"), Lif("first", ("a", "b"), 9), steps=3)
    assert [finding.rule for finding in refusals(two, LOIHI2)] == ["interval_is_a_power_of_two"]


def test_a_finding_says_node_severity_message_and_rule() -> None:
    stem = Dense("stem", ("frames",), np.full((2, 32), 2), 8)
    (found,) = findings(graph(stem, Lif("l", ("stem",), 9)), LOIHI2)
    assert str(found).startswith("stem: unproven on hardware: its weights have exponent 8;")
    assert str(found).endswith("[exponent_fits]")
