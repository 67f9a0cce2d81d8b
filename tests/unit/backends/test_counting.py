"""Runs that keep counts: the numbers of the full raster, on every engine, and nothing made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.compare import compare
from neuroport.analysis.statistics import statistics
from neuroport.errors import BackendError, CompareError, FormatError, HashError
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Readout, Relay
from neuroport.runs.recording import LIF_COUNT_MAX, refuse_beyond
from neuroport.runs.trace import Trace

STEPS, SAMPLES = 5, 3


def network(interval: int | None = None) -> Graph:
    """A stream of graded messages, spikes, and a readout; balanced, so that it has a chip time."""
    rng = np.random.default_rng(0)

    def conv(name: str, source: str) -> Conv:
        return Conv(name, (source,), 2 * rng.integers(-4, 5, (3, 3, 3, 3)), padding=(1, 1))

    return Graph(
        [
            Input("frames", (3, 4, 4), bits=2),
            conv("stem", "frames"),
            Relay("stream", ("stem",), 1, 1),
            conv("first conv", "stream"),
            Lif("first", ("first conv",), 20, voltage_decay=500, bias=4),
            conv("second conv", "first"),
            Lif("second", ("second conv",), 6),
            Dense("classes", ("second",), 2 * rng.integers(-4, 5, (5, 48))),
            Readout("potential", ("classes",)),
        ],
        STEPS,
        interval,
    )


def frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, (STEPS, SAMPLES, 3, 4, 4))


@pytest.fixture(params=["reference", "fast"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "fast":
        pytest.importorskip("torch")
    return str(request.param)


def by_hand(messages: np.ndarray, granularity: str) -> np.ndarray:
    there = (messages != 0).sum(0)
    if granularity == "neuron":
        return there
    return there.sum((2, 3)) if granularity == "channel" else there.sum((1, 2, 3))[:, None]


@pytest.mark.parametrize("time_model", ["ideal", "chip"])
@pytest.mark.parametrize("granularity", ["neuron", "channel", "layer"])
def test_counts_are_those_of_the_full_raster(
    engine: str, time_model: str, granularity: str
) -> None:
    graph, options = network(7), {"time_model": time_model, "batch": 2}
    want = port.run(graph, frames(), on=engine, **options)
    got = port.run(graph, frames(), on=engine, record="counts", granularity=granularity, **options)
    assert list(got.counts) == ["stream", "first", "second"]
    assert list(got.messages) == ["potential"]
    assert list(got.kinds) == list(want.kinds)
    assert (got.granularity, got.steps, got.samples) == (granularity, STEPS, SAMPLES)
    for name, counts in got.counts.items():
        assert counts.dtype == np.int32
        np.testing.assert_array_equal(counts, by_hand(want[name], granularity), name)
        assert 0 < got.sent(name) == want.sent(name) < want[name].size
    np.testing.assert_array_equal(got["potential"], want["potential"])
    np.testing.assert_array_equal(got.predictions, want.predictions)


def test_negative_messages_are_counted_as_any_other(engine: str) -> None:
    graph, given = network(), frames()
    messages = port.run(graph, given)["stream"]
    assert (messages < 0).any()
    assert (messages > 1).any()
    got = port.run(graph, given, on=engine, record="counts", count="stream")
    assert got.sent("stream") == np.count_nonzero(messages)


def test_only_named_populations_are_counted_and_the_others_not_recorded(engine: str) -> None:
    got = port.run(network(), frames(), on=engine, record="counts", count=["second"])
    assert list(got.counts) == ["second"]
    assert list(got.kinds) == ["second", "potential"]


def test_the_messages_of_a_counted_population_are_not_given() -> None:
    got = port.run(network(), frames(), record="counts")
    with pytest.raises(CompareError, match="first: the trace holds only how many messages"):
        got["first"]


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown record": ({"record": "count"}, "record is 'count'; use 'messages' or 'counts'"),
    "no record": ({"record": None}, "record is None"),
    "granularity of messages": ({"granularity": "layer"}, "are for record='counts'"),
    "names of messages": ({"count": ("first",)}, "are for record='counts'"),
    "unknown granularity": (
        {"record": "counts", "granularity": "row"},
        "granularity is 'row'; use neuron, channel, layer",
    ),
    "unknown population": (
        {"record": "counts", "count": ("first", "frist")},
        "count names 'frist': no population; those that can be counted: stream, first, second",
    ),
    "a synapse": ({"record": "counts", "count": "stem"}, "count names 'stem': no population"),
    "a readout": ({"record": "counts", "count": "potential"}, "a readout, which keeps its steps"),
    "no names": ({"record": "counts", "count": ()}, "count names no population"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_do_not_exist_are_refused_before_work(engine: str, case: str) -> None:
    options, said = OPTIONS[case]
    told: list[Any] = []
    with pytest.raises(BackendError, match=said.replace("(", r"\(")):
        port.run(network(), frames(), on=engine, progress=lambda *now: told.append(now), **options)
    assert not told


def test_a_counter_that_a_sample_could_overfill_is_refused() -> None:
    drive = Dense("drive", ("frames",), np.eye(4097, dtype=int))
    graph = Graph([Input("frames", (4097,)), drive, Lif("wide", ("drive",), 0)], 32)
    with pytest.raises(
        BackendError,
        match=r"wide: a counter per layer can reach 131,104 messages .* up to 131,071; "
        r"count per neuron",
    ):
        refuse_beyond(graph, ("wide",), "layer", LIF_COUNT_MAX)
    refuse_beyond(graph, ("wide",), "neuron", LIF_COUNT_MAX)
    refuse_beyond(Graph(graph.nodes, 31), ("wide",), "layer", LIF_COUNT_MAX)


def test_an_accumulating_lif_holds_131071_and_one_more_makes_it_fire() -> None:
    """The counter of a chip, in the integers of :func:`integers.lif_step`."""
    zero = np.zeros(1, np.int64)
    for total, spikes in ((LIF_COUNT_MAX, False), (LIF_COUNT_MAX + 1, True)):
        u, v = zero, zero
        for part in (LIF_COUNT_MAX - 3, 2, total - LIF_COUNT_MAX + 1):
            u, v, fired = integers.lif_step(u, v, zero + part, 0, 4096, 0, LIF_COUNT_MAX)
        assert bool(fired[0]) is spikes
        if not spikes:
            assert int(v[0]) >> integers.STATE_SHIFT == total


# -- in a file -------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["neuron", "channel", "layer"])
def test_a_trace_of_counts_comes_back_whole(tmp_path: Path, granularity: str) -> None:
    want = port.run(network(), frames(), record="counts", granularity=granularity)
    got = Trace.load(want.save(tmp_path / "a.trace"))
    assert list(got.counts) == list(want.counts)
    assert list(got.kinds.items()) == list(want.kinds.items())
    assert (got.granularity, got.counted_steps) == (granularity, STEPS)
    assert got.provenance == want.provenance
    for name, counts in want.counts.items():
        np.testing.assert_array_equal(got.counts[name], counts)
        assert got.counts[name].dtype == np.int32
    np.testing.assert_array_equal(got["potential"], want["potential"])


def test_a_trace_without_readout_knows_its_steps(tmp_path: Path) -> None:
    graph = Graph(network().nodes[:-2], STEPS)
    trace = Trace.load(port.run(graph, frames(), record="counts").save(tmp_path / "a.trace"))
    assert (trace.messages, trace.steps, trace.samples) == ({}, STEPS, SAMPLES)


def test_a_trace_of_messages_stays_readable_by_version_2(tmp_path: Path) -> None:
    for record, version in (("messages", 2), ("counts", 3)):
        path = port.run(network(), frames(), record=record).save(tmp_path / "a.trace")
        with h5py.File(path, "r") as file:
            assert file.attrs["version"] == version
            assert ("counted" in file.attrs) == (record == "counts")


Edit = Callable[[h5py.File], Any]


def write(file: h5py.File, name: str, values: np.ndarray) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values).attrs.update(attributes)


DAMAGED: dict[str, tuple[Edit, str]] = {
    "counts beyond the steps": (
        lambda f: write(f, "00001", f["00001"][()] + np.int8(STEPS)),
        "counts span",
    ),
    "negative counts": (lambda f: write(f, "00001", f["00001"][()] - np.int8(9)), "counts span"),
    "no steps": (lambda f: f.attrs.__setitem__("counted", "0 neuron"), "counted '0 neuron'"),
    "steps of letters": (lambda f: f.attrs.__setitem__("counted", "x neuron"), "counted 'x"),
    "no granularity": (lambda f: f.attrs.__setitem__("counted", "5"), "counted '5'"),
    "another granularity": (
        lambda f: f.attrs.__setitem__("counted", "5 layer"),
        "not the shape of counts per layer",
    ),
    "nothing counted": (lambda f: f.attrs.__delitem__("counted"), "counted ''"),
    "other steps": (lambda f: f.attrs.__setitem__("counted", "6 neuron"), "5 steps, where 6"),
    "counts as a bit field": (
        lambda f: write(f, "00001", f["00001"][()].astype("|u1")),
        "holds no counts of kind 'lif'",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_counts_that_cannot_be_are_refused(tmp_path: Path, case: str) -> None:
    edit, said = DAMAGED[case]
    path = port.run(network(), frames(), record="counts").save(tmp_path / "a.trace")
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(FormatError, match=said) as caught:
        Trace.load(path)
    assert not isinstance(caught.value, HashError)


CHANGED: dict[str, Edit] = {
    "a count": lambda f: write(f, "00001", (f["00001"][()] == 0).astype("|i1")),
    "the version": lambda f: f.attrs.__setitem__("version", 2),
}


@pytest.mark.parametrize("case", CHANGED)
def test_counts_that_were_changed_are_refused(tmp_path: Path, case: str) -> None:
    path = port.run(network(), frames(), record="counts").save(tmp_path / "a.trace")
    with h5py.File(path, "r+") as file:
        CHANGED[case](file)
    with pytest.raises(FormatError):
        Trace.load(path)


# -- compared --------------------------------------------------------------------------------


def one_more(trace: Trace, name: str, *at: int) -> Trace:
    counts = {n: c.copy() for n, c in trace.counts.items()}
    counts[name][at] += 1
    return replace(trace, counts=counts)


@pytest.mark.parametrize("granularity", ["neuron", "channel", "layer"])
def test_counts_equal_the_messages_they_were_made_of(granularity: str) -> None:
    full = port.run(network(), frames())
    counts = port.run(network(), frames(), record="counts", granularity=granularity)
    for want, got in ((full, counts), (counts, full), (counts, counts)):
        outcome = compare(want, got)
        assert outcome
        assert outcome.counts == sum(c.size for c in counts.counts.values())
        assert outcome.positions == full["potential"].size
        assert outcome.spikes == sum(np.count_nonzero(a) for a in full.messages.values())
        assert outcome.same_predictions is True
        assert f"{outcome.counts:,} counts of messages and" in str(outcome)


def test_counts_of_two_granularities_meet_at_the_coarser_one() -> None:
    each = port.run(network(), frames(), record="counts")
    channels = port.run(network(), frames(), record="counts", granularity="channel")
    outcome = compare(each, channels)
    assert outcome
    assert outcome.counts == 3 * 3 * SAMPLES


def test_the_first_count_that_differs_is_told_without_a_step() -> None:
    full = port.run(network(), frames())
    counts = port.run(network(), frames(), record="counts")
    wrong = one_more(one_more(counts, "second", 0, 0, 0, 0), "first", 2, 1, 3, 0)
    outcome = compare(full, wrong, graph=network(), frames=frames())
    assert not outcome
    assert (outcome.differing, outcome.by_population) == (2, {"first": 1, "second": 1})
    assert outcome.first is None
    assert outcome.first_count is not None
    was = int(np.count_nonzero(full["first"][:, 2, 1, 3, 0]))
    assert str(outcome.first_count) == (
        f"population 'first', sample 2, counter (1, 3, 0): expected {was} messages, got {was + 1}"
    )
    assert "first count that differs" in str(outcome)
    assert outcome.to_dict()["first_count"]["sample"] == 2


def test_one_position_of_a_raster_changes_its_count() -> None:
    full = port.run(network(), frames())
    messages = {n: a.copy() for n, a in full.messages.items()}
    messages["second"][4, 1, 0, 0, 0] ^= True
    counts = port.run(network(), frames(), record="counts")
    outcome = compare(counts, replace(full, messages=messages))
    assert outcome.first_count is not None
    assert outcome.first_count.population == "second"
    assert outcome.differing == 1


def test_counts_over_unequal_steps_are_not_compared() -> None:
    shorter = Graph(network().nodes, STEPS - 1)
    got = port.run(shorter, frames()[:-1], record="counts")
    want = port.run(network(), frames(), record="counts")
    with pytest.raises(CompareError, match="last 5 and 4 steps"):
        compare(want, replace(got, provenance={}))


# -- statistics ------------------------------------------------------------------------------


def at_the_end(trace: Trace) -> Trace:
    """The trace with its readout as a chip reads it: after a sample's last step."""
    return replace(trace, messages={name: rows[-1:] for name, rows in trace.messages.items()})


