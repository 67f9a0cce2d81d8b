"""Random networks with one field changed: that is the cause, and what is minimized differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from neuroport.analysis import differing_case, extraction
from neuroport.analysis.compare import compare
from neuroport.analysis.fault_simulation import Plan, rerun
from neuroport.analysis.minimize import minimize
from neuroport.engines.reference import Reference
from neuroport.errors import GraphError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Lif, Readout, Relay, Synapse
from neuroport.lowering.latency import balance_latency
from neuroport.runs.trace import Trace
from tests.properties.networks import Case, network
from tests.tiers import examples

ENGINE = Reference()
few = settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    phases=[Phase.generate],  # a network's number is told, and nothing is smaller about a number
)
networks = st.integers(0, 10**6).map(lambda n: network(8 * n))  # those of few blocks

CHANGES: dict[type, tuple[str, ...]] = {
    Conv: ("weight", "exponent"),
    Dense: ("weight", "exponent"),
    Lif: ("threshold", "bias", "voltage_decay"),
    Relay: ("shift",),
    Readout: ("bias",),
}


def changed(graph: Graph, draw: Any) -> tuple[Graph, str, str]:
    node = draw(st.sampled_from([n for n in graph if type(n) in CHANGES]))
    field = draw(st.sampled_from(CHANGES[type(node)]))
    value = getattr(node, field)
    if isinstance(value, np.ndarray):
        value = value.copy()
        flat = value.reshape(-1)
        at = draw(st.integers(0, len(flat) - 1))
        flat[at] += -100 if field == "voltage_decay" and flat[at] > 100 else 40
    else:
        value += 1
    nodes = [replace(n, **{field: value}) if n is node else n for n in graph]
    return Graph(nodes, graph.steps, graph.interval), node.name, field


@few
@given(networks, st.booleans())
def test_rerun_without_a_fault_is_the_reference(case: Case, stream: bool) -> None:
    for graph in (case.graph, balance_latency(case.graph)):
        if stream and not graph.balanced:
            continue
        want = ENGINE.run(graph, case.frames)
        for name, messages in rerun(graph, case.frames, Plan(stream=stream)):
            np.testing.assert_array_equal(messages, want[name], name)


@few
@given(networks, st.data())
def test_the_field_that_was_changed_is_the_cause(case: Case, data: st.DataObject) -> None:
    other, name, field = changed(case.graph, data.draw)
    want, got = ENGINE.run(case.graph, case.frames), ENGINE.run(other, case.frames)
    outcome = compare(want, got, graph=case.graph, other=other, frames=case.frames)
    if outcome:
        assert outcome.networks is not None
        assert (outcome.networks.node, outcome.networks.field) == (name, field)
        return
    assert outcome.cause is not None
    assert (outcome.cause.side, outcome.cause.kind) == ("networks", "scale")
    assert (outcome.cause.node, outcome.cause.field) == (name, field)
    near = outcome.neighbourhood
    assert near is not None
    synapse = isinstance(case.graph[name], Synapse)
    assert (near.fault == "inputs") == synapse
    for moment in (*near.want, *near.got):
        assert moment.should == moment.recorded


@few
@given(networks, st.data())
def test_what_is_minimized_differs_and_is_smaller(case: Case, data: st.DataObject) -> None:
    other, _, _ = changed(case.graph, data.draw)
    want, got = ENGINE.run(case.graph, case.frames), ENGINE.run(other, case.frames)
    assume(not compare(want, got))
    small = minimize(case.graph, other, case.frames)
    first = compare(
        ENGINE.run(small.graph, small.frames), ENGINE.run(small.other, small.frames)
    ).first
    assert first is not None
    assert first == small.first
    if isinstance(case.graph[first.population], (Lif, Relay, Readout)):
        assert len(small.graph) <= 4
    assert small.after <= small.before


@few
@given(networks, st.data())
def test_a_flipped_message_is_the_fault_of_its_neuron(case: Case, data: st.DataObject) -> None:
    want = ENGINE.run(case.graph, case.frames)
    messages = {name: array.copy() for name, array in want.messages.items()}
    name = data.draw(
        st.sampled_from([n for n, kind in want.kinds.items() if kind == "lif"] or [""])
    )
    assume(name)
    at = tuple(data.draw(st.integers(0, n - 1)) for n in messages[name].shape)
    messages[name][at] ^= True
    got = Trace(messages, want.kinds, want.provenance)
    outcome = compare(want, got, graph=case.graph, frames=case.frames)
    near = outcome.neighbourhood
    assert near is not None
    assert (near.population, near.sample, near.neuron, near.fault) == (name, at[1], at[2:], "got")
    assert outcome.cause is not None
    assert outcome.cause.side == "got"


@few
@given(networks, st.data())
def test_one_neuron_alone_does_what_it_did_among_others(case: Case, data: st.DataObject) -> None:
    trace = ENGINE.run(case.graph, case.frames)
    alone = [n.name for n in case.graph if isinstance(n, (Lif, Relay, Readout))]
    name = data.draw(st.sampled_from(alone))
    neuron = tuple(data.draw(st.integers(0, n - 1)) for n in trace[name].shape[2:])
    inputs = list(dict.fromkeys(case.graph[name].inputs))
    kept = tuple(data.draw(st.lists(st.sampled_from(inputs), unique=True)))
    whole = differing_case.Case(case.graph, case.graph, case.frames)
    try:
        small = extraction.one_neuron(whole, trace, trace, name, neuron, kept)
    except GraphError:  # a current wider than an input can be
        assume(False)
    again = ENGINE.run(small.graph, small.frames)
    np.testing.assert_array_equal(
        again[name][:, :, 0], trace[name][(slice(None), slice(None), *neuron)]
    )
