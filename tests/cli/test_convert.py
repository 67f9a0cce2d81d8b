"""The verb ``convert``: from one file to another, with a record of every node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.frontends.converting import convert
from neuroport.frontends.nir.reading import read as read_nir
from neuroport.graph.store import load, save
from tests.conftest import Neuroport
from tests.helpers.stockfile import dense
from tests.helpers.stockfile import file as stock_netx
from tests.kinds.test_subtractive_lif import network as subtracting
from tests.unit.backends.test_counting import network

NIR = Path(__file__).parents[1] / "nir" / "files" / "braille.nir"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    path = tmp_path / "frames.npy"
    np.save(path, np.random.default_rng(0).integers(0, 2, (20, 2, 12)))
    return path


def converted(called: Neuroport, *words: object) -> dict[str, object]:
    done = called("convert", *words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_around_all_forms_the_network_is_the_same_and_every_node_has_a_record(
    called: Neuroport, tmp_path: Path, frames: Path
) -> None:
    graph, net, back = (tmp_path / f"n.{form}" for form in ("graph", "net", "nir"))
    made = converted(called, NIR, "-o", graph, "--dt", 1e-4, "--frames", frames)
    assert made["cost"]["populations"][0]["name"] == "lif1.lif"
    assert all(record["targets"] and record["what"] for record in made["records"])
    lowered = converted(called, graph, "-o", net)
    assert {r["source"] for r in lowered["records"]} == {node.name for node in load(graph)}
    names = {node.name for node in port.read(net)}
    assert {t for r in lowered["records"] for t in r["targets"]} == names
    x = np.load(frames)
    assert np.array_equal(port.run(load(graph), x)["lif2"], port.run(net, x)["lif2"])
    converted(called, graph, "-o", back)
    again = converted(called, back, "-o", tmp_path / "again.graph")
    assert again["hash"] == made["hash"]


FORMS = ("graph", "net", "nir")


@pytest.mark.parametrize("source", [*FORMS, "stock.net", "braille.nir"])
def test_every_pair_of_forms_explains_every_node_and_computes_the_same(
    called: Neuroport, tmp_path: Path, frames: Path, source: str
) -> None:
    words: tuple[object, ...] = ()
    x = np.load(frames)
    if source == "braille.nir":
        path, words = NIR, ("--dt", 1e-4, "--frames", frames)
        first = port.import_nir(NIR, dt=1e-4, frames=x)
        nodes, graph = {r.source for r in first.records}, first.graph
    elif source == "stock.net":
        path = stock_netx(tmp_path / "stock.net", dense(), dense(np.eye(3) * 60), steps=None)
        words, x = ("--steps", 5), np.random.default_rng(0).integers(0, 2, (5, 2, 4))
        graph = port.read(path, steps=5)
        nodes = {node.name for node in graph}
    else:
        graph = port.import_nir(NIR, dt=1e-4, frames=x).graph
        path = tmp_path / f"source.{source}"
        if source == "graph":
            save(graph, path)
        elif source == "net":
            graph = port.lower(graph, target="lava-cpu")
            port.export(graph, path)
        else:
            port.to_nir(graph, path)
        nodes = {node.name for node in graph}
    want = port.run(graph, x)
    for form in FORMS:
        out = tmp_path / f"out.{form}"
        done = called("convert", path, "-o", out, *words, "--explain")
        assert done.returncode == 0, done.stderr
        told = {line.split("  ")[0].strip() for line in done.stdout.splitlines() if " -> " in line}
        assert nodes <= told, (form, nodes - told)
        again = port.import_nir(out).graph if form == "nir" else port.read(out)
        got = port.run(again, x)
        for name in set(want.messages) & set(got.messages):
            assert np.array_equal(want[name], got[name]), (form, name)
        assert {n.name for n in graph.populations} <= set(got.messages)


def test_at_once_from_nir_to_a_file_for_lava(
    called: Neuroport, tmp_path: Path, frames: Path
) -> None:
    done = called(
        *("convert", NIR, "-o", tmp_path / "n.net", "--dt", 1e-4, "--frames", frames),
    )
    assert done.returncode == 0, done.stderr
    assert "fc1.late1" in done.stdout
    assert port.read(tmp_path / "n.net").steps == 20


def test_explain_shows_what_stays_as_it_is_too(called: Neuroport, tmp_path: Path) -> None:
    save(subtracting()[0], tmp_path / "a.graph")
    short = called("convert", tmp_path / "a.graph", "-o", tmp_path / "b.graph").stdout
    whole = called("convert", tmp_path / "a.graph", "-o", tmp_path / "b.graph", "--explain").stdout
    assert "7 nodes as it is" in short
    assert "soft1   subtractivelif        -> soft1: as it is" in whole


def test_dt_beside_integers_is_that_of_the_file_that_is_written(tmp_path: Path) -> None:
    stored = port.to_nir(network(), tmp_path / "a.nir")
    made = convert(stored, tmp_path / "b.nir", dt=0.5)
    assert made.graph.hash == network().hash
    assert read_nir(tmp_path / "b.nir").dt == 0.5


def test_what_cannot_be_is_one_line(called: Neuroport, tmp_path: Path) -> None:
    save(subtracting()[0], tmp_path / "a.graph")
    np.save(tmp_path / "f.npy", np.zeros((9, 1, 3), int))
    port.to_nir(network(), tmp_path / "a.nir")
    for words, says in (
        ((tmp_path / "a.graph", "-o", tmp_path / "b.nir"), "soft1"),
        ((tmp_path / "a.graph", "-o", tmp_path / "b.txt"), "ends in none of .graph, .net, .nir"),
        ((tmp_path / "a.graph", "-o", tmp_path / "b.net", "--target", "loihi2"), "subtract"),
        ((NIR, "-o", tmp_path / "b.graph"), "--dt"),
        ((tmp_path / "a.graph", "-o", tmp_path / "b.graph", "--target", "loihi2"), "not lowered"),
        ((tmp_path / "a.graph", "-o", tmp_path / "b.nir", "--target", "nonsense"), "not lowered"),
        ((tmp_path / "a.graph", "-o", tmp_path / "b.net", "--steps", "3"), "has steps"),
        (
            (tmp_path / "a.graph", "-o", tmp_path / "b.net", "--frames", tmp_path / "f.npy"),
            "frames",
        ),
        ((tmp_path / "a.nir", "-o", tmp_path / "b.net", "--steps", "3"), "steps are for stock"),
        ((tmp_path / "a.nir", "-o", tmp_path / "b.net", "--dt", "1"), "leave dt, scale"),
        ((tmp_path / "a.nir", "-o", tmp_path / "b.nir", "--dt", "0"), "dt is 0"),
        ((NIR, "-o", tmp_path / "b.graph", "--dt", "nan"), "dt is nan; give the seconds of a step"),
    ):
        done = called("convert", *words)
        assert done.returncode in (1, 2)
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not list(tmp_path.glob("b.*"))
