"""A test set is compared part by part: counts as in one piece, stopped where runs differ."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport import netx
from neuroport.analysis import verify as verifying
from neuroport.analysis.compare import compare
from neuroport.analysis.verify import verify
from neuroport.engines import running
from neuroport.engines.running import prepare, run
from neuroport.errors import FramesError
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node, Readout

STEPS = 3


def network(threshold: int = 20) -> Graph:
    weight = np.random.default_rng(1).integers(-10, 20, (6, 4))
    nodes: list[Node] = [
        Input("frames", (4,), 4),
        Dense("in", ("frames",), weight),
        Lif("neurons", ("in",), threshold=threshold, voltage_decay=1000),
        Dense("out", ("neurons",), weight.T),
        Readout("classes", ("out",)),
    ]
    return Graph(nodes, STEPS)


def frames(samples: int = 23) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 16, (STEPS, samples, 4))


@pytest.mark.parametrize("together", [1, 7, 23, 100])
def test_parts_count_what_the_whole_counts(together: int) -> None:
    graph, given = network(), frames()
    seen: list[tuple[int, int]] = []
    found = verify(graph, None, given, together=together, progress=lambda *done: seen.append(done))
    whole = compare(run(graph, given), run(graph, given, on="fast"))
    assert found.equal
    assert found == replace(whole, networks=found.networks)
    assert seen[-1] == (23, 23)
    assert len(seen) == -(-23 // together)


def test_a_part_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, given = network(), frames()
    positions = STEPS * (6 + 4)
    for bytes_to_be_had, parts in ((1 << 40, 1), (5 * positions * verifying.HELD, 5), (1, 23)):
        monkeypatch.setattr(verifying, "available", lambda found=bytes_to_be_had: found)
        seen: list[int] = []
        assert verify(graph, None, given, progress=lambda done, _, to=seen: to.append(done))
        assert len(seen) == parts
        assert seen[-1] == 23


def test_files_are_read_once_and_explained_like_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [store.save(network(t), tmp_path / f"{t}.graph") for t in (20, 90)]
    read: list[object] = []
    plain = netx.read
    monkeypatch.setattr(netx, "read", lambda path, **_: read.append(path) or plain(path))
    found = verify(str(files[0]), files[1], frames(), together=2)
    assert read == [str(files[0]), files[1]]
    assert found.cause is not None
    assert "threshold" in str(found.cause)


def test_the_first_sample_that_differs_ends_it_and_is_explained() -> None:
    graph, given = network(), frames()
    given[:, :10] = 0  # silent: any threshold gives the same
    found = verify(graph, network(90), given, on=("reference", "reference"), together=5)
    assert not found.equal
    assert found.first is not None
    assert found.first.sample >= 10
    assert found.samples == found.first.sample + 1
    both = (run(net, given[:, : found.samples]) for net in (graph, network(90)))
    want = compare(*both)
    assert (found.positions, found.differing, found.first) == (
        want.positions,
        want.differing,
        want.first,
    )
    for together in (1, 23):  # however many run at a time
        again = verify(graph, network(90), given, on=("reference", "reference"), together=together)
        assert replace(again, cause=None, neighbourhood=None) == replace(
            found, cause=None, neighbourhood=None
        )
    assert found.cause is not None
    assert "threshold" in str(found.cause)
    whole = compare(run(graph, given), run(network(90), given)).first
    assert whole is not None
    sent = run(graph, given)["neurons"] != run(network(90), given)["neurons"]
    assert sent[found.first.step, found.first.sample].any()


def test_counts_of_all_parts_are_counted_from_the_first_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        running, "prepare", partial(prepare, record="counts")
    )  # as a chip does by default
    graph, given = network(), frames()
    assert verify(graph, None, given, together=5).counts == 23 * 6
    given[:, :10] = 0  # silent: any threshold gives the same
    found = verify(graph, network(90), given, together=10)
    few = given[:, : found.samples]
    whole = compare(*(run(net, few, record="counts") for net in (graph, network(90))))
    assert found.counts == whole.counts == found.samples * 6
    assert found.first_count == whole.first_count
    assert found.first_count is not None
    assert found.first_count.sample >= 10


def test_neighbourhood_of_a_later_part_counts_samples_as_the_divergence_does() -> None:
    given = frames()
    given[:, :10] = 0
    found = verify(network(), network(90), given, together=5)
    assert found.first is not None
    assert found.neighbourhood is not None
    assert found.neighbourhood.sample == found.first.sample >= 10


def test_torch_modules_run_themselves_unless_an_engine_is_asked_for() -> None:
    pytest.importorskip("torch")
    from neuroport.nets.ms_resnet import MsResNet
    from tests.helpers.modules import frames_for, randomize

    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    given = frames_for(net)
    graph = port.quantize(net, given)
    found = verify(net, graph, given)
    assert found
    assert (found.want, found.got) == ("module", "fast")
    assert verify(net, graph, given, on=("fast", "reference")).want == "fast"
    alone = verify(net, None, given)  # not with itself
    assert (alone.want, alone.got, alone.differing) == ("module", "fast", 0)


def test_mapped_frames_are_read_part_by_part(tmp_path: object) -> None:
    path = f"{tmp_path}/frames.npy"
    np.save(path, frames())
    mapped = np.load(path, mmap_mode="r")
    assert verify(network(), None, mapped, together=6).samples == 23


@pytest.mark.parametrize(("given", "together"), [(frames(0), 5), (frames()[0], 5), (frames(), 0)])
def test_nothing_to_compare_is_refused(given: np.ndarray, together: int) -> None:
    with pytest.raises(FramesError, match=r"at least one|together is 0; give a whole number"):
        verify(network(), None, given, together=together)