def test_a_readout_that_was_read_once_per_sample_is_stored_compared_and_counted(
    tmp_path: Path,
) -> None:
    full = port.run(network(), frames())
    chip = at_the_end(port.run(network(), frames(), record="counts"))
    chip = Trace.load(chip.save(tmp_path / "chip.trace"))
    assert chip["potential"].shape == (1, *full["potential"].shape[1:])
    np.testing.assert_array_equal(chip.predictions, full.predictions)
    for want, got in ((full, chip), (chip, full), (chip, chip)):
        outcome = compare(want, got)
        assert outcome
        assert outcome.positions == full["potential"][-1].size
    assert statistics(network(), chip, frames()) == statistics(network(), full, frames())
    other = replace(chip, messages={"potential": chip["potential"] + 1})
    outcome = compare(full, other)
    assert not outcome
    assert outcome.first is not None
    assert outcome.first.step == full.steps - 1


def test_statistics_of_counts_are_those_of_the_raster() -> None:
    graph, given = network(), frames()
    want = statistics(graph, port.run(graph, given), given)
    got = statistics(graph, port.run(graph, given, record="counts"), given)
    assert got == want
    assert want.operations > 0


@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_pooled_counts_tell_spikes_and_name_the_synapses_that_they_cannot_count(
    granularity: str,
) -> None:
    graph, given = network(), frames()
    want = statistics(graph, port.run(graph, given), given)
    counts = port.run(graph, given, record="counts", granularity=granularity)
    got = statistics(graph, counts, given)
    assert got.populations == want.populations
    assert got.spikes_per_neuron == want.spikes_per_neuron
    # a tap at the border is lost, and zero weights are spread unevenly: fan-outs differ
    assert got.not_counted == ("first conv", "second conv", "classes")
    assert [s.missing for s in got.synapses[1:]] == [("stream",), ("first",), ("second",)]
    assert got.synapses[0] == want.synapses[0]


