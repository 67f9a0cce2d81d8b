"""Counters inside Lava's process graph count what the full raster holds, sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import BackendError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Readout, Relay
from neuroport.runs.recording import GRANULARITIES, LIF_COUNT_MAX, counted
from neuroport.runs.trace import Trace
from tests.helpers.neurons import neurons
from tests.properties.networks import network

pytestmark = pytest.mark.lava


def agree(got: Trace, want: Trace) -> None:
    """Counts of a run are those of a full raster, and the readouts keep every step."""
    assert set(got.kinds) == set(want.kinds)
    for name in got.kinds:
        if name in got.counts:
            there = counted(want[name], got.granularity)
            np.testing.assert_array_equal(got.counts[name], there, name)
        else:
            np.testing.assert_array_equal(got[name], want[name], name)


def every_kind(interval: int) -> Graph:
    """Every kind of population, at unequal latencies, behind delays and lags; some fire by bias."""
    rng = np.random.default_rng(4)

    def even(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-9, 10, shape)

    nodes: list[Node] = [
        Input("frames", (2, 4, 3), bits=4, signed=True),
        Conv("stem", ("frames",), even(2, 2, 3, 3), padding=(1, 1)),
        Relay("stream", ("stem",), shift=2, threshold=1),
        Conv("base", ("stream",), np.ones((2, 1, 1, 1), np.int64), groups=2),
        Relay("exact", ("base",)),
        Conv("late", ("exact",), even(2, 2, 3, 3), padding=(1, 1), lag=2),
        Lif("first", ("late",), 40, voltage_decay=1000, bias=np.array([30, -3])),
        Delay("later", ("first",), 3),
        Dense("second in", ("later",), even(6, 24), delay=rng.integers(0, 3, (6, 24))),
        Lif("second", ("second in",), 9, bias=2),
        Dense("classes", ("second",), even(3, 6)),
        Readout("potential", ("classes",)),
        *neurons("frames", (2, 4, 3)),
    ]
    return Graph(nodes, 9, interval)


@pytest.mark.parametrize(("interval", "granularity"), [(9, "neuron"), (13, "channel")])
def test_counts_of_every_kind_of_population_are_those_of_the_raster_on_lava(
    interval: int, granularity: str
) -> None:
    graph = every_kind(interval)
    frames = np.random.default_rng(2).integers(-3, 4, (9, 4, 2, 4, 3))
    want = port.run(graph, frames)  # Lava's own raster: test_lava_populations.py
    got = port.run(graph, frames, on="lava-cpu", record="counts", granularity=granularity)
    agree(got, want)
    agree(port.run(graph, frames, record="counts"), want)
    kinds = {got.kinds[name] for name in got.counts}
    assert kinds == {
        *("relay", "lif", "recurrent", "delta", "sigmadelta", "resonator"),
        *("alif", "recurrentalif", "adrf", "subtractivelif", "subtractiverecurrent"),
    }
    for name, counts in got.counts.items():
        assert counts.any(1).any(), name
        assert (want[name] == 0).any(), name
    assert not np.array_equal(got.counts["first"][0], got.counts["first"][1])


def repeating(steps: int, interval: int) -> Graph:
    """Three populations that send what the frames hold, one behind the other, and one that fires
    at every step of its own accord, before, between and after the samples as well."""

    def same(name: str, source: str) -> Dense:
        return Dense(name, (source,), 2 * np.eye(4, dtype=np.int64))

    nodes: list[Node] = [Input("frames", (4,), bits=1)]
    source = "frames"
    for name in ("first", "second", "third"):
        nodes += [same(f"to {name}", source), Lif(name, (f"to {name}",), 1)]
        source = name
    nodes += [same("to always", "second"), Lif("always", ("to always",), 1, bias=7)]
    return Graph(nodes, steps, interval)


@pytest.mark.parametrize(("steps", "interval"), [(4, 4), (4, 7), (1, 1)])
def test_the_first_and_the_last_step_of_a_sample_belong_to_it_alone(
    steps: int, interval: int
) -> None:
    frames = np.zeros((steps, 5, 4), np.int64)
    frames[-1, 0, 0] = 1  # the last step of one sample
    frames[0, 2, 1] = 1  # the first step of another; its neighbours are silent
    frames[:, 1:4:2, 2] = 1  # every step of every other sample
    frames[[0, -1], :, 3] = 1  # both ends of all
    want = (frames != 0).sum(0)
    graph = repeating(steps, interval)
    got = port.run(graph, frames, on="lava-cpu", record="counts")
    for name in ("first", "second", "third"):
        np.testing.assert_array_equal(got.counts[name], want, name)
    np.testing.assert_array_equal(got.counts["always"], np.full((5, 4), steps))
    assert (got.messages, got.steps, got.samples) == ({}, steps, 5)


def test_only_what_is_named_is_counted_on_lava() -> None:
    frames = np.random.default_rng(0).integers(0, 2, (4, 3, 4))
    got = port.run(
        repeating(4, 4), frames, on="lava-cpu", record="counts", count="second", granularity="layer"
    )
    assert {n: c.tolist() for n, c in got.counts.items()} == {
        "second": frames.sum((0, 2))[:, None].tolist()
    }


@pytest.mark.parametrize("seed", [100_008, 100_152])
def test_counts_of_random_networks_are_the_references(seed: int) -> None:
    case = network(seed)
    graph = port.lower(case.graph)
    granularity = GRANULARITIES[seed % 3]
    want = port.run(graph, case.frames)
    got = port.run(graph, case.frames, on="lava-cpu", record="counts", granularity=granularity)
    agree(got, want)
    assert port.compare(want, got)


def test_a_full_counter_is_exact_on_lava_and_one_message_more_fires(tmp_path: Path) -> None:
    """131,071 messages on one neuron, 131,072 on the other, read after every step."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from neuroport.backends.lava_cpu.counters import Counter, accumulator, reader
    from neuroport.backends.lava_cpu.processes.fixed_pt import FrameSource, RasterSink

    most = LIF_COUNT_MAX
    given = np.array([[1, 1], [most - 2, most - 2], [1, 2], [0, 0], [9, 9], [0, 0]], np.int32)
    np.save(tmp_path / "frames.npy", given)
    for name in ("counts", "spikes"):
        np.save(tmp_path / f"{name}.npy", np.zeros((6, 2), np.int32))
    source = FrameSource(path=str(tmp_path / "frames.npy"), size=2)
    lif: Any = accumulator(2, interval=4, offset=1)
    source.s_out.connect(lif.a_in)
    reader(Counter(lif, lif.v, 2, shift=6, read_at=1), str(tmp_path / "counts.npy"), interval=1)
    sink = RasterSink(path=str(tmp_path / "spikes.npy"), size=2)
    lif.s_out.connect(sink.a_in)
    try:
        source.run(RunSteps(6), Loihi2SimCfg(select_tag="fixed_pt"))
    finally:
        source.stop()
    counts, spikes = (np.load(tmp_path / f"{name}.npy").tolist() for name in ("counts", "spikes"))
    assert counts == [[1, 1], [most - 1, most - 1], [most, 0], [most, 0], [9, 9], [9, 9]]
    assert spikes == [[0, 0], [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]


def test_lava_counts_more_than_sixteen_bits_exactly() -> None:
    """13,107 neurons that fire at every one of ten steps: 131,070 messages at one counter."""
    size = 13_107
    weight = 2 * np.eye(size, 1, dtype=np.int64)
    nodes = [
        Input("frames", (1,), bits=1),
        Dense("drive", ("frames",), weight),
        Lif("all", ("drive",), 0, bias=9),
    ]
    frames = np.zeros((10, 2, 1), np.int64)
    got = port.run(Graph(nodes, 10), frames, on="lava-cpu", record="counts", granularity="layer")
    assert got.counts["all"].tolist() == [[131_070], [131_070]]


def test_counters_that_a_lif_could_not_hold_are_refused_before_lava_starts() -> None:
    nodes = [
        Input("frames", (1,), bits=1),
        Dense("drive", ("frames",), np.full((4096, 1), 2)),
        Lif("all", ("drive",), 0),
    ]
    frames = np.zeros((32, 1, 1), np.int64)
    options = {"record": "counts", "granularity": "layer"}
    with pytest.raises(BackendError, match="all: a counter per layer can reach 131,072 messages"):
        port.run(Graph(nodes, 32), frames, on="lava-cpu", **options)
    assert port.run(Graph(nodes, 32), frames, **options).counts["all"].shape == (1, 1)


def test_what_is_recorded_does_not_grow_with_the_steps() -> None:
    recorded = {}
    for record, steps in (("counts", 4), ("counts", 32), ("messages", 32)):
        frames = np.zeros((steps, 2, 4), np.int64)
        run = port.run(repeating(steps, steps), frames, on="lava-cpu", record=record)
        recorded[record, steps] = run.provenance["recorded_bytes"]
    assert recorded["counts", 4] == recorded["counts", 32]
    assert recorded["messages", 32] > 5 * recorded["counts", 32]
