"""Frames of ``neuroport import``: one file for one input, a name for each of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from tests.conftest import Neuroport
from tests.unit.runs.test_shards import frames, network


@pytest.mark.parametrize(
    "given",
    [
        ("--frames", "f.npy", "--frames", "zero.npy"),
        ("--frames", "zero.npy", "--frames", "f.npy"),
        ("--frames", "f.npy", "--frames", "input=zero.npy"),
        ("--frames", "input=f.npy", "--frames", "input=zero.npy"),
    ],
)
def test_no_frames_are_left_out_without_a_word(
    called: Neuroport, tmp_path: Path, given: tuple[str, ...]
) -> None:
    pytest.importorskip("nir")
    np.save(tmp_path / "f.npy", frames())
    np.save(tmp_path / "zero.npy", np.zeros_like(frames()))
    port.to_nir(network(), tmp_path / "net.nir")
    done = called("import", "net.nir", "-o", "net.graph", "--no-integers", *given, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert "give each as NAME=FILE, once for each input" in done.stderr
    assert not (tmp_path / "net.graph").exists()