def test_pooled_counts_suffice_where_all_neurons_reach_as_many() -> None:
    graph = Graph(
        [
            Input("frames", (2, 3, 3), bits=1),
            Conv("one", ("frames",), 2 * np.ones((2, 2, 1, 1), int)),
            Lif("a", ("one",), 3),
            Conv("two", ("a",), 2 * np.ones((4, 2, 1, 1), int)),
            Lif("b", ("two",), 3),
        ],
        3,
    )
    given = np.random.default_rng(0).integers(0, 2, (3, 4, 2, 3, 3))
    full = statistics(graph, port.run(graph, given), given)
    for granularity in ("channel", "layer"):
        trace = port.run(graph, given, record="counts", granularity=granularity)
        assert statistics(graph, trace, given) == full


def test_messages_past_a_delay_are_named_as_not_counted() -> None:
    nodes = network().nodes
    late = Dense("classes", ("later",), np.ones((5, 48), int))
    graph = Graph([*nodes[:-2], Delay("later", ("second",), 2), late, nodes[-1]], STEPS)
    given = frames()
    assert statistics(graph, port.run(graph, given), given).not_counted == ()
    got = statistics(graph, port.run(graph, given, record="counts"), given)
    assert got.not_counted == ("classes",)
    assert got.synapses[-1].operations is None
    assert got.synapses[-1].missing == ("later",)


