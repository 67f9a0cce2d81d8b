"""A kind that one file adds goes the whole road: nothing else of neuroport knows it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import GraphError, IllegalError, RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Readout
from neuroport.graph.node_builders import identity
from neuroport.graph.store import load, save
from neuroport.targets.rules import require_legal
from tests.kinds.soft_lif import SoftLif

STEPS, SAMPLES = 6, 4


def network(**changes: int) -> Graph:
    """A residual network: two convolutions of soft neurons, a shortcut around the second."""
    rng = np.random.default_rng(7)

    def conv(name: str, source: str, outputs: int, inputs: int) -> Conv:
        weight = 2 * rng.integers(-50, 50, (outputs, inputs, 3, 3))
        return Conv(name, (source,), weight, padding=(1, 1))

    constants = {"threshold": 90, "voltage_decay": 700, "bias": 3, **changes}
    return Graph(
        [
            Input("frames", (2, 5, 5), bits=1),
            conv("conv1", "frames", 4, 2),
            SoftLif("soft1", ("conv1",), **constants),
            conv("conv2", "soft1", 4, 4),
            identity("shortcut", "soft1", (4, 5, 5)),
            SoftLif("soft2", ("conv2", "shortcut"), current_decay=2000, **constants),
            Dense("fc", ("soft2",), 2 * rng.integers(-9, 9, (3, 100))),
            Readout("answer", ("fc",)),
        ],
        STEPS,
    )


def frames() -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.random((STEPS, SAMPLES, 2, 5, 5)) < 0.4).astype(np.int32)


def by_hand(graph: Graph, given: np.ndarray, lines: dict[str, np.ndarray]) -> None:
    """Check the first population against the equation, neuron by neuron, in Python's integers."""
    node = graph["soft1"]
    weight = graph["conv1"].weight
    spikes = lines["soft1"]
    for sample in range(SAMPLES):
        for o, y, x in np.ndindex(4, 5, 5):
            v = 0
            for t in range(STEPS):
                a = sum(
                    int(weight[o, c, i, j]) * int(given[t, sample, c, y + i - 1, x + j - 1])
                    for c, i, j in np.ndindex(2, 3, 3)
                    if 0 <= y + i - 1 < 5 and 0 <= x + j - 1 < 5
                )
                sign = -1 if v < 0 else 1
                v = sign * ((abs(v) * (4096 - 700)) >> 12) + 64 * a + 64 * int(node.bias[0])
                fires = v > 64 * 90
                assert bool(spikes[t, sample, o, y, x]) == fires
                v -= 64 * 90 * fires


def test_both_engines_do_what_the_equation_says() -> None:
    graph, given = network(), frames()
    trace = port.run(graph, given)
    by_hand(graph, given, trace.messages)
    assert 0.02 < trace["soft2"].mean() < 0.9
    assert port.compare(trace, port.run(graph, given, on="fast"), graph=graph, frames=given).equal


def test_a_file_holds_it_and_a_text_shows_it(tmp_path: Path) -> None:
    graph = network()
    read = load(save(graph, tmp_path / "soft.graph"))
    assert read.hash == graph.hash
    assert isinstance(read["soft1"], SoftLif)
    assert "softlif" in str(graph)
    assert "threshold 90" in str(graph)
    trace = port.run(graph, frames())
    trace.save(tmp_path / "soft.trace")
    again = port.Trace.load(tmp_path / "soft.trace")
    assert again.kinds["soft1"] == "softlif"
    assert np.array_equal(again["soft1"], trace["soft1"])


@pytest.mark.lava
@pytest.mark.parametrize("processes", ["stock", "fused"])
@pytest.mark.parametrize("align", ["relays", "delays"])
def test_lowered_it_runs_on_lava_through_the_generic_process(
    tmp_path: Path, processes: str, align: str
) -> None:
    graph, given = network(), frames()
    lowered = port.lower(graph, align=align)
    net = port.export(lowered, tmp_path / "soft.net")
    require_legal(lowered, "lava-cpu")
    ran = port.run(port.read(net), given, on="lava-cpu", processes=processes)
    result = port.compare(port.run(graph, given), ran, graph=graph, frames=given)
    assert result.equal, str(result)


@pytest.mark.lava
def test_lava_counts_its_spikes() -> None:
    graph, given = network(), frames()
    counted = port.run(port.lower(graph), given, on="lava-cpu", record="counts")
    messages = port.run(graph, given)
    for name in ("soft1", "soft2"):
        assert np.array_equal(counted.counts[name], messages[name].sum(0))


