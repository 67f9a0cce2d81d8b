"""Time models, samples side by side or one after the other, provenance, and what is refused."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import neuroport
from neuroport.backends import executor
from neuroport.backends.executor import Starts
from neuroport.backends.reference import NumpyArithmetic
from neuroport.engines import Engine
from neuroport.engines.table import ready
from neuroport.errors import BackendError, FramesError, IllegalError, RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Delta, Dense, Input, Lif, Node, Readout, Relay, Sigma
from neuroport.kernels import compilation
from neuroport.runs.frames import frames_hash

FRAMES = np.random.default_rng(3).integers(0, 4, (3, 5, 2))


@pytest.fixture(params=["reference", "fast", "fast, without kernels"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    name, _, rest = request.param.partition(", ")
    if name == "fast":
        pytest.importorskip("torch")
    with compilation.plain() if rest else nullcontext():
        yield ready(name)


def nodes() -> list[Node]:
    return [
        Input("frames", (2,), bits=2),
        Dense("in", ("frames",), [[1, 2], [3, -4]]),
        Lif("spikes", ("in",), 4, 2048, 1024),
        Relay("relay", ("in",)),
        Dense("mix", ("spikes", "relay"), [[1, 1], [2, -1]], 0, [[0, 1], [2, 0]]),
        Readout("out", ("mix",), 3),
    ]


def unbalanced() -> Graph:
    return Graph([*nodes()[:-1], Readout("out", ("mix", "in"))], 3)


# -- starts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "interval", "steps"),
    [(0, 3, [0, 3, 6]), (2, 3, [2, 5, 8]), (5, 7, [5]), (4, 2, [0, 2, 4, 6, 8]), (0, 1, range(9))],
)
def test_samples_start_at_a_node_every_interval(first: int, interval: int, steps: Any) -> None:
    starts = Starts(first, interval)
    assert [t for t in range(9) if starts.at(t)] == list(steps)


@pytest.mark.parametrize(
    ("first", "interval", "delay", "steps"),
    [
        (0, 3, 0, range(12)),
        (0, 3, 1, [1, 2, 4, 5, 7, 8, 10, 11]),
        (0, 3, 2, [2, 5, 8, 11]),
        (0, 3, 3, []),
        (4, 6, 3, [3, 7, 8, 9]),  # nothing was sent three steps before step 2
        (5, 6, 1, [1, 2, 3, 4, 6, 7, 8, 9, 10]),
        (1, 20, 2, [3, 4, 5, 6, 7, 8, 9, 10, 11]),
    ],
)
def test_late_messages_reach_the_later_steps_of_their_sample(
    first: int, interval: int, delay: int, steps: Any
) -> None:
    assert Starts(first, interval).reached(12, delay).tolist() == list(steps)


# -- chip time -------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "interval"), [(1, 2), (1, 5), (2, 2), (3, 2), (2, 3), (3, 5)])
def test_stream_gives_each_sample_an_interval_and_ends_with_the_deepest_answer(
    samples: int, interval: int
) -> None:
    deep: list[Node] = [Input("frames", (2,), 4)]
    for level in range(3):
        deep += [Dense(f"d{level}", (deep[-1].name,), np.eye(2, dtype=int))]
        deep += [Relay(f"r{level}", (f"d{level}",))]
    frames = 1 + np.arange(2 * samples * 2).reshape(2, samples, 2)
    stream = executor.chip_stream(Graph(deep, 2, interval), frames)
    expected: list[list[int]] = []
    for n in range(samples):
        expected += [*frames[:, n].tolist(), *[[0, 0]] * (interval - 2)]
    expected = expected[: (samples - 1) * interval + 2] + [[0, 0]] * 3
    assert stream.tolist() == expected
    assert stream.dtype == frames.dtype


def test_answers_are_cut_from_the_steps_where_each_sample_passes() -> None:
    graph = Graph(nodes(), 2, 5)
    rows = np.arange(14)
    assert executor.cut_window(graph, rows, 1, 3).tolist() == [[1, 6, 11], [2, 7, 12]]
    assert executor.cut_window(graph, rows, 0, 1).tolist() == [[0], [1]]


# -- runs ------------------------------------------------------------------------------------


def test_batch_changes_nothing_but_the_progress(engine: Engine) -> None:
    graph = Graph(nodes(), 3)
    whole = engine.run(graph, FRAMES)
    assert whole["spikes"].any()
    seen: list[tuple[int, int]] = []
    for batch, reports in (
        (1, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]),
        (2, [(2, 5), (4, 5), (5, 5)]),
        (3, [(3, 5), (5, 5)]),
        (5, [(5, 5)]),
        (9, [(5, 5)]),
    ):
        seen.clear()
        got = engine.run(graph, FRAMES, batch=batch, progress=lambda *done: seen.append(done))
        assert seen == reports
        for name in whole.messages:
            np.testing.assert_array_equal(got[name], whole[name])


@pytest.mark.parametrize("batch", [0, -1, -7])
def test_a_batch_without_samples_is_refused(engine: Engine, batch: int) -> None:
    with pytest.raises(BackendError, match=f"batch is {batch}; use 1 or more"):
        engine.run(Graph(nodes(), 3), FRAMES, batch=batch)


def test_every_population_is_recorded_in_its_type(engine: Engine) -> None:
    trace = engine.run(Graph(nodes(), 3), FRAMES)
    kinds = {"spikes": "lif", "relay": "relay", "out": "readout"}
    assert trace.kinds == kinds
    assert list(trace.messages) == list(kinds)
    assert [array.dtype for array in trace.messages.values()] == [bool, np.int32, np.int32]
    assert {array.shape for array in trace.messages.values()} == {(3, 5, 2)}


def test_provenance_says_what_ran_and_how_long(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph(nodes(), 3)
    for model in ("ideal", "chip"):
        clock = iter([3.0, 10.0])
        with monkeypatch.context() as patch:
            patch.setattr(time, "perf_counter", lambda clock=clock: next(clock))
            found = engine.run(graph, FRAMES, time_model=model).provenance
        versions = found.pop("versions")
        assert found == {
            "engine": engine.name,
            "time": model,
            "graph": graph.hash,
            "frames": frames_hash(FRAMES),
            "seconds": 7.0,
            "outputs": ["out"],
        }
        assert versions["neuroport"] == neuroport.__version__
        assert versions["numpy"] == np.__version__
        assert ("torch" in versions) == (engine.name == "fast")


def test_chip_time_of_an_unbalanced_graph_is_refused(engine: Engine) -> None:
    graph = unbalanced()
    engine.run(graph, FRAMES)
    for chip in ("chip", "".join(("ch", "ip"))):  # equal, and another object
        with pytest.raises(IllegalError, match=r"unequal latency meet; lower the graph"):
            engine.run(graph, FRAMES, time_model=chip)


class Noting(NumpyArithmetic):
    """Notes what its synapses give late: by how many steps, (steps, samples) of the array."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[int, tuple[int, ...]]] = []

    def late(self, out: Any, steps: int) -> Any:
        self.noted.append((steps, out.shape[:2]))
        return super().late(out, steps)


