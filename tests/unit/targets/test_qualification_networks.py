"""What a board is asked: each rule that calls something unproven has the network to prove it."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.backends.loihi2.legality import refuse
from neuroport.engines.reference import Reference
from neuroport.errors import FormatError, IllegalError, NeuroportError, StorageError, TargetError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Input, Lif, Node, Readout, Relay
from neuroport.targets import rules
from neuroport.targets.board_record import (
    DIFFERS,
    EQUAL,
    NOT_RUN,
    PROVEN,
    RULE,
    BoardRecord,
    Result,
    load_record,
)
from neuroport.targets.qualification_networks import (
    COLUMNS,
    CONSTRUCTS,
    EXPONENTS,
    MERGED,
    PRODUCTS,
    for_product,
    sized,
)
from neuroport.targets.rules import REFUSED, UNPROVEN, findings
from neuroport.targets.target import load_target
from neuroport.targets.verdict import check

BOARD = load_target("kapoho-point")
NOT_ON_THE_ENGINE = {"delays", "resonator", "sigma-delta"}


def verdicts() -> list[tuple[str, ast.Tuple]]:
    """Every finding that the rules can return, with the function that returns it."""
    tree = ast.parse(inspect.getsource(rules))
    return [
        (function.name, node.value)
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple)
    ]


def test_every_rule_that_calls_something_unproven_names_its_construct() -> None:
    unproven = {
        name: value.elts for name, value in verdicts() if ast.unparse(value.elts[0]) == "UNPROVEN"
    }
    assert len(unproven) == 8, sorted(unproven)
    assert {name for name, parts in unproven.items() if len(parts) != 3} == set()
    no_network_can = unproven.pop("widths_are_proven")  # it depends on the frames
    assert ast.literal_eval(no_network_can[2]) == ""
    fixed = [p[2].value for p in unproven.values() if isinstance(p[2], ast.Constant)]
    assert set(fixed) == {"readout-range", "resonator", "sigma-delta"}
    assert set(fixed) <= set(CONSTRUCTS)
    sizes = {"merged": MERGED, "exponent": EXPONENTS, "rounding": PRODUCTS, "width": COLUMNS}
    assert {sized(name, size) for name, several in sizes.items() for size in several} <= set(
        CONSTRUCTS
    )


def test_what_a_rule_calls_unproven_of_a_constructs_own_network_is_that_construct() -> None:
    seen = set()
    for construct in CONSTRUCTS.values():
        graph, _ = construct.network()
        told = {f.construct for f in findings(graph, BOARD) if f.severity == UNPROVEN}
        assert told <= {construct.name}
        seen |= told
    by_rule = {name for name, each in CONSTRUCTS.items() if each.used is None}
    alone = {"readout", "counters", "counters-shared", "frames-by-bias", "delays"}
    seen_on_chips = {sized("exponent", EXPONENTS[0])}  # no rule minds it
    assert by_rule - alone - seen_on_chips == seen


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_construct_is_tiny_legal_and_lively(name: str) -> None:
    graph, frames = CONSTRUCTS[name].network()
    if name in NOT_ON_THE_ENGINE:
        with pytest.raises(IllegalError):
            refuse(graph, BOARD)
        return
    refuse(graph, BOARD)
    assert len(graph) < 40
    trace = Reference().run(graph, frames)
    for population, values in trace.messages.items():
        assert np.count_nonzero(values) > 0, population
        assert len(np.unique(values)) > 1, population


@pytest.mark.parametrize("bits", PRODUCTS)
def test_products_fill_their_bits_and_round_both_ways(bits: int) -> None:
    graph, frames = CONSTRUCTS[sized("rounding", bits)].network()
    rounds = graph["rounds"]
    assert isinstance(rounds, Relay)
    half = 1 << (rounds.shift - 1)
    last = Relay("rounds", ("near",))
    current = Reference().run(Graph([*list(graph)[:-1], last], 4), frames)["rounds"].astype(int)
    most = (1 << (bits - 1)) - 1
    assert most // 2 < np.abs(current + half).max() <= most
    assert current.min() < -most // 3
    rest = (current & ((1 << rounds.shift) - 1)).ravel()
    assert (rest >= half).any()
    assert ((rest > 0) & (rest < half)).any()


def test_the_largest_readout_ends_at_the_largest_threshold() -> None:
    graph, frames = CONSTRUCTS["readout-range"].network()
    assert Reference().run(graph, frames)["potential"][-1].tolist() == [[131071 << 6]]


@pytest.mark.parametrize(
    ("worst", "name"),
    [(1, "rounding-10"), (511, "rounding-10"), (512, "rounding-12"), (8388607, "rounding-24"),
     (8388608, "")],
)  # fmt: skip
def test_a_product_is_proven_by_the_smallest_that_is_as_wide(worst: int, name: str) -> None:
    assert for_product(worst) == name


def record(**results: str) -> BoardRecord:
    """A record of today's constructs with these results; ``_`` stands for ``-``."""
    made = {
        name.replace("_", "-"): Result(
            result,
            CONSTRUCTS[name.replace("_", "-")].network()[0].hash,
            "there" * (result != EQUAL),
        )
        for name, result in results.items()
    }
    timing = {"input_delay": 0, "output_delay": 2, "read_delay": 1}
    return BoardRecord("kapoho-point", "a board", "N3B3", "2026-11-28", {"a": "1"}, timing, made)


