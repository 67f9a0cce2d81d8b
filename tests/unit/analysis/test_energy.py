"""Work, energy and time: every count of the small networks is written out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.cost_models import (
    ARITHMETIC,
    BOUND,
    LOIHI1,
    UNMEASURED,
    UNPLACED,
    Routes,
)
from neuroport.analysis.energy import Energy, energy, energy_or_why
from neuroport.analysis.operations_per_core import core_of, fan_ins
from neuroport.analysis.statistics import statistics
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError, FramesError, TargetError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Recurrent, Relay, SigmaDelta
from neuroport.runs.measurement import Measurement
from neuroport.runs.trace import Trace
from neuroport.targets.target import Fact, Target, load_target
from tests.unit.analysis.test_statistics import frames as residual_frames
from tests.unit.analysis.test_statistics import residual, sparse, without

LOIHI2 = load_target("loihi2")


def steps_of(*rows: Any) -> np.ndarray:
    """Frames (T, 1, *shape) of one sample."""
    return np.array(rows)[:, None]


def ran(graph: Graph, given: np.ndarray, **options: Any) -> Energy:
    return energy(graph, Reference().run(graph, given), given, **options)


def chip(**values: float | None) -> Target:
    """Loihi 2 with other values."""
    mine = {key: Fact(value, "test", "seen") for key, value in values.items()}
    return replace(LOIHI2, values={**LOIHI2.values, **mine})


def two_to_three() -> tuple[Graph, np.ndarray]:
    """Two inputs with two nonzero weights each; (1, 1), then (0, 1) is sent."""
    weight = np.array([[2, 0], [4, 6], [0, 8]])
    nodes: list[Node] = [
        Input("input", (2,), bits=1),
        Dense("dense", ("input",), weight),
        Lif("lif", ("dense",), threshold=7),
    ]
    return Graph(nodes, steps=2), steps_of([1, 1], [0, 1])


def test_a_dense_synapse_of_spikes_takes_an_accumulate_for_each_nonzero_weight() -> None:
    found = ran(*two_to_three()).work
    # three spikes meet two nonzero weights each; the currents are (2, 10, 8), then (0, 6, 8)
    assert found.accumulates == found.chip_operations == 6
    assert found.multiplies == 0
    # above 7: neurons 1 and 2, then neuron 2 again, of three neurons at two steps
    assert (found.spikes, found.active, found.inactive, found.updates) == (3, 3, 3, 6)
    assert (found.graded, found.frames, found.samples, found.steps, found.depth) == (0, 3, 1, 2, 1)


def test_estimates_of_the_dense_network_are_those_sums() -> None:
    found = ran(*two_to_three()).estimates
    assert found["arithmetic_45nm_nj"].value == pytest.approx(0.9 * 6 / 1000)
    loihi1 = 23.6 * 6 + 81 * 3 + 52 * 3 + 1.7 * 3
    assert found["loihi1_nj"].value == pytest.approx(loihi1 / 1000)
    assert found["step_time_us"].value is None
    assert found["step_time_us"].label == "needs a target"


def test_a_placement_adds_its_hops_to_loihi_1_and_tells_messages_between_chips() -> None:
    graph, given = two_to_three()
    bare, placed = ran(graph, given), ran(graph, given, routes=Routes(2, 5, 7))
    added = placed.estimates["loihi1_nj"].value - bare.estimates["loihi1_nj"].value
    assert added == pytest.approx((3.0 * 5 + 4.0 * 7) / 1000)
    assert ("messages between chips", "2", "") in list(placed.counts())
    assert ("messages between chips", "", UNPLACED) in list(bare.counts())
    assert UNPLACED in str(bare.estimates["loihi1_nj"])
    assert UNPLACED not in str(placed)


def test_messages_between_chips_alone_leave_the_hops_unknown() -> None:
    graph, given = two_to_three()
    bare, placed = ran(graph, given), ran(graph, given, routes=Routes(2))
    assert placed.estimates["loihi1_nj"].value == bare.estimates["loihi1_nj"].value
    assert "hops: unknown, and not counted" in str(placed)


def bordered(bits: int) -> tuple[Graph, np.ndarray]:
    """A 3x3 kernel of ones on 4x4, padded: a corner has 4 outputs, an edge 6, the inside 9."""
    nodes: list[Node] = [
        Input("input", (1, 4, 4), bits=bits),
        Conv("conv", ("input",), np.ones((1, 1, 3, 3), int), padding=(1, 1)),
        Lif("lif", ("conv",), threshold=1000),
    ]
    given = np.zeros((2, 1, 1, 4, 4), int)
    given[0, 0, 0, 0, 0] = given[0, 0, 0, 1, 1] = given[1, 0, 0, 0, 1] = 1
    return Graph(nodes, steps=2), given


def test_convolutions_count_borders_exactly_and_graded_frames_multiply() -> None:
    graph, given = bordered(bits=1)
    assert ran(graph, given).work.accumulates == 4 + 9 + 6
    graph, given = bordered(bits=8)
    found = ran(graph, given * 200)
    assert (found.work.accumulates, found.work.frame_multiplies) == (0, 19)
    assert found.estimates["arithmetic_45nm_nj"].value == pytest.approx(4.6 * 19 / 1000)
    assert found.work.active == 0
    assert found.work.inactive == found.work.updates == 32


def shortcut() -> tuple[Graph, np.ndarray]:
    """A stem whose current a neuron takes and a graded relay carries around it."""
    diagonal = np.diag([6, -4])
    nodes: list[Node] = [
        Input("input", (2,), bits=1),
        Dense("stem", ("input",), diagonal),
        Lif("first", ("stem",), threshold=5),
        Relay("carry", ("stem",)),
        Dense("main", ("first",), np.array([[2, 2], [2, 0]])),
        Dense("identity", ("carry",), np.eye(2, dtype=int)),
        Lif("last", ("main", "identity"), threshold=50),
    ]
    return Graph(nodes, steps=2), steps_of([1, 1], [1, 0])


def test_what_a_graded_relay_sends_is_a_shortcuts_multiply_accumulate() -> None:
    found = ran(*shortcut())
    work = found.work
    # stem: 3 spikes, a weight each. main: "first" sends neuron 0 twice (6 > 5), 2 weights each.
    assert work.accumulates == 3 + 4
    # the relay sends 6 and -4, then 6; the identity has a weight for each
    assert (work.shortcut_multiplies, work.frame_multiplies, work.other_multiplies) == (3, 0, 0)
    # on a chip the neuron and the relay have a copy of the stem each
    assert work.chip_operations == 2 * 3 + 4 + 3
    assert (work.spikes, work.graded) == (2, 3)
    # first, carry and last have 2 neurons each, at 2 steps
    assert (work.updates, work.active, work.inactive) == (12, 5, 7)
    values = {name: found.estimates[name].value for name in found.estimates}
    assert values["arithmetic_45nm_nj"] == pytest.approx((4.6 * 3 + 0.9 * 7) / 1000)
    assert values["arithmetic_45nm_without_shortcuts_nj"] == pytest.approx(0.9 * 7 / 1000)
    assert values["loihi1_nj"] == pytest.approx((23.6 * 13 + 81 * 5 + 52 * 7 + 1.7 * 5) / 1000)


def test_a_relay_of_spikes_only_accumulates() -> None:
    nodes: list[Node] = [
        Input("input", (2,), bits=1),
        Dense("to relay", ("input",), np.eye(2, dtype=int)),
        Relay("relay", ("to relay",)),
        Dense("to lif", ("relay",), np.full((1, 2), 2)),
        Lif("lif", ("to lif",), threshold=1),
    ]
    found = ran(Graph(nodes, steps=1), steps_of([1, 1])).work
    assert (found.accumulates, found.multiplies) == (2 + 2, 0)
    assert (found.spikes, found.graded) == (2 + 1, 0)


def test_messages_that_a_delay_holds_past_the_samples_end_are_no_operations() -> None:
    nodes: list[Node] = [
        Input("input", (2,), bits=1),
        Delay("late", ("input",), steps=1),
        Dense("dense", ("late",), np.full((1, 2), 2)),
        Lif("lif", ("dense",), threshold=99),
    ]
    graph, given = Graph(nodes, steps=3), steps_of([1, 1], [1, 0], [1, 1])
    found = ran(graph, given, target=LOIHI2)
    assert found.work.accumulates == 2 + 1
    assert statistics(graph, Reference().run(graph, given), given).operations == 2 + 1
    assert found.cores.outside == 5  # sent all the same


def test_delays_of_single_weights_are_told_apart() -> None:
    delay = np.array([[0, 1], [2, 0]])
    nodes: list[Node] = [
        Input("input", (2,), bits=1),
        Dense("dense", ("input",), np.array([[2, 4], [6, 0]]), delay=delay),
        Lif("lif", ("dense",), threshold=99),
    ]
    # weight 2 hears input 0 at once: steps 0, 1, 2. weight 4 hears input 1 of steps 0 and 1 a step
    # late, but not that of step 2. weight 6 hears input 0 of step 0 alone.
    graph, given = Graph(nodes, steps=3), steps_of([1, 1], [1, 1], [1, 1])
    found = ran(graph, given, target=chip(synop_ns=1000.0, step_us=0.5, neuron_ns=None))
    assert found.work.accumulates == 3 + 2 + 1
    # at steps 0, 1, 2 arrive 1, 2 and 3 messages, a microsecond each; one step later in chip time
    assert found.cores.time.latency_us == pytest.approx(0.5 + 1 + 2 + 3)


def test_a_recurrent_population_hears_itself_a_step_later_inside_its_core() -> None:
    nodes: list[Node] = [
        Input("input", (2,), bits=1),
        Dense("dense", ("input",), np.diag([4, 4])),
        Recurrent("heard", ("dense",), np.array([[0, 2], [2, 2]]), threshold=3),
    ]
    # neuron 0 fires at step 0 and is heard through one weight; neuron 1 fires at step 1, the last
    graph, given = Graph(nodes, steps=2), steps_of([1, 0], [0, 1])
    found = ran(graph, given, target=LOIHI2)
    assert found.work.accumulates == 2 + 1
    assert (found.cores.inside, found.cores.between, found.cores.outside) == (2, 0, 2)
    apart = ran(graph, given, target=chip(neurons=1)).cores
    # neuron 0 reaches the core of neuron 1; neuron 1 that of neuron 0, and its own
    assert (apart.cores, apart.inside, apart.between) == (2, 1, 2)


def test_operations_are_counted_in_the_core_that_they_reach() -> None:
    graph, given = bordered(bits=1)
    found = ran(graph, given, target=chip(neurons=4))
    # tiles of 2x2: the spike at (1, 1) gives 4, 2, 2 and 1 operations to the four cores, that at
    # (0, 0) gives 4 to the first: 8 at once; the spike at (0, 1) gives 4 and 2
    assert found.cores.cores == 4
    assert (found.cores.most_operations, found.cores.busiest) == (8, "lif")
    assert found.cores.most_neurons == 4
    assert found.cores.outside == 1 + 4 + 2
    assert (found.cores.between, found.cores.inside) == (0, 0)


def test_the_step_time_is_that_of_the_slowest_core_or_the_floor() -> None:
    graph, given = bordered(bits=1)
    target = chip(neurons=4, synop_ns=1000.0, neuron_ns=500.0, step_us=1.0)
    # chip steps: nothing arrives at 0; 8 operations at 1; 4 at 2; four neurons take 2 us at each
    found = ran(graph, given, target=target)
    time = found.cores.time
    assert (time.steps, time.latency_us, time.worst_us) == (3, 2 + 8 + 4, 14)
    assert time.bound_by == {"operations": 2, "neurons": 1, "least": 0}
    assert found.estimates["step_time_us"].value == 14
    slow = ran(graph, given, target=chip(neurons=4, synop_ns=1.0, step_us=10.0)).cores
    assert (slow.time.latency_us, slow.time.bound_by["least"]) == (30, 3)


def test_populations_of_other_latencies_work_at_other_steps() -> None:
    graph, given = shortcut()
    target = chip(synop_ns=1000.0, neuron_ns=None, step_us=0.5)
    time = ran(graph, given, target=target).cores.time
    # chip steps: 0: nothing. 1: 2 of the stem. 2: 1 of the stem, last hears 2 + 2 of step 0.
    # 3: last hears 2 of main and 1 of the identity, of step 1.
    assert (time.steps, time.latency_us) == (4, 0.5 + 2 + 4 + 3)
    assert time.unknown == ("neuron_ns",)


def test_a_sigma_delta_neuron_takes_its_passes() -> None:
    nodes: list[Node] = [
        Input("input", (3,), bits=8),
        Dense("dense", ("input",), np.eye(3, dtype=int)),
        SigmaDelta("units", ("dense",), 1),
    ]
    graph, given = Graph(nodes, steps=1), steps_of([9, 9, 9])
    target = chip(neuron_ns=1000.0, sigma_delta_passes=2, step_us=0.1)
    assert ran(graph, given, target=target).cores.time.latency_us == 2 * (2 * 3)


def test_shortcuts_that_are_not_aligned_have_no_time() -> None:
    graph, given = shortcut()
    kept = [node for node in graph if node.name not in ("carry", "identity", "last")]
    early = Graph([*kept, Lif("last", ("main", "stem"), threshold=50)], steps=2)
    found = ran(early, given, target=LOIHI2)
    assert found.cores.time is None
    assert "shortcuts are not aligned" in found.estimates["step_time_us"].label


@pytest.mark.parametrize(
    ("weight", "options"),
    [
        ((4, 2, 3, 3), {"padding": (1, 1)}),
        ((4, 2, 3, 3), {"padding": (1, 1), "stride": (2, 2)}),
        ((4, 2, 2, 3), {"padding": (0, 2), "stride": (1, 2), "dilation": (2, 1)}),
        ((6, 1, 3, 3), {"padding": (1, 1), "groups": 2}),
    ],
)
def test_operations_per_core_equal_a_count_one_weight_at_a_time(
    weight: tuple[int, ...], options: dict[str, Any]
) -> None:
    conv = Conv("conv", ("input",), sparse(*weight), **options)
    graph = Graph([Input("input", (2, 7, 6), bits=1), conv], steps=1)
    out, tile = graph.facts("conv").shape, (2, 3, 4)
    cores = core_of(out, tile).reshape(out)
    wanted = np.zeros((2, 7, 6, int(cores.max()) + 1))
    outputs, inputs = out[0] // conv.groups, 2 // conv.groups
    for o, y, x in product(*map(range, out)):
        for i, ky, kx in product(*map(range, conv.weight.shape[1:])):
            row = y * conv.stride[0] - conv.padding[0] + ky * conv.dilation[0]
            column = x * conv.stride[1] - conv.padding[1] + kx * conv.dilation[1]
            if 0 <= row < 7 and 0 <= column < 6 and conv.weight[o, i, ky, kx]:
                wanted[o // outputs * inputs + i, row, column, cores[o, y, x]] += 1
    fans = fan_ins(graph, conv, out, tile)
    single = np.eye(84).reshape(84, 2, 7, 6)
    assert np.array_equal(fans[0].operations(single), wanted.reshape(84, -1))


def test_a_residual_network_is_counted_as_by_statistics() -> None:
    graph, given = residual(), residual_frames()
    trace = Reference().run(graph, given)
    found, stats = energy(graph, trace, given, target=LOIHI2).work, statistics(graph, trace, given)
    shortcuts = {s.name: s.operations or 0.0 for s in stats.synapses if s.graded}
    assert found.accumulates + found.multiplies == stats.operations
    assert found.shortcut_multiplies == sum(shortcuts.values()) > 0
    assert found.updates == stats.updates


def test_every_estimate_says_what_it_is_and_is_not() -> None:
    found = ran(*two_to_three(), target=LOIHI2)
    labels = {name: estimate.label for name, estimate in found.estimates.items()}
    assert labels == {
        "arithmetic_45nm_nj": ARITHMETIC,
        "arithmetic_45nm_without_shortcuts_nj": ARITHMETIC,
        "loihi1_nj": LOIHI1,
        "step_time_us": BOUND,
        "loihi2_uj": UNMEASURED,
    }
    assert ARITHMETIC.endswith("no memory, routing, static or I/O; not Loihi")
    text = str(found)
    assert all(label in text for label in labels.values())
    assert "Loihi 2 energy: not available without a measurement" in text
    assert "nothing was run on hardware" in text
    for name, estimate in found.estimates.items():
        assert name.endswith(f"_{estimate.unit.lower()}")


def test_no_energy_of_loihi_2_is_made_from_that_of_loihi_1() -> None:
    assert load_target("loihi2").cost("synop_pj") is None
    assert load_target("hala-point").cost("spike_pj") is None
    found = ran(*two_to_three(), target=LOIHI2).to_dict()
    assert found["estimates"]["loihi2_uj"]["value"] is None
    assert found["measurement"] is None


def test_the_whole_becomes_json() -> None:
    found = ran(*shortcut(), target="oheo-gulch", routes=Routes(0, 1, 1))
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["work"]["shortcut_multiplies"] == 3
    assert stored["cores"]["target"] == "oheo-gulch"
    assert stored["cores"]["time"]["latency_us"] == found.estimates["step_time_us"].value
    assert port.energy is energy


def test_a_target_is_a_name_a_file_or_a_board(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('summary = "mine"\nbase = "oheo-gulch"\n')
    named = ran(*shortcut(), target="oheo-gulch").cores
    assert named is not None
    assert ran(*shortcut(), target=load_target("oheo-gulch")).cores == named
    for target in (mine, str(mine)):
        assert ran(*shortcut(), target=target).cores == replace(named, target=str(mine))


def test_a_target_without_cores_is_refused_even_with_times() -> None:
    simulator = load_target("lava-cpu")
    timed = replace(simulator, values={**simulator.values, "step_us": Fact(1.0, "test", "seen")})
    for target in ("lava-cpu", simulator, timed):
        with pytest.raises(TargetError, match="lava-cpu has no cores; name a chip or board"):
            ran(*shortcut(), target=target)


def test_traces_and_frames_that_do_not_belong_are_refused() -> None:
    graph, given = shortcut()
    trace = Reference().run(graph, given)
    with pytest.raises(CompareError, match="first: the trace does not hold its messages"):
        energy(graph, without(trace, "first"), given)
    with pytest.raises(CompareError, match="the trace is of network"):
        energy(Graph(graph.nodes, 2, interval=4), trace, given)
    with pytest.raises(CompareError, match="other frames"):
        energy(graph, trace, 1 - given)
    anonymous = Trace(trace.messages, trace.kinds)
    with pytest.raises(FramesError, match="2 samples of frames, 1 in the trace"):
        energy(graph, anonymous, given.repeat(2, 1))
    counts = {name: array.sum(0, keepdims=True) for name, array in trace.messages.items()}
    with pytest.raises(CompareError, match=r"first: the trace holds \(1, 1, 2\)"):
        energy(graph, Trace(counts, trace.kinds), given)


def test_a_report_is_told_why_there_is_no_energy() -> None:
    graph, given = shortcut()
    trace = Reference().run(graph, given)
    assert "frames of the run are needed" in str(energy_or_why(graph, trace, None, LOIHI2))
    assert "carry: the trace" in str(energy_or_why(graph, without(trace, "carry"), given, LOIHI2))
    assert isinstance(energy_or_why(graph, trace, given, LOIHI2), Energy)


def test_a_target_without_times_is_refused() -> None:
    graph, given = two_to_three()
    with pytest.raises(TargetError, match="loihi2: no time of a step or an operation is known"):
        ran(graph, given, target=chip(synop_ns=None, neuron_ns=None, step_us=None))
    with pytest.raises(TargetError, match="unknown target 'loihi9'"):
        ran(graph, given, target="loihi9")


def test_loihi_1_gives_a_bound_without_the_time_that_nobody_published() -> None:
    found = ran(*two_to_three(), target="loihi1").estimates["step_time_us"]
    assert found.value == pytest.approx(3 * 0.113)
    assert "nothing is published about synop_ns" in found.remark


MEASURED = Measurement(0.7, 0.25, 0.45, 150e-6, 16, 1, False, "a board", 1)


def test_energy_on_loihi_2_is_power_times_time_as_measured() -> None:
    assert MEASURED.sample_s == pytest.approx(2.4e-3)
    assert MEASURED.total_uj == pytest.approx(0.7 * 2400)
    assert MEASURED.static_uj + MEASURED.dynamic_uj == pytest.approx(MEASURED.total_uj)
    assert MEASURED.doubts == ()
    found = ran(*two_to_three(), measurement=MEASURED)
    estimate = found.estimates["loihi2_uj"]
    assert estimate.value == pytest.approx(1680)
    assert estimate.label == "measured on a board: 1 chip, without host I/O, batch 1"
    assert "nothing was run on hardware" not in str(found)
    assert json.loads(json.dumps(found.to_dict()))["measurement"]["dynamic_uj"] == pytest.approx(
        1080
    )


@pytest.mark.parametrize(
    ("powers", "said"),
    [
        ((0.276, 0.282, -0.006), "dynamic power -0.006 W is below the noise"),
        ((0.276, 0.282, -0.006), "total power 0.276 W is below the static floor, 0.282 W"),
        ((0.3, 0.3, 0.0), "dynamic power 0 W is below the noise"),
        ((1.0, 0.5, 0.4), "static and dynamic power miss the total by 0.1 W"),
    ],
)
def test_powers_that_no_chip_can_have_are_kept_and_doubted(
    powers: tuple[float, float, float], said: str
) -> None:
    total, static, dynamic = powers
    doubtful = replace(MEASURED, total_w=total, static_w=static, dynamic_w=dynamic)
    assert said in doubtful.doubts
    found = ran(*two_to_three(), measurement=doubtful)
    assert said in str(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("total_w", 0.0),
        ("static_w", float("nan")),
        ("dynamic_w", float("inf")),
        ("step_s", -1.0),
        ("steps", 0),
        ("chips", 1.5),
        ("batch", 8),
    ],
)
def test_impossible_measurements_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(TargetError, match=f"measurement: {name} is"):
        replace(MEASURED, **{name: value})


def test_constants_are_data_with_a_source() -> None:
    from neuroport.analysis.cost_models import arithmetic

    assert {name: found.value for name, found in arithmetic().items()} == {
        "multiply_accumulate_pj": 4.6,
        "accumulate_pj": 0.9,
    }
    assert all("Horowitz" in found.source for found in arithmetic().values())
    loihi1 = load_target("loihi1")
    assert [loihi1.cost(f"{name}_update_pj") for name in ("active", "inactive")] == [81, 52]
    assert [LOIHI2.cost(name) for name in ("synop_ns", "neuron_ns", "step_us")] == [0.66, 4, 10]
