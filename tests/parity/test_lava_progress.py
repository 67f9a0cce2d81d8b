"""A progress callback that raises ends the run with what it raised, on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif

GRAPH = Graph(
    [
        Input("frames", (2,), bits=1),
        Dense("weights", ("frames",), np.full((2, 2), 8)),
        Lif("spikes", ("weights",), 5),
    ],
    steps=4,
)
FRAMES = np.ones((4, 3, 2), np.int64)


class Enough(Exception):  # noqa: N818 - the user's
    pass


def enough(*_: Any) -> None:
    raise Enough


def impatient(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "engine", ["reference", "fast", pytest.param("lava-cpu", marks=pytest.mark.lava)]
)
def test_what_a_progress_callback_raises_ends_the_run(engine: str) -> None:
    if engine == "fast":
        pytest.importorskip("torch")
    with pytest.raises(Enough):
        port.run(GRAPH, FRAMES, on=engine, progress=enough)


@pytest.mark.lava
def test_a_lava_child_does_not_outlive_the_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    from neuroport.backends.lava_cpu import supervisor

    started = []
    popen = supervisor.subprocess.Popen

    def keeping(*arguments: Any, **options: Any) -> Any:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(supervisor.subprocess, "Popen", keeping)
    with pytest.raises(KeyboardInterrupt):
        port.run(
            GRAPH,
            FRAMES,
            on="lava-cpu",
            progress=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
    assert started
    assert all(child.returncode is not None for child in started)


def test_verification_ends_with_what_its_callback_raises() -> None:
    with pytest.raises(Enough):
        port.verify(GRAPH, None, FRAMES, on=("reference", "reference"), progress=enough)


def test_minimization_ends_with_what_its_callback_raises() -> None:
    def broken(graph: Graph, frames: Any) -> port.Trace:
        trace = port.run(graph, frames)
        for messages in trace.messages.values():
            messages[:] = ~messages
        return trace

    with pytest.raises(Enough):
        port.minimize(GRAPH, broken, FRAMES, report=enough)


def test_training_ends_with_what_its_report_raises(tmp_path: Path, tiny_recipe: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("mlxtend")
    with pytest.raises(Enough):
        port.fit(port.load_recipe(tiny_recipe), tmp_path / "run", report=enough)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
