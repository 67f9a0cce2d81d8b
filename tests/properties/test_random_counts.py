"""Random residual graphs: counts are those of the messages, in every time and granularity."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuroport as port
from neuroport.analysis.statistics import statistics
from neuroport.graph.node import Delay
from neuroport.lowering.latency import balance_latency
from neuroport.runs.recording import GRANULARITIES
from neuroport.runs.trace import Trace, is_readout
from tests.properties.networks import Case, cases
from tests.tiers import examples

few = settings(
    max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@few
@given(cases(), st.sampled_from(GRANULARITIES), st.integers(1, 4))
def test_counts_are_those_of_the_messages(case: Case, granularity: str, batch: int) -> None:
    graph = balance_latency(case.graph)
    want = port.run(graph, case.frames)
    options = {"record": "counts", "granularity": granularity, "batch": batch}
    for time_model in ("ideal", "chip"):
        got = port.run(graph, case.frames, time_model=time_model, **options)
        assert port.compare(want, got)
        for name, kind in want.kinds.items():
            assert (name in got.counts) != (is_readout(kind))
            if name in got.counts:
                assert got.sent(name) == np.count_nonzero(want[name])
                axis = want[name].reshape(*want[name].shape[:2], -1)
                each = (axis != 0).sum((0, 2))
                np.testing.assert_array_equal(got.counts[name].reshape(len(each), -1).sum(1), each)
    with tempfile.TemporaryDirectory() as folder:
        again = Trace.load(got.save(Path(folder) / "a.trace"))
    for name, counts in got.counts.items():
        np.testing.assert_array_equal(again.counts[name], counts)


@few
@given(cases())
def test_statistics_of_counts_are_those_of_the_messages(case: Case) -> None:
    graph = balance_latency(case.graph)
    want = statistics(graph, port.run(graph, case.frames), case.frames)
    got = statistics(graph, port.run(graph, case.frames, record="counts"), case.frames)
    assert got.populations == want.populations
    late = {node.name for node in graph if isinstance(node, Delay) or node.own_weight is not None}
    late |= {
        name for node in graph.synapses if node.longest_delay > node.lag for name in node.inputs
    }
    for mine, full in zip(got.synapses, want.synapses, strict=True):
        if mine.operations is None:
            assert set(mine.missing) <= late
        else:
            assert mine == full
