"""The verbs that take a network, given a stock NetX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Neuroport
from tests.stockfile import conv, dense, file


@pytest.fixture
def stock_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).integers(0, 2, (5, 2, 4)))
    return file(tmp_path / "slayer.net", dense(bias=[3.0]), dense(np.eye(3) * 60), steps=None)


def test_a_stock_file_is_shown_and_checked_once_its_steps_are_known(
    called: Neuroport, stock_file: Path
) -> None:
    silent = called("show", stock_file)
    assert silent.returncode == 2
    assert "give steps" in silent.stderr
    shown = called("show", stock_file, "--steps", 5)
    assert "lif" in shown.stdout
    assert "layer1" in shown.stdout
    checked = called("check", stock_file, "--steps", 5)
    assert checked.returncode == 1, checked.stderr
    assert "layer/0 (dense): its bias acts 1 step before" in checked.stdout
    assert "0 violations of" in checked.stdout


def test_check_counts_what_stock_netx_would_change(called: Neuroport, tmp_path: Path) -> None:
    frames = tmp_path / "frames.npy"
    np.save(frames, np.random.default_rng(0).integers(0, 2, (9, 1, 4)))
    # non-positive weights, which NetX halves
    weight = np.float32([[-2, 0, 0, -2], [0, -2, 0, -2], [0, 0, -2, -2]])
    path = file(tmp_path / "old.net", dense(weight, bias=[13.0]), steps=None)
    done = called("check", path, "--frames", frames, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["violations"] == []
    assert found["positions"] == 9 * 3
    wrong = {each["what"].split(";")[0]: each["changes"] for each in found["netx"]}
    assert wrong["6 of 12 weights change when NetX rescales them: -2 becomes -1"] > 0
    lines = called("check", path, "--frames", frames).stdout.splitlines()
    assert any(line.startswith("layer/0 (dense): 6 of 12") and "differ" in line for line in lines)


def test_what_netx_passes_over_is_run_and_lowered(called: Neuroport, tmp_path: Path) -> None:
    old, new, frames = (tmp_path / name for name in ("old.net", "new.net", "frames.npy"))
    np.save(frames, np.random.default_rng(0).integers(0, 2, (9, 2, 2, 6, 7)))
    file(old, conv(delay=[0.0, 2.0]), conv(shape=[2, 2, 3]), steps=None)
    direct = called("run", old, "--frames", frames, "--json")
    lowered = called("lower", old, "--steps", 9, "-o", new)
    assert lowered.returncode == 0, lowered.stderr
    ran = called("run", new, "--frames", frames, "--json")
    spikes = json.loads(ran.stdout)["spikes"]["layer1"]
    assert spikes == json.loads(direct.stdout)["spikes"]["layer1"] > 0
    assert called("check", new).returncode == 0


def test_check_of_a_file_without_a_network_tells_both(called: Neuroport, tmp_path: Path) -> None:
    path = file(tmp_path / "old.net", dense(), {"type": "pool", "shape": [1]})
    done = called("check", path)
    assert done.returncode == 1
    assert "layer/1 (pool): pool is no layer that NetX builds (NetX stops)" in done.stdout
    assert "neuroport cannot run it, either" in done.stdout
    assert called("lower", path, "-o", tmp_path / "new.net").returncode == 2


def test_a_stock_file_runs_reports_and_becomes_a_graph(called: Neuroport, stock_file: Path) -> None:
    folder = stock_file.parent
    frames, trace, graph = folder / "frames.npy", folder / "a.trace", folder / "a.graph"
    ran = called("run", stock_file, "--frames", frames, "-o", trace, "--json")
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout)["spikes"]) == {"layer0", "layer1"}
    page = folder / "page.html"
    done = called("report", stock_file, "--trace", trace, "-o", page)
    assert done.returncode == 0, done.stderr
    lowered = called("lower", stock_file, "--steps", 5, "-o", graph)
    assert lowered.returncode == 0, lowered.stderr
    same = called("compare", trace, graph, "--frames", frames)
    assert same.returncode == 0, same.stderr
    again = called("compare", trace, stock_file, "--frames", frames)
    assert again.returncode == 0, again.stderr


@pytest.mark.lava
def test_a_stock_file_runs_on_lava_by_its_name(called: Neuroport, stock_file: Path) -> None:
    frames = stock_file.parent / "frames.npy"
    same = called("compare", stock_file, stock_file, "--frames", frames, "--on", "lava-cpu")
    assert same.returncode == 0, same.stderr
    assert "0 differ" in same.stdout