def rounding(branches: int = 2) -> Graph:
    """A network that rounds products of 12 bits, in which convolutions merge."""
    eye = np.eye(2, dtype=np.int64)[:, :, None, None]
    nodes: list[Node] = [
        Input("frames", (2, 4, 4), 8),
        Conv("stem", ("frames",), 6 * eye),
        Relay("rounds", ("stem",), 3),
        *(Conv(f"c{i}", ("rounds",), 2 * eye) for i in range(branches)),
        Lif("lif", tuple(f"c{i}" for i in range(branches)), 30),
    ]
    return Graph(nodes, 4)


def told(graph: Graph, found: BoardRecord) -> list[tuple[str, str, str]]:
    verdict = check(graph, BOARD, qualified=found)
    return [(f.rule, f.severity, f.construct) for f in verdict.findings]


def test_what_was_equal_on_the_board_is_proven_there() -> None:
    graph = rounding()
    assert [f.severity for f in check(graph, BOARD).findings] == [UNPROVEN, UNPROVEN]
    found = record(rounding_12=EQUAL, merged_2=EQUAL)
    assert told(graph, found) == [
        ("neuron_exists", PROVEN, "rounding-12"),
        ("dendrite_is_known", PROVEN, "merged-2"),
    ]
    verdict = check(graph, BOARD, qualified=found)
    assert verdict
    lines = list(verdict.lines())
    assert "rounds: proven on this board: a relay that rounds, with products of 12 bits" in lines[0]
    assert "0 unproven on hardware, 2 proven on this board;" in lines[-1]
    assert [f["construct"] for f in verdict.to_dict()["proven"]] == ["rounding-12", "merged-2"]


def test_smaller_than_what_is_needed_proves_nothing() -> None:
    found = record(rounding_10=EQUAL, rounding_12=NOT_RUN, merged_2=EQUAL)
    assert [severity for _, severity, _ in told(rounding(3), found)] == [UNPROVEN, UNPROVEN]
    assert told(rounding(33), found)[1] == ("dendrite_is_known", UNPROVEN, "")


def test_a_network_of_another_version_proves_nothing() -> None:
    found = record(merged_2=EQUAL)
    old = replace(found.constructs["merged-2"], network="0" * 64)
    assert told(rounding(), replace(found, constructs={"merged-2": old}))[1][1] == UNPROVEN


def test_what_differs_on_the_board_is_refused_and_so_is_what_every_network_rests_on() -> None:
    found = record(rounding_12=DIFFERS, resets=DIFFERS, leaks=DIFFERS, counters=DIFFERS)
    assert told(rounding(), found) == [
        ("neuron_exists", REFUSED, "rounding-12"),
        ("dendrite_is_known", UNPROVEN, "merged-2"),
        (RULE, REFUSED, "resets"),  # nothing leaks here, and counters are not the network
    ]
    verdict = check(rounding(), BOARD, qualified=found)
    assert not verdict
    assert "differs from the reference in four samples" in list(verdict.lines())[1]


