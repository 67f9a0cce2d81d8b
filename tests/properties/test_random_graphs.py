"""Random residual graphs: every engine time, every pass and every file mean the same network."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroport.engines.reference import Reference
from neuroport.errors import IllegalError
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.graph.node import Lif
from neuroport.lowering.latency import ALIGNMENTS, balance_latency
from neuroport.lowering.unroll import unroll
from neuroport.runs.trace import Trace
from tests.properties.features import features
from tests.properties.interpreter import interpret, interpret_chip
from tests.properties.networks import Case, cases, network
from tests.tiers import examples

ENGINE = Reference()
random_graphs = settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def agree(graph: Graph, want: Trace | dict[str, np.ndarray], got: Trace) -> None:
    """``got`` holds what ``want`` holds, for every population of ``graph``."""
    for node in graph.populations:
        np.testing.assert_array_equal(got[node.name], want[node.name], node.name)


@random_graphs
@given(cases())
def test_reference_in_ideal_time_is_the_interpreted_network(case: Case) -> None:
    trace = ENGINE.run(case.graph, case.frames)
    assert list(trace.messages) == [node.name for node in case.graph.populations]
    agree(case.graph, interpret(case.graph, case.frames)[0], trace)


@pytest.mark.parametrize("align", ALIGNMENTS)
@pytest.mark.parametrize("carry", [balance_latency, unroll])
@random_graphs
@given(cases())
def test_carrying_changes_no_population_in_ideal_or_chip_time(
    carry: Callable[[Graph, str], Graph], align: str, case: Case
) -> None:
    lowered = carry(case.graph, align)
    want, ideal = ENGINE.run(case.graph, case.frames), ENGINE.run(lowered, case.frames)
    chip = ENGINE.run(lowered, case.frames, time_model="chip")
    agree(case.graph, want, ideal)
    agree(lowered, ideal, chip)


@random_graphs
@given(cases())
def test_chip_time_is_the_network_interpreted_in_chip_time(case: Case) -> None:
    balanced = balance_latency(case.graph, "delays")
    chip = ENGINE.run(balanced, case.frames, time_model="chip")
    agree(balanced, interpret_chip(balanced, case.frames), chip)


@random_graphs
@given(cases())
def test_balancing_moves_nobody_and_makes_all_that_meets_equally_late(case: Case) -> None:
    balanced = balance_latency(case.graph)
    assert balanced.balanced
    assert balanced.depth == case.graph.depth
    for node in case.graph:
        assert balanced.facts(node.name).latency == case.graph.facts(node.name).latency
        assert balanced.facts(node.name).shape == case.graph.facts(node.name).shape
    assert balance_latency(balanced).hash == balanced.hash
    assert (len(balanced) == len(case.graph)) == case.graph.balanced
    if not case.graph.balanced:
        with pytest.raises(IllegalError):
            ENGINE.run(case.graph, case.frames, time_model="chip")


@random_graphs
@given(cases())
def test_every_value_lies_in_the_interval_of_its_channel(case: Case) -> None:
    for graph in (case.graph, balance_latency(case.graph)):
        values, _ = interpret(graph, case.frames)
        recorded = ENGINE.run(graph, case.frames)
        for node in graph:
            facts = graph.facts(node.name)
            arriving = [values[name] for name in node.inputs]
            checks = [(values[node.name], facts.low, facts.high)]
            if node.name in recorded.messages:
                checks.append((recorded[node.name], facts.low, facts.high))
            if arriving:
                checks.append((np.sum(arriving, axis=0), facts.reach_low, facts.reach_high))
            for array, low, high in checks:
                by_channel = np.moveaxis(array, 2, 0).reshape(array.shape[2], -1)
                assert (by_channel.min(1) >= low).all(), node.name
                assert (by_channel.max(1) <= high).all(), node.name


@random_graphs
@given(cases())
def test_a_stored_graph_keeps_its_hash_and_its_text(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for graph in (case.graph, balance_latency(case.graph)):
            again = store.load(store.save(graph, Path(folder) / "a.graph"))
            assert again.hash == graph.hash
            assert str(again) == str(graph)


@random_graphs
@given(cases(), st.integers(1, 4))
def test_batch_never_changes_a_result(case: Case, batch: int) -> None:
    whole = ENGINE.run(case.graph, case.frames, batch=100)
    agree(case.graph, whole, ENGINE.run(case.graph, case.frames, batch=batch))
    for sample in range(case.frames.shape[1]):
        alone = ENGINE.run(case.graph, case.frames[:, sample : sample + 1])
        for name in alone.messages:
            np.testing.assert_array_equal(alone[name][:, 0], whole[name][:, sample])


BASIC = (
    "strides", "groups", "dilation", "padding", "exponents", "membrane shortcut", "spike shortcut",
    "spike projection", "real projection", "unequally late currents meet",
    "unequally late messages meet", "rounding relays", "MLF units of 2 levels", "delay nodes",
    "thresholds per channel", "decays per channel", "biases per neuron", "hits: ties",
)  # fmt: skip
ALL = (
    *BASIC, "additive currents", "additive messages", "relays with a threshold",
    "MLF units of 3 levels", "shortcut over 3 steps or more", "delays per synapse", "one step",
    "biases per population", "biases per channel", "unequal strides", "odd weights of one sign",
    "input: signed", "input: spikes", "input: graded", "samples back to back",
    "pause between samples", "hits: saturations", "hits: wraps", "dead end", "made for NetX",
    "readout of a stream",
)  # fmt: skip


def look(case: Case, seen: Counter[str], rates: list[float]) -> None:
    values, hits = interpret(case.graph, case.frames)
    seen.update(dict.fromkeys(features(case, hits), 1), cases=1)
    rates.extend(values[node.name].mean() for node in case.graph if isinstance(node, Lif))


def test_numbered_networks_have_everything_that_matters() -> None:
    """Without ties, shortcuts and activity a proof proves nothing."""
    seen, rates = Counter[str](), list[float]()
    for seed in range(80):
        look(network(seed), seen, rates)
    rare = {name: seen[name] for name in ALL if seen[name] < 3}
    assert not rare, seen
    assert seen["hits: ties"] > 0.9 * seen["cases"]
    assert np.mean([0 < rate < 1 for rate in rates]) > 0.97
    assert np.mean([0.05 < rate < 0.95 for rate in rates]) > 0.7


def test_drawn_networks_have_what_matters_most() -> None:
    seen, rates = Counter[str](), list[float]()

    @settings(random_graphs, max_examples=60, derandomize=True, database=None)
    @given(cases())
    def draw(case: Case) -> None:
        look(case, seen, rates)

    draw()
    assert all(seen[name] for name in BASIC), seen
    assert np.mean([0 < rate < 1 for rate in rates]) > 0.9
