"""A recipe of events goes the whole road: train, frames, quantize, run, and equal spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port

pytestmark = pytest.mark.slow

RECIPE = """\
name = "events"
[data]
dataset = "saccades"
steps = 3
train = 40
test = 10
binning = "count"
[network]
widths = [4, 6, 8]
shortcut = "stride"
[training]
epochs = 2
batch = 20
[quantization]
epochs = 1
"""


def test_events_train_quantize_and_run_with_equal_spikes(
    called: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("torch", "tonic", "mlxtend"):
        pytest.importorskip(package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "events.toml").write_text(RECIPE)
    for command in (
        "train events.toml -o run",
        "frames run -o frames.npy --labels labels.npy --samples 10",
        "quantize run -o integers.graph",
        "lower integers.graph -o chip.graph",
        "export chip.graph -o events.net",
        "run events.net --frames frames.npy --labels labels.npy",
        "compare run events.net --frames frames.npy",
    ):
        done = called(*command.split(), cwd=tmp_path)
        assert done.returncode == 0, command + done.stdout + done.stderr
    frames = np.load(tmp_path / "frames.npy")
    assert frames.dtype == np.uint8
    assert frames.shape == (3, 10, 2, 34, 34)
    assert sorted(np.load(tmp_path / "labels.npy")) == list(range(10))
    # groups of equally many events
    assert np.ptp(frames.sum(axis=(2, 3, 4), dtype=int), axis=0).max() <= 1
    graph = port.read(tmp_path / "events.net")
    assert port.run(graph, frames).samples == 10
    refused = called("frames", "run", "-o", "more.npy", "--samples", "11", cwd=tmp_path)
    assert refused.returncode == 2
    assert "use 1 to 10 held-out samples" in refused.stderr
