"""The verbs ``import`` and ``export`` with files of NIR."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import neuroport as port
from tests.conftest import Neuroport
from tests.nir.networks import DT, draw, write

FILES = Path(__file__).parent / "files"


def test_import_says_what_it_needs_one_thing_at_a_time(called: Neuroport, tmp_path: Path) -> None:
    out = tmp_path / "n.graph"
    said = called("import", FILES / "braille.nir", "-o", out)
    assert said.returncode == 2
    assert "give dt in seconds (--dt)" in said.stderr
    said = called("import", FILES / "braille.nir", "-o", out, "--dt", 1e-4)
    assert said.returncode == 2
    assert "give frames" in said.stderr
    assert "input (T, N, 12)" in said.stderr
    assert not out.exists()


def test_import_takes_several_inputs_by_name(called: Neuroport, tmp_path: Path) -> None:
    seed = next(n for n in range(100) if "several inputs" in draw(n).features)
    drawn = draw(seed)
    path = write(drawn.root, tmp_path / "n.nir")
    for name, frames in drawn.frames.items():
        np.save(tmp_path / f"{name}.npy", frames)
    given = [f"--frames={name}={tmp_path / name}.npy" for name in drawn.frames]
    out, joined = tmp_path / "n.graph", tmp_path / "joined.npy"
    said = called("import", path, "-o", out, *given, "--dt", DT, "--joined", joined, "--json")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert {record["source"] for record in told["records"]} >= set(drawn.frames)
    assert told["cost"]["outputs"]
    assert port.run(port.read(out), np.load(joined)).steps == 12
    assert told["hash"] == port.from_nir(drawn, dt=DT, frames=drawn.frames).hash


def test_export_by_its_suffix_writes_nir(called: Neuroport, tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "models/ms_resnet8_mnist/network.net"
    said = called("export", model, "-o", tmp_path / "n.nir")
    assert said.returncode == 0, said.stderr
    assert port.from_nir(tmp_path / "n.nir").hash == port.read(model).hash


def test_verbs_that_take_graphs_name_the_one_that_reads_nir(called: Neuroport) -> None:
    said = called("show", FILES / "braille.nir")
    assert said.returncode == 2
    assert "neuroport import makes a graph of it" in said.stderr
