"""The report as text: what it says, what it never says, and how it draws a network."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from neuroport.analysis.compare import compare
from neuroport.analysis.statistics import statistics
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError, FramesError, StorageError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.subtractive import SubtractiveLif
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay
from neuroport.lowering.latency import balance_latency
from neuroport.reporting.drawing import drawing
from neuroport.reporting.html import report
from neuroport.reporting.layout import layout
from neuroport.reporting.raster import PANELS, ROWS, rasters
from neuroport.reporting.summary import accuracies, seconds, verdict
from neuroport.reporting.terminal import print_results, print_statistics
from neuroport.runs.trace import Trace

EQUAL = {
    "want": "reference",
    "got": "lava-cpu",
    "samples": 4,
    "populations": 6,
    "positions": 1234567,
    "spikes": 321,
    "differing": 0,
    "first": None,
    "same_predictions": True,
}
DIFFERENT = {**EQUAL, "differing": 2, "first": "population 'last', step 1: expected 1, got 0"}
RESULTS: dict[str, Any] = {
    "name": "digits",
    "recipe": {"train": {"epochs": 3}},
    "accuracy": {
        "float": {"percent": 97.4, "samples": 1000},
        "quantized": {"percent": 97.1, "samples": 1000},
        "lava-cpu": {"percent": 98.0, "samples": 50},
    },
    "comparisons": [EQUAL],
    "seconds": {"train": 81.2, "report": 0.001},
    "versions": {"python": "3.10.13"},
    "graph": {"parameters": 4321},
}


def unbalanced(neuron: str = "last") -> Graph:
    """One block with a membrane shortcut around its two convolutions."""
    random = np.random.default_rng(3)

    def weight(*shape: int) -> np.ndarray:
        return random.integers(-4, 6, shape) * 2

    nodes: list[Node] = [
        Input("input", (1, 6, 6), bits=1),
        Conv("stem", ("input",), weight(3, 1, 3, 3), padding=(1, 1)),
        Lif("first", ("stem",), threshold=6),
        Conv("conv1", ("first",), weight(3, 3, 3, 3), padding=(1, 1)),
        Lif("second", ("conv1",), threshold=8),
        Conv("conv2", ("second",), weight(3, 3, 3, 3), padding=(1, 1)),
        Lif(neuron, ("conv2", "stem"), threshold=8),
        Dense("fc", (neuron,), weight(3, 108)),
        Readout("out", ("fc",)),
    ]
    return Graph(nodes, steps=5)


def run(neuron: str = "last") -> tuple[Graph, Trace]:
    graph = balance_latency(unbalanced(neuron))
    frames = np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    return graph, Reference().run(graph, frames)


def page(tmp_path: Path, **options: Any) -> str:
    graph, trace = run()
    return report(graph, trace, tmp_path / "report.html", **options).read_text()


def words(html: str) -> str:
    """What a reader sees, in one line."""
    shown = re.sub(r"<(style|title|script)\b.*?</\1>", "", html, flags=re.DOTALL).replace(
        "<wbr>", ""
    )
    return " ".join(re.sub(r"<[^>]*>", " ", shown).replace("&nbsp;", " ").split())


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    html = page(tmp_path, results=RESULTS)
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", html) == ["data:,"]
    assert not re.findall(r"url\(|@import|https?:", html)
    assert not re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|import|eval)\b\(", html)


def test_the_page_runs_its_own_script_and_style_and_nothing_else(tmp_path: Path) -> None:
    html = page(tmp_path, results=RESULTS)
    (policy,) = re.findall(r"Content-Security-Policy\" content=\"([^\"]*)\"", html)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert len(re.findall("<script", html)) == 2  # its data and itself
    assert not re.findall(r"<[^>]*\s(?:style|on\w+)=", html)


def test_every_tag_is_closed(tmp_path: Path) -> None:
    class Tags(HTMLParser):
        stack: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "link", "br", "wbr", "input"):
                self.stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.stack.pop() == tag

    parser = Tags()
    parser.stack = []
    parser.feed(page(tmp_path, results=RESULTS))
    assert parser.stack == []


def test_equal_runs_get_a_good_verdict(tmp_path: Path) -> None:
    html = page(tmp_path, results=RESULTS)
    assert 'class="verdict good"' in html
    assert "Compared 1,234,567 positions in 6 populations: 0 differ." in words(html)
    assert "lava-cpu against reference: 4 samples, 321 nonzero messages" in words(html)


def test_different_runs_get_a_bad_verdict_and_the_first_divergence(tmp_path: Path) -> None:
    html = page(tmp_path, results={"comparisons": [DIFFERENT]})
    assert 'class="verdict bad"' in html
    assert "2 differ." in words(html)
    assert "First divergence: population &#39;last&#39;, step 1: expected 1, got 0." in words(html)


def test_one_different_run_among_several_is_enough_for_a_bad_verdict() -> None:
    found = verdict({"comparisons": [EQUAL, DIFFERENT, EQUAL]})
    assert found.tone == "bad"
    assert found.sentence == "1 of 3 comparisons is not equal."
    assert len(found.lines) == 3


def test_several_equal_runs_are_summed_up() -> None:
    found = verdict({"comparisons": [EQUAL, EQUAL]})
    assert found.tone == "good"
    assert found.sentence == "2 comparisons over 2,469,134 positions: 0 differ."


def test_a_neuron_recorded_on_one_side_only_is_not_equal() -> None:
    found = verdict({"comparisons": [{**EQUAL, "missing": ["last"]}]})
    assert found.tone == "bad"
    assert "Recorded on one side only: last." in found.lines


def test_a_divergence_may_come_as_fields() -> None:
    first = {"population": "last", "step": 1, "sample": 0, "neuron": [2], "expected": 1, "got": 0}
    found = verdict({"comparisons": [{**DIFFERENT, "first": first}]})
    assert "population last, step 1, sample 0, neuron [2]: expected 1, got 0" in found.lines[-1]


@pytest.mark.parametrize("results", [{}, {"comparisons": None}, {"comparisons": [{"want": "a"}]}])
def test_what_is_not_stated_is_never_called_equal(results: dict[str, Any]) -> None:
    assert verdict(results).tone == "none"


def test_accuracy_changes_are_given_only_for_equally_many_samples() -> None:
    float_, quantized, lava = accuracies(RESULTS)
    assert float_.change is None
    assert quantized.change == pytest.approx(-0.3)
    assert lava.change is None
    assert lava.interval == pytest.approx((89.5, 99.65), abs=0.05)


def test_sections_stand_in_their_order(tmp_path: Path) -> None:
    html = page(tmp_path, results=RESULTS)
    assert re.findall(r"<h2 id=\"(\w+)\"", html) == [
        "accuracy",
        "look",
        "network",
        "spikes",
        "activity",
        "operations",
        "time",
        "provenance",
    ]


@pytest.mark.parametrize("results", [None, {}, {"accuracy": None, "seconds": {}, "recipe": {}}])
def test_without_results_the_graph_and_the_trace_still_tell(tmp_path: Path, results: Any) -> None:
    graph, trace = run()
    html = report(graph, trace, tmp_path / "bare.html", results=results).read_text()
    shown = words(html)
    assert "This run was not compared with another." in shown
    assert re.findall(r"<h2 id=\"(\w+)\"", html) == [
        "look",
        "network",
        "spikes",
        "activity",
        "operations",
        "provenance",
    ]
    assert graph.hash in shown
    assert "Engine reference" in shown


def test_numbers_on_the_page_are_those_of_the_statistics(tmp_path: Path) -> None:
    graph, trace = run()
    frames = np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    path = report(graph, trace, tmp_path / "report.html", results=RESULTS, frames=frames)
    shown, stats = words(path.read_text()), statistics(graph, trace, frames)
    assert f"A sample takes {stats.operations:,.0f} of them," in shown
    assert f"{stats.updates:,} neuron updates" in shown
    assert f"a neuron fires {stats.spikes_per_neuron:.3f} times per sample of 5 steps." in shown
    assert "97.4 %" in shown
    assert "\N{MINUS SIGN}0.3 points from float" in shown
    assert "81.2 s" in shown
    assert "not counted" not in shown


def test_what_the_trace_lacks_is_said(tmp_path: Path) -> None:
    graph, trace = run()
    kept = {name: array for name, array in trace.messages.items() if "carry" not in name}
    partial = Trace(kept, {name: trace.kinds[name] for name in kept}, trace.provenance)
    shown = words(report(graph, partial, tmp_path / "report.html").read_text())
    assert (
        "Not counted, because their source is not recorded step by step: stem, last.carry0" in shown
    )
    assert "last.carry0 not recorded step by step" in shown
    assert "Total of those counted" in shown


def test_every_kind_of_neuron_has_a_row(tmp_path: Path) -> None:
    nodes = [
        SubtractiveLif(node.name, node.inputs, node.threshold, 64 * node.threshold)
        if isinstance(node, Lif)
        else node
        for node in unbalanced()
    ]
    graph = Graph(nodes, steps=5)
    frames = np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    trace = Reference().run(graph, frames)
    shown = words(report(graph, trace, tmp_path / "report.html").read_text())
    activity = shown[shown.index("Activity of each population") :]
    activity = activity[: activity.index("Synaptic operations")]
    for name in ("first", "second", "last"):
        assert f"{name} {trace[name].sum() / (4 * 108):.3f}" in activity


def test_spikes_that_were_counted_are_not_called_missing(tmp_path: Path) -> None:
    graph = balance_latency(unbalanced())
    frames = np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    counted = Reference().run(graph, frames, record="counts")
    shown = words(report(graph, counted, tmp_path / "report.html").read_text())
    assert "holds how many spikes there were, not their steps" in shown
    assert "no spiking population" not in shown


def test_frames_of_another_run_are_refused(tmp_path: Path) -> None:
    graph, trace = run()
    frames = np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    with pytest.raises(FramesError, match="2 samples of frames, 4 in the trace"):
        report(graph, trace, tmp_path / "report.html", frames=frames[:, :2])
    assert not (tmp_path / "report.html").exists()


def test_a_trace_of_a_network_of_the_same_shapes_is_refused(tmp_path: Path) -> None:
    graph, trace = run()
    nodes = [n.replace(weight=-n.weight) if n.name == "stem" else n for n in graph]
    other = Graph(nodes, graph.steps, graph.interval)
    with pytest.raises(CompareError, match="the trace is of network"):
        report(other, trace, tmp_path / "report.html")
    with pytest.raises(CompareError, match="the trace is of network"):
        report(graph, trace, tmp_path / "report.html", got=trace, other=other)
    assert not list(tmp_path.iterdir())


def test_an_input_that_one_network_lacks_has_its_column(tmp_path: Path) -> None:
    graph = unbalanced()
    nodes = [
        node.replace(inputs=("conv2",)) if node.name == "last" else node for node in graph.nodes
    ]
    lacking = Graph(nodes, steps=5)
    frames = np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    want, got = Reference().run(lacking, frames), Reference().run(graph, frames)
    path = report(lacking, want, tmp_path / "a.html", got=got, other=graph, frames=frames)
    shown = words(path.read_text())
    assert "Current of conv2 Current of stem Sum" in shown


def test_what_is_no_number_is_left_out_of_results() -> None:
    nan, infinite = float("nan"), float("inf")
    told = {
        "a": {"percent": nan, "samples": 9},
        "b": {"percent": True},
        "c": {"percent": 250.0},
        "d": {"percent": 50},
        "e": {"percent": 60},
    }
    rows = accuracies({"accuracy": told})
    assert [(row.stage, row.percent, row.change) for row in rows] == [
        ("d", 50, None),
        ("e", 60, None),  # of how many samples is not known
    ]
    assert seconds(
        {"seconds": {"a": infinite, "b": nan, "c": -1, "f": 10**400, "d": True, "e": 2}}
    ) == (("e", 2.0),)


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    graph, trace = run('<img src="x">&')
    results = {**RESULTS, "name": "<b>bold</b>", "versions": {"<i>": "<u>"}}
    html = report(graph, trace, tmp_path / "report.html", results=results).read_text()
    assert not re.search(r"<(img|b>bold|i>|u>)", html)
    assert "&lt;b&gt;bold&lt;/b&gt;" in html


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    graph, trace = run()
    pages = [report(graph, trace, tmp_path / f"{i}.html", results=RESULTS) for i in range(2)]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_refused_report_leaves_the_old_page(tmp_path: Path) -> None:
    graph, trace = run()
    path = report(graph, trace, tmp_path / "report.html")
    before = path.read_bytes()
    with pytest.raises(CompareError):
        report(graph, Trace({"x": np.zeros((5, 4, 1), bool)}, {"x": "lif"}), path)
    assert path.read_bytes() == before
    with pytest.raises(StorageError):
        report(graph, trace, path / "below")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_main_branch_passes_the_neurons_and_the_shortcut_lies_beside_it() -> None:
    places = layout(run()[0])
    assert places.main == ("input", "first", "second", "last", "out")
    assert {n: lane for n, lane in places.lanes.items() if lane} == {
        "last.carry0": 1,
        "last.carry1": 1,
    }
    kinds = {(edge.source, edge.target): edge.kind for edge in places.edges}
    assert kinds["second", "last"] == "main"
    assert kinds["last.carry0", "last.carry1"] == kinds["last.carry1", "last"] == "shortcut"


def test_a_shortcut_that_is_not_yet_lowered_bypasses_what_it_skips() -> None:
    places = layout(unbalanced())
    (bypass,) = [edge for edge in places.edges if edge.kind == "shortcut"]
    assert (bypass.source, bypass.target, bypass.lane) == ("input", "last", 1)


def test_parallel_neurons_are_branches_and_never_stand_in_one_place() -> None:
    nodes: list[Node] = [
        Input("input", (1, 2, 2), bits=1),
        Dense("fan", ("input",), np.ones((4, 4), int)),
        *(Lif(f"level{k}", ("fan",), threshold=k) for k in range(3)),
        Relay("relay", ("fan",)),
        Dense("join", ("level0", "level1", "level2", "relay"), np.ones((2, 4), int)),
        Readout("out", ("join",)),
    ]
    places = layout(Graph(nodes, steps=2))
    assert len({places.lanes[name] for name in places.bands[1]}) == len(places.bands[1]) == 4
    kinds = {(edge.source, edge.target): edge.kind for edge in places.edges}
    assert kinds["level0", "out"] == "main"
    assert kinds["level1", "out"] == "branch"
    assert kinds["relay", "out"] == "shortcut"


def test_the_drawing_has_a_tooltip_for_every_population_and_edge() -> None:
    graph, _ = run()
    svg = ElementTree.fromstring(drawing(graph))
    titles = [title.text or "" for title in svg.iter("title")]
    assert len(titles) == 7 + 7  # populations and the input; synapses, one target each
    assert any(t.startswith("last\n") and "threshold 8" in t and "shape 3" in t for t in titles)
    assert any(t.startswith("conv1\nfirst") and "conv 3" in t for t in titles)
    assert svg.get("role") == "img"
    assert "4 edges are shortcuts" not in (svg.get("aria-label") or "")
    assert "3 edges are shortcuts" in (svg.get("aria-label") or "")


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Conv("a", ("x",), np.ones((4, 2, 3, 3), int)), "conv 3x3"),
        (Conv("a", ("x",), np.ones((4, 2, 3, 1), int), stride=(2, 2)), "conv 3x1 /2"),
        (Conv("a", ("x",), np.ones((4, 1, 1, 1), int), groups=4), "identity"),
        (Conv("a", ("x",), np.ones((4, 1, 1, 1), int), 1, groups=4), "conv 1x1 in 4 groups"),
        (Dense("a", ("x",), np.eye(3, dtype=int)), "identity"),
        (Dense("a", ("x",), np.ones((3, 3), int)), "dense"),
        (Relay("a", ("x",)), "graded relay"),
    ],
)
def test_kernels_are_told_in_a_few_words(node: Node, expected: str) -> None:
    assert node.title().replace("\N{MULTIPLICATION SIGN}", "x") == expected


def test_a_raster_draws_the_spikes_of_the_first_sample() -> None:
    _, trace = run()
    panels = {panel.name: panel for panel in rasters(trace)}
    assert list(panels) == ["first", "second", "last"]
    panel, spikes = panels["first"], trace["first"][:, 0].reshape(5, -1)
    rows = np.linspace(0, 107, ROWS).round().astype(int)
    assert (panel.neurons, panel.drawn, panel.spikes) == (108, ROWS, spikes.sum())
    (mark,) = [p.get("d") or "" for p in ElementTree.fromstring(panel.svg).iter("path")]
    assert mark.count("M") == spikes[:, rows].sum() > 0


def test_rasters_of_many_populations_are_thinned_out_evenly() -> None:
    names = [f"n{i}" for i in range(PANELS * 2)]
    trace = Trace(dict.fromkeys(names, np.ones((400, 1, 3), bool)), dict.fromkeys(names, "lif"))
    panels = rasters(trace)
    assert len(panels) == PANELS
    assert (panels[0].name, panels[-1].name) == (names[0], names[-1])
    assert panels[0].drawn == 3


def test_a_trace_without_neurons_is_said_to_have_no_spikes(tmp_path: Path) -> None:
    graph, trace = run()
    only = Trace({"out": trace["out"]}, {"out": "readout"}, trace.provenance)
    shown = words(report(graph, only, tmp_path / "report.html").read_text())
    assert "The trace holds no spiking population." in shown


def printed(*calls: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    for call, value in calls:
        call(value, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_results_in_plain_words() -> None:
    text = printed((print_results, {**RESULTS, "seconds": {"[red]train": 81.2}}))
    assert "Compared 1,234,567 positions in 6 populations: 0 differ." in text
    assert re.search(r"Quantized +97\.1 +1,000 +95\.9 to 98\.0", text)
    assert re.search(r"\[red\]train +81\.20", text)
    assert "\x1b" not in text


def test_the_terminal_shows_statistics_and_what_is_missing() -> None:
    graph, trace = run()
    text = printed((print_statistics, statistics(graph, trace)))
    assert re.search(r"stem +spikes +[\d,]+ +not counted", text)
    assert "Total of those counted" in text
    assert "not counted, source not recorded step by step: stem" in text


def test_results_may_be_empty_on_the_terminal() -> None:
    assert printed((print_results, {})).strip() == "This run was not compared with another."


def test_importing_the_report_package_imports_neither_jinja2_nor_rich() -> None:
    import subprocess

    code = "import sys, neuroport.reporting; sys.exit(bool({'jinja2', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_says_why_runs_differ(tmp_path: Path) -> None:
    graph, trace = run()
    frames = np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    messages = {name: array.copy() for name, array in trace.messages.items()}
    messages["second"][1, 0, 0, 0, 0] ^= True
    outcome = compare(
        trace, Trace(messages, trace.kinds, trace.provenance), graph=graph, frames=frames
    )
    shown = words(page(tmp_path, results={"comparisons": [outcome.to_dict()]}))
    assert outcome.cause is not None
    assert f"Cause: {outcome.cause.kind}: {outcome.cause.sentence}." in shown
    assert "At that neuron, given what arrived, the neuron of got should have given" in shown


def test_cores_are_drawn_by_fill_only_where_a_chip_is_named(tmp_path: Path) -> None:
    from neuroport.targets.resources import resources
    from neuroport.targets.target import load_target

    assert "Cores on" not in page(tmp_path)
    chip = load_target("oheo-gulch")
    shown = page(tmp_path, target=chip)
    assert "not run on hardware" in words(shown)
    found = resources(run()[0], chip)
    assert str(found) in words(shown)
    start = shown.index("<svg", shown.index('aria-labelledby="cores"'))
    svg = ElementTree.fromstring(shown[start : shown.index("</svg>", start) + 6])
    filled = svg.findall("g/rect")
    assert len(filled) == found.cores
    assert len(svg.findall("rect")) == 120
    titles = [title.text or "" for title in svg.findall("g/title")]
    assert [title.split(":")[0] for title in titles] == [p.layer.name for p in found.placed]
    shades = [float(rect.get("fill-opacity", "nan")) for rect in filled]
    wanted = [max(0.12, p.fraction) for p in found.placed for _ in range(p.cores)]
    assert shades == pytest.approx(wanted, abs=0.006)


def test_a_target_adds_energy_and_time_with_what_they_are_and_are_not(tmp_path: Path) -> None:
    from neuroport.analysis.energy import energy
    from neuroport.targets.target import load_target

    chip, frames = load_target("loihi2"), np.random.default_rng(4).integers(0, 2, (5, 4, 1, 6, 6))
    graph, trace = run()
    wanted = energy(graph, trace, frames, target=chip)
    shown = words(page(tmp_path, target=chip, frames=frames))
    for name, number, _ in wanted.counts():
        assert f"{name.capitalize()} {number}".rstrip() in shown
    for estimate in wanted.estimates.values():
        assert estimate.label in shown
        assert f"{estimate.title} {estimate.amount or 'none'}" in shown
    assert "none was measured" in shown
    assert "Energy and time" not in words(page(tmp_path))
    bare = words(page(tmp_path, target=chip))
    assert "Not told: the frames of the run are needed" in bare


def test_a_mapping_puts_cores_on_their_chips_and_lists_the_busiest_links(tmp_path: Path) -> None:
    from dataclasses import replace

    from neuroport.reporting.core_map import cores
    from neuroport.targets.mapping import mapping_of
    from neuroport.targets.message_traffic import measure
    from neuroport.targets.resources import resources
    from neuroport.targets.target import Fact, load_target

    chip = load_target("loihi2")
    few = {"cores": Fact(4, "test", "seen"), "chips": Fact(9, "test", "seen")}
    board = replace(chip, values={**chip.values, **few})
    graph, trace = run()
    found = resources(graph, board)
    chips = [n % 2 for n in range(found.cores)]  # a population on chip 0, the next on chip 1
    assert found.chips == 2
    mapping = mapping_of(measure(graph, found, trace), chips, board)
    svg = ElementTree.fromstring(cores(found, mapping))
    across = [float(rect.get("x", "nan")) for rect in svg.findall("g/rect")]
    border = float(svg.findall("rect")[4].get("x", "nan"))  # of the second chip's cores
    assert [x >= border for x in across] == [bool(n) for n in chips]
    assert len({(r.get("x"), r.get("y")) for r in svg.findall("g/rect")}) == found.cores
    shown = words(page(tmp_path, target=board, mapping=mapping))
    assert mapping.summary in shown
    (here, there), count = mapping.busiest_links[0]
    assert f"chip {here} to chip {there} {count:,.1f}" in shown
    assert "hops are unknown" in shown


def test_cores_of_many_chips_are_drawn_up_to_sixteen_chips() -> None:
    from dataclasses import replace

    from neuroport.reporting.core_map import cores
    from neuroport.targets.resources import resources
    from neuroport.targets.target import Fact, load_target

    chip = load_target("loihi2")
    tiny = replace(chip, values={**chip.values, "cores": Fact(1, "test", "seen")})
    found = resources(run()[0], tiny)
    svg = ElementTree.fromstring(cores(replace(found, placed=found.placed * 20)))
    assert len(svg.findall("rect")) == len(svg.findall("g/rect")) == 16
