"""Traces written and read some samples at a time are those that are written in one piece."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.errors import CompareError, FormatError, HashError, StorageError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Readout, Relay
from neuroport.runs.trace import StoredArray, Trace, write_arrays
from neuroport.runs.trace_file import StoredTrace, TraceWriter, write_joined


def network() -> Graph:
    """Spikes of 9 and of 5 neurons, graded messages that need 16 bits, a readout."""
    rng = np.random.default_rng(3)
    return Graph(
        [
            Input("frames", (1, 3, 3), bits=8, signed=True),
            Conv("stem", ("frames",), 2 * rng.integers(-20, 20, (1, 1, 1, 1)) + 2),
            Relay("stream", ("stem",)),
            Conv("same", ("stream",), np.full((1, 1, 1, 1), 2)),
            Lif("first", ("same",), 90, voltage_decay=900),
            Dense("in", ("first",), rng.integers(-10, 20, (5, 9))),
            Lif("second", ("in",), threshold=20),
            Dense("out", ("second",), rng.integers(-10, 20, (3, 5))),
            Readout("classes", ("out",)),
        ],
        3,
    )


def whole(samples: int = 23, **options: object) -> Trace:
    frames = np.random.default_rng(0).integers(-99, 99, (3, samples, 1, 3, 3))
    return port.run(network(), frames, **options)


@pytest.mark.parametrize("many", [1, 4, 23])
@pytest.mark.parametrize(
    "options", [{}, {"record": "counts"}, {"record": "counts", "granularity": "channel"}]
)
def test_a_trace_written_in_parts_is_the_same_file(
    tmp_path: Path, many: int, options: dict[str, object]
) -> None:
    trace = whole(**options)
    assert trace.messages["classes"].any()
    with TraceWriter(tmp_path / "parts.trace", 23) as writer:
        for first in range(0, 23, many):
            writer.append(trace.part(first, first + many))
        writer.finish(trace.provenance)
    trace.save(tmp_path / "whole.trace")
    assert (tmp_path / "parts.trace").read_bytes() == (tmp_path / "whole.trace").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["parts.trace", "whole.trace"]


@pytest.mark.parametrize("bounds", [(0, 23), (0, 1, 9, 23), (0, 8, 16, 23), tuple(range(24))])
@pytest.mark.parametrize(
    "options", [{}, {"record": "counts"}, {"record": "counts", "granularity": "layer"}]
)
def test_files_that_are_joined_are_the_file_of_the_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bounds: tuple[int, ...],
    options: dict[str, object],
) -> None:
    monkeypatch.setattr("neuroport.runs.trace_file.PIECE", 20)  # a few values at a time
    trace = whole(**options)
    if "stream" in trace.messages:
        trace["stream"][:, :5] = 3  # these samples need fewer bits than the others
    files = [
        trace.part(first, last).save(tmp_path / f"{first}.part")
        for first, last in itertools.pairwise(bounds)
    ]
    with ExitStack() as stack:
        parts = [stack.enter_context(StoredTrace(file)) for file in files]
        if len(bounds) > 20 and trace.messages.keys() > {"stream"}:
            kinds = {part._regions["stream"].dtype for part in parts}
            assert kinds == {np.dtype("i1"), np.dtype("<i2")}
        write_joined(parts, tmp_path / "joined.trace", trace.provenance)
    trace.save(tmp_path / "whole.trace")
    assert (tmp_path / "joined.trace").read_bytes() == (tmp_path / "whole.trace").read_bytes()


def test_many_small_parts_are_joined_in_few_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = whole()
    files = [trace.part(n, n + 1).save(tmp_path / f"{n}.part") for n in range(23)]
    pieces: list[np.ndarray] = []

    def counted(file: h5py.File, *content: object) -> None:
        provenance, arrays, about = content

        def told() -> Iterator[StoredArray]:
            for each in arrays:  # type: ignore[attr-defined]
                found = list(each.pieces)
                pieces.extend(data for _, data in found)
                yield replace(each, pieces=found)

        write_arrays(file, provenance, told(), about)  # type: ignore[arg-type]

    monkeypatch.setattr("neuroport.runs.trace_file.write_arrays", counted)
    with ExitStack() as stack:
        parts = [stack.enter_context(StoredTrace(file)) for file in files]
        write_joined(parts, tmp_path / "joined.trace", trace.provenance)
    spiking = sum(kind == "lif" for kind in trace.kinds.values())
    assert len(pieces) == spiking + trace.steps * (len(trace.kinds) - spiking)
    trace.save(tmp_path / "whole.trace")
    assert (tmp_path / "joined.trace").read_bytes() == (tmp_path / "whole.trace").read_bytes()


def test_impossible_counts_are_not_joined(tmp_path: Path) -> None:
    trace = whole(record="counts")
    trace.counts["second"][20] = 4  # of three steps
    files = [trace.part(n, n + 2).save(tmp_path / f"{n}.part") for n in range(0, 22, 2)]
    with ExitStack() as stack:
        parts = [stack.enter_context(StoredTrace(file)) for file in files]
        with pytest.raises(FormatError, match=r"'second': counts span 0\.\.4, not 0\.\.3"):
            write_joined(parts, tmp_path / "joined.trace", trace.provenance)
    assert not (tmp_path / "joined.trace").exists()


def test_files_of_different_recordings_are_not_joined(tmp_path: Path) -> None:
    files = whole().save(tmp_path / "a.part"), whole(record="counts").save(tmp_path / "b.part")
    said = r"b\.part was recorded in another way"
    with (
        StoredTrace(files[0]) as one,
        StoredTrace(files[1]) as other,
        pytest.raises(CompareError, match=said),
    ):
        write_joined([one, other], tmp_path / "joined.trace", {})
    assert sorted(os.listdir(tmp_path)) == ["a.part", "b.part"]


@pytest.mark.parametrize("options", [{}, {"record": "counts"}])
def test_parts_that_are_read_are_those_of_the_whole(
    tmp_path: Path, options: dict[str, object]
) -> None:
    trace = whole(**options)
    path = trace.save(tmp_path / "a.trace")
    with StoredTrace(path) as stored:
        assert (stored.samples, stored.steps, stored.kinds) == (23, 3, trace.kinds)
        assert stored.provenance == trace.provenance
        for first, last in ((0, 1), (3, 8), (22, 23), (0, 23)):
            part, want = stored.part(first, last), trace.part(first, last)
            assert part.messages.keys() == want.messages.keys()
            for name, array in want.messages.items():
                np.testing.assert_array_equal(part[name], array, name)
                assert part[name].dtype == array.dtype
            for name, array in want.counts.items():
                np.testing.assert_array_equal(part.counts[name], array, name)
        assert [part.samples for part in stored.parts(10)] == [10, 10, 3]


@pytest.mark.parametrize("options", [{}, {"record": "counts"}])
def test_a_part_past_the_end_is_clipped_in_a_file_as_in_memory(
    tmp_path: Path, options: dict[str, object]
) -> None:
    trace = whole(**options)
    with StoredTrace(trace.save(tmp_path / "a.trace")) as stored:
        for first, last in ((20, 25), (22, 24), (np.int64(0), 1 << 40)):
            part, want = stored.part(first, last), trace.part(first, last)
            assert part.samples == want.samples == 23 - first
            np.testing.assert_array_equal(part.predictions, trace.predictions[first:])
            for name, array in want.messages.items():
                np.testing.assert_array_equal(part[name], array, name)
            for name, array in want.counts.items():
                np.testing.assert_array_equal(part.counts[name], array, name)
        assert [part.samples for part in stored.parts(np.int64(22))] == [22, 1]
        assert [part.samples for part in stored.parts(99)] == [23]


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        (-2, 20, "first is -2; give a whole number from 0 on"),
        (0, -1, "last is -1; give"),
        ("a", 2, "first is 'a'; give"),
        (0, 2.0, "last is 2.0; give"),
        (True, 2, "first is True; give"),
        (7, 3, "no sample lies from 7 to 3 .* of a trace of 23"),
        (5, 5, "no sample lies from 5 to 5"),
        (23, 25, "no sample lies from 23 to 25"),
    ],
)
def test_a_part_without_samples_is_refused_in_a_file_as_in_memory(
    tmp_path: Path, first: int, last: int, says: str
) -> None:
    trace = whole()
    with StoredTrace(trace.save(tmp_path / "a.trace")) as stored:
        for each in (stored, trace):
            with pytest.raises(CompareError, match=says):
                each.part(first, last)


@pytest.mark.parametrize("samples", [0, -1, 2.5, "3", True])
def test_parts_of_no_number_of_samples_are_refused(tmp_path: Path, samples: int) -> None:
    with (
        StoredTrace(whole().save(tmp_path / "a.trace")) as stored,
        pytest.raises(CompareError, match=f"samples is {samples!r}; give a whole number from 1"),
    ):
        stored.parts(samples)


@pytest.mark.parametrize("path", [None, 5])
def test_what_is_no_path_holds_no_trace(path: str) -> None:
    with pytest.raises(StorageError, match=f"{path} is not a path"):
        StoredTrace(path)


def test_a_closed_trace_says_so(tmp_path: Path) -> None:
    trace = whole()
    stored = StoredTrace(trace.save(tmp_path / "a.trace"))
    stored.close()
    stored.close()
    uses: list[Callable[[], object]] = [
        lambda: stored.part(0, 2),
        lambda: list(stored.parts()),
        stored.load,
        lambda: write_joined([stored], tmp_path / "joined.trace", {}),
    ]
    for use in uses:
        with pytest.raises(StorageError, match=r"a\.trace: the trace was closed"):
            use()
    assert os.listdir(tmp_path) == ["a.trace"]


def test_a_run_that_ends_early_leaves_no_file(tmp_path: Path) -> None:
    trace = whole()
    with TraceWriter(tmp_path / "a.trace", 23) as writer:
        writer.append(trace.part(0, 9))
        with pytest.raises(CompareError, match="9 of 23 samples"):
            writer.finish({})
    assert os.listdir(tmp_path) == []


def test_parts_of_different_recordings_are_refused(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "a.trace", 46) as writer:
        writer.append(whole())
        with pytest.raises(CompareError, match="recorded in another way"):
            writer.append(whole(record="counts"))


def test_parts_that_a_file_would_not_give_back_are_refused(tmp_path: Path) -> None:
    trace = whole()
    wide = trace["classes"].astype(np.int64) << 40
    part = replace(trace, messages={**trace.messages, "classes": wide}).part(0, 5)
    with (
        TraceWriter(tmp_path / "a.trace", 23) as writer,
        pytest.raises(StorageError, match=r"classes: holds .* whole numbers of 32 bits"),
    ):
        writer.append(part)
    assert os.listdir(tmp_path) == []


def test_a_damaged_trace_is_not_read_in_parts(tmp_path: Path) -> None:
    path = whole().save(tmp_path / "a.trace")
    data = bytearray(path.read_bytes())
    with StoredTrace(path) as stored:
        region = stored._regions["first"]
    data[region.offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(HashError, match="does not match its hash"):
        StoredTrace(path)


@pytest.mark.parametrize("reader", [Trace.load, StoredTrace])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no JSON", "not JSON"),
        ("[" * 20_000, "nested too deeply"),
        ('{"seconds": ' + "9" * 5_000 + "}", "digits"),
        ("[1]", "not a JSON object"),
    ],
)
def test_a_provenance_that_cannot_be_read_is_one_line(
    reader: Callable[[Path], object], text: str, says: str, tmp_path: Path
) -> None:
    path = whole(1).save(tmp_path / "a.trace")
    with h5py.File(path, "r+") as file:
        file.attrs["provenance"] = text
    with pytest.raises(FormatError, match=says) as refusal:
        reader(path)
    assert str(path) in refusal.value.message
    assert refusal.value.message.isprintable()
