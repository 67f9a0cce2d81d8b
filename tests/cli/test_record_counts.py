"""Counts on the command line: run, compared, told in words and as JSON, priced in cores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Readout
from neuroport.graph.store import save
from neuroport.runs.trace import Trace
from tests.conftest import Neuroport
from tests.unit.reporting.test_explorer import data_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network, frames for it, and the whole trace of that run."""
    weight = 2 * np.arange(-9, 9).reshape(1, 2, 3, 3).repeat(2, 0)
    nodes = [
        Input("frames", (2, 6, 6), bits=1),
        Conv("stem", ("frames",), weight, padding=(1, 1)),
        Lif("first", ("stem",), 9),
        Conv("conv", ("first",), weight, padding=(1, 1)),
        Lif("second", ("conv",), 9),
        Dense("classes", ("second",), np.full((3, 72), 2)),
        Readout("potential", ("classes",)),
    ]
    graph = Graph(nodes, 3)
    frames = np.random.default_rng(0).integers(0, 2, (3, 4, 2, 6, 6))
    np.save(tmp_path / "frames.npy", frames)
    save(graph, tmp_path / "a.graph")
    port.run(graph, frames).save(tmp_path / "full.trace")
    return tmp_path


RUN = ("run", "a.graph", "--frames", "frames.npy")


def test_run_says_and_stores_the_counts_of_every_population(
    called: Neuroport, folder: Path
) -> None:
    full = Trace.load(folder / "full.trace")
    done = called(*RUN, "--record", "counts", "-o", "counts.trace", cwd=folder)
    assert done.returncode == 0, done.stderr
    for name in ("first", "second"):
        sent = int(full[name].sum())
        most = int(full[name].sum(0).max())
        assert (
            f"lif        {sent:>12,} messages, {sent / 4:,.1f} per sample, at most {most} at one "
            "of 72 counters (a counter per neuron)"
        ) in done.stdout
    stored = Trace.load(folder / "counts.trace")
    assert list(stored.counts) == ["first", "second"]
    assert list(stored.messages) == ["potential"]
    data = json.loads(called(*RUN, "--record", "counts", "--json", cwd=folder).stdout)
    assert data["counts"]["first"]["messages"] == data["spikes"]["first"] == full["first"].sum()
    assert data["predictions"] == full.predictions.tolist()


def test_run_records_messages_unless_told_otherwise(called: Neuroport, folder: Path) -> None:
    data = json.loads(called(*RUN, "--json", "-o", "again.trace", cwd=folder).stdout)
    assert "counts" not in data
    assert Trace.load(folder / "again.trace").counts == {}


def test_counts_of_chosen_populations_per_channel(called: Neuroport, folder: Path) -> None:
    options = ("--record", "counts", "--count", "second", "--granularity", "channel")
    data = json.loads(called(*RUN, *options, "--json", cwd=folder).stdout)
    assert {name: row["counters"] for name, row in data["counts"].items()} == {"second": 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--record", "rates"), "record is 'rates'; use 'messages' or 'counts'"),
        (("--count", "first"), "count and granularity are for record='counts'"),
        (("--granularity", "layer"), "count and granularity are for record='counts'"),
        (("--record", "counts", "--granularity", "pixel"), "granularity is 'pixel'"),
        (("--record", "counts", "--count", "potential"), "a readout, which keeps its steps"),
    ],
)
def test_options_that_do_not_exist_are_one_line_and_write_nothing(
    called: Neuroport, folder: Path, options: tuple[str, ...], said: str
) -> None:
    done = called(*RUN, *options, "-o", "new.trace", cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "new.trace").exists()


def test_compare_takes_counts_on_either_side(called: Neuroport, folder: Path) -> None:
    assert called(*RUN, "--record", "counts", "-o", "counts.trace", cwd=folder).returncode == 0
    for pair in (("full.trace", "counts.trace"), ("counts.trace", "full.trace")):
        done = called("compare", *pair, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "compared 576 counts of messages and 36 spikes' worth of positions" in done.stdout
    trace = Trace.load(folder / "counts.trace")
    trace.counts["second"][1, 0, 0, 0] += 1
    trace.save(folder / "wrong.trace")
    # with a network at hand, too: no step is known that could be explained
    for want, *frames in (("full.trace",), ("a.graph", "--frames", "frames.npy")):
        done = called("compare", want, "wrong.trace", *frames, cwd=folder)
        assert done.returncode == 1, done.stderr
        assert "population 'second', sample 1, counter (0, 0, 0)" in done.stdout


def test_a_report_of_counts_has_the_figures_and_no_rasters_of_neurons(
    called: Neuroport, folder: Path
) -> None:
    pages = {}
    for name in ("messages", "counts"):
        trace = f"{name}.trace"
        assert called(*RUN, "--record", name, "-o", trace, cwd=folder).returncode == 0
        options = ("--trace", trace, "--frames", "frames.npy", "-o", f"{name}.html", "--json")
        done = called("report", "a.graph", *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        pages[name] = json.loads(done.stdout)["statistics"]
    assert pages["counts"] == pages["messages"]
    shown = {
        name: {
            each["kind"] for each in data_of((folder / f"{name}.html").read_text())["populations"]
        }
        for name in ("messages", "counts")
    }
    assert "lif" in shown["messages"]
    assert shown["counts"] <= {"frames", "readout"}  # what counts keep step by step


def told(done: Any) -> Any:
    return json.loads(done.stdout)


@pytest.mark.parametrize(("granularity", "counters"), [("neuron", 144), ("channel", 4)])
def test_check_prices_counters_in_cores(
    called: Neuroport, folder: Path, granularity: str, counters: int
) -> None:
    check = ("check", "a.graph", "--target", "loihi2")
    alone = told(called(*check, "--json", cwd=folder))
    assert alone["counters"] is None
    found = told(called(*check, "--counters", granularity, "--json", cwd=folder))
    assert found["counters"] == {
        "granularity": granularity,
        "populations": 2,
        "counters": counters,
        "cores": 2,
        "more_cores": 2,
        "not_counted": [],
    }
    assert found["resources"]["cores"] == alone["resources"]["cores"] + 2
    assert f"counters: {counters} per {granularity} of 2 populations, on 2 cores" in (
        called(*check, "--counters", granularity, cwd=folder).stdout
    )


def test_counters_are_priced_on_chips_only(called: Neuroport, folder: Path) -> None:
    done = called("check", "a.graph", "--counters", "neuron", cwd=folder)
    assert done.returncode == 2
    assert "counters take cores of a chip, and lava-cpu is none" in done.stderr
    done = called("check", "a.graph", "--target", "loihi2", "--counters", "pixel", cwd=folder)
    assert done.returncode == 2
    assert "granularity is 'pixel'; use neuron, channel, layer" in done.stderr


@pytest.mark.lava
def test_lava_counts_on_the_command_line(called: Neuroport, folder: Path) -> None:
    options = ("--record", "counts", "--on", "lava-cpu", "-o", "lava.trace")
    done = called(*RUN, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    done = called("compare", "full.trace", "lava.trace", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert "0 differ" in done.stdout
