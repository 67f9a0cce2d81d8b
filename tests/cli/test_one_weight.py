"""One weight, changed by its smallest legal step: comparing names the first spike that differs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv

STEP = 2  # weights of both signs are even
STEPS = 4  # of the tiny network


class Edit(NamedTuple):
    """One weight of one synapse, and what changing it does."""

    node: str
    place: tuple[int, ...]
    value: int
    graph: Graph
    first: dict[str, Any]


def with_weight(graph: Graph, node: Conv, place: tuple[int, ...], value: int) -> Graph:
    weight = node.weight.copy()
    weight[place] = value
    changed = replace(node, weight=weight)
    return Graph([changed if n.name == node.name else n for n in graph], graph.steps)


def first_difference(want: port.Trace, got: port.Trace) -> dict[str, Any] | None:
    """The earliest step, then the population nearest the input, sample and neuron, one by one."""
    for step in range(STEPS):
        for name, expected in want.messages.items():
            places = np.argwhere(expected[step] != got[name][step])
            if len(places):
                sample, *neuron = (int(i) for i in places[0])
                return {
                    "population": name,
                    "step": step,
                    "sample": sample,
                    "neuron": neuron,
                    "expected": int(expected[(step, sample, *neuron)]),
                    "got": int(got[name][(step, sample, *neuron)]),
                }
    return None


@pytest.fixture(scope="module")
def edit(network: Path, frames: Path) -> Edit:
    """The first weight, in the order of the file, whose change alters a neuron's spikes at once."""
    graph, digits = port.read(network), np.load(frames)
    want = port.run(graph, digits)
    for node in graph:
        # a synapse of both signs: its smallest legal step is 2
        if not isinstance(node, Conv) or not node.weight.min() < 0 < node.weight.max():
            continue
        for place in list(np.ndindex(*node.weight.shape))[:8]:
            value = int(node.weight[place]) + STEP
            if value > 254:
                continue
            changed = with_weight(graph, node, place, value)
            first = first_difference(want, port.run(changed, digits))
            if first is not None and want.kinds[first["population"]] == "lif":
                return Edit(node.name, place, value, changed, first)
    raise AssertionError("no weight of the network alters a spike")


def edit_file(path: Path, edit: Edit) -> None:
    """Change the weight where it lies in the HDF5 file."""
    with h5py.File(path, "r+") as file:
        (group,) = (g for g in file["graph"].values() if g.attrs["name"] == edit.node)
        weight = group["weight"]
        shift = weight.attrs.get("shift", 0)
        assert edit.value - (int(weight[edit.place]) << shift) == STEP
        assert edit.value % (1 << shift) == 0
        weight[edit.place] = edit.value >> shift


def sentence(first: dict[str, Any]) -> str:
    neuron = tuple(first["neuron"])
    return (
        f"first divergence: population '{first['population']}', step {first['step']}, "
        f"sample {first['sample']}, neuron {neuron}: expected {first['expected']}, "
        f"got {first['got']}"
    )


