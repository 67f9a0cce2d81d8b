"""The verbs that take a network, given a stock NetX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Neuroport
from tests.stockfile import dense, file


@pytest.fixture
def stock_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).integers(0, 2, (5, 2, 4)))
    return file(tmp_path / "slayer.net", dense(bias=[3.0]), dense(np.eye(3) * 60), steps=None)


def test_a_stock_file_is_shown_and_checked_once_its_steps_are_known(
    neuroport: Neuroport, stock_file: Path
) -> None:
    silent = neuroport("show", stock_file)
    assert silent.returncode == 2
    assert "give steps" in silent.stderr
    shown = neuroport("show", stock_file, "--steps", 5)
    assert "lif" in shown.stdout
    assert "layer1" in shown.stdout
    checked = neuroport("check", stock_file, "--steps", 5)
    assert checked.returncode == 0, checked.stdout


def test_a_stock_file_runs_reports_and_becomes_a_graph(
    neuroport: Neuroport, stock_file: Path
) -> None:
    folder = stock_file.parent
    frames, trace, graph = folder / "frames.npy", folder / "a.trace", folder / "a.graph"
    ran = neuroport("run", stock_file, "--frames", frames, "-o", trace, "--json")
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout)["spikes"]) == {"layer0", "layer1"}
    page = folder / "page.html"
    done = neuroport("report", stock_file, "--trace", trace, "-o", page)
    assert done.returncode == 0, done.stderr
    lowered = neuroport("lower", stock_file, "--steps", 5, "-o", graph)
    assert lowered.returncode == 0, lowered.stderr
    same = neuroport("compare", trace, graph, "--frames", frames)
    assert same.returncode == 0, same.stderr
    again = neuroport("compare", trace, stock_file, "--frames", frames)
    assert again.returncode == 0, again.stderr


@pytest.mark.lava
def test_a_stock_file_runs_on_lava_by_its_name(neuroport: Neuroport, stock_file: Path) -> None:
    frames = stock_file.parent / "frames.npy"
    same = neuroport("compare", stock_file, stock_file, "--frames", frames, "--on", "lava-cpu")
    assert same.returncode == 0, same.stderr
    assert "0 differ" in same.stdout