def test_chip_time_sends_all_samples_one_after_the_other_through_late_synapses() -> None:
    noted = {}
    for time_model in ("ideal", "".join(("ch", "ip"))):
        noting = Noting()
        executor.walk(
            noting, Graph(nodes(), 3), FRAMES, progress=None, time_model=time_model, batch=2
        )
        noted[time_model] = noting.noted
    assert noted == {"ideal": [], "chip": [(1, (5 * 3 + 2, 1))] * 2}


def test_unknown_time_model_is_refused_with_the_known_ones(engine: Engine) -> None:
    with pytest.raises(BackendError, match=r"time_model is 'wall'; use 'ideal' or 'chip'"):
        engine.run(Graph(nodes(), 3), FRAMES, time_model="wall")


def test_frames_that_do_not_fit_are_refused(engine: Engine) -> None:
    for time_model in ("ideal", "chip"):
        with pytest.raises(FramesError, match=r"span 0\.\.4"):
            engine.run(Graph(nodes(), 3), FRAMES // 3 * 4, time_model=time_model)


def test_options_of_a_run_are_named(engine: Engine) -> None:
    with pytest.raises(TypeError):
        engine.run(Graph(nodes(), 3), FRAMES, None)


def test_input_is_not_changed(engine: Engine) -> None:
    frames = FRAMES.copy()
    for time_model in ("ideal", "chip"):
        engine.run(Graph(nodes(), 3), frames, time_model=time_model)
    np.testing.assert_array_equal(frames, FRAMES)


def test_a_value_is_let_go_after_its_last_use() -> None:
    """Or the memory of a run would grow with the depth of the network."""
    deep: list[Node] = [Input("frames", (2,), 2)]
    for name in ("m", "c", "z", "a", "x", "b"):  # in no alphabetical order
        deep += [Dense(f"{name}d", (deep[-1].name, deep[-1].name), np.eye(2, dtype=int))]
        deep += [Relay(f"{name}r", (f"{name}d",), 1)]
    given: list[weakref.ref[Any]] = []
    most = 0
    for _, out in executor.evaluate(NumpyArithmetic(), Graph(deep, 3), FRAMES, chip=False):
        given.append(weakref.ref(out))
        del out
        most = max(most, sum(ref() is not None for ref in given))
    assert len(given) == 13
    assert most == 1, "only what a later node takes is kept"


@pytest.mark.parametrize("time_model", ["ideal", "chip"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_one_sample_is_read_whatever_its_strides(
    engine: Engine, time_model: str, dtype: type
) -> None:
    """NumPy gives the stride of an axis of length one no meaning."""
    sample = FRAMES[:, 1].astype(dtype)  # (T, 2)
    even = [Dense("in", ("frames",), [[2, 4], [6, -4]]), Lif("spikes", ("in",), 9, 2048, 1024)]
    last = [Dense("mix", ("spikes",), [[2, 4], [-6, 4]]), Readout("out", ("mix",), 3)]
    graph = Graph([Input("frames", (2,), bits=2), *even, *last], 3)
    want = neuroport.run(graph, FRAMES[:, 1:2], "reference")
    for frames in (sample[:, None], np.ascontiguousarray(sample[None]).swapaxes(0, 1)):
        assert frames.shape == (3, 1, 2)
        got = neuroport.run(graph, frames, engine.name, time_model=time_model)
        for name, messages in want.messages.items():
            assert np.array_equal(got.messages[name], messages), name


def test_the_reference_is_exact_where_float64_is_not() -> None:
    weight = np.array([[2**40 + 1, -(2**40)]])
    graph = Graph([Input("in", (2,), bits=20), Dense("a", ("in",), weight), Relay("r", ("a",))], 1)
    most = 2**20 - 1
    assert neuroport.run(graph, np.full((1, 1, 2), most)).messages["r"].tolist() == [[[most]]]
    wide = Dense("a", ("in",), weight << 10)
    beyond = Graph([Input("in", (2,), bits=23), wide, Relay("r", ("a",), shift=23)], 1)
    with pytest.raises(RangeError, match="more than 64 bits hold"):
        neuroport.run(beyond, np.full((1, 1, 2), 2**23 - 1))


def test_messages_that_a_trace_cannot_hold_are_refused(engine: Engine) -> None:
    nodes = [Input("in", (1,), bits=20), Dense("a", ("in",), [[2**14]]), Relay("r", ("a",))]
    graph = Graph([*nodes, Dense("b", ("r",), [[1]]), Readout("o", ("b",))], 1)
    most = np.full((1, 1, 1), 2**17 - 1)
    assert neuroport.run(graph, most, engine.name).messages["r"].item() == (2**17 - 1) << 14
    with pytest.raises(RangeError, match="r: a message reaches 17179852800, more than the 32 bits"):
        neuroport.run(graph, np.full((1, 1, 1), 2**20 - 1), engine.name)


def test_sums_of_changes_that_leave_their_width_are_told_before_lava_starts() -> None:
    """Lava checks states only, and wraps at 32 bits: such runs ended with other messages."""
    pytest.importorskip("lava")
    delta = Delta("d", ("a",), threshold=0, spike_exponent=6, state_exponent=0)
    nodes = [Input("in", (2,), bits=16), Dense("a", ("in",), [[2, -2]]), delta]
    graph = Graph([*nodes, Dense("b", ("d",), [[2]]), Sigma("s", ("b",))], 3)
    frames = np.array([[65535, 0], [0, 65535], [7, 7]]).reshape(3, 1, 2)
    for processes in ("stock", "fused"):
        with pytest.raises(RangeError, match="d: a sum of changes reaches 16776960 at step 1"):
            neuroport.run(graph, frames, "lava-cpu", processes=processes)
