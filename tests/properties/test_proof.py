"""A slice of the long proof (``make prove``), and what keeps the proof honest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Lif, Node, Readout
from tests.properties.features import features
from tests.properties.networks import CHAINS, LAVA_EVERY, Case, for_lava, network
from tests.properties.proof import (
    CHIP,
    ON_LAVA_FOR_CHIP,
    ROTATED,
    WAYS,
    DivergenceError,
    as_for_chip,
    equal,
    prove,
    prove_chain,
    uniform,
)
from tests.properties.stock import Stock
from tests.properties.summary import FIRST, MEMBRANE, summary

# numbers far from those that everyone runs while changing something
SEEDS = range(100_000, 100_034)
# small ones, every way to carry shortcuts among them; the first runs by default and is cheap
LAVA_SEEDS = (100_184, 776, 100_008, 100_064, 100_080, 100_152)
# of them: a real-valued projection, which two relays round, and a membrane shortcut
MEMBRANE_SEEDS = (100_008, 100_064)
NETX_SEEDS = (776, 100_184)  # become chains, which unmodified NetX runs, too
CHAIN_SEEDS = (CHAINS + 900_001, CHAINS + 900_002, CHAINS + 900_003)
PROOF = Path(__file__).with_name("proof.json")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_engine_and_carrier_agrees_on_a_random_network(seed: int) -> None:
    outcome = prove(network(seed), seed)
    fast = {"fast", "fast, without kernels", "fast, older processor"}
    assert {"reference", *fast, "relay, relays", "unroll, delays"} <= set(outcome.compared)
    assert 3 * (outcome.silent + outcome.always) <= outcome.populations


@pytest.mark.lava
@pytest.mark.parametrize("seed", LAVA_SEEDS)
def test_lava_agrees_on_a_random_network(seed: int) -> None:
    assert for_lava(seed)
    outcome = prove(network(seed), seed, lava=True)
    assert outcome.lava
    assert outcome.compared["lava-cpu"]["lif"] > 0
    assert outcome.compared["lava-cpu, fused"] == outcome.compared["lava-cpu"]
    assert outcome.compared[ON_LAVA_FOR_CHIP]["lif"] > 0
    assert ("stock file, NetX" in outcome.compared) == (seed in NETX_SEEDS)


@pytest.mark.lava
@pytest.mark.parametrize("seed", MEMBRANE_SEEDS)
def test_lava_agrees_on_a_random_membrane_network_as_lowered_for_a_chip(seed: int) -> None:
    case = network(seed)
    assert not MEMBRANE.isdisjoint(case.tags)
    lowered = port.lower(uniform(case.graph), CHIP)
    assert as_for_chip(lowered, case.frames)[ON_LAVA_FOR_CHIP]["lif"] > 0


def test_membrane_networks_on_lava_as_lowered_for_a_chip_are_counted() -> None:
    row = {
        **dict.fromkeys(("populations", "silent", "always", "attempts", "seconds"), 0),
        **{"refused": {}, "graph": "", "lava": "relay, relays", "compared": {}, "features": {}},
    }
    ran, shortcut = {ON_LAVA_FOR_CHIP: {"lif": 7}}, {"membrane shortcut": 2}
    rows = [
        {**row, "seed": 0, "compared": ran, "features": shortcut},
        {**row, "seed": 1, "compared": ran, "features": {"spike shortcut": 1}},
        {**row, "seed": 2, "features": shortcut},
    ]
    assert summary(rows, "")[f"membrane networks, {ON_LAVA_FOR_CHIP}"] == 1


@pytest.mark.lava
@pytest.mark.parametrize("seed", CHAIN_SEEDS)
def test_unmodified_netx_agrees_on_a_random_chain(seed: int) -> None:
    outcome = prove_chain(network(seed))
    assert outcome.compared["stock file, NetX"] == outcome.compared["reference"]
    assert outcome.compared["reference"]["lif"] > 0


@pytest.mark.lava
def test_netx_after_a_failure_runs_the_next_file(tmp_path: Path) -> None:
    """One process runs them all: a file that it cannot read ends that process, not the proof."""
    stock = Stock()
    (tmp_path / "chain.net").write_text("no network")
    np.save(tmp_path / "frames.npy", np.zeros((1, 1, 2, 4, 4), np.int64))
    with pytest.raises(RuntimeError, match="stock NetX: failed"):
        stock.run(tmp_path)
    assert stock.process.poll() is not None
    prove_chain(network(CHAIN_SEEDS[0]))


def test_numbered_chains_are_chains_with_everything_that_a_stock_file_holds() -> None:
    seen = Counter[str]()
    for number in range(60):
        case = network(CHAINS + number)
        neurons = [node for node in case.graph if isinstance(node, (Lif, Readout))]
        assert all(len(set(node.inputs)) == 1 for node in neurons)
        seen.update(case.tags)
        seen.update(dict.fromkeys(features(case, Counter()), 1))
    wanted = ("convolutions", "dense synapses", "strides", "groups", "dilation", "padding")
    wanted += ("biases per channel", "thresholds per channel", "samples back to back")
    wanted += ("input: graded", "input: spikes", "MLF units of 2 levels", "leaky populations")
    assert not {name: seen[name] for name in wanted if seen[name] < 3}
    assert not any("shortcut" in name or "additive" in name for name in seen)


@pytest.mark.lava
def test_the_slice_on_lava_has_every_way_to_carry_shortcuts() -> None:
    ways = {WAYS[seed // LAVA_EVERY % ROTATED] for seed in LAVA_SEEDS}
    assert ways == set(WAYS[:ROTATED])


def test_a_number_means_one_network() -> None:
    one, again, other = network(5), network(5), network(6)
    assert one.graph.hash == again.graph.hash != other.graph.hash
    np.testing.assert_array_equal(one.frames, again.frames)


def one_step_off(node: Node) -> Node | None:
    """The node with the smallest possible mistake in it."""
    match node:
        case Lif():
            return replace(node, threshold=node.threshold + 1)
        case Readout():
            return replace(node, bias=node.bias + 1)
        case Conv() | Dense():
            return replace(node, weight=-node.weight)
        case _:
            return None


def test_mistakes_in_one_node_are_found() -> None:
    """Thresholds lie where voltages do: most that are one too large change spikes."""
    engine, found, tried = Reference(), Counter[type](), Counter[type]()
    for seed in range(20):
        case = network(seed)
        want = engine.run(case.graph, case.frames).messages
        for index, node in enumerate(case.graph):
            wrong = one_step_off(node)
            if wrong is None:
                continue
            nodes = [*case.graph.nodes[:index], wrong, *case.graph.nodes[index + 1 :]]
            graph = Graph(nodes, case.graph.steps, case.graph.interval)
            got = engine.run(graph, case.frames).messages
            tried[type(node)] += 1
            try:
                equal("right", "wrong", graph, want, got)
            except DivergenceError:
                found[type(node)] += 1
    assert found[Lif] > 0.5 * tried[Lif]
    assert found[Conv] > 0.9 * tried[Conv]
    assert found[Dense] > 0.85 * tried[Dense]
    assert found[Readout] == tried[Readout]


def test_the_proof_that_is_kept_is_of_these_networks() -> None:
    if not PROOF.exists():
        pytest.skip("no proof is kept; make prove")
    kept = json.loads(PROOF.read_text())
    assert kept["differing spikes"] == kept["differing potentials"] == 0
    # what was proven before they were counted says nothing of them
    assert kept.get(f"membrane networks, {ON_LAVA_FOR_CHIP}", 100) >= 100
    assert len(kept["first graphs"]) == min(FIRST, kept["networks"])
    for seed, graph in kept["first graphs"].items():
        assert network(int(seed)).graph.hash == graph, "the builder changed: make prove again"


def test_the_proof_that_is_kept_is_of_these_chains() -> None:
    kept = json.loads(PROOF.read_text()) if PROOF.exists() else {}
    if "chains" not in kept:
        pytest.skip("no proof of chains is kept; make prove")
    chains = kept["chains"]
    assert chains["networks"] == chains["comparisons"]["stock file, NetX"]["networks"] >= 500
    assert chains["differing spikes"] == chains["differing potentials"] == 0
    for seed, graph in chains["first graphs"].items():
        assert network(int(seed)).graph.hash == graph, "the builder changed: make prove again"


@pytest.mark.lava
def test_chains_are_counted_for_themselves(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "proof.json"
    small = ("--count", 1, "--jobs", 1, "--lava", 0, "--chains", 1, "--ledgers", tmp_path)
    done = prove_command(*small, "--out", out, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "1 chains as stock files in unmodified NetX" in done.stdout
    kept = json.loads(out.read_text())
    assert kept["networks"] == 1
    assert (
        kept["chains"]["networks"] == kept["chains"]["comparisons"]["stock file, NetX"]["networks"]
    )
    assert list(kept["chains"]["first graphs"]) == [str(CHAINS)]


def prove_command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.prove", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_an_interrupted_proof_goes_on_where_it_was(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "proof.json"
    small = (
        "--jobs",
        1,
        "--lava",
        0,
        "--chains",
        0,
        "--seed",
        777_001,
        "--ledgers",
        tmp_path,
        "--out",
        out,
    )
    first = prove_command("--count", 2, *small, cwd=root)
    assert first.returncode == 0, first.stderr
    (ledger,) = tmp_path.glob("*.jsonl")
    rows = ledger.read_text()
    ledger.write_text(rows[:-40])  # cut short, as by a lost power supply
    again = prove_command("--count", 3, *small, cwd=root)
    assert again.returncode == 0, again.stderr
    assert "1 of 3 were done before" in again.stdout
    kept = json.loads(out.read_text())
    assert kept["networks"] == 3
    assert kept["seeds"] == {"first": 777_001, "last": 777_003}


def test_shards_of_a_proof_are_joined_by_their_ledgers(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "proof.json"
    options = ("--count", 3, "--jobs", 1, "--lava", 0, "--chains", 0, "--seed", 777_001)
    small = (*options, "--ledgers", tmp_path, "--out", out)
    for shard, networks in (("1/2", 2), ("2/2", 1)):
        done = prove_command(*small, "--shard", shard, cwd=root)
        assert done.returncode == 0, done.stderr
        assert f"shard {shard}: {networks} networks, 0 differ" in done.stdout
        assert not out.exists()
    whole = prove_command(*small, cwd=root)
    assert whole.returncode == 0, whole.stderr
    assert "3 of 3 were done before" in whole.stdout
    assert json.loads(out.read_text())["networks"] == 3
    refused = prove_command(*small, "--shard", "3/2", cwd=root)
    assert refused.returncode != 0
    assert "give i/n" in refused.stderr


def test_a_divergence_is_an_exit_code_and_leaves_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import prove as command
    from neuroport.graph.store import load
    from tests.properties import proof

    def wrong(case: Case, number: int, lava: bool) -> None:
        raise DivergenceError("fast differs from interpreter in lif2")

    monkeypatch.setattr(proof, "prove", wrong)
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "11", "--out", str(tmp_path / "proof.json")], standalone_mode=False)
    assert ended.value.code == 1
    assert "seed 11" in capsys.readouterr().err
    assert load(tmp_path / "diverged-11.graph").hash == network(11).graph.hash
    np.testing.assert_array_equal(np.load(tmp_path / "diverged-11.npy"), network(11).frames)
