"""Chips on the command line: listed, checked against, lowered for; what does not fit is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Readout
from neuroport.graph.store import load, save
from tests.conftest import Neuroport

SMALL = """\
summary = "a chip of two cores"
base = "loihi2"
[cores]
value = 2
source = "test"
confidence = "seen"
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A stem, a neuron, a skipped convolution, and classes: the shortcut is not yet aligned."""
    weight = 2 * np.arange(-9, 9).reshape(1, 2, 3, 3).repeat(2, 0)
    nodes = [
        Input("frames", (2, 6, 6), bits=1),
        Conv("stem", ("frames",), weight, padding=(1, 1)),
        Lif("first", ("stem",), 9),
        Conv("conv", ("first",), weight, padding=(1, 1)),
        Lif("second", ("conv",), 9),
        Dense("classes", ("first", "second"), np.full((3, 72), 2)),
        Readout("potential", ("classes",)),
    ]
    return save(Graph(nodes, 3), tmp_path / "ideal.graph")


@pytest.fixture
def lowered(called: Neuroport, network: Path, tmp_path: Path) -> Path:
    done = called("lower", network, "-o", "chip.graph", "--target", "loihi2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "chip.graph"


def told(done: Any) -> Any:
    return json.loads(done.stdout)


def test_lower_says_what_it_picked_for_the_chip_by_itself(
    called: Neuroport, network: Path, tmp_path: Path
) -> None:
    done = called("lower", network, "-o", "chip.graph", "--target", "loihi2", cwd=tmp_path)
    every = "samples every 4 steps, 3 of them shown: states reset every 2**k steps"
    assert every in done.stdout
    arguments = ("lower", network, "-o", "chip.graph", "--target", "loihi2", "--json")
    assert every in told(called(*arguments, cwd=tmp_path))["picked"]
    done = called("lower", network, "-o", "cpu.graph", cwd=tmp_path)
    assert "states reset" not in done.stdout


def test_lower_says_what_does_not_fit_and_the_cheapest_change(
    called: Neuroport, network: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    done = called("lower", network, "-o", "chip.graph", "--target", "small.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "does not fit: " in done.stdout
    assert "cores are needed, " in done.stdout


def test_targets_lists_the_simulator_and_every_board_smallest_first(
    called: Neuroport, tmp_path: Path
) -> None:
    done = called("targets", cwd=tmp_path)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        *(
            "lava-cpu",
            "loihi2",
            "oheo-gulch",
            "loihi1",
            "kapoho-point",
            "vpx",
            "alia-point",
            "hala-point",
        )
    ]
    assert told(called("targets", "--json", cwd=tmp_path))["targets"]["vpx"] == 1920


def test_a_target_is_shown_with_the_source_of_every_value(
    called: Neuroport, tmp_path: Path
) -> None:
    done = called("targets", "kapoho-point", cwd=tmp_path)
    (chips,) = [line for line in done.stdout.splitlines() if line.startswith("chips ")]
    assert chips.split()[1] == "8"
    assert "(seen: lava-dl 0.6.0, benchmark.ipynb of PilotNet counts 8" in chips
    values = told(called("targets", "kapoho-point", "--json", cwd=tmp_path))["values"]
    assert values["chips"]["value"] == 8
    assert all(value["source"] for value in values.values())


def test_the_fit_is_printed_with_its_residuals(called: Neuroport, tmp_path: Path) -> None:
    lines = called("targets", "--fit", cwd=tmp_path).stdout.splitlines()
    assert lines[-1].startswith(
        "30 of 34 tiles have the published synapse words within 1 %, "
        "33 of 34 layers the published cores;"
    )
    assert any(line.startswith("PilotNet SDNN: 61 cores published, 61") for line in lines)
    found = told(called("targets", "--fit", "--json", cwd=tmp_path))["tables"]
    conv3 = found[2]["rows"][3]
    assert (conv3["layer"], round(conv3["residual"], 3)) == ("conv3", -0.2)


def test_a_lowered_network_that_fits_ends_with_0(
    called: Neuroport, lowered: Path, tmp_path: Path
) -> None:
    done = called("check", lowered, "--target", "oheo-gulch", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("fits oheo-gulch, 0 violations of 21 rules")
    assert "not run on hardware" in done.stdout
    data = told(called("check", lowered, "--target", "oheo-gulch", "--json", cwd=tmp_path))
    assert data["fits"]
    assert data["resources"]["cores"] == len(data["resources"]["populations"])


def test_a_network_that_was_not_lowered_breaks_rules_and_ends_with_1(
    called: Neuroport, network: Path, tmp_path: Path
) -> None:
    done = called("check", network, "--target", "loihi2", cwd=tmp_path)
    assert done.returncode == 1
    assert "[latencies_agree]" in done.stdout
    assert "[interval_is_a_power_of_two]" in done.stdout


def test_what_does_not_fit_is_told_with_the_cheapest_change(
    called: Neuroport, lowered: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    done = called("check", lowered, "--target", "small.toml", cwd=tmp_path)
    assert done.returncode == 1
    cores = told(called("check", lowered, "--target", "loihi2", "--json", cwd=tmp_path))
    need = cores["resources"]["cores"]
    assert f"does not fit: {need} cores are needed, {need - 2} more than the 2 of" in done.stdout
    assert "no change of weight bits, of channels or of the board alone" in done.stdout


def test_lower_takes_the_fewest_cores_and_prints_what_each_way_takes(
    called: Neuroport, network: Path, tmp_path: Path
) -> None:
    arguments = ("lower", network, "-o", "a.graph", "--target", "loihi2", "--minimize", "cores")
    lines = called(*arguments, cwd=tmp_path).stdout.splitlines()
    ways = [line for line in lines if line[2:].startswith(("relay", "unroll", "stock"))]
    assert [line[0] for line in ways].count("*") == 1
    assert len(ways) >= 4
    assert all("cores" in line for line in ways)
    found = told(called(*arguments, "--json", cwd=tmp_path))
    legal = [way["cores"] for way in found["carriers"] if not way["refusal"]]
    check = told(called("check", "a.graph", "--target", "loihi2", "--json", cwd=tmp_path))
    assert check["resources"]["cores"] == min(legal)
    assert load(tmp_path / "a.graph").interval == 4


def test_a_target_file_without_a_source_is_refused_in_one_line(
    called: Neuroport, lowered: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text(SMALL.replace('source = "test"\n', ""))
    for verb in (("check", lowered), ("lower", lowered, "-o", "x.graph")):
        done = called(*verb, "--target", "bad.toml", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("neuroport: bad.toml: cores has no source; say where")
        assert done.stderr.count("\n") == 1


def test_cores_are_minimized_on_a_chip_only(
    called: Neuroport, network: Path, tmp_path: Path
) -> None:
    done = called("lower", network, "-o", "a.graph", "--minimize", "cores", cwd=tmp_path)
    assert done.returncode == 2
    assert "lava-cpu has no cores to minimize; name a chip such as 'loihi2'" in done.stderr


def test_a_report_for_a_target_tells_energy_and_time_with_labels(
    called: Neuroport, lowered: Path, tmp_path: Path
) -> None:
    frames = np.random.default_rng(2).integers(0, 2, (3, 2, 2, 6, 6))
    np.save(tmp_path / "frames.npy", frames)
    given = ("--frames", "frames.npy")
    assert called("run", lowered, *given, "-o", "a.trace", cwd=tmp_path).returncode == 0
    asked = ("report", lowered, "--trace", "a.trace", "--target", "loihi2", "-o", "page.html")
    done = called(*asked, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Loihi 2 energy: not available without a measurement" in done.stdout
    assert "not Loihi" in done.stdout
    assert "unpublished-grade constants" in done.stdout
    found = told(called(*asked, *given, "--json", cwd=tmp_path))
    estimates = found["energy"]["estimates"]
    assert estimates["loihi1_nj"]["unit"] == "nJ"
    assert estimates["loihi1_nj"]["value"] > 0
    assert estimates["loihi2_uj"]["value"] is None
    work = found["energy"]["work"]
    counted = work["accumulates"] + sum(work[f"{k}_multiplies"] for k in ("frame", "shortcut"))
    assert counted == pytest.approx(found["statistics"]["operations"])
    without = called(*asked, cwd=tmp_path)
    assert without.returncode == 0, without.stderr
    assert "energy and time: the frames of the run are needed" in without.stdout


def test_check_maps_a_network_on_the_chips_of_a_board(
    called: Neuroport, lowered: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mtkahypar", reason="pip install 'neuroport[map]'")
    frames = np.ones((3, 2, 2, 6, 6), np.int64)
    np.save(tmp_path / "frames.npy", frames)
    done = called("run", lowered, "--frames", "frames.npy", "-o", "run.trace", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "pair.toml").write_text(
        SMALL + '[chips]\nvalue = 4\nsource = "t"\nconfidence = "seen"\n'
    )
    command = ("check", lowered, "--target", "pair.toml", "--map", "run.trace")
    done = called(*command, "--frames", "frames.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "messages between chips per sample" in done.stdout
    assert "hops are unknown" in done.stdout
    found = told(called(*command, "--json", cwd=tmp_path))["mapping"]
    assert found["chips"] == 2
    assert found["messages"] <= found["naive"]
    assert found["messages"] == sum(link["messages"] for link in found["links"])
    assert found["host"] is None
    assert "mapping" not in told(called(*command[:4], "--json", cwd=tmp_path))
    assert "without its counters" not in done.stdout
    (tmp_path / "pair.toml").write_text(
        SMALL + '[chips]\nvalue = 400\nsource = "t"\nconfidence = "seen"\n'
    )
    done = called(*command, "--counters", "neuron", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mapped without its counters and the messages to them:\n" in done.stdout
    command = ("report", lowered, "--trace", "run.trace", "--map", "-o", "page.html")
    done = called(*command, "--target", "pair.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "messages between chips per sample" in (tmp_path / "page.html").read_text()
    done = called(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "--map needs the chips of a --target" in done.stderr


def test_a_map_is_refused_without_chips_or_with_another_trace(
    called: Neuroport, lowered: Path, network: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "frames.npy", np.ones((3, 1, 2, 6, 6), np.int64))
    called("run", network, "--frames", "frames.npy", "-o", "other.trace", cwd=tmp_path)
    done = called("check", lowered, "--map", "other.trace", cwd=tmp_path)
    assert done.returncode == 2
    assert "is mapped (--map) onto chips, and lava-cpu has none" in done.stderr
    arguments = ("--target", "loihi2", "--map", "other.trace")
    done = called("check", lowered, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "run this one" in done.stderr
    assert done.stdout == ""
    (tmp_path / "small.toml").write_text(SMALL)
    arguments = ("--target", "small.toml", "--map", "other.trace")
    done = called("check", lowered, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "not mapped: it does not fit" in done.stdout


def test_check_refuses_frames_that_it_would_not_read(
    called: Neuroport, lowered: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "frames.npy", np.ones((3, 1, 2, 6, 6), np.int64))
    for target in ("lava-cpu", "loihi2"):
        done = called("check", lowered, "--target", target, "--frames", tmp_path / "frames.npy")
        assert done.returncode == 2
        assert "holds a graph, which has its steps and its input; drop yours" in done.stderr
        done = called("check", lowered, "--target", target, "--frames", tmp_path / "none.npy")
        assert done.returncode == 2
        assert "none.npy: no such file" in done.stderr
