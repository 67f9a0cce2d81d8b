"""A stem that the host computes: what is behind it sends the same, and a chip may have it."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.backends.loihi2.host_stem import hosted
from neuroport.backends.loihi2.legality import refuse
from neuroport.errors import IllegalError, StorageError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay
from neuroport.graph.store import save
from neuroport.targets.population_demands import rounding
from neuroport.targets.target import load_target


def pixels(*, shortcut: bool = False) -> tuple[Graph, np.ndarray]:
    """Graded frames, a stem that is rounded, and a spike shortcut behind it."""
    rng = np.random.default_rng(2)

    def even(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-9, 10, shape)

    identity = np.eye(4, dtype=np.int64)[:, :, None, None]
    around = ("frames",) if shortcut else ("first",)
    channels = 1 if shortcut else 4
    nodes: list[Node] = [
        Input("frames", (1, 6, 5), 8),
        Conv("stem", ("frames",), even(4, 1, 3, 3), padding=(1, 1)),
        Relay("stem out", ("stem",), shift=4),
        Conv("stem.identity", ("stem out",), identity),
        Lif("first", ("stem.identity",), 90, voltage_decay=500, bias=3),
        Conv("branch", ("first",), even(4, 4, 3, 3), padding=(1, 1)),
        Lif("second", ("branch",), 40, voltage_decay=500),
        Conv("joined", ("second",), even(4, 4, 1, 1)),
        Conv("around", around, even(4, channels, 1, 1)),
        Lif("last", ("joined", "around"), 40),
        Dense("classes", ("last",), even(3, 120)),
        Readout("potential", ("classes",)),
    ]
    return Graph(nodes, 4), rng.integers(0, 256, (4, 3, 1, 6, 5))


def test_every_population_behind_the_stem_sends_the_same() -> None:
    graph, frames = pixels()
    behind, sent = hosted(graph, frames)
    assert behind.input.name == "stem out"
    assert behind.input.signed
    assert sent.min() < 0 < sent.max()
    want, got = port.run(graph, frames), port.run(behind, sent)
    assert set(got.messages) == {"first", "second", "last", "potential"}
    for name, messages in got.messages.items():
        assert messages.any(), name
        np.testing.assert_array_equal(messages, want[name], name)


def test_the_chip_rounds_no_more_when_the_host_has_the_stem() -> None:
    graph, frames = pixels()
    board = load_target("kapoho-point")
    whole = port.lower(graph, "kapoho-point")
    assert rounding(whole) == ["stem out"]
    assert rounding(port.lower(hosted(graph, frames)[0], "kapoho-point")) == []
    refuse(port.lower(hosted(graph, frames)[0], "kapoho-point"), board)


def test_frames_that_are_read_beside_the_stem_cannot_be_left_to_the_host() -> None:
    with pytest.raises(IllegalError, match="no relay stands between the frames and all neurons"):
        hosted(*pixels(shortcut=True))


def test_the_script_writes_the_network_behind_the_stem_and_its_frames(
    root: Path, tmp_path: Path
) -> None:
    graph, frames = pixels()
    save(graph, tmp_path / "whole.graph")
    np.save(tmp_path / "whole.npy", frames)
    names = ("whole.graph", "whole.npy", "behind.graph", "behind.npy")
    script = runpy.run_path(str(root / "deploy" / "loihi2" / "host_stem.py"))
    script["main"](*(str(tmp_path / name) for name in names))
    behind, sent = hosted(graph, frames)
    assert port.read(tmp_path / "behind.graph").hash == behind.hash
    np.testing.assert_array_equal(np.load(tmp_path / "behind.npy"), sent)


@pytest.mark.parametrize("out_frames", ["whole.npy", "behind.graph", "file/behind.npy", "folder"])
def test_the_script_replaces_no_input_and_writes_nothing_if_it_cannot_write_all(
    root: Path, tmp_path: Path, out_frames: str
) -> None:
    graph, frames = pixels()
    save(graph, tmp_path / "whole.graph")
    np.save(tmp_path / "whole.npy", frames)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    script = runpy.run_path(str(root / "deploy" / "loihi2" / "host_stem.py"))
    names = ("whole.graph", "whole.npy", "behind.graph", out_frames)
    with pytest.raises(StorageError, match=out_frames):
        script["main"](*(str(tmp_path / name) for name in names))
    np.testing.assert_array_equal(np.load(tmp_path / "whole.npy"), frames)
    assert sorted(tmp_path.rglob("*")) == before
