"""The verbs that take a network, given a stock NetX file."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import Neuroport
from tests.helpers.stockfile import WEIGHT, conv, dense, file


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
    assert "layer/1 (pool): pool is a layer that NetX does not build (NetX stops)" in done.stdout
    assert "neuroport cannot run it, either" in done.stdout
    assert called("lower", path, "-o", tmp_path / "new.net").returncode == 2


def test_a_stock_file_runs_and_reports(called: Neuroport, stock_file: Path) -> None:
    folder = stock_file.parent
    frames, trace = folder / "frames.npy", folder / "a.trace"
    ran = called("run", stock_file, "--frames", frames, "-o", trace, "--json")
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout)["spikes"]) == {"layer0", "layer1"}
    page = folder / "page.html"
    done = called("report", stock_file, "--trace", trace, "-o", page)
    assert done.returncode == 0, done.stderr
    np.save(frames, 3 * np.load(frames))  # which need more bits than the spikes of the file
    assert called("run", stock_file, "--frames", frames, "-o", trace).returncode == 0
    bare = called("report", stock_file, "--trace", trace, "-o", page)
    assert bare.returncode == 2
    assert "give the --frames of that run" in bare.stderr
    done = called("report", stock_file, "--trace", trace, "--frames", frames, "-o", page)
    assert done.returncode == 0, done.stderr


def test_a_stock_file_becomes_a_graph(called: Neuroport, stock_file: Path) -> None:
    folder = stock_file.parent
    frames, trace, graph = folder / "frames.npy", folder / "a.trace", folder / "a.graph"
    assert called("run", stock_file, "--frames", frames, "-o", trace).returncode == 0
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


def test_frames_say_what_a_file_leaves_open(called: Neuroport, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    strided = file(tmp_path / "a.net", conv(stride=[2, 2], shape=[2, 2, 3]), steps=None)
    np.save(tmp_path / "maps.npy", rng.integers(0, 2, (7, 2, 2, 6, 7)).astype(np.uint8))
    silent = called("show", strided, "--steps", 7)
    assert silent.returncode == 2
    assert "(--frames FILE" in silent.stderr
    for verb in (("run",), ("show",), ("check",), ("lower", "-o", tmp_path / "b.graph")):
        done = called(*verb, strided, "--frames", tmp_path / "maps.npy")
        assert "leaves the size" not in done.stdout + done.stderr, verb
        assert done.returncode == (verb == ("check",))  # samples in a row
    graded = file(tmp_path / "c.net", dense(), steps=None)
    np.save(tmp_path / "graded.npy", rng.integers(0, 9, (7, 1, 4)))
    ran = called("run", graded, "--frames", tmp_path / "graded.npy", "--json")
    assert json.loads(ran.stdout)["spikes"]["layer0"] > 0
    told = called("check", graded, "--frames", tmp_path / "graded.npy").stdout
    assert "graded frames are taken for spikes; Network(input_message_bits=8) fixes it" in told
    wrong = called("run", graded, "--frames", tmp_path / "maps.npy")
    assert "frames are (7, 2, 2, 6, 7), the network takes (7, N, 4)" in wrong.stderr


def test_check_is_content_where_nothing_changes_on_the_frames(
    called: Neuroport, tmp_path: Path
) -> None:
    path = file(tmp_path / "a.net", dense(), steps=None)
    np.save(tmp_path / "one.npy", np.random.default_rng(0).integers(0, 2, (9, 1, 4)))
    done = called("check", path, "--frames", tmp_path / "one.npy")
    assert done.returncode == 0, done.stdout
    assert "0 spikes differ" in done.stdout
    assert "1 more would change nothing on these frames" in done.stdout
    assert called("check", path, "--steps", 9).returncode == 1, "of no frames nothing is known"


def test_files_that_are_not_what_they_look_like_say_how_to_get_them(
    called: Neuroport, tmp_path: Path
) -> None:
    pointer = tmp_path / "mnist.net"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 1\n")
    said = called("show", pointer).stderr
    assert "a pointer of Git LFS, not the file itself" in said
    assert "git lfs pull" in said
    packed = file(tmp_path / "packed.net", dense())
    with h5py.File(packed, "r+") as into:
        weight = into["layer/0/weight"][()]
        del into["layer/0/weight"]
        into.create_dataset("layer/0/weight", data=weight, compression="gzip")
    assert "h5repack -l CONTI old.net new.net" in called("show", packed).stderr


def test_messages_of_sigma_delta_neurons_are_counted(called: Neuroport, tmp_path: Path) -> None:
    neuron = {"type": "SDNN", "activation": "relu", "vThMant": 0}
    path = file(tmp_path / "a.net", dense(40 * (np.abs(WEIGHT) + 2), neuron=neuron), steps=None)
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).integers(0, 9, (7, 1, 4)))
    done = called("run", path, "--frames", tmp_path / "frames.npy", "--json")
    assert json.loads(done.stdout)["graded"]["layer0"] > 0
    text = called("run", path, "--frames", tmp_path / "frames.npy").stdout
    assert " graded messages, " in text
    assert "spikes, " not in text
