"""``neuroport qualify`` end to end on stand-ins: it finds their delays, and what they do wrong.

The whole table, with every construct and every fault, is ``docs/qualifying.json``
(``python -m benchmarks.qualifying``); a part of it runs here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.qualifying import AROUND, EXPECTED, RESULT, asked, qualified
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Input, Lif, Node, Relay
from neuroport.graph.store import save
from neuroport.targets.board_record import DIFFERS, EQUAL, NOT_RUN
from neuroport.targets.qualification_networks import CONSTRUCTS

ROWS = json.loads(RESULT.read_text())
NETWORKS = {name: construct.network()[0].hash for name, construct in CONSTRUCTS.items()}


def differing(results: dict[str, str]) -> list[str]:
    return [name for name, result in results.items() if result == DIFFERS]


def test_the_honest_stand_ins_are_equal_in_all_that_the_engine_runs() -> None:
    row = ROWS["honest"]
    assert row["networks"] == NETWORKS
    not_run = {name for name, result in row["results"].items() if result == NOT_RUN}
    assert not_run == {"delays", "resonator", "sigma-delta"}
    assert all(row["where"][name].startswith("illegal for loihi2") for name in not_run)
    assert {r for n, r in row["results"].items() if n not in not_run} == {EQUAL}
    assert row["timing"] == {"input_delay": 1, "output_delay": 2, "read_delay": 1}


def test_many_faults_were_seeded() -> None:
    assert set(ROWS) <= {"honest", *EXPECTED}
    assert len(ROWS) > 16


@pytest.mark.parametrize("fault", [fault for fault in EXPECTED if fault in ROWS])
def test_each_seeded_fault_was_named_first_and_no_other(fault: str) -> None:
    row, expected = ROWS[fault], EXPECTED[fault]
    assert row["networks"] == {name: NETWORKS[name] for name in asked(fault)}
    assert set(differing(row["results"])) == set(expected)
    assert differing(row["results"])[0] == expected[0]
    assert {row["results"][name] for name in set(AROUND) - set(expected)} <= {EQUAL}


@pytest.mark.lava
@pytest.mark.long
@pytest.mark.timeout(600)
def test_delays_of_a_board_are_found_and_a_wrong_construct_is_named(tmp_path: Path) -> None:
    chosen = {"wrong": "products of 16 bits", "input_delay": 2, "output_delay": 1}
    record, said, code = qualified(chosen, ("spikes", "rounding-16", "rounding-20"))
    assert record.timing == {"input_delay": 2, "output_delay": 1, "read_delay": 1}
    results = {name: found.result for name, found in record.constructs.items()}
    assert results == {"spikes": EQUAL, "rounding-16": EQUAL, "rounding-20": DIFFERS}
    assert code == 1
    assert "rounding-20: differs: population 'rounds', step " in said
    assert "look at: ProdNeuron" in said
    assert "2 equal, 1 differs, 0 did not run" in said

    record.save(tmp_path / "record.json")
    eye = np.eye(2, dtype=np.int64)[:, :, None, None]
    for shift, weight, code, severity in ((5, 126, 0, "proven"), (9, 254, 1, "violations")):
        nodes: list[Node] = [
            Input("frames", (2, 4, 4), 8),
            *(Conv(f"stem{i}", ("frames",), weight * eye) for i in range(1 + (shift > 5))),
            Relay("rounds", ("stem0", "stem1") if shift > 5 else ("stem0",), shift),
            Conv("on", ("rounds",), 2 * eye),
            Lif("lif", ("on",), 9),
        ]
        save(Graph(nodes, 4), tmp_path / "n.graph")
        command = [sys.executable, "-m", "neuroport", "check", tmp_path / "n.graph", "--json"]
        options = ["--target", "kapoho-point", "--qualified", tmp_path / "record.json"]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        found = {f["node"]: f for f in json.loads(done.stdout)[severity]}
        assert "rounding-" in found["rounds"]["construct"]
