"""The scripts of ``deploy`` are whole: their networks are legal, their example site is read."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import numpy as np

import neuroport as port
from neuroport.backends.loihi2.constructs import refuse
from neuroport.backends.loihi2.measuring import STATUS
from neuroport.backends.loihi2.site import load_site
from neuroport.engines.loihi2 import Loihi2
from neuroport.graph.graph import Graph
from neuroport.graph.node import Relay
from neuroport.targets.target import load_target


def test_the_example_site_is_a_site_with_a_known_board(root: Path) -> None:
    site = load_site(root / "deploy" / "loihi2" / "site.toml")
    assert load_target(site.board)["chips"] == site.chips == 8
    assert (site.input_delay, site.output_delay, site.read_delay) == (0, 0, 1)


def test_the_first_networks_are_legal_lively_and_tell_resets_apart(
    root: Path, tmp_path: Path
) -> None:
    runpy.run_path(str(root / "deploy" / "loihi2" / "first.py"))["main"](tmp_path)
    networks = sorted(tmp_path.glob("*.net"))
    assert [net.name[0] for net in networks] == ["1", "2", "3", "4", "5", "6"]
    for net in networks:
        graph, frames = port.read(net), np.load(net.with_suffix(".npy"))
        refuse(graph, load_target("loihi2"))
        trace = port.run(graph, frames)
        for name, kind in trace.kinds.items():
            if kind == "lif":
                assert 0.05 < trace[name].mean() < 0.95, (net.name, name)
        # as one long sample nothing resets, and something else is sent
        long = Graph(list(graph), graph.steps * frames.shape[1])
        whole = port.run(
            long,
            frames.transpose(1, 0, *range(2, frames.ndim)).reshape(
                long.steps, 1, *graph.input.shape
            ),
        )
        assert (whole["first"][8:16, 0] != trace["first"][:, 1]).any(), net.name
    assert any(isinstance(node, Relay) for node in port.read(networks[-1]))


def test_everything_for_a_board_says_that_it_was_not_run_on_hardware(root: Path) -> None:
    files = sorted((root / "deploy" / "loihi2").iterdir())
    assert {"run.py", "site.toml", "job.sbatch", "README.md"} <= {file.name for file in files}
    for file in (*files, root / "docs" / "loihi2.md", root / "README.md"):
        assert "not run on hardware" in file.read_text().lower(), file
    assert "not run on hardware" in STATUS
    assert "not run on hardware" in Loihi2().summary


def test_the_batch_job_is_a_shell_script(root: Path) -> None:
    job = root / "deploy" / "loihi2" / "job.sbatch"
    subprocess.run(["bash", "-n", str(job)], check=True)
