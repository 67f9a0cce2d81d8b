"""What a notebook gets wrong: every public function says what it was given, and what to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import BackendError, FramesError, NeuroportError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif
from neuroport.scale import runs as scaled

torch = pytest.importorskip("torch")

GRAPH = Graph(
    [
        Input("frames", (3, 4, 4), bits=8),
        Dense("weights", ("frames",), np.ones((2, 48), np.int64)),
        Lif("spikes", ("weights",), 5),
    ],
    steps=2,
)
OTHER = Graph([n.replace(threshold=7) if n.name == "spikes" else n for n in GRAPH], steps=2)
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 4, 4))
TRACE = port.run(GRAPH, FRAMES)
NET = torch.nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: port.lower(NET), ("graph is the torch module Linear", "port.quantize")),
        (lambda: port.lower("a.graph"), ("graph is the path 'a.graph'", "port.read(path)")),
        (lambda: port.lower(TRACE), ("graph is a Trace", "the graph that was run")),
        (lambda: port.export(NET, "never.net"), ("graph is the torch module", "port.quantize")),
        (lambda: port.export(GRAPH, None), ("None is not a path",)),
        (lambda: port.export(GRAPH, "a\0b"), ("names no file",)),
        (lambda: port.read(b"a.net"), ("path of bytes", "os.fsdecode")),
        (lambda: port.Trace.load(7), ("7 is not a path",)),
        (lambda: port.quantize(GRAPH, FRAMES), ("net is a Graph", "integers already")),
        (lambda: port.quantize("run", FRAMES), ("net is the path 'run'", "port.load(folder)")),
        (lambda: port.quantize({"w": 1}, FRAMES), ("state_dict", "net.load_state_dict")),
        (lambda: port.quantize(NET, None), ("calibration is None", "(T, N, C, H, W)")),
        (lambda: port.quantize(NET, "f.npy"), ("calibration is the path", "np.load(path)")),
        (lambda: port.quantize(NET, FRAMES[:, :0]), ("hold no sample", "at least one")),
        (lambda: port.quantize(NET, FRAMES[0]), ("(5, 3, 4, 4)", "(T, N, C, H, W)")),
        (lambda: port.run(None, FRAMES), ("network is None", "a Graph, the path")),
        (lambda: port.run(TRACE, FRAMES), ("network is a Trace",)),
        (lambda: port.run(GRAPH, [[1], [1, 2]]), ("frames: a list", "equal lengths")),
        (lambda: port.run(GRAPH, "frames.npy"), ("np.load(path)",)),
        (lambda: port.run(GRAPH, FRAMES.astype(str)), ("not numbers",)),
        (lambda: port.compare(TRACE, GRAPH), ("got is a Graph", "port.run(graph, frames)")),
        (lambda: port.compare("a", "b"), ("want is the path 'a'", "port.Trace.load(path)")),
        (lambda: port.statistics(TRACE, GRAPH), ("graph is a Trace",)),
        (lambda: port.verify(GRAPH, TRACE, FRAMES), ("got is a Trace",)),
        (lambda: port.minimize(GRAPH, "fast", None), ("frames is None",)),
        (lambda: port.fit("recipe.toml", "run"), ("recipe is the path", "port.load_recipe")),
        (lambda: port.run(GRAPH, FRAMES, on=""), ("on is '', not the name of an engine",)),
        (lambda: port.run(GRAPH, FRAMES, on=[]), ("on is a list, not the name of an engine",)),
        (lambda: port.run(GRAPH, FRAMES, on={}), ("on is a dict, not the name",)),
        (lambda: port.run(GRAPH, FRAMES, on=np.zeros(0)), ("on is a ndarray", "'reference'")),
        (lambda: port.prepare(GRAPH, on=False), ("on is a bool", "or leave it out")),
        (lambda: port.verify(GRAPH, GRAPH, FRAMES, on=""), ("on is ''; give two engines",)),
        (lambda: port.verify(GRAPH, GRAPH, FRAMES, on="fast"), ("on is 'fast'; give two engines",)),
        (lambda: port.verify(GRAPH, GRAPH, FRAMES, on=[]), ("on is []; give two engines",)),
        (lambda: port.verify(GRAPH, GRAPH, FRAMES, on=("fast", "")), ("on[1] is '', not the",)),
        (lambda: port.minimize(GRAPH, None, FRAMES), ("other is None", "a function (graph, f")),
        (lambda: port.minimize(GRAPH, NET, FRAMES), ("other is the torch module Linear",)),
        (lambda: port.minimize(GRAPH, 5, FRAMES), ("other is an int, not the name of an engine",)),
        (lambda: port.minimize(GRAPH, "nosuch", FRAMES), ("unknown engine 'nosuch'",)),
        (lambda: port.minimize(GRAPH, GRAPH, FRAMES, on=[]), ("on is a list, not the name",)),
        (lambda: port.minimize(GRAPH, "fast", FRAMES, report=1), ("report is an int; give a f",)),
        (lambda: port.merge(None), ("shards is None, not a list of results",)),
        (lambda: port.merge("1.trace"), ("shards is the path '1.trace', not a list",)),
        (lambda: port.merge(TRACE), ("shards is a Trace, not a list of results",)),
        (lambda: port.merge(np.array(5)), ("shards is a ndarray, not a list",)),
        (lambda: port.merge([None]), ("None is not a result",)),
        (lambda: port.merge([TRACE], 5), ("5 is not a path",)),
        (lambda: port.report(GRAPH, GRAPH, "a.html"), ("trace is a Graph",)),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", results="demo.json"),
            ("results is the path",),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", energy=5),
            ("energy is an int; give an Energy",),
        ),
        (lambda: port.report(GRAPH, TRACE, "a.html", mapping="m"), ("give a Mapping",)),
        (lambda: port.report(GRAPH, TRACE, "a.html", source=TRACE), ("source is a Trace",)),
        (lambda: port.report(GRAPH, TRACE, "a.html", comparison=True), ("give a Comparison",)),
        (lambda: port.report(GRAPH, TRACE, "a.html", title=5), ("title is an int; give a str",)),
        (
            lambda: port.verify(GRAPH, None, FRAMES, together="a"),
            ("together is 'a'; give a whole",),
        ),
        (lambda: port.verify(GRAPH, None, FRAMES, together=1.5), ("together is 1.5",)),
        (lambda: port.verify(GRAPH, None, FRAMES, together=True), ("together is True",)),
        (lambda: port.verify(GRAPH, None, FRAMES, options="fused"), ("options is the path",)),
        (lambda: port.verify(GRAPH, None, FRAMES, options={1: 2}), ("a dictionary by name",)),
        (lambda: port.verify(GRAPH, None, FRAMES, progress=1), ("progress is an int; give a f",)),
        (
            lambda: port.record(GRAPH, FRAMES, "a.trace", shards="a"),
            ("shards is 'a'; give a whole",),
        ),
        (lambda: port.record(GRAPH, FRAMES, "a.trace", progress=1), ("progress is an int",)),
        (
            lambda: port.record(GRAPH, FRAMES, "a.trace", "fast", shards=3),
            ("shards is for runs on a cluster",),
        ),
        (
            lambda: scaled.verify(GRAPH, None, FRAMES, shards=3),
            ("shards is for runs on a cluster",),
        ),
        (
            lambda: scaled.verify(GRAPH, None, FRAMES, out="a.json"),
            ("out is for runs on a cluster",),
        ),
        (lambda: port.to_nir(GRAPH, "a.nir", dt="a"), ("dt is 'a'; give a number above 0",)),
        (lambda: port.to_nir(GRAPH, "a.nir", dt=[1.0]), ("dt is a list; give a number above 0",)),
        (lambda: port.to_nir(GRAPH, "a.nir", dt=10**400), ("give a number above 0",)),
        (lambda: port.to_nir(GRAPH, "a.nir", dt=0), ("dt is 0; give a number above 0",)),
        (lambda: port.read("a.net", verify="no"), ("verify is 'no'; give True or False",)),
        (lambda: port.read("a.net", delay_shift=0), ("delay_shift is 0; give True or False",)),
        (
            lambda: port.lower(GRAPH, power_of_two_interval="no"),
            ("power_of_two_interval is 'no'; give True or False",),
        ),
        (lambda: port.energy(GRAPH, TRACE, FRAMES, routes=1), ("routes is an int; give a Routes",)),
        (lambda: port.energy(GRAPH, TRACE, FRAMES, measurement={}), ("give a Measurement",)),
        (lambda: port.neurobench(GRAPH, TRACE, FRAMES, batch=-1), ("batch is -1; give a whole",)),
        (lambda: port.neurobench(GRAPH, TRACE, FRAMES, batch=0), ("batch is 0; give a whole",)),
        (lambda: port.qualify(5), ("5 is not a path",)),
        (lambda: port.qualify("site.toml", only=5), ("only is an int, not a list",)),
        (lambda: port.qualify("site.toml", deadline="a"), ("deadline is 'a'; give a number",)),
        (lambda: port.import_nir("a.nir", one_unit="no"), ("one_unit is 'no'; give True or Fal",)),
        (lambda: port.from_nir("a.nir", integers=None), ("integers is None; give True or False",)),
        (lambda: port.import_torch(NET, FRAMES, measure=[]), ("measure is a list; give True",)),
        (lambda: port.trainable(GRAPH, 5), ("units is an int; give a dictionary by name",)),
        (lambda: port.trainable(GRAPH, surrogate=[]), ("surrogate is []; use one of",)),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", target="nosuch"),
            ("unknown target 'nosuch'",),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", target="lava-cpu"),
            ("lava-cpu has no cores",),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", labels=np.eye(5)),
            ("labels are float64 (5, 5); give integers (N,)", "labels.argmax(1)"),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", labels=[0.0, 1.0, 0.0, 1.0, 0.5]),
            ("labels are float64 (5,); give integers (N,), the class of each sample",),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", results={"comparisons": 3}),
            ("comparisons of the results is 3; give a list",),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", source=GRAPH),
            (
                "source is shown with target",
                "'kapoho-point'; give target, too, or leave source out",
            ),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", other=GRAPH),
            ("other is shown with got", "give got, too, or leave other out"),
        ),
        (
            lambda: port.report(GRAPH, TRACE, "a.html", comparison=port.compare(TRACE, TRACE)),
            ("comparison is shown with got",),
        ),
        (
            lambda: port.compare(TRACE, TRACE, frames=FRAMES),
            ("frames explains where the runs differ", "give graph, or leave frames out"),
        ),
        (
            lambda: port.compare(TRACE, TRACE, other=GRAPH),
            ("other explains where the runs differ", "give graph, or leave other out"),
        ),
        (
            lambda: port.compare(TRACE, TRACE, graph=GRAPH, frames=FRAMES[:, :3]),
            ("these are not the frames of the runs",),
        ),
        (
            lambda: port.compare(TRACE, TRACE, graph=GRAPH, other=OTHER),
            ("the trace is of network", "give the graph that was run"),
        ),
        (
            lambda: port.minimize(GRAPH, "fast", FRAMES, on="refrence"),
            ("on is the engine of other", "other is an engine itself"),
        ),
    ],
)
def test_an_argument_of_another_kind_is_named_with_what_to_write_instead(
    call: Callable[[], object], says: tuple[str, ...]
) -> None:
    with pytest.raises(NeuroportError) as caught:
        call()
    for words in says:
        assert words in caught.value.message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch": 1.5}, "batch is 1.5; give a whole number"),
        ({"batch": True}, "batch is True; give a whole number"),
        ({"device": None}, "device is None; give a text"),
        ({"device": "cpu:x"}, "unknown device 'cpu:x'"),
        ({"deadline": 5}, "no option 'deadline'; it takes progress"),
        ({"progress": 5}, "progress is 5; give a function"),
    ],
)
def test_an_option_that_the_engine_has_not_or_of_another_type_is_refused(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(BackendError, match=r"engine|give|unknown") as caught:
        port.run(GRAPH, FRAMES, on="fast", **options)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (FRAMES / 255, "np.rint(frames * 255)"),
        (FRAMES.astype(float), "frames.astype(np.int32)"),
        (FRAMES / 128 - 1, "normalized by a mean"),
        (np.full(FRAMES.shape, np.nan), "NaN or infinity"),
        (FRAMES + 0.5, "np.rint(frames)"),
        (FRAMES.swapaxes(0, 1), "frames.swapaxes(0, 1)"),
        (np.moveaxis(FRAMES, 2, -1), "np.moveaxis(frames, -1, 2)"),
        (FRAMES[0], "np.stack([frames] * 2)"),
        (FRAMES[:, 0], "frames[:, None]"),
    ],
)
def test_frames_of_another_scale_or_order_are_told_how_to_become_right(
    frames: Any, says: str
) -> None:
    with pytest.raises(FramesError) as caught:
        port.run(GRAPH, frames)
    assert says in caught.value.message
    assert "round them" not in caught.value.message


def test_masks_are_not_left_out() -> None:
    frames = np.ma.masked_array(np.zeros((2, 1, 3), int), mask=True)
    from neuroport.arguments import as_array

    with pytest.raises(FramesError, match=r"frames: a masked array, .*value\.filled\(0\)"):
        as_array(frames, "frames")


def test_the_advice_on_pixels_in_0_to_1_gives_the_frames_back() -> None:
    scaled = FRAMES / 255
    assert np.array_equal(np.rint(scaled * 255).astype(np.int32), FRAMES)


def test_tensors_that_hold_integers_are_taken_whatever_their_device_and_history() -> None:
    given = torch.from_numpy(FRAMES)
    assert port.compare(TRACE, port.run(GRAPH, given))
    with pytest.raises(FramesError, match="float32"):
        port.run(GRAPH, torch.ones(FRAMES.shape, requires_grad=True))
    with pytest.raises(FramesError, match=r"float32.*astype"):
        port.run(GRAPH, given.to(torch.bfloat16))
    with pytest.raises(FramesError, match="frames: a Tensor"):
        port.run(GRAPH, given.to("meta"))


def test_a_mapped_file_stays_mapped(tmp_path: Path) -> None:
    from neuroport.arguments import as_array

    np.save(tmp_path / "frames.npy", FRAMES)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    assert np.shares_memory(as_array(mapped, "frames"), mapped)
