"""What a page of two runs holds: every message as it was, what was left out, and names as text."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from neuroport.analysis.compare import compare
from neuroport.analysis.synapse_rows import arrivals
from neuroport.errors import FramesError
from neuroport.reporting import explorer as stored
from neuroport.reporting.explorer import BUDGET, explorer
from neuroport.reporting.html import report
from neuroport.runs.trace import Trace
from tests.helpers.two_runs import SAMPLES, STEPS, TwoRuns, two_runs

HOSTILE = "</script><script>alert(1)</script><!--\"'`{{7*7}}\u202e\x1b[31m&amp;"


@pytest.fixture(scope="module")
def runs() -> TwoRuns:
    return two_runs()


def data_of(html: str) -> Any:
    """What the page's script reads."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return json.loads(text)


def unpacked(data: Any, run: int, part: Any) -> dict[str, npt.NDArray[Any]]:
    """The messages of a part, as the page's script reads them: name -> (T, channels, ...)."""
    content = zlib.decompress(base64.b64decode(part["got" if run else "want"]))
    found, at = {}, 0
    for index, population in enumerate(data["populations"]):
        if run and index not in part["differ"]:
            continue
        shape = (data["steps"], len(population["channels"]), *population["shape"][1:])
        count = int(np.prod(shape))
        if population["type"] == "bits":
            size = (count + 7) // 8
            values = np.unpackbits(np.frombuffer(content, np.uint8, size, at), count=count)
        else:
            dtype = np.dtype(population["type"])
            size = count * dtype.itemsize
            values = np.frombuffer(content, dtype, count, at)
        found[population["name"]] = values.reshape(shape)
        at += size
    assert at == len(content)
    return found


def found(runs: TwoRuns, **options: Any) -> Any:
    made = explorer(runs.want, runs.got, frames=runs.frames, **options)
    assert made is not None
    return json.loads(made.data)


def test_every_message_of_both_runs_is_in_the_page(runs: TwoRuns) -> None:
    data = found(runs)
    assert [p["name"] for p in data["populations"]] == ["input", *runs.want.kinds]
    assert [part["sample"] for part in data["samples"]] == list(range(SAMPLES))
    for part in data["samples"]:
        want, got = (unpacked(data, run, part) for run in (0, 1))
        np.testing.assert_array_equal(want["input"], runs.frames[:, part["sample"]])
        for name in runs.want.kinds:
            sent, other = (trace[name][:, part["sample"]] for trace in (runs.want, runs.got))
            np.testing.assert_array_equal(want[name], sent)
            assert (name in got) == (not np.array_equal(sent, other))
            np.testing.assert_array_equal(got.get(name, want[name]), other)


def test_populations_that_one_run_lacks_are_those_of_the_other(runs: TwoRuns) -> None:
    def without(trace: Trace, name: str) -> Trace:
        messages = {n: a for n, a in trace.messages.items() if n != name}
        return Trace(messages, {n: trace.kinds[n] for n in messages}, trace.provenance)

    made = explorer(without(runs.want, "first"), without(runs.got, "last"))
    assert made is not None
    data = json.loads(made.data)
    has = {p["name"]: p["runs"] for p in data["populations"]}
    assert (has["first"], has["last"], has["out"]) == ([False, True], [True, False], [True, True])