def test_an_edited_network_written_by_the_library_differs_from_the_named_spike_on(
    called: Any, network: Path, frames: Path, edit: Edit, tmp_path: Path
) -> None:
    shutil.copy(network, tmp_path / "original.net")
    port.export(edit.graph, tmp_path / "edited.net")
    arguments = ("compare", "original.net", "edited.net", "--frames", frames)
    done = called(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    summary, divergence, cause, *table = done.stdout.splitlines()
    assert divergence == sentence(edit.first)
    # and why: the weight, where it lies in its array, and the neuron that it made differ
    at = f"weight[{', '.join(map(str, edit.place))}]"
    values = f"is {edit.value - STEP} in want and {edit.value} in got"
    assert cause == f"cause: scale: node {edit.node!r}, {at} {values}"
    assert "threshold<<6" in table[0]
    assert f"{edit.node} gives" in table[-1]
    assert {edit.first["expected"], edit.first["got"]} == {0, 1}
    told = json.loads(called(*arguments, "--json", cwd=tmp_path).stdout)
    assert told["equal"] is False
    assert told["first"] == edit.first
    cause = told["cause"]
    assert (cause["kind"], cause["node"], cause["field"]) == ("scale", edit.node, "weight")
    assert cause["index"] == list(edit.place)
    assert told["neighbourhood"]["fault"] == "inputs"
    assert told["differing"] == sum(told["by_population"].values()) > 0
    assert re.search(r", ([\d,]+) differ$", summary) is not None
    assert f", {told['differing']:,} differ" in summary
    # nothing differs upstream of the synapse
    graph = port.read(network)
    names = [node.name for node in graph]
    upstream = set(names[: names.index(edit.node)])
    assert upstream.isdisjoint(told["by_population"])


def test_the_page_of_a_comparison_names_the_weight_and_shows_both_runs(
    called: Any, network: Path, frames: Path, edit: Edit, tmp_path: Path
) -> None:
    shutil.copy(network, tmp_path / "original.net")
    port.export(edit.graph, tmp_path / "edited.net")
    port.run(edit.graph, np.load(frames)).save(tmp_path / "edited.trace")
    labels = frames.with_name("labels.npy")
    for got in ("edited.net", "edited.trace"):
        arguments = ("compare", "original.net", got, "--frames", frames, "--report", "out.html")
        done = called(*arguments, "--labels", labels, "--json", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "")
        assert json.loads(done.stdout)["report"] == "out.html"
        page = (tmp_path / "out.html").read_text()
        assert f"<title>{got} against original.net &middot;" in page
        place = ", ".join(map(str, edit.first["neuron"]))
        assert f'<b><span class="tight">({place})</span></b>' in page
        assert ('class="unlike"' in page) == (got == "edited.net")
        assert "95% interval" in page


def test_a_page_that_cannot_be_made_is_refused_before_any_run(
    called: Any, network: Path, frames: Path, tmp_path: Path
) -> None:
    port.run(port.read(network), np.load(frames)).save(tmp_path / "a.trace")
    for arguments, says in (
        (("a.trace", "a.trace", "--report", "out.html"), "--trace WANT --got GOT"),
        ((network, network, "--frames", frames, "--labels", "l.npy"), "add --report"),
    ):
        done = called("compare", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert says in " ".join(done.stderr.split())
    assert not (tmp_path / "out.html").exists()
    done = called(
        "report", network, "--trace", "a.trace", "--got", "a.trace", "-o", "a.html", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "a.html").read_text()
    assert f"<title>{network.name} &middot;" in page
    assert ": 0 differ." in page


def test_a_file_edited_behind_our_back_is_not_run(
    called: Any, network: Path, frames: Path, edit: Edit, tmp_path: Path
) -> None:
    edited = Path(shutil.copy(network, tmp_path / "edited.net"))
    edit_file(edited, edit)
    content = edited.read_bytes()
    for engine in ("reference", "lava-cpu"):
        done = called("run", "edited.net", "--frames", frames, "--on", engine, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("neuroport: ")
        if engine == "reference":
            assert line.startswith("neuroport: edited.net: content hash ")
            assert "edited" in line
            assert "export it again" in line
    assert edited.read_bytes() == content


@pytest.mark.parametrize("order", ["original edited", "edited original"])
def test_a_file_edited_behind_our_back_is_compared_by_what_it_holds(
    called: Any, network: Path, frames: Path, edit: Edit, tmp_path: Path, order: str
) -> None:
    shutil.copy(network, tmp_path / "original.net")
    edit_file(Path(shutil.copy(network, tmp_path / "edited.net")), edit)
    files = [f"{name}.net" for name in order.split()]
    done = called("compare", *files, "--frames", frames, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("neuroport: edited.net: content hash ")
    assert line.endswith("comparing what it holds")
    first = dict(edit.first)
    if order == "edited original":
        first["expected"], first["got"] = first["got"], first["expected"]
    assert done.stdout.splitlines()[1] == sentence(first)


@pytest.mark.lava
def test_lava_finds_the_same_first_spike(
    called: Any, network: Path, frames: Path, edit: Edit, tmp_path: Path
) -> None:
    shutil.copy(network, tmp_path / "original.net")
    edit_file(Path(shutil.copy(network, tmp_path / "edited.net")), edit)
    arguments = ("compare", "original.net", "edited.net", "--frames", frames, "--on", "lava-cpu")
    done = called(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("lava-cpu against reference: ")
    assert done.stdout.splitlines()[1] == sentence(edit.first)
