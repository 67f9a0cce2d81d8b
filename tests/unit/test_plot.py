"""Pictures: what is drawn is what the run holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import (
    CompareError,
    FramesError,
    NeuroportError,
    RecipeError,
    TargetError,
    TrainingError,
)
from neuroport.files import parse_toml
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif
from neuroport.recipe import from_dict
from neuroport.runs.accuracy import confusion as counted
from neuroport.targets.message_traffic import measure
from neuroport.targets.resources import resources
from neuroport.targets.target import load_target
from neuroport.training.metrics import read_metrics
from tests.conftest import TINY
from tests.unit.test_display import FRAMES, graph

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

from neuroport import plot  # noqa: E402


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def zoo(root: Path) -> tuple[Any, np.ndarray, Any]:
    model = root / "models" / "ms_resnet8_mnist"
    network, frames = port.read(model / "network.net"), np.load(model / "frames.npy")[:, :2]
    return network, frames, port.run(network, frames)


def test_a_raster_has_a_dot_for_each_spike(zoo: Any) -> None:
    small = port.run(graph(), FRAMES)
    axes = plot.raster(small, "neuron", 1)
    steps, neurons = np.nonzero(small["neuron"][:, 1].reshape(3, -1))
    drawn = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_array_equal(drawn, np.stack([steps, neurons], axis=1))
    assert (axes.get_xlabel(), axes.get_title()) == ("step", "neuron, sample 1")
    _, _, trace = zoo
    many = plot.raster(trace, "blocks.0.neuron1")  # 12,544 neurons
    np.testing.assert_allclose(
        many.images[0].get_array(), trace["blocks.0.neuron1"][:, 0].mean(axis=(2, 3)).T
    )


def test_maps_are_those_of_every_step(zoo: Any) -> None:
    _, _, trace = zoo
    sent = trace["blocks.1.neuron2"][:, 1]
    for axes, want in zip(plot.maps(trace, "blocks.1.neuron2", 1), sent.sum(axis=1), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), want)
    one = plot.maps(trace, "blocks.1.neuron2", 1, channel=3)
    np.testing.assert_array_equal(one[2].images[0].get_array(), sent[2, 3])
    inside = plt.figure().add_subplot()
    assert all(axes.get_figure() is inside.figure for axes in plot.maps(trace, "neuron", ax=inside))


def test_activity_is_the_share_that_fires(zoo: Any) -> None:
    network, frames, trace = zoo
    axes = plot.activity(trace)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    bars = dict(zip(labels, (bar.get_width() for bar in axes.patches), strict=True))
    fire = [name for name, kind in trace.kinds.items() if kind == "lif"]
    assert list(bars) == fire
    for name in fire:
        assert bars[name] == pytest.approx(100 * trace[name].mean())
    counted = plot.activity(port.run(network, frames, record="counts"))
    assert [bar.get_width() for bar in counted.patches] == pytest.approx(list(bars.values()))


def test_a_potential_exceeds_the_threshold_where_the_neuron_fires(zoo: Any) -> None:
    network, frames, trace = zoo
    name = "blocks.1.neuron1"
    place = tuple(int(n) for n in np.argwhere(trace[name][:, 0].sum(axis=0) == 2)[0])
    axes = plot.potential(network, trace, frames, name, place)
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    limit = lines["threshold"][0]
    fired = np.flatnonzero(np.asarray(lines["potential"]) > limit)
    np.testing.assert_array_equal(fired, np.flatnonzero(trace[name][(slice(None), 0, *place)]))
    assert len(fired) == 2
    readout = plot.potential(network, trace, frames, "readout.potential", (3,))
    drawn = {line.get_label(): line.get_ydata() for line in readout.lines}["potential"]
    got = trace["readout.potential"][:, 0, 3]
    np.testing.assert_allclose(drawn, got)


def test_weights_are_counted_value_by_value(zoo: Any) -> None:
    network, _, _ = zoo
    axes = plot.weights(network, "blocks.0.conv1")
    weight = network["blocks.0.conv1"].weight
    drawn = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
    values, counts = np.unique(weight[weight != 0], return_counts=True)
    assert drawn == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_bars_of_odd_weights_do_not_overlap() -> None:
    nodes = [
        node.replace(weight=np.arange(8).reshape(2, 4)) if node.name == "dense" else node
        for node in graph()
    ]
    bars = plot.weights(Graph(nodes, 3), "dense").patches
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert len(ends) == 7
    assert all(right <= left for (_, right), (left, _) in pairwise(ends))


def test_maps_of_a_long_sample_stand_in_rows(tmp_path: Path) -> None:
    network = Graph(list(graph()), 140)
    trace = port.run(network, np.resize(FRAMES, (140, *FRAMES.shape[1:])))
    made = plot.maps(trace, "neuron")
    assert [axes.get_title() for axes in made] == [f"step {step}" for step in range(140)]
    assert made[0].figure.get_size_inches().max() < 100
    beside = made[11].get_subplotspec(), made[12].get_subplotspec()
    assert [(at.rowspan.start, at.colspan.start) for at in beside] == [(0, 11), (1, 0)]


def test_a_divergence_is_two_maps_and_their_difference(zoo: Any) -> None:
    _, _, want = zoo
    other = {name: array.copy() for name, array in want.messages.items()}
    other["blocks.1.neuron2"][1, 1, 4, 5, 6] ^= True
    made = plot.divergence(want, port.Trace(other, want.kinds, want.provenance))
    first, second, difference = (axes.images[0].get_array() for axes in made)
    np.testing.assert_array_equal(first, want["blocks.1.neuron2"][1, 1, 4])
    np.testing.assert_array_equal(np.argwhere(difference), [[5, 6]])
    assert difference[5, 6] == int(second[5, 6]) - int(first[5, 6])
    mark = made[0].lines[0]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (6, 5)
    with pytest.raises(CompareError, match="no message of the runs differs"):
        plot.divergence(want, want)


def test_confusion_counts_every_sample_once() -> None:
    axes = plot.confusion([0, 1, 1, 2], [0, 1, 2, 2])
    np.testing.assert_array_equal(axes.images[0].get_array(), [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    assert axes.get_title() == "3 of 4 right"


def test_counted_classes_are_whole_numbers() -> None:
    assert counted([1, 0], [1, 1]).tolist() == [[0, 0], [1, 1]]
    for predictions, labels in (([1.0], [1]), ([1], [1.0]), ([-1], [1]), ([], [])):
        with pytest.raises(FramesError, match="are classes: whole numbers from 0 on"):
            counted(predictions, labels)


def test_confusion_of_a_trained_network_is_that_of_its_predictions(zoo: Any, root: Path) -> None:
    _, _, trace = zoo
    labels = np.load(root / "models" / "ms_resnet8_mnist" / "labels.npy")[: trace.samples]
    want = np.zeros((10, 10), int)
    np.add.at(want, (labels, trace.predictions), 1)
    drawn = plot.confusion(trace, labels).images[0].get_array()
    np.testing.assert_array_equal(drawn, want[: len(drawn), : len(drawn)])
    assert drawn.sum() == trace.samples
    for wrong in (10, -1, 10**6):
        with pytest.raises(FramesError, match=f"label {wrong} of sample 1 is no class; give whole"):
            plot.confusion(trace, [labels[0], wrong])


def test_cores_are_those_of_the_estimate(zoo: Any) -> None:
    network, _, _ = zoo
    lowered = port.lower(network, "kapoho-point")
    axes = plot.cores(lowered, "kapoho-point")
    found = resources(lowered, load_target("kapoho-point"))
    bars = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in axes.patches}
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert {names[row]: width for row, width in bars.items()} == {
        placed.layer.name: placed.cores for placed in found.placed
    }


def bars(axes: Any, container: int) -> dict[str, tuple[float, float]]:
    """Ends of the horizontal bars of one colour, by the name of their row."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    return {
        names[round(bar.get_y() + bar.get_height() / 2)]: (
            bar.get_x(),
            bar.get_x() + bar.get_width(),
        )
        for bar in axes.containers[container]
    }