def test_what_does_not_fit_is_left_out_and_the_page_says_so(
    runs: TwoRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(runs.want, runs.got).first
    assert first is not None
    monkeypatch.setattr(stored, "BUDGET", 4000)
    monkeypatch.setattr(stored, "STAGES", [(1 << 10, 1), (16, 1), (16, 2)])
    monkeypatch.setattr(stored, "WANTED", SAMPLES)
    made = explorer(runs.want, runs.got, first=first, labels=runs.labels)
    assert made is not None
    data = json.loads(made.data)
    said = " ".join(made.sampled)
    assert f"holds {len(data['samples'])} of {SAMPLES} samples" in said
    assert "some channels, evenly spaced" in said
    assert first.sample in made.samples
    shown = {p["name"]: p["channels"] for p in data["populations"]}
    assert first.neuron[0] in shown[first.population]
    for part in data["samples"]:
        want = unpacked(data, 0, part)
        for name, channels in shown.items():
            whole = runs.want[name][:, part["sample"]]
            np.testing.assert_array_equal(want[name], whole[:, channels])


def test_a_large_run_stays_within_the_budget_with_its_populations_thinned_out() -> None:
    random = np.random.default_rng(0)
    names = [f"n{i}" for i in range(40)]
    messages = {n: random.integers(-9999, 9999, (8, 2, 1, 64, 64), np.int32) for n in names}
    made = explorer(Trace(messages, dict.fromkeys(names, "relay")))
    assert made is not None
    assert len(made.data) < BUDGET + 20_000
    assert 1 < made.populations < len(names)
    assert f"holds {made.populations} of 40 populations" in " ".join(made.sampled)


def test_counts_have_no_steps_to_show(runs: TwoRuns) -> None:
    counts = {"first": np.zeros((SAMPLES, 4, 8, 8), np.int32)}
    assert explorer(Trace({}, {"first": "lif"}, {}, counts, "neuron", STEPS)) is None


def test_labels_and_classes_go_with_each_sample(runs: TwoRuns) -> None:
    data = found(runs, labels=runs.labels)
    for part in data["samples"]:
        at = part["sample"]
        assert part["label"] == runs.labels[at]
        assert part["classes"] == [runs.want.predictions[at], runs.got.predictions[at]]


# -- the first divergence ------------------------------------------------------------------------


def test_what_arrived_adds_up_to_the_current_of_each_run(runs: TwoRuns) -> None:
    outcome = compare(runs.want, runs.got, graph=runs.graph, other=runs.other, frames=runs.frames)
    first, near = outcome.first, outcome.neighbourhood
    assert first is not None
    assert near is not None
    told = arrivals(
        runs.want, runs.got, runs.graph, runs.other, runs.frames,
        first.population, first.neuron, first.sample, first.step,
    )  # fmt: skip
    (moments,) = [
        pair for pair in zip(near.want, near.got, strict=True) if pair[0].step == told.step
    ]
    for side, moment in enumerate(moments):
        assert sum(a.current[side] for a in told.arrivals) == moment.current
    assert moments[0].current != moments[1].current
    unlike, *others = told.arrivals
    weights = runs.graph[runs.node].weight, runs.other[runs.node].weight  # type: ignore[attr-defined]
    assert unlike.weight == tuple(int(w[runs.place]) for w in weights)
    assert unlike.message == (1, 1)
    assert not any(a.unlike_weights for a in others)


def test_the_page_shows_the_neuron_the_weight_and_both_currents(
    runs: TwoRuns, tmp_path: Path
) -> None:
    path = report(
        runs.graph, runs.want, tmp_path / "a.html",
        frames=runs.frames, got=runs.got, other=runs.other, labels=runs.labels,
    )  # fmt: skip
    html = path.read_text()
    outcome = compare(runs.want, runs.got, graph=runs.graph, other=runs.other, frames=runs.frames)
    first, near = outcome.first, outcome.neighbourhood
    assert first is not None
    assert near is not None
    assert outcome.cause is not None
    shown = words(html)
    assert f"At step {first.step} of sample {first.sample}, neuron {first.neuron}" in shown
    assert f"Cause: scale. {outcome.cause.sentence}" in shown
    assert near.verdict[1:] in shown
    ours, theirs = (
        int(g[runs.node].weight[runs.place])  # type: ignore[attr-defined]
        for g in (runs.graph, runs.other)
    )
    assert re.search(
        rf"first \(\d+, \d+, \d+\) {ours} {theirs} ≠ 1 1 {ours * 2} {theirs * 2} ≠", shown
    )
    right = int((runs.want.predictions == runs.labels).sum())
    assert f"want: {right} of {SAMPLES} right" in shown
    data = data_of(html)
    names = [p["name"] for p in data["populations"]]
    place = [first.sample, names.index(first.population), first.step, *first.neuron]
    assert data["first"] == place


def test_equal_runs_have_no_divergence_to_show(runs: TwoRuns, tmp_path: Path) -> None:
    html = report(runs.graph, runs.want, tmp_path / "a.html", got=runs.want).read_text()
    assert "0 differ." in words(html)
    assert 'id="divergence"' not in html
    assert data_of(html)["first"] is None


def test_too_few_labels_are_refused(runs: TwoRuns, tmp_path: Path) -> None:
    with pytest.raises(FramesError, match="2 labels for 6 samples"):
        report(runs.graph, runs.want, tmp_path / "a.html", labels=runs.labels[:2])


def test_labels_that_are_no_class_are_refused(runs: TwoRuns, tmp_path: Path) -> None:
    classes = runs.want.output.shape[1]
    for wrong in (classes, -1):
        labels = np.array(runs.labels).astype(np.int64)
        labels[3] = wrong
        with pytest.raises(FramesError, match=f"label {wrong} of sample 3 is no class; give whole"):
            report(runs.graph, runs.want, tmp_path / "a.html", labels=labels)


def test_of_many_classes_those_with_mistakes_are_shown(runs: TwoRuns) -> None:
    from neuroport.reporting.class_tables import MOST, class_tables

    answers = np.full((1, 50, 100), -1, np.int32)
    answers[0, np.arange(50), np.arange(50)] = 1
    labels = np.arange(50)
    labels[40:] = 99
    (table,) = class_tables(Trace({"out": answers}, {"out": "readout"}), None, labels)
    assert table.correct == 40
    assert len(table.names) == MOST
    assert {*range(40, 50), 99} <= set(table.names)
    assert table.left_out == 51 - MOST
    last = table.names.index(99)
    assert sum(table.table[last]) == 10


# -- names ---------------------------------------------------------------------------------------


def words(html: str) -> str:
    shown = re.sub(r"<(style|title|script)\b.*?</\1>", "", html, flags=re.S).replace("<wbr>", "")
    return (
        " ".join(re.sub(r"<[^>]*>", " ", shown).replace("&nbsp;", " ").split())
        .replace("&#39;", "'")
        .replace("( ", "(")
        .replace(" :", ":")
        .replace(" ,", ",")
    )


def test_hostile_names_and_provenance_stay_text(tmp_path: Path) -> None:
    runs = two_runs(HOSTILE, f"weights {HOSTILE}")
    told = {
        "engine": HOSTILE,
        HOSTILE: {HOSTILE: [HOSTILE, {"deep": HOSTILE}]},
        "versions": {HOSTILE: HOSTILE},
    }
    want = Trace(runs.want.messages, runs.want.kinds, {**runs.want.provenance, **told})
    html = report(
        runs.graph, want, tmp_path / "a.html", frames=runs.frames, got=runs.got, other=runs.other,
        title=HOSTILE, results={"recipe": {HOSTILE: {HOSTILE: HOSTILE}}, "seconds": {HOSTILE: 1.0}},
    ).read_text()  # fmt: skip

    class Tags(HTMLParser):
        seen: list[str]
        bad: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.append(tag)
            self.bad += [name for name, _ in attrs if name.startswith("on") or name == "style"]

        def handle_comment(self, data: str) -> None:
            self.bad.append(data)

    parser = Tags()
    parser.seen, parser.bad = [], []
    parser.feed(html)
    assert parser.seen.count("script") == 2
    assert parser.bad == []
    assert not {"\u202e", "\x1b"} & set(html)
    assert "\\u202e\\x1b[31m" in html
    assert "49" not in re.findall(r"<title>(.*?)</title>", html)[0]
    names = [p["name"] for p in data_of(html)["populations"]]
    assert HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b") in names


def test_nothing_is_shown_as_a_dictionary(runs: TwoRuns, tmp_path: Path) -> None:
    told = {**runs.want.provenance, "options": {"batch": 4, "device": None}, "parts": [{"n": 1}]}
    want = Trace(runs.want.messages, runs.want.kinds, told)
    recipe = {"train": {"epochs": 3, "milestones": [1, 2]}, "network": {"widths": []}}
    html = report(runs.graph, want, tmp_path / "page.html", results={"recipe": recipe}).read_text()
    shown = words(html)
    assert "{" not in shown
    for text in ("Options, batch 4", "Options, device none", "Parts 0, n 1", "train, epochs 3"):
        assert text in shown
    assert "train, milestones 1, 2" in shown
    assert "<title>page &middot; neuroport report</title>" in html
