"""Results of shards, joined in any order, are those of the whole; anything else is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import CompareError, FormatError, FramesError, StorageError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node, Readout
from neuroport.graph.store import save
from neuroport.runs.shards import Shard
from neuroport.runs.trace import Trace
from neuroport.runs.trace_file import StoredTrace

STEPS, SAMPLES = 3, 23


def network(threshold: int = 20) -> Graph:
    weight = 2 * np.random.default_rng(1).integers(-5, 10, (5, 4))
    nodes: list[Node] = [
        Input("frames", (4,), 4),
        Dense("in", ("frames",), weight),
        Lif("neurons", ("in",), threshold=threshold, voltage_decay=1000),
        Dense("out", ("neurons",), weight.T),
        Readout("classes", ("out",)),
    ]
    return Graph(nodes, STEPS)


def frames(samples: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 16, (STEPS, samples, 4))


def same_arrays(got: Trace, want: Trace) -> None:
    assert (got.kinds, got.granularity, got.counted_steps) == (
        want.kinds, want.granularity, want.counted_steps,
    )  # fmt: skip
    for ours, theirs in ((got.messages, want.messages), (got.counts, want.counts)):
        assert list(ours) == list(theirs)
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype
            np.testing.assert_array_equal(ours[name], array, name)


@pytest.mark.skipif(os.name != "posix", reason="no limits of files there")
@pytest.mark.parametrize("hard", [600, 90])
def test_more_shards_than_open_files_are_merged_or_refused_before(
    tmp_path: Path, hard: int
) -> None:
    """A process may open 60 files by default, and at most ``hard``; there are 80 shards."""
    given = np.tile(frames(), (1, 4, 1))[:, :80]
    for number in range(1, 81):
        port.run(network(), given, shard=f"{number}/80").save(tmp_path / f"{number}.trace")
    code = (
        "import resource, sys, neuroport as port\n"
        "port.merge\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (60, {hard}))\n"
        "files = [f'{sys.argv[1]}/{number}.trace' for number in range(1, 81)]\n"
        "port.merge(files, f'{sys.argv[1]}/whole.trace').close()\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    if hard == 600:
        assert told.returncode == 0, told.stderr
        same_arrays(Trace.load(tmp_path / "whole.trace"), port.run(network(), given))
    else:
        said = "80 files are needed at once, and a process here may open 90"
        assert said in told.stderr
        assert not (tmp_path / "whole.trace").exists()


@pytest.mark.parametrize("of", [1, 2, 7, 23])
@pytest.mark.parametrize("options", [{}, {"record": "counts", "granularity": "layer"}])
def test_traces_of_all_shards_are_the_trace_of_the_whole(
    tmp_path: Path, of: int, options: dict[str, Any]
) -> None:
    want = port.run(network(), frames(), **options)
    shards = [
        port.run(network(), frames(), shard=f"{number}/{of}", **options)
        for number in range(of, 0, -1)  # in any order
    ]
    merged = port.merge(shards)
    assert isinstance(merged, Trace)
    same_arrays(merged, want)
    paths = [trace.save(tmp_path / f"{at}.trace") for at, trace in enumerate(shards)]
    stored = port.merge(paths, tmp_path / "whole.trace")
    assert isinstance(stored, StoredTrace)
    same_arrays(stored.load(), want)
    assert stored.provenance == merged.provenance
    about = stored.provenance
    assert about["frames"] == want.provenance["frames"]
    assert about["graph"] == want.provenance["graph"]
    assert [each["number"] for each in about["shards"]] == list(range(1, of + 1))
    assert about["shards"][-1]["samples"][1] == SAMPLES
    assert about["seconds"] == pytest.approx(sum(each["seconds"] for each in about["shards"]))


@pytest.mark.parametrize("part", [1, 5, 100, None])
@pytest.mark.parametrize("shard", [None, "2/3"])
def test_a_recorded_trace_is_that_of_a_run_in_one_piece(
    tmp_path: Path, part: int | None, shard: str | None
) -> None:
    np.save(tmp_path / "frames.npy", frames())
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    seen: list[tuple[int, int]] = []
    want = port.run(network(), frames(), on="fast", shard=shard)
    stored = port.record(
        network(), mapped, tmp_path / "a.trace", on="fast", part=part, shard=shard,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    same_arrays(stored.load(), want)
    drop = {"seconds": 0}
    assert {**stored.provenance, **drop} == {**want.provenance, **drop}
    assert seen[-1] == (want.samples, want.samples)


def test_a_part_may_be_an_integer_of_numpy(tmp_path: Path) -> None:
    want = port.run(network(), frames())
    stored = port.record(network(), frames(), tmp_path / "a.trace", part=np.int64(2))
    same_arrays(stored.load(), want)


@pytest.mark.parametrize("part", [0, -1, 2.0, "2", True])
def test_a_part_of_no_number_of_samples_is_refused(tmp_path: Path, part: int) -> None:
    with pytest.raises(FramesError, match=f"part is {part!r}; give a whole number from 1 on"):
        port.record(network(), frames(), tmp_path / "a.trace", part=part)


def test_nothing_is_written_over_what_is_read(tmp_path: Path) -> None:
    """Neither by its name nor by another one."""
    net, held, link = (tmp_path / name for name in ("a.graph", "f.npy", "link.npy"))
    save(network(), net)
    np.save(held, frames())
    link.symlink_to(held)
    shards = [tmp_path / f"{number}.trace" for number in (1, 2)]
    for number, path in enumerate(shards, 1):
        port.record(net, frames(), path, shard=f"{number}/2").close()
    before = {path: path.read_bytes() for path in (net, held, *shards)}
    mapped = np.load(held, mmap_mode="r")
    with StoredTrace(shards[1]) as stored:
        for write, path in (
            (lambda: port.record(net, frames(), net), net),
            (lambda: port.record(str(net), mapped[:, :9], held), held),
            (lambda: port.record(network(), mapped, link), held),
            (lambda: port.record(net, mapped, held, cluster="local:1"), held),
            (lambda: port.merge(shards, tmp_path / "." / "1.trace"), shards[0]),
            (lambda: port.merge([shards[0], stored], shards[1]), shards[1]),
        ):
            with pytest.raises(StorageError, match=f"written over {path}, which is read"):
                write()
    assert {path: path.read_bytes() for path in before} == before


def test_frames_that_change_while_they_run_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", frames())
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    changing = np.load(tmp_path / "frames.npy", mmap_mode="r+")

    def change(done: int, total: int) -> None:
        changing[:, 0] = 0  # they have run already

    with pytest.raises(FramesError, match="file of the frames has changed while they ran"):
        port.record(network(), mapped, tmp_path / "a.trace", "fast", part=5, progress=change)
    assert sorted(os.listdir(tmp_path)) == ["frames.npy"]


@pytest.mark.parametrize("of", [2, 5, 23])
@pytest.mark.parametrize("threshold", [20, 90])
def test_verifications_of_all_shards_are_that_of_the_whole(
    tmp_path: Path, of: int, threshold: int
) -> None:
    given = frames()
    given[:, :10] = 0  # silent: any threshold gives the same
    want = port.verify(network(), network(threshold), given)
    assert want.equal == (threshold == 20)
    shards = [
        port.verify(network(), network(threshold), given, together=3, shard=f"{number}/{of}")
        for number in range(1, of + 1)
    ]
    merged = port.merge(shards)
    assert isinstance(merged, port.Comparison)
    assert merged == replace(want, cause=merged.cause)  # the cause is sought in a part
    assert (merged.cause is None) == want.equal
    files = []
    for at, each in enumerate(shards):
        files.append(tmp_path / f"{at}.json")
        files[-1].write_text(json.dumps(each.to_dict()))
    assert port.merge(files[::-1], tmp_path / "whole.json") == merged
    assert json.loads((tmp_path / "whole.json").read_text()) == json.loads(
        json.dumps(merged.to_dict())
    )


def test_comparisons_of_all_shards_are_that_of_the_whole(tmp_path: Path) -> None:
    networks = network(), network(40)
    want = port.compare(*(port.run(net, frames()) for net in networks))
    assert len(want.by_population) == 2
    shards = []
    for number in (3, 1, 2):
        both = [port.run(net, frames(), shard=f"{number}/3") for net in networks]
        shards.append(port.compare(*both))
    assert port.merge(shards) == want
    with pytest.raises(CompareError, match="different shards"):
        port.compare(
            port.run(network(), frames(), shard="1/2"), port.run(network(), frames(), shard="1/1")
        )


def test_costs_of_all_shards_are_that_of_the_whole(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from neuroport.nets.ms_resnet import MsResNet
    from tests.helpers.modules import frames_for, randomize

    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    given, labels = frames_for(net, samples=7), np.arange(7) % 5
    want = port.quantization_cost(net, given, labels)
    shards = [
        port.quantization_cost(net, given, labels, shard=f"{number}/3", batch=2)
        for number in (1, 2, 3)
    ]
    assert port.merge(shards) == want
    files = []
    for each in shards:
        files.append(tmp_path / f"{len(files)}.json")
        files[-1].write_text(json.dumps({"cost": each.to_dict(), "hash": "of the graph"}))
    assert port.merge(files) == want
    assert want.loses is not None
    assert "adds most" in want.loses
    assert len({want.loses, *(each.loses for each in shards)}) > 1  # it is of the whole
    assert port.merge(files).to_dict() == want.to_dict()
    told = shards[0].shard or {}
    for limits, advice in ((None, None), ({}, ""), ({"x": 3}, ""), ([], ""), ("x", "")):
        shard = told | {"limits": limits}
        first = replace(shards[0], shard=shard)
        if advice is None:  # of an earlier version
            assert port.merge([first, *shards[1:]]).loses is None
            continue
        with pytest.raises(
            CompareError, match=r"result 0: limits of its shard are .*; the file was"
        ):
            port.merge([first, *shards[1:]])
    other = randomize(MsResNet(1, (4, 6, 8), 2, 5), 1)
    shards[2] = port.quantization_cost(other, given, labels, shard="3/3")
    with pytest.raises(CompareError, match=r"belongs to another run than .*network"):
        port.merge(shards)


def shard(number: int, of: int = 3, threshold: int = 20, **options: Any) -> Trace:
    return port.run(network(threshold), frames(), shard=f"{number}/{of}", **options)


def test_what_is_missing_there_twice_or_of_another_whole_is_named(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shard(number).save(tmp_path / f"{number}.trace")

    def merged(*others: Trace | str) -> None:
        given = [
            other.save(tmp_path / f"other{at}.trace") if isinstance(other, Trace)
            else tmp_path / other for at, other in enumerate(others)
        ]  # fmt: skip
        port.merge(given, tmp_path / "out.trace")

    with pytest.raises(CompareError, match=r"shard 2/3 \(samples 7 to 14\) is missing; run it"):
        merged("1.trace", "3.trace")
    with pytest.raises(CompareError, match=r"shard 1/3 is there twice, .*1\.trace and .*other"):
        merged("1.trace", "2.trace", "3.trace", shard(1))
    with pytest.raises(CompareError, match=r"other1\.trace belongs to another run than .*graph"):
        merged("1.trace", shard(2, threshold=30), "3.trace")
    with pytest.raises(
        CompareError, match=r"other0\.trace belongs to another run .*: recorded neuron cou"
    ):
        merged(shard(2, record="counts"), "1.trace", "3.trace")
    with pytest.raises(
        CompareError, match=r"other1\.trace belongs to another run .*engine fast, not refer"
    ):
        merged("1.trace", shard(2, on="fast"), "3.trace")
    with pytest.raises(
        CompareError, match=r"other2\.trace belongs to another run .*number of shards 4, no"
    ):
        merged("1.trace", "2.trace", shard(3, of=4))
    with pytest.raises(CompareError, match=r"other0\.trace is not a shard"):
        merged(port.run(network(), frames()), "2.trace", "3.trace")
    changed = frames()
    changed[0, -1, 0] ^= 1  # a sample that is not the shard's
    with pytest.raises(CompareError, match=r"other0\.trace belongs to another run than .*frames"):
        merged(port.run(network(), changed, shard="1/3"), "2.trace", "3.trace")
    assert not (tmp_path / "out.trace").exists()
    (tmp_path / "other.json").write_text('{"what": 1}')
    with pytest.raises(FormatError, match="neither a trace nor what verify"):
        merged("other.json")
    comparison = port.verify(network(), None, frames(), shard="2/3")
    with pytest.raises(CompareError, match="several kinds, Comparison, Trace"):
        port.merge([shard(1), comparison, shard(3)])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", "", None, 1])
def test_what_is_no_shard_is_refused(text: Any) -> None:
    with pytest.raises(FramesError, match=r"shard is .*give i/n"):
        Shard.read(text)


def test_more_shards_than_samples_are_refused() -> None:
    with pytest.raises(FramesError, match="24 of 23 samples: a shard would be empty; make 23"):
        port.run(network(), frames(), shard="1/24")


@pytest.mark.parametrize(("total", "of"), [(1, 1), (10, 3), (1000, 7), (9, 9)])
def test_shards_are_nearly_equal_and_hold_every_sample_once(total: int, of: int) -> None:
    parts = [Shard(number, of).samples(total) for number in range(1, of + 1)]
    assert [at for part in parts for at in range(total)[part]] == list(range(total))
    sizes = {part.stop - part.start for part in parts}
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_of_a_stock_file_is_of_the_network_of_all_frames(tmp_path: Path) -> None:
    """Of a stock NetX file the range of the frames is the input's: a shard alone has less."""
    from tests.helpers.stockfile import dense, file

    path = file(tmp_path / "a.net", dense())
    given = np.random.default_rng(0).integers(0, 2, (6, 4, 4))
    given[:, 3] *= 5
    want = port.run(path, given)
    shards = [port.run(path, given, shard=f"{number}/2") for number in (1, 2)]
    assert {each.provenance["graph"] for each in shards} == {want.provenance["graph"]}
    merged = port.merge(shards)
    assert isinstance(merged, Trace)
    same_arrays(merged, want)