def test_a_readout_that_may_fire_stays_to_be_compared() -> None:
    (finding,) = check(
        Graph(CONSTRUCTS["readout-range"].make()[0], 4),
        BOARD,
        qualified=record(readout_range=EQUAL),
    ).findings
    assert finding.severity == UNPROVEN
    assert "proven on this board: it holds 131,071 and fires beyond" in finding.message


def test_a_record_of_another_board_is_refused() -> None:
    with pytest.raises(
        TargetError, match="the record is of a hala-point, and the target is kapoho"
    ):
        check(rounding(), BOARD, qualified=replace(record(), board="hala-point"))


def test_a_record_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    found = record(merged_2=EQUAL, rounding_12=DIFFERS, delays=NOT_RUN)
    found.save(tmp_path / "r.json")
    assert load_record(tmp_path / "r.json") == found
    lines = list(found.lines())
    assert lines[1] == "rounding-12  differs: there"
    assert lines[2].startswith("             look at: ProdNeuron")
    assert lines[-2:] == [
        "a board: 1 equal, 1 differs, 1 did not run",
        "timing: input_delay = 0, output_delay = 2, read_delay = 1",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [('"format": "neuroport q=', "not a record"), ('"version": 1=', "version 2"),
     ('"board": "kapoho-point"=', "str: 5"), ('"compared": 0=', "int: 'x'"),
     ('"result": "equal"=', "result"), ('"read_delay": 1=', "read_delay"),
     ('"seconds": 0.0=', "number of seconds: 'long'")],
)  # fmt: skip
def test_a_file_that_is_no_record_is_refused_with_what_is_wrong(
    tmp_path: Path, change: str, said: str
) -> None:
    path = record(merged_2=EQUAL).save(tmp_path / "r.json")
    old = change[:-1]
    new = {
        "not a record": '"format": "q',
        "version 2": '"version": 2',
        "str: 5": '"board": 5',
        "int: 'x'": '"compared": "x"',
        "result": '"result": "perhaps"',
        "read_delay": '"delay": 1',
        "number of seconds: 'long'": '"seconds": "long"',
    }[said]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=said):
        load_record(path)
    with pytest.raises(StorageError):
        load_record(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("options", "said"),
    [({"only": "merged"}, "no construct 'merged'; the constructs are spikes, "),
     ({"only": ["spikes", "x"]}, "no construct 'x'"),
     ({"deadline": 0}, "deadline is 0; give a number above 0"),
     ({"deadline": float("nan")}, "deadline is nan; give"),
     ({"out": "."}, "folder"),
     ({"site": "none.toml"}, "engine 'loihi2' is not available: ")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NeuroportError, match=said):
        port.qualify(**options)
    assert list(tmp_path.iterdir()) == []


def test_readouts_alone_have_a_construct() -> None:
    graph, _ = CONSTRUCTS["readout"].network()
    assert [type(node) for node in graph.populations] == [Readout]


@pytest.mark.parametrize(
    ("name", "field"), [("leaks", "voltage_decay"), ("currents", "current_decay")]
)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_decay_that_is_off_by_one_shows(name: str, field: str, off: int) -> None:
    graph, frames = CONSTRUCTS[name].network()
    assert Reference().run(graph, frames)["first"][:, 0].tolist() == [[0, 0]] * 3 + [[1, 0]]
    *before, neuron = graph
    assert getattr(neuron, field).item() not in (0, 4096)
    other = replace(neuron, **{field: getattr(neuron, field) + off})
    assert Reference().run(Graph([*before, other], 4), frames)["first"][-1, 0].tolist() != [1, 0]


def test_states_that_are_not_reset_show() -> None:
    graph, frames = CONSTRUCTS["resets"].network()
    trace = Reference().run(graph, frames)
    # as one long sample nothing resets, and something else is sent
    samples = frames.shape[1]
    together = frames.transpose(1, 0, 2).reshape(len(frames) * samples, 1, -1)
    whole = Reference().run(Graph(list(graph), len(together)), together)
    assert (whole["first"][4:8, 0] != trace["first"][:, 1]).any()
