"""Graphs that came from elsewhere train on by a recipe: epochs, checkpoints, the command line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import neuroport as port  # noqa: E402
from neuroport.data.samples import Pictures, Split, frames_of  # noqa: E402
from neuroport.errors import (  # noqa: E402
    BackendError,
    CaptureError,
    NeuroportError,
    TrainingError,
)
from neuroport.graph.graph import Graph  # noqa: E402
from neuroport.graph.node import (  # noqa: E402
    Conv,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    SubtractiveLif,
    SubtractiveRecurrent,
)
from neuroport.graph.store import save  # noqa: E402
from neuroport.recipe import Recipe, from_dict  # noqa: E402
from neuroport.training.checkpoint import (  # noqa: E402
    State,
    build_network,
    read_checkpoint,
    save_checkpoint,
)
from neuroport.training.given_graph import Classifier  # noqa: E402
from tests.conftest import Neuroport  # noqa: E402

SIZE, STEPS = 7, 3


def recipe_of(**quantization: Any) -> Recipe:
    return from_dict(
        {
            "name": "tuned",
            "data": {"steps": STEPS, "size": SIZE, "bits": 4, "train": 40, "test": 20},
            "network": {"family": "graph", "surrogate": "arctan"},
            "training": {"epochs": 0, "batch": 8, "checkpoint_steps": 2},
            "quantization": {"epochs": 2, "learning_rate": 0.002, **quantization},
        }
    )


def graph_of(seed: int = 0, counts: bool = False, bits: int = 4) -> Graph:
    """With a shortcut, and a readout that leaks or spikes that are counted."""
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-30, 40, shape)

    one = {"threshold": 400, "voltage_decay": 500, "bias": 2}
    nodes: list[Any] = [
        Input("frames", (1, SIZE, SIZE), bits=bits),
        Conv("conv1", ("frames",), weight(3, 1, 3, 3), padding=(1, 1)),
        Lif("lif1", ("conv1",), **one),
        Conv("conv2", ("lif1",), weight(3, 3, 3, 3), padding=(1, 1), exponent=1),
        SubtractiveLif("lif2", ("conv1", "conv2"), subtract=400 * 64, **one),
        Dense("fc", ("lif1", "lif2"), weight(10, 3 * SIZE**2)),
    ]
    if counts:
        own = weight(10, 10)
        nodes.append(SubtractiveRecurrent("out", ("fc",), own, subtract=400 * 64, **one))
    else:
        nodes.append(LeakyReadout("out", ("fc",), current_decay=4096, voltage_decay=100))
    return Graph(nodes, STEPS)


def split() -> Split:
    """A pixel of the first row says the class."""
    rng = np.random.default_rng(1)

    def pictures(count: int) -> Pictures:
        labels = np.arange(count) % 10
        images = rng.integers(0, 4, (count, 1, SIZE, SIZE)).astype(np.uint8)
        images[np.arange(count), 0, labels // SIZE, labels % SIZE] = 15
        return Pictures(images, labels.astype(np.int64))

    return Split(pictures(40), pictures(20))


class EnoughError(Exception):
    pass


def after(batches: int) -> Callable[[dict[str, Any]], None]:
    """Ends a run after so many batches."""
    left = [batches]

    def report(event: dict[str, Any]) -> None:
        left[0] -= "batch" in event
        if left[0] < 0:
            raise EnoughError

    return report


@pytest.mark.parametrize("counts", [False, True])
def test_a_graph_trains_on_stops_goes_on_and_is_what_runs(tmp_path: Path, counts: bool) -> None:
    graph, recipe, data = graph_of(counts=counts), recipe_of(), split()
    start = port.trainable(graph, {"out": np.full((10,), 0.001)})
    whole = port.fit(recipe, tmp_path / "whole", data=data, start=start)
    for index, batches in enumerate((3, 4)):  # within the first epoch, within the second
        first = {} if index else {"start": start}
        with pytest.raises(EnoughError):
            port.fit(recipe, tmp_path / "parts", data=data, report=after(batches), **first)
    port.fit(recipe, tmp_path / "parts", data=data)
    want, got = (read_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert want.tensors.keys() == got.tensors.keys()
    assert all(torch.equal(want.tensors[name], got.tensors[name]) for name in want.tensors)
    assert want.metrics[-1]["loss"] < want.metrics[0]["loss"]
    last = want.metrics[-1]
    synapses = {"conv1", "conv2", "fc"}
    assert synapses <= set(last["gradients"]["blocks"])
    assert set(last["weights"]) == synapses | ({"out"} if counts else set())
    assert all(each["clipped"] >= 0 for each in last["weights"].values())
    fires = last["activity"]["populations"]
    assert set(fires) == {"lif1", "lif2"} | ({"out"} if counts else set())
    assert all(0 < each["spikes"] < STEPS for each in fires.values())
    again = port.load(tmp_path / "parts")
    assert isinstance(again, Classifier)
    assert np.array_equal(again.units()["out"], start.units()["out"])
    frames = frames_of(data.test, slice(None), STEPS)
    tuned = port.quantize(again, frames)
    assert tuned.hash == whole.graph().hash != graph.hash
    trace = port.run(tuned, frames)
    assert port.compare(trace, port.run(again, frames)).equal
    right = 100 * (trace.predictions == data.test.labels).mean()
    assert right == want.metrics[-1]["accuracy"]
    port.lower(tuned, target="lava-cpu")


def test_a_graph_is_given_to_train_and_its_folder_to_every_verb(
    called: Neuroport, tmp_path: Path
) -> None:
    save(graph_of(), tmp_path / "a.graph")
    text = json.dumps  # TOML writes these values alike
    lines = ['name = "tuned"']
    for table, keys in recipe_of(epochs=1).to_dict().items():
        if isinstance(keys, dict) and table in ("data", "training", "quantization"):
            lines += [f"[{table}]", *(f"{key} = {text(value)}" for key, value in keys.items())]
    lines += ["[network]", 'family = "graph"']
    (tmp_path / "r.toml").write_text("\n".join(lines))
    words = ("train", "r.toml", "-o", "run")
    missing = called(*words, cwd=tmp_path)
    assert missing.returncode == 2
    assert "neuroport train --graph FILE" in missing.stderr
    done = called(*words, "--graph", "a.graph", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["metrics"]) == 1
    for verb in (
        ("quantize", "run", "-o", "b.graph"),
        ("frames", "run", "-o", "f.npy", "--samples", 4),
        ("lower", "b.graph", "-o", "c.graph"),
        ("export", "c.graph", "-o", "c.net"),
        ("run", "run", "--frames", "f.npy", "-o", "run.trace"),
        ("compare", "run", "c.net", "--frames", "f.npy"),
    ):
        done = called(*verb, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "0 differ" in done.stdout
    assert port.Trace.load(tmp_path / "run.trace").provenance["seconds"] > 0


@pytest.mark.parametrize(
    ("changes", "graph", "says"),
    [
        ({"network": {"family": "ds_resnet"}}, {}, "start is for network.family = 'graph'"),
        ({"data": {"steps": 4}}, {}, "steps: 4 in the recipe, 3 in the graph; change data.steps"),
        ({"data": {"size": 14}}, {}, "frames of 1x14x14 in the recipe, 1x7x7 in the graph"),
        ({}, {"bits": 8}, "bits of a pixel: 4 in the recipe, 8 in the graph; change data.bits"),
        ({"quantization": {"widths": "checked"}}, {}, "which has no effect on a graph"),
        ({"training": {"epochs": 2}}, {}, "a graph has no real-valued phase"),
        ({"network": {"family": "graph", "learn": "decay"}}, {}, "which has no effect on a graph"),
    ],
)
def test_what_does_not_fit_the_graph_is_one_line(
    tmp_path: Path, changes: dict[str, Any], graph: dict[str, Any], says: str
) -> None:
    values = recipe_of().to_dict()
    for table, keys in changes.items():
        values[table] |= keys
    with pytest.raises(NeuroportError) as caught:
        port.fit(from_dict(values), tmp_path / "run", data=split(), start=graph_of(**graph))
    assert says in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_the_graph_that_it_began_with_alone(tmp_path: Path) -> None:
    recipe, data = recipe_of(epochs=1), split()
    with pytest.raises(NeuroportError, match=r"start\.graph is missing"):
        port.fit(recipe, tmp_path, data=data)
    port.fit(recipe, tmp_path, data=data, start=graph_of())
    port.fit(recipe, tmp_path, data=data, start=graph_of())  # done, and the same
    with pytest.raises(NeuroportError, match="began with another graph"):
        port.fit(recipe, tmp_path, data=data, start=graph_of(seed=1))
    with pytest.raises(NeuroportError, match="start is dict; give a graph"):
        port.fit(recipe, tmp_path, data=data, start={})  # type: ignore[arg-type]
    (tmp_path / "start.graph").write_bytes(b"no graph")
    with pytest.raises(NeuroportError, match=r"start\.graph"):
        port.load(tmp_path)


def test_weights_run_with_the_thresholds_and_decays_with_which_they_were_trained(
    tmp_path: Path,
) -> None:
    recipe, data, graph = recipe_of(epochs=1), split(), graph_of()
    changed = [
        node.replace(threshold=[300]) if node.name == "lif1" else node for node in graph.nodes
    ]
    other = graph.derived(changed)
    port.fit(recipe, tmp_path / "run", data=data, start=graph)
    kept = (tmp_path / "run" / "start.graph").read_bytes()
    want = port.quantize(port.load(tmp_path / "run"), frames_of(data.test, slice(1), STEPS)).hash
    save(other, tmp_path / "run" / "start.graph")
    for use in (
        lambda: port.load(tmp_path / "run"),
        lambda: port.fit(recipe, tmp_path / "run", data=data),
    ):
        with pytest.raises(TrainingError) as caught:
            use()
        said = str(caught.value)
        assert str(tmp_path / "run" / "start.graph") in said
        assert f"hash {other.hash[:16]}, not {graph.hash[:16]}" in said
        assert "neuroport train --graph FILE" in said
    with pytest.raises(TrainingError, match="began with another graph"):
        port.fit(recipe, tmp_path / "run", data=data, start=other)
    # what the message says mends it, in whatever state the file is
    for damage in (None, b"no graph", b""):
        if damage is not None:
            (tmp_path / "run" / "start.graph").write_bytes(damage)
        port.fit(recipe, tmp_path / "run", data=data, start=graph)
        assert (tmp_path / "run" / "start.graph").read_bytes() == kept
    (tmp_path / "run" / "start.graph").unlink()
    port.fit(recipe, tmp_path / "run", data=data, start=graph)
    got = port.quantize(port.load(tmp_path / "run"), frames_of(data.test, slice(1), STEPS)).hash
    assert got == want


def test_a_checkpoint_from_before_the_hash_of_its_graph_loads_and_gets_one(tmp_path: Path) -> None:
    recipe, data = recipe_of(), split()
    with pytest.raises(EnoughError):
        port.fit(recipe, tmp_path, data=data, start=graph_of(), report=after(3))
    state = read_checkpoint(tmp_path)
    assert state.start == graph_of().hash
    state.start = ""
    save_checkpoint(tmp_path, state)
    before = port.load(tmp_path).state_dict()
    assert read_checkpoint(tmp_path).start == ""
    assert all(torch.equal(state.tensors[f"model.{name}"], t) for name, t in before.items())
    (tmp_path / "start.graph").unlink()
    port.fit(recipe, tmp_path, data=data, start=graph_of())
    assert read_checkpoint(tmp_path).start == graph_of().hash


def test_a_graph_is_not_put_beside_the_run_of_another_family(tmp_path: Path) -> None:
    plain = from_dict({"network": {"widths": [2, 2, 2]}})
    tensors = {f"model.{name}": t for name, t in build_network(plain).state_dict().items()}
    save_checkpoint(tmp_path, State(plain, 0, [], tensors))
    with pytest.raises(TrainingError, match="holds a run of another recipe"):
        port.fit(recipe_of(), tmp_path, data=split(), start=graph_of())
    assert not (tmp_path / "start.graph").exists()


@pytest.mark.parametrize("counts", [False, True])
def test_all_of_it_is_on_the_device(counts: bool) -> None:
    """The device ``meta`` refuses every operation with a tensor of the CPU."""
    known = port.trainable(graph_of(counts=counts), device="cpu")
    there = copy.deepcopy(known).to("meta")
    out = there(torch.zeros(STEPS, 2, 1, SIZE, SIZE, device="meta"))
    assert out.is_meta
    out.sum().backward()
    trained = [p for p in there.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.is_meta for p in trained)
    with pytest.raises(BackendError, match="unknown device 'gpu'"):
        port.trainable(graph_of(), device="gpu")


@pytest.mark.parametrize("weight", [[[255, 3]], [[-255, -2]], [[254, -2]], [[0, 0]]])
def test_a_graph_begins_with_the_numbers_that_it_has(weight: list[list[int]]) -> None:
    graph = single(weight, 4095)
    assert port.trainable(graph).graph().hash == graph.hash


@pytest.mark.parametrize(
    ("weight", "bias", "says"),
    [
        ([[300, 2]], 0, "in: a weight is 300"),
        ([[256, -2]], 0, "in: a weight is 256"),
        ([[2, -2]], -5000, "n: a bias is -5000"),
    ],
)
def test_numbers_that_training_would_change_are_refused(
    weight: list[list[int]], bias: int, says: str
) -> None:
    with pytest.raises(CaptureError, match=says):
        port.trainable(single(weight, bias))


def single(weight: list[list[int]], bias: int) -> Graph:
    """A neuron of two inputs."""
    decays = {"current_decay": [4096], "voltage_decay": [100]}
    neuron = Lif("n", ("in",), threshold=[100], bias=[bias], **decays)
    return Graph([Input("frames", (2,)), Dense("in", ("frames",), weight), neuron], 2)


def test_weights_of_a_readout_without_units_are_one_at_most() -> None:
    module = port.trainable(graph_of())
    largest = max(float(p.abs().max()) for p in module.weights.values())
    assert module.unit("out")[0] == 1 / np.abs(graph_of()["fc"].weight).max()
    assert largest < 2
    assert module.graph().hash == graph_of().hash


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ({"lif3": np.ones(3)}, "units has 'lif3'; the graph's populations are lif1"),
        ({"lif1": np.ones(5)}, "units of lif1 are .*broadcast to"),
        ({"lif1": "fine"}, "units of lif1 are 'fine'; give positive numbers"),
        ({"out": np.full(10, 0.0)}, "units of out are .*; give positive numbers"),
        ({"out": [np.nan] * 10}, "units of out are .*; give positive numbers"),
        (
            {"lif1": np.arange(1.0, 1 + 3 * SIZE**2).reshape(3, SIZE, SIZE)},
            "units of lif1 differ within a channel; give one for each",
        ),
    ],
)
def test_units_that_mean_nothing_are_refused(units: dict[str, Any], said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        port.trainable(graph_of(), units)
