"""A slice of the hostile files, and what the run over all of them has to show."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neuroport import netx
from neuroport.errors import FormatError
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.graph.node import OWN_KINDS, Dense, Input, Lif
from neuroport.netx.stock import is_stock
from tests.hostile import samples
from tests.hostile.__main__ import GOOD, MEGABYTES, OTHERS_OUT, bound
from tests.hostile.bombs import BOMBS, bomb
from tests.hostile.flips import FLIPS
from tests.hostile.mutations import mutation
from tests.hostile.structures import EDITS
from tests.tiers import whole

SUBTRACTIVE = {"subtractivelif", "subtractiverecurrent"}


@pytest.fixture(scope="module")
def committed() -> Any:
    """What ``make hostile`` wrote last."""
    return json.loads(Path(__file__).with_name("results.json").read_text())


def test_mutated_files_are_read_equal_or_refused_at_once_and_cheaply(
    root: Path, tmp_path: Path
) -> None:
    # a process of its own: every file is read by a fork, and forks of this large one are slow
    out = tmp_path / "results.json"
    count, stock = 80 if whole() else 32, 50
    counts = ["--count", f"{count}", "--stock", f"{stock}", "--others", f"{count}"]
    command = [sys.executable, "-m", "tests.hostile", *counts]
    done = subprocess.run(
        [*command, "--jobs", "1", "--out", str(out)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["failures"] == []
    assert found["read equal"] > 0, "damage to padding is harmless"
    assert found["of these by their hash"] > 0, "damage to values is seen by the hash alone"
    assert found["refused"] > count // 3
    assert found["also through the command line"] > 0
    assert found["read equal"] + found["refused"] == count
    assert min(found["stock files"].values()) > 3
    assert sum(found["stock files"].values()) == stock
    others = json.loads(out.with_name(OTHERS_OUT).read_text())
    assert others["failures"] == []
    changed = others["read as it was changed, without a hash"]
    assert others["read equal"] + changed + others["refused"] == count
    assert others["refused"] > count // 3


def test_mutated_networks_and_stock_files_hold_every_kind_of_node(tmp_path: Path) -> None:
    assert {node.kind for node in samples.graph()} == set(OWN_KINDS)
    found, layers = set(), set()
    for name, entries in samples.STOCK.items():
        path = tmp_path / "stock.net"
        path.write_bytes(samples.stock(name))
        found |= {node.kind for node in netx.read(path)}
        layers |= {entry["type"] for entry in entries}
    assert found == set(OWN_KINDS) - SUBTRACTIVE  # which NetX has not
    assert layers == {"input", "flatten", "conv", "pool", "dense", "dense_rec", "average"}


def test_damaged_network_does_not_pass_for_the_netx_layers_beside_its_graph(tmp_path: Path) -> None:
    chain = Graph(
        [
            Input("frames", (2,), bits=1),
            Dense("weights", ("frames",), 2 * np.arange(6).reshape(3, 2)),
            Lif("spikes", ("weights",), 5),
        ],
        steps=4,
    )
    path = netx.export(chain, tmp_path / "chain.net")
    with h5py.File(path, "r+") as file:
        assert "weight" in file["layer/1"], "the chain is written in NetX's layers, too"
    sound = path.read_bytes()
    damage: list[Callable[[h5py.File], None]] = [
        lambda file: file.attrs.__delitem__("format"),
        lambda file: file.attrs.__setitem__("format", 7),
        lambda file: h5py.h5a.rename(file.id, b"format", b"fosmat"),
        lambda file: file.move("graph", "grapi"),
        lambda file: (file.move("graph", "grapi"), file.attrs.__delitem__("format"))[1],
    ]
    for edit in damage:
        path.write_bytes(sound)
        with h5py.File(path, "r+") as file:
            edit(file)
        assert not is_stock(path)
        with pytest.raises(FormatError):
            netx.read(path)


def test_seed_makes_the_same_file_again() -> None:
    for seed in (0, 1, 2, 3, 8):
        assert mutation(seed) == mutation(seed)


def test_committed_run_read_ten_thousand_files_without_a_failure(committed: Any) -> None:
    assert committed["files"] >= 10_000
    assert committed["failures"] == []
    assert committed["read equal"] + committed["refused"] == committed["files"]
    assert committed["largest, MB above the process"]["value"] <= MEGABYTES
    slowest = committed["slowest, CPU seconds"]
    assert slowest["value"] <= bound(slowest.get("bytes", 0)) or slowest["outcome"] == "equal"


def test_three_thousand_sound_nodes_are_read_and_not_taken_for_an_attack(tmp_path: Path) -> None:
    path = tmp_path / "deep.graph"
    path.write_bytes(bomb("3000 sound nodes"))
    assert len(store.load(path, verify=False).nodes) == 3000


def test_committed_run_tried_every_mutation_on_networks_and_a_thousand_traces(
    committed: Any,
) -> None:
    kinds = committed["kinds"]
    for what in ("graph", "trace"):
        for kind in (*FLIPS, *EDITS):
            for sealed in ("", ", sealed again"):
                assert f"{what}: {kind}{sealed}" in kinds
    assert {kind.split("bomb: ")[1] for kind in kinds if "bomb" in kind} == set(BOMBS)
    traces = sum(sum(found.values()) for kind, found in kinds.items() if kind.startswith("trace"))
    assert traces >= 1000
    assert all(set(found) <= set(GOOD) for found in kinds.values())
