"""What notebooks and terminals show of graphs, traces, comparisons and what is counted of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import neuroport as port
from neuroport.display import ROWS, Shown, View
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout
from neuroport.targets.target import load_target
from neuroport.targets.verdict import check

HOSTILE = "<script>alert(1)</script>\x1b[31m"


def graph(name: str = "neuron") -> Graph:
    nodes: list[Node] = [
        Input("input", (1, 2, 2), 8),
        Conv("conv", ("input",), np.full((1, 1, 1, 1), 2)),
        Lif(name, ("conv",), 5),
        Dense("dense", (name,), np.full((2, 4), 4)),
        Readout("readout", ("dense",)),
    ]
    return Graph(nodes, 3)


FRAMES = np.tile(np.arange(4).reshape(1, 1, 1, 2, 2), (3, 2, 1, 1, 1))


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]


def printed(shown: Shown) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as caught:
        console.print(shown)
    return caught.get()


def test_a_graph_is_a_line_and_its_table_has_a_row_for_each_node() -> None:
    shown = graph()
    head = f"Graph {shown.hash[:12]}: 5 nodes, samples of 3 steps, depth {shown.depth}"
    assert repr(shown) == f"<{head}>"
    html = shown._repr_html_()
    assert html.startswith(f"<div><b>{head}</b>")
    titles, *rows = cells(html)
    assert titles == ["node", "kind", "shape", "at step", "what", "reads"]
    assert rows[2] == ["neuron", "lif", "1x2x2", "1", shown["neuron"].text(), "conv"]
    assert [row[0] for row in rows] == [node.name for node in shown]
    assert "neuron" in printed(shown)


def test_a_trace_says_what_each_population_sent() -> None:
    trace = port.run(graph(), FRAMES)
    spikes = int(trace["neuron"].sum())
    assert repr(trace) == "<Trace of 2 populations on reference: 2 samples of 3 steps>"
    _, fired, answer = cells(trace._repr_html_())
    # neurons x samples x steps
    assert fired == ["neuron", "lif", "1x2x2", f"{spikes:,}", f"{spikes / 24:.2%}"]
    assert answer == ["readout", "readout", "2", "", ""]
    counted = port.run(graph(), FRAMES, record="counts")
    assert cells(counted._repr_html_())[1] == fired


def test_a_comparison_shows_where_the_runs_differ() -> None:
    want = port.run(graph(), FRAMES)
    assert cells(port.compare(want, want)._repr_html_()) == []
    other = {name: array.copy() for name, array in want.messages.items()}
    other["neuron"][0, 0, 0, 0, 0] ^= True
    got = port.Trace(other, want.kinds, want.provenance)
    found = port.compare(want, got)
    html = found._repr_html_()
    assert cells(html) == [["population", "differing"], ["neuron", "1"]]
    assert "first divergence: " in html
    assert "first divergence: " in printed(found)


def test_statistics_energy_and_checks_show_their_numbers() -> None:
    made = port.lower(graph())
    trace = port.run(made, FRAMES, time_model="chip")
    stats = port.statistics(made, trace, FRAMES)
    rows = cells(stats._repr_html_())
    assert rows[1][:3] == ["neuron", "lif", "4"]
    assert f"{stats.operations:,.0f} synaptic operations a sample" in stats._repr_html_()
    energy = port.energy(made, trace, FRAMES)
    assert [row[0] for row in cells(energy._repr_html_()) if "upd" in row[0]] == ["neuron updates"]
    broken = Graph([*graph().nodes[:2], Lif("neuron", ("conv",), 1 << 17)], 3)
    verdict = check(broken, load_target("loihi2"))
    (finding,) = [row for row in cells(verdict._repr_html_()) if row[-1] == "threshold_fits"]
    assert finding[:2] == ["neuron", "refused"]
    assert (
        "does not run on lava-cpu, 1 violations"
        in check(broken, load_target("lava-cpu")).view().title
    )


def test_names_stay_text_in_notebooks_and_terminals() -> None:
    shown = graph(HOSTILE)
    trace = port.run(shown, FRAMES)
    for thing in (shown, trace, port.statistics(shown, trace, FRAMES)):
        html = thing._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert "\x1b" not in html + printed(thing)


@pytest.mark.parametrize("extra", [0, 7])
def test_long_tables_say_how_many_rows_are_left_out(extra: int) -> None:
    view = View("title", ("row",), [(str(at),) for at in range(ROWS + extra)])
    assert len(re.findall("<tr>", view.html())) == 1 + ROWS + bool(extra)
    assert ("7 rows left out" in view.html()) == bool(extra)
    assert f">{ROWS + extra - 1}<" in view.html()


def test_quantization_cost_is_a_table_of_populations(root: Path) -> None:
    cost = pytest.importorskip("neuroport.quantization.cost")
    population = cost.PopulationCost("blocks.0", 100, 10, 12, 4, 0.5, 9)
    made = cost.QuantizationCost("post-training", 4, 1, 3, 4, (population,), ())
    assert cells(made._repr_html_())[1] == ["blocks.0", "0.1000", "0.1200", "30.77%", "9"]
    assert "accuracy 75.0 % in real numbers, 100.0 % in integers" in made.view().title