def test_a_divergence_is_explained_down_to_the_constant() -> None:
    graph, given = network(), frames()
    other = network(threshold=91)
    result = port.compare(
        port.run(graph, given), port.run(other, given), graph=graph, other=other, frames=given
    )
    assert not result.equal
    assert result.first.population == "soft1"
    assert "threshold" in str(result)


def test_statistics_and_neurobench_ask_it() -> None:
    graph, given = network(), frames()
    trace = port.run(graph, given)
    found = port.statistics(graph, trace)
    soft = next(p for p in found.populations if p.name == "soft1")
    assert soft.spikes == int(trace["soft1"].sum())
    bench = port.neurobench(graph, trace, given)
    assert bench.membrane_updates > 0


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("threshold", 1 << 22, "soft1: threshold is 4194304; use 1..131071"),
        ("threshold", 0, "soft1: threshold is 0; use 1..131071"),
        ("voltage_decay", 4097, "soft1: voltage_decay is 4097; decays are 0..4096"),
    ],
)
def test_its_bad_constants_are_refused_by_name(field: str, value: int, says: str) -> None:
    with pytest.raises(GraphError, match=says.replace("(", r"\(")):
        network(**{field: value})


def test_a_bias_beyond_its_field_is_refused_where_it_is_lowered() -> None:
    with pytest.raises(IllegalError, match="bias"):
        require_legal(port.lower(network(bias=99_999)), "lava-cpu")


def test_no_chip_knows_it_until_its_target_says_so(tmp_path: Path) -> None:
    from neuroport.targets.rules import refusals
    from neuroport.targets.target import load_target

    lowered = port.lower(network())
    for chip in ("loihi1", "loihi2", "kapoho-point", "hala-point"):
        found = [f for f in refusals(lowered, load_target(chip)) if f.node == "soft1"]
        assert [f.rule for f in found] == ["neuron_exists"]
        assert "softlif" in found[0].message
    own = tmp_path / "own.toml"
    own.write_text(
        'summary = "a chip of ours"\nbase = "loihi2"\n[neuron_kinds]\n'
        'value = ["lif", "readout", "relay", "softlif"]\nsource = "our microcode"\n'
        'confidence = "tested"\n'
    )
    found = [f for f in refusals(lowered, load_target(own)) if f.node == "soft1"]
    assert found == []


def test_a_kind_in_the_script_that_runs_cannot_go_into_a_child(tmp_path: Path) -> None:
    source = (Path(__file__).parent / "soft_lif.py").read_text()
    script = tmp_path / "script.py"
    script.write_text(
        source
        + """
import numpy as np
import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input

graph = Graph(
    [Input("frames", (2,), bits=1), Dense("fc", ("frames",), np.full((1, 2), 90)),
     SoftLif("soft", ("fc",), 40)], 3,
)
port.run(graph, np.ones((3, 1, 2), int), on="lava-cpu")
"""
    )
    import sys

    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode != 0
    assert "soft: its kind softlif is defined in the script that runs" in ran.stderr


def test_the_page_on_adding_a_neuron_shows_this_kind(root: Path) -> None:
    source = (Path(__file__).parent / "soft_lif.py").read_text()
    code = source[source.index("from __future__") :]
    assert f"```python\n{code}```" in (root / "docs" / "adding_a_neuron.md").read_text()


@pytest.mark.parametrize("sends", [7, -1])
def test_spikes_that_are_none_are_refused(sends: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SoftLif.integrate

    def wrong(self: SoftLif, *given: Any) -> Any:
        states, sent = kept(self, *given)
        return states, sent * sends

    monkeypatch.setattr(SoftLif, "integrate", wrong)
    for engine in ("reference", "fast"):
        with pytest.raises(RangeError, match=f"soft1: a softlif sends {sends}, but its kind"):
            port.run(network(), frames(), engine)


def test_a_kind_is_final_and_has_one_name() -> None:
    from dataclasses import dataclass

    from neuroport.graph.kinds.base import SPIKES, Population, kind
    from neuroport.graph.node import Lif

    with pytest.raises(GraphError, match="inherits from Lif, which is a kind itself"):

        @kind("harder", emits=SPIKES)
        @dataclass(frozen=True, eq=False)
        class Harder(Lif):
            pass

    with pytest.raises(GraphError, match=r"Mute: say what it sends, @kind\('mute', emits="):

        @kind("mute")
        @dataclass(frozen=True, eq=False)
        class Mute(Population):
            name: str
            inputs: tuple[str, ...]

    with pytest.raises(GraphError, match=r"kind 'lif' is neuroport.graph.kinds.lif.Lif"):
        kind("lif")(SoftLif)
    assert replace(network()["soft1"], threshold=5).threshold[0] == 5
