"""Comparing has no tolerance, and says where two runs part."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from neuroport.analysis.compare import compare
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Readout
from neuroport.lowering.latency import balance_latency
from neuroport.runs.trace import Trace

ORDER = ("first", "second", "third", "potential")


def network() -> Graph:
    rng = np.random.default_rng(0)

    def conv(name: str, *inputs: str) -> Conv:
        return Conv(name, inputs, 2 * rng.integers(-4, 5, (2, 2, 3, 3)), padding=(1, 1))

    return Graph(
        [
            Input("frames", (2, 4, 4), bits=1),
            conv("stem", "frames"),
            Lif("first", ("stem",), 3),
            conv("conv1", "first"),
            Lif("second", ("conv1",), 3),
            conv("conv2", "second"),
            Lif("third", ("conv2", "stem"), 3),
            Dense("classes", ("third",), 2 * rng.integers(-4, 5, (5, 32))),
            Readout("potential", ("classes",)),
        ],
        steps=4,
    )


def run(lowered: bool = False, seed: int = 0) -> Trace:
    frames = np.random.default_rng(seed).integers(0, 2, (4, 3, 2, 4, 4))
    graph = balance_latency(network()) if lowered else network()
    return Reference().run(graph, frames)


def flip(trace: Trace, *positions: tuple[Any, ...], by: int = 1) -> Trace:
    """A copy of ``trace`` that differs at (population, step, sample, neuron...)."""
    messages = {name: array.copy() for name, array in trace.messages.items()}
    for name, *at in positions:
        array = messages[name]
        array[tuple(at)] = not array[tuple(at)] if array.dtype == bool else array[tuple(at)] + by
    return Trace(messages, trace.kinds, trace.provenance)


def only(trace: Trace, *names: str, **changes: Any) -> Trace:
    """A copy of ``trace`` with some populations, in that order, and other provenance."""
    return Trace(
        {name: trace[name] for name in names},
        {name: trace.kinds[name] for name in names},
        {**trace.provenance, **changes},
    )


def test_equal_runs_are_equal_in_every_number() -> None:
    want, got = run(), run()
    outcome = compare(want, got)
    assert outcome
    assert outcome.equal is True
    assert outcome.samples == 3
    assert outcome.populations == 4
    assert outcome.positions == 3 * 4 * 3 * 32 + 4 * 3 * 5
    assert outcome.spikes == sum(np.count_nonzero(a) for a in want.messages.values())
    assert outcome.spikes > 100
    assert outcome.differing == 0
    assert outcome.by_population == {}
    assert outcome.first is None
    assert outcome.only_want == outcome.only_got == outcome.missing == ()
    assert outcome.same_predictions is True
    assert "0 differ" in str(outcome)


@pytest.mark.parametrize(
    ("population", "at"),
    [("first", (0, 0, 0, 0, 0)), ("second", (3, 2, 1, 3, 3)), ("potential", (2, 1, 4))],
)
def test_one_position_makes_runs_unequal(population: str, at: tuple[int, ...]) -> None:
    want = run()
    got = flip(want, (population, *at))
    outcome = compare(want, got)
    assert not outcome
    assert outcome.equal is False
    assert outcome.differing == 1
    assert outcome.by_population == {population: 1}
    first = outcome.first
    assert first is not None
    assert (first.population, first.step, first.sample, first.neuron) == (
        population,
        *at[:2],
        at[2:],
    )
    assert first.expected == int(want[population][at])
    assert first.got == int(got[population][at])
    assert first.expected != first.got
    assert str(first) in str(outcome)


def test_potentials_that_differ_by_one_unit_are_unequal() -> None:
    want = run()
    for by in (1, -1):
        outcome = compare(want, flip(want, ("potential", 3, 0, 0), by=by))
        assert outcome.differing == 1
        assert outcome.first is not None
        assert outcome.first.got - outcome.first.expected == by


def test_first_divergence_is_the_earliest_step() -> None:
    want = run()
    late_upstream, early_downstream = ("first", 2, 0, 0, 0, 0), ("third", 1, 2, 1, 3, 3)
    outcome = compare(want, flip(want, late_upstream, early_downstream))
    assert outcome.first is not None
    assert (outcome.first.population, outcome.first.step) == ("third", 1)
    assert outcome.by_population == {"first": 1, "third": 1}
    assert outcome.differing == 2


def test_first_divergence_of_one_step_is_the_most_upstream() -> None:
    want = run()
    positions = [("third", 1, 0, 0, 0, 0), ("second", 1, 2, 1, 3, 3), ("potential", 1, 0, 0)]
    outcome = compare(want, flip(want, *positions))
    assert outcome.first is not None
    assert (outcome.first.population, outcome.first.sample) == ("second", 2)
    assert list(outcome.by_population) == ["second", "third", "potential"]


def test_first_divergence_within_a_population_is_the_earliest_step_then_sample() -> None:
    want = run()
    positions = [("second", 3, 0, 0, 0, 0), ("second", 1, 2, 0, 0, 0), ("second", 1, 1, 1, 2, 3)]
    first = compare(want, flip(want, *positions)).first
    assert first is not None
    assert (first.step, first.sample, first.neuron) == (1, 1, (1, 2, 3))


def test_order_of_populations_is_that_of_the_run_that_is_wanted() -> None:
    want = run()
    got = flip(want, ("first", 0, 0, 0, 0, 0), ("third", 0, 0, 0, 0, 0))
    first = compare(want, only(got, *reversed(ORDER))).first
    assert first is not None
    assert first.population == "first"


@pytest.mark.parametrize("missing", ["first", "third", "potential"])
def test_missing_neurons_or_readouts_make_runs_unequal(missing: str) -> None:
    want = run()
    less = only(want, *(name for name in ORDER if name != missing))
    for outcome in (compare(want, less), compare(less, want)):
        assert outcome.differing == 0
        assert outcome.missing == (missing,)
        assert not outcome
        assert f"recorded on one side only: {missing}" in str(outcome)
    assert compare(want, less).only_want == (missing,)
    assert compare(want, less).only_got == ()
    assert compare(less, want).only_got == (missing,)


def test_missing_relays_do_not_matter() -> None:
    want, got = run(), run(lowered=True)
    relays = tuple(name for name, kind in got.kinds.items() if kind == "relay")
    assert len(relays) == 2
    for outcome, extra in ((compare(want, got), "only_got"), (compare(got, want), "only_want")):
        assert outcome
        assert getattr(outcome, extra) == relays
        assert outcome.missing == ()
        assert outcome.populations == 4
    assert want.provenance["graph"] != got.provenance["graph"]


def test_relays_that_both_sides_have_are_compared() -> None:
    want = run(lowered=True)
    relay = next(name for name, kind in want.kinds.items() if kind == "relay")
    assert not compare(want, flip(want, (relay, 3, 2, 1, 3, 3)))


def test_runs_on_different_frames_are_refused() -> None:
    with pytest.raises(CompareError, match="different frames"):
        compare(run(seed=0), run(seed=1))


def test_runs_of_unknown_frames_are_compared() -> None:
    want = run()
    unknown = Trace(want.messages, want.kinds, {})
    outcome = compare(want, unknown)
    assert outcome
    assert (outcome.want, outcome.got) == ("reference", "got")


def test_runs_of_different_shape_are_refused_by_name() -> None:
    want = run()
    shorter = {**want.messages, "second": want["second"][:3]}
    with pytest.raises(CompareError, match=r"'second' is \(4, 3, 2, 4, 4\).*\(3, 3, 2, 4, 4\)"):
        compare(want, Trace(shorter, want.kinds, want.provenance))


def test_runs_without_a_common_population_are_refused() -> None:
    want = run()
    renamed = Trace(
        {f"other.{name}": array for name, array in want.messages.items()},
        {f"other.{name}": kind for name, kind in want.kinds.items()},
        want.provenance,
    )
    with pytest.raises(CompareError, match="no population in common"):
        compare(want, renamed)


def test_storage_type_of_a_trace_does_not_matter() -> None:
    want = run()
    wide = {name: array.astype(np.int64) for name, array in want.messages.items()}
    assert compare(want, Trace(wide, want.kinds, want.provenance))


def test_predictions_are_classes_of_the_last_potential() -> None:
    want = run()
    np.testing.assert_array_equal(want.predictions, want["potential"][-1].argmax(1))
    assert want.output.shape == (3, 5)
    early = flip(want, ("potential", 0, 0, 0), by=10**6)
    assert compare(want, early).same_predictions is True
    last = flip(want, ("potential", 3, 1, int(want.predictions[1]) - 1), by=10**6)
    outcome = compare(want, last)
    assert outcome.same_predictions is False
    assert not outcome


def test_predictions_are_unknown_without_a_readout() -> None:
    want = run()
    neurons = only(want, "first", "second", "third")
    assert compare(neurons, neurons).same_predictions is None
    assert compare(want, neurons).same_predictions is None
    with pytest.raises(CompareError, match="0 readouts"):
        _ = neurons.predictions


def test_runs_with_several_readouts_are_compared_and_predict_no_class() -> None:
    want = run()
    messages = {**want.messages, "other": want["potential"]}
    more = Trace(messages, {**want.kinds, "other": "sigma"}, want.provenance)
    outcome = compare(more, more)
    assert outcome.equal
    assert outcome.same_predictions is None
    assert compare(flip(more, ("other", 0, 0, 0)), more).differing == 1


def test_engines_are_named() -> None:
    want = run()
    outcome = compare(want, only(want, *ORDER, engine="lava-cpu"))
    assert (outcome.want, outcome.got) == ("reference", "lava-cpu")
    assert str(outcome).startswith("lava-cpu against reference: compared ")


def test_outcome_is_plain_values_for_json() -> None:
    want = run()
    got = flip(want, ("second", 1, 2, 1, 3, 3))
    values = json.loads(json.dumps(compare(want, got).to_dict()))
    assert values["equal"] is False
    assert values["differing"] == 1
    assert values["by_population"] == {"second": 1}
    assert values["first"]["population"] == "second"
    assert values["first"]["neuron"] == [1, 3, 3]
    assert values["text"] == str(compare(want, got))
