"""What each population takes of a chip, counted by hand on networks that one can count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.analysis.chip_loads import loads, ways
from neuroport.analysis.core_work import TIMES, core_work
from neuroport.analysis.operations import messages
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node, Readout, Relay
from neuroport.reporting import load_bars as drawing
from neuroport.reporting.html import report
from neuroport.targets.lowering import options
from neuroport.targets.target import load_target
from tests.helpers.shapes import Shape, frames_for, ms_resnet

BOARD = load_target("kapoho-point")


def small() -> tuple[Graph, np.ndarray]:
    """Two pixels that are always on: a relay of four neurons, a neuron population, a readout."""
    nodes: list[Node] = [
        Input("frames", (2,), 4),
        Dense("in", ("frames",), np.array([[2, 0], [0, 2], [2, 2], [0, 0]])),
        Relay("held", ("in",)),
        Dense("on", ("held",), 2 * np.ones((3, 4), np.int64)),
        Lif("lif", ("on",), 20),
        Dense("out", ("lif",), 2 * np.ones((2, 3), np.int64)),
        Readout("potential", ("out",)),
    ]
    return Graph(nodes, 4), np.ones((4, 2, 2), np.int64)


def test_a_small_network_is_counted_by_hand() -> None:
    graph, frames = small()
    trace = port.run(graph, frames)
    found = loads(graph, messages(graph, trace, frames), BOARD)
    held, lif, potential = found.populations
    assert (held.name, held.kind, held.cores, held.neurons) == ("held", "relay", 1, 4)
    # three of four relays send 2, 2 and 4 at each of four steps; the last has no weight
    assert (held.messages, held.sending) == (12, 0.75)
    # 16 a step: the neuron fires at the second and the fourth
    assert (lif.messages, lif.sending, lif.most) == (6, 0.5, 9)
    assert (potential.messages, potential.sending, potential.most) == (0, 0, 6)
    relays, neurons = found.share(relays=True), found.share(relays=False)
    assert (relays.cores, relays.neurons, relays.messages, relays.sending) == (1, 4, 12, 0.75)
    assert (neurons.cores, neurons.neurons, neurons.messages, neurons.sending) == (2, 5, 6, 0.5)
    first, second = found.lines()
    assert first == (
        "Relays take 1 of 3 cores and send 12 of 18 messages between cores per sample (67%): at a "
        "step 75% of their neurons send, of the others 50%"
    )
    assert second == (
        "The slowest core holds a part of lif: 9 operations in its busiest step, at least 10.0 us; "
        "all cores wait for it"
    )


def residual() -> tuple[Graph, Graph, np.ndarray]:
    frames = frames_for((2, 6, 5), 4, 3)
    source = ms_resnet(Shape(frames), 2, (3, 4))
    return source, port.lower(source, BOARD.name), frames


def test_the_sums_are_those_of_the_cores_of_the_whole_network() -> None:
    _, graph, frames = residual()
    sent = messages(graph, port.run(graph, frames), frames)
    found, whole = loads(graph, sent, BOARD), core_work(graph, sent, BOARD)
    relays, neurons = found.share(relays=True), found.share(relays=False)
    assert relays.cores + neurons.cores == whole.cores
    assert relays.messages + neurons.messages == pytest.approx(whole.between)
    assert found.slowest.name == whole.busiest
    assert found.slowest.most == whole.most_operations
    constant = found.populations[-1]
    assert (constant.kind, constant.sending, constant.is_relay) == ("constant", 1.0, True)
    assert found.to_dict()["slowest"] == whole.busiest


def test_other_ways_are_told_with_what_they_would_save_and_why_they_may_not() -> None:
    source, graph, frames = residual()
    cores = loads(graph, messages(graph, port.run(graph, frames), frames), BOARD)
    taken = sum(load.cores for load in cores.populations)
    found = ways(options(source, BOARD), taken)
    assert found[0].refusal == ""
    assert (found[0].cores, found[0].saves) == (taken, 0)
    refused = [way for way in found if way.refusal]
    assert {way.align for way in refused} == {"delays"}
    assert all("[delays_exist]" in way.refusal for way in refused)


def test_the_page_shows_bars_of_each_population_and_the_other_ways(tmp_path: Path) -> None:
    source, graph, frames = residual()
    trace = port.run(graph, frames)
    page = report(
        graph, trace, tmp_path / "p.html", frames=frames, target=BOARD, source=source
    ).read_text()
    assert "What each population takes" in page
    assert "The slowest core holds a part of" in page
    assert "Other ways to carry its shortcuts" in page
    bars = page[page.index('class="loads"') :]
    bars = bars[: bars.index("</svg>")]
    found = loads(graph, messages(graph, trace, frames), BOARD)
    assert bars.count("<rect") == 3 * len(found.populations)
    assert bars.count('class="relay-core"') == sum(load.is_relay for load in found.populations)
    without = report(graph, trace, tmp_path / "q.html", target=BOARD).read_text()
    assert "What each population takes" not in without
    assert "Other ways" not in without


def test_of_very_many_populations_those_that_take_most_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, frames = small()
    found = loads(graph, messages(graph, port.run(graph, frames), frames), BOARD)
    monkeypatch.setattr(drawing, "ROWS", 2)
    assert [load.name for load in drawing.drawn(found)] == ["held", "lif"]


def test_a_target_that_tells_no_times_has_no_column_of_times() -> None:
    graph, frames = small()
    unknown = {name: replace(BOARD.values[name], value=None) for name in TIMES}
    silent = replace(BOARD, values={**BOARD.values, **unknown})
    sent = messages(graph, port.run(graph, frames), frames)
    assert "slowest step" in drawing.bars(loads(graph, sent, BOARD))
    found = loads(graph, sent, silent)
    assert "slowest step" not in drawing.bars(found)
    assert list(found.lines())[1] == (
        "The slowest core holds a part of lif: 9 operations in its busiest step; all cores wait "
        "for it"
    )
