"""``compare --minimize``: from a network that differs to a file that fits on a screen."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense

PLANTED = "readout.synapse"


@pytest.fixture
def wrong(network: Path, tmp_path: Path) -> Path:
    """The network with one wrong weight."""
    graph = port.read(network)
    nodes = []
    for node in graph:
        if isinstance(node, Dense) and node.name == PLANTED:
            weight = node.weight.copy()
            weight[3] = np.where(weight[3] > 0, weight[3] - 2, weight[3] + 2)
            node = replace(node, weight=weight)
        nodes.append(node)
    assert graph.hash != Graph(nodes, graph.steps).hash
    return port.export(Graph(nodes, graph.steps), tmp_path / "wrong.net")


def test_minimize_writes_networks_and_frames_that_still_differ(
    called: Any, network: Path, wrong: Path, frames: Path, tmp_path: Path
) -> None:
    arguments = ("compare", network, wrong, "--frames", frames, "--minimize", "-o", "small.net")
    done = called(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"cause: scale: node '{PLANTED}', weight[" in done.stdout
    assert "samples: " in done.stdout
    before = len(port.read(network))
    assert f"\n{before} nodes and " in done.stdout
    assert done.stdout.endswith("wrote small.net, small.other.net, small.npy\n")
    small = tmp_path / "small.net"
    assert len(port.read(small)) <= 4
    again = ("compare", small, tmp_path / "small.other.net", "--frames", tmp_path / "small.npy")
    done = called(*again, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["cause"]["kind"], told["cause"]["node"]) == ("scale", PLANTED)


def test_minimize_tells_its_numbers_to_machines(
    called: Any, network: Path, wrong: Path, frames: Path, tmp_path: Path
) -> None:
    arguments = ("compare", network, wrong, "--frames", frames, "--minimize", "-o", "small.net")
    done = called(*arguments, "--json", cwd=tmp_path)
    small = json.loads(done.stdout)["minimized"]
    assert small["before"]["nodes"] == len(port.read(network)) > small["after"]["nodes"]
    assert small["samples"] == 1
    assert small["interrupted"] is False
    assert small["files"] == ["small.net", "small.other.net", "small.npy"]


def test_minimize_of_what_is_equal_says_so_and_writes_nothing(
    called: Any, network: Path, frames: Path, tmp_path: Path
) -> None:
    arguments = ("compare", network, network, "--frames", frames, "--minimize", "-o", "small.net")
    done = called(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("the runs are equal, so there is nothing to minimize\n")
    assert list(tmp_path.iterdir()) == []


def test_minimize_refuses_traces_and_needs_a_file(
    called: Any, network: Path, frames: Path, tmp_path: Path
) -> None:
    done = called("run", network, "--frames", frames, "-o", "net.trace", cwd=tmp_path)
    assert done.returncode == 0
    arguments = ("compare", network, "net.trace", "--frames", frames, "--minimize")
    done = called(*arguments, "-o", "small.net", cwd=tmp_path)
    assert done.returncode == 2
    assert "net.trace is a trace; --minimize takes networks" in done.stderr
    done = called(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "--minimize and -o go together" in done.stderr


def test_networks_that_differ_without_an_effect_exit_0_and_say_so(
    called: Any, network: Path, frames: Path, tmp_path: Path
) -> None:
    graph = port.read(network)
    port.export(Graph(graph, graph.steps, graph.steps + 1), tmp_path / "slow.net")
    done = called("compare", network, "slow.net", "--frames", frames, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == (
        "the networks differ (first: node 'graph', interval: 4 and 5), the spikes do not"
    )


@pytest.mark.lava
def test_minimize_on_lava_and_ctrl_c_keeps_the_best(
    entry_point: list[str], network: Path, wrong: Path, frames: Path, tmp_path: Path
) -> None:
    arguments = ["compare", network, wrong, "--frames", frames, "--on", "lava-cpu"]
    arguments += ["--minimize", "-o", "small.net"]
    child = subprocess.Popen(
        [*entry_point, *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        # not what a shell left ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("what is upstream: "):
            break
    time.sleep(0.2)  # the next run has begun
    child.send_signal(signal.SIGINT)
    rest = child.stdout.read()
    assert child.wait(timeout=60) == 130
    assert ", interrupted)" in rest
    graph, data = port.read(tmp_path / "small.net"), np.load(tmp_path / "small.npy")
    other = port.read(tmp_path / "small.other.net")
    assert len(graph) < len(port.read(network))
    assert not port.compare(port.run(graph, data), port.run(other, data, on="lava-cpu"))
