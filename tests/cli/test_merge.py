"""Shards on the command line: run, verified, merged; equal to the whole, and resumed by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.store import save
from neuroport.runs.trace import Trace
from tests.conftest import Neuroport
from tests.unit.runs.test_shards import frames, network, same_arrays


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "frames.npy", frames())
    np.save(tmp_path / "labels.npy", np.arange(23) % 4)
    save(network(), tmp_path / "a.graph")
    save(network(40), tmp_path / "b.graph")
    return tmp_path


RUN = ("run", "a.graph", "--frames", "frames.npy", "--labels", "labels.npy")


def test_runs_of_shards_are_merged_to_the_trace_of_the_whole(
    called: Neuroport, folder: Path
) -> None:
    whole = called(*RUN, "-o", "whole.trace", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    correct = []
    for number in (1, 2, 3):
        done = called(*RUN, "--shard", f"{number}/3", "-o", f"{number}.trace", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["provenance"]["shard"]["number"] == number
        correct.append(round(said["accuracy"] * said["samples"] / 100))
    assert f"({sum(correct)} of 23)" in whole.stdout
    done = called("merge", "3.trace", "1.trace", "2.trace", "-o", "merged.trace", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote merged.trace: 23 samples of 3 shards\n"
    same_arrays(Trace.load(folder / "merged.trace"), Trace.load(folder / "whole.trace"))
    compared = called("compare", "whole.trace", "merged.trace", cwd=folder)
    assert compared.returncode == 0, compared.stderr
    assert "0 differ" in compared.stdout


def test_what_cannot_be_merged_is_named_and_nothing_is_written(
    called: Neuroport, folder: Path
) -> None:
    for number in (1, 3):
        called(*RUN, "--shard", f"{number}/3", "-o", f"{number}.trace", cwd=folder)
    done = called("merge", "1.trace", "3.trace", "-o", "out.trace", cwd=folder)
    assert done.returncode == 2
    assert "shard 2/3 (samples 7 to 14) is missing; run it, and merge again" in done.stderr
    assert not (folder / "out.trace").exists()
    assert "give -o FILE" in called("merge", "1.trace", cwd=folder).stderr
    assert "give i/n" in called(*RUN, "--shard", "4/3", cwd=folder).stderr


def test_verify_of_shards_is_merged_to_that_of_the_whole(called: Neuroport, folder: Path) -> None:
    for networks, code in ((("a.graph",), 0), (("a.graph", "b.graph"), 1)):
        verify = ("verify", *networks, "--frames", "frames.npy")
        whole = called(*verify, "--json", cwd=folder)
        assert whole.returncode == code, whole.stderr
        codes = set()
        for number in (1, 2, 3):
            done = called(*verify, "--shard", f"{number}/3", "-o", f"{number}.json", cwd=folder)
            assert f"wrote {number}.json" in done.stdout
            codes.add(done.returncode)
        assert max(codes) == code
        merged = called("merge", "1.json", "2.json", "3.json", "--json", cwd=folder)
        assert merged.returncode == code, merged.stderr
        want, got = json.loads(whole.stdout), json.loads(merged.stdout)
        for key in ("positions", "spikes", "differing", "by_population", "first", "samples"):
            assert got[key] == want[key], key
    text = called("verify", "a.graph", "--frames", "frames.npy", cwd=folder).stdout
    assert text.startswith("fast against reference: compared 621 spikes' worth of positions")


@pytest.mark.lava
def test_verify_on_lava_takes_its_options(called: Neuroport, folder: Path) -> None:
    save(port.lower(network(), "lava-cpu"), folder / "c.graph")
    verify = ("verify", "c.graph", "--frames", "frames.npy", "--samples", "4")
    done = called(*verify, "--on", "lava-cpu", "--processes", "fused", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lava-cpu against reference: compared 108 spikes' worth")
    done = called(*verify, "--processes", "fused", cwd=folder)
    assert done.returncode == 2
    assert "--processes is for lava-cpu; leave it out on 'fast'" in done.stderr