def test_ranges_are_those_that_are_proven_and_those_that_were_seen(zoo: Any) -> None:
    network, frames, trace = zoo
    axes = plot.ranges(network, trace, frames)
    proven, seen = bars(axes, 0), bars(axes, 1)
    assert list(proven) == [node.name for node in network.populations]
    for name, (low, high) in proven.items():
        assert low <= seen[name][0] <= seen[name][1] <= high
        assert -100 <= low <= high <= 100  # or lowering would have refused it
    # of one neuron, by its picture: potential() recomputes its current from the trace
    name = "blocks.0.neuron2"
    limit, facts = (1 << 17) - 1, network.facts(name)
    ends = int(facts.reach_low.min()), int(facts.reach_high.max())
    assert proven[name] == pytest.approx(tuple(100 * end / limit for end in ends))
    every = states_of(network, trace, frames, name)
    assert seen[name] == pytest.approx((100 * every.min() / limit, 100 * every.max() / limit))


def states_of(network: Any, trace: Any, frames: Any, name: str) -> Any:
    """The current of a population, summed by hand from what its synapses were sent."""
    from neuroport.graph.kinds.base import Population

    assert isinstance(network[name], Population)
    total = 0
    for synapse in (network[each] for each in network[name].inputs):
        (source,) = synapse.inputs
        sent = trace[source].astype(np.int64)
        kernel = synapse.weight.astype(np.int64)
        (pad, _), size = synapse.padding, kernel.shape[2]
        padded = np.pad(sent, ((0, 0), (0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(3, 4))
        stride = synapse.stride[0]
        windows = windows[:, :, :, ::stride, ::stride]
        total = total + (np.einsum("tnchwij,ocij->tnohw", windows, kernel) << synapse.exponent)
    return total


def test_a_run_of_another_network_is_not_drawn(zoo: Any) -> None:
    network, frames, trace = zoo
    name = next(node.name for node in network.synapses)
    nodes = [n.replace(weight=-n.weight) if n.name == name else n for n in network]
    other = Graph(nodes, network.steps, network.interval)
    for draw in (
        lambda: plot.ranges(other, trace, frames),
        lambda: plot.potential(other, trace, frames, "readout.potential", (3,)),
    ):
        with pytest.raises(CompareError, match="the trace is of network"):
            draw()


def test_thresholds_are_the_integers_of_the_network(zoo: Any) -> None:
    network, _, _ = zoo
    axes = plot.thresholds(network)
    names = [label.get_text() for label in axes.get_yticklabels()]
    drawn = dict(zip(names, axes.lines[0].get_xdata(), strict=True))
    assert drawn == {
        node.name: int(np.max(node.threshold)) for node in network.populations if node.kind == "lif"
    }
    assert axes.lines[1].get_xdata()[0] == 131071


def test_traffic_is_what_the_cores_send_each_other(zoo: Any) -> None:
    network, frames, _ = zoo
    lowered = port.lower(network, "kapoho-point")
    trace = port.run(lowered, frames)
    axes = plot.traffic(lowered, trace, frames, "kapoho-point")
    found = measure(lowered, resources(lowered, load_target("kapoho-point")), trace, frames)
    want: dict[str, float] = {}
    for flow in found.flows:
        name = found.tiles[flow.source].population
        sent = flow.messages * len({*flow.targets} - {flow.source}) / found.samples
        want[name] = want.get(name, 0) + sent
    drawn = {**bars(axes, 0), **bars(axes, 1)}
    assert {name: long for name, (_, long) in drawn.items() if long} == pytest.approx(
        {name: number for name, number in want.items() if number}
    )


def test_gradients_are_those_of_every_epoch(tmp_path: Path) -> None:
    blocks = [{"stem": 0.5, "blocks.0": 0.25}, {"stem": 0.4, "blocks.0": 0.2}]
    lines = [
        json.dumps({
            "phase": "float" if at == 0 else "quantized", "epoch": at + 1, "epochs": 2,
            "loss": 1.0, "accuracy": 50.0, "seconds": 1.0,
            "gradients": {"batches": 2, "blocks": norms},
        })
        for at, norms in enumerate(blocks)
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    axes = plot.gradients(tmp_path)
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {"stem": [0.5, 0.4], "blocks.0": [0.25, 0.2]}
    assert axes.get_yscale() == "log"
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(TrainingError, match="no epoch has gradients"):
        plot.gradients(tmp_path)


def test_gradients_of_a_training_are_those_that_it_measured(tmp_path: Path) -> None:
    recipe = from_dict(parse_toml(TINY, "tiny", RecipeError), "tiny")
    port.fit(recipe, tmp_path)
    epochs = read_metrics(tmp_path)
    drawn = {line.get_label(): list(line.get_ydata()) for line in plot.gradients(tmp_path).lines}
    assert len(epochs) == 3
    assert {"stem", "blocks.0", "readout"} <= drawn.keys()
    for block, norms in drawn.items():
        assert norms == [epoch.gradients[block] for epoch in epochs]


@pytest.mark.parametrize(
    ("draw", "error", "said"),
    [
        (lambda t: plot.raster(t, "nothing"), CompareError, "has no population 'nothing'; it has"),
        (lambda t: plot.raster(t, "neuron", 2), CompareError, "sample 2: the trace has 2"),
        (lambda t: plot.maps(t, "readout"), CompareError, "which is no map"),
        (lambda t: plot.maps(t, "neuron", channel=1), CompareError, "channel 1: neuron has 1"),
        (lambda t: plot.weights(graph(), "w"), CompareError, "no synapse 'w'; it has conv, dense"),
        (lambda t: plot.potential(graph(), t, FRAMES, "neuron", (9, 0, 0)), CompareError, "neuron"),
        (lambda t: plot.confusion([0, 1], [0]), FramesError, "1 labels for 2 predictions"),
        (
            lambda t: plot.confusion([0.0, 1.0], [0, 1]),
            FramesError,
            r"predictions are float64 \(2,\)",
        ),
        (lambda t: plot.confusion(["a"], [0]), FramesError, "not numbers; give classes"),
        (lambda t: plot.confusion([0], None), FramesError, r"labels is None; give classes \(N,\)"),
        (lambda t: plot.confusion([0], [10**6]), FramesError, "class 1000000: .* 1000 classes"),
        (lambda t: plot.raster(t, "neuron", "a"), CompareError, "sample is 'a'; give a whole"),
        (lambda t: plot.raster(t, ["neuron"]), CompareError, r"has no population \['neuron'\]"),
        (lambda t: plot.raster(t, "neuron", ax=5), CompareError, "ax is a int; give the axes"),
        (lambda t: plot.maps(t, "neuron", channel="a"), CompareError, "channel is 'a'; give"),
        (lambda t: plot.potential(graph(), t, FRAMES, "neuron", 0), CompareError, r"neuron \(0,\)"),
        (lambda t: plot.potential(graph(), t, FRAMES, "neuron", None), CompareError, "is None"),
        (
            lambda t: plot.potential(graph(), t, FRAMES[:, ::-1] + 1, "neuron", (0, 0, 0)),
            CompareError,
            "recorded on other frames",
        ),
        (lambda t: plot.cores(graph(), "lava-cpu"), TargetError, "lava-cpu has no cores"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(
    draw: Any, error: type[NeuroportError], said: str
) -> None:
    with pytest.raises(error, match=said):
        draw(port.run(graph(), FRAMES))


def test_names_are_drawn_as_they_stand(tmp_path: Path) -> None:
    for name in ("a$x_1$b", r"$\nosuch$", "$"):
        network = graph(name)
        axes = plot.raster(port.run(network, FRAMES), name)
        axes.figure.savefig(tmp_path / "drawn.png")
        assert axes.get_title() == name.replace("$", r"\$") + ", sample 0"
        plot.thresholds(network).figure.savefig(tmp_path / "drawn.png")


def test_long_names_leave_room_and_stay_apart() -> None:
    names = [f"{'a' * 40}{middle}{'b' * 40}" for middle in "xy"]
    frames = np.ones((3, 1, 1), int)
    network = Graph(
        [
            Input("input", (1,), bits=1),
            Dense("first", ("input",), np.full((1, 1), 2)),
            Lif(names[0], ("first",), 1),
            Dense("second", (names[0],), np.full((1, 1), 2)),
            Lif(names[1], ("second",), 200),
        ],
        3,
    )
    axes = plot.activity(port.run(network, frames))
    assert [bar.get_width() for bar in axes.patches] == [100, 0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{'a' * 18}…{'b' * 29}"] * 2


def test_of_a_readout_the_last_step_may_be_all_there_is() -> None:
    trace = port.run(graph(), FRAMES, record="counts")
    last = {name: array[-1:] for name, array in trace.messages.items()}
    got = {name: array + np.array([0, 7]) for name, array in last.items()}
    short, other = (replace(trace, messages=each) for each in (last, got))
    made = plot.divergence(short, other)
    np.testing.assert_array_equal(made[0].images[0].get_array(), last["readout"][:, 0])
    np.testing.assert_array_equal(made[2].images[0].get_array(), [[0, 7]])
    assert made[0].lines[0].get_xdata()[0] == 1
    assert made[0].get_ylabel() == "readout, step 2, sample 0"
    np.testing.assert_array_equal(
        plot.divergence(port.run(graph(), FRAMES), other)[2].images[0].get_array(), [[0, 7]]
    )
    drawn = np.asarray(plot.raster(short, "readout").collections[0].get_offsets())
    assert set(drawn[:, 0]) == {2}


def test_an_activity_that_is_not_told_is_refused() -> None:
    trace = port.run(graph(), FRAMES, record="counts", granularity="layer")
    with pytest.raises(CompareError, match="no spikes of single neurons"):
        plot.activity(trace)


def test_neuroport_is_imported_without_matplotlib(root: Path) -> None:
    program = "import sys, neuroport, neuroport.plot; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_page_draws_what_it_says_and_lists_every_picture(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (root / "docs" / "plot.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "models").symlink_to(root / "models")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/plot.md", "exec"), {})
    assert (tmp_path / "cores.png").stat().st_size > 1000
    assert len(plt.get_fignums()) == 10
    public = {
        n for n, made in vars(plot).items() if getattr(made, "__module__", "") == plot.__name__
    }
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == {n for n in public if n[0] != "_"}