def test_statistics_refuse_counts_of_another_network() -> None:
    counts = port.run(network(), frames(), record="counts")
    with pytest.raises(CompareError, match="the trace is of network"):
        statistics(Graph(network().nodes, 4), counts)
    counts = replace(counts, provenance={})
    with pytest.raises(CompareError, match="counted 5 steps, the graph has 4"):
        statistics(Graph(network().nodes, 4), counts)
    with pytest.raises(CompareError, match="the trace holds"):
        statistics(network(), replace(counts, granularity="layer"))


# -- the torch module --------------------------------------------------------------------------


def test_the_module_itself_counts() -> None:
    torch = pytest.importorskip("torch")
    folder = Path(__file__).resolve().parents[3] / "models" / "ms_resnet8_mnist"
    net = port.load(folder)
    given = np.load(folder / "frames.npy")[:, :3]
    with torch.inference_mode():
        want = port.run(net, given)
        got = port.run(net, given, record="counts", granularity="channel", batch=2)
    assert list(got.kinds) == list(want.kinds)
    assert set(got.messages) == {name for name, kind in want.kinds.items() if kind == "readout"}
    assert compare(want, got)
    assert got.sent("neuron") == want.sent("neuron") > 0
    with pytest.raises(BackendError, match="record is 'none'"):
        port.run(net, given, record="none")
