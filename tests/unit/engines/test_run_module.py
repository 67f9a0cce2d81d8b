"""A torch module runs its own forward pass, or its graph on the engine that was asked for."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import neuroport as port
from neuroport.errors import BackendError, CaptureError, FramesError, IllegalError
from neuroport.nets.ms_resnet import MsResNet
from tests.helpers.modules import frames_for, randomize


@pytest.mark.parametrize("options", [{}, {"on": None}, {"on": "module"}])
def test_a_module_runs_itself(options: dict[str, str | None]) -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    got = port.run(net, frames, **options)
    assert got.provenance["engine"] == "module"
    assert port.compare(port.run(graph, frames), got)


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_a_module_on_an_engine_of_graphs_runs_there_as_its_graph(engine: str) -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    got = port.run(net, frames, on=engine)
    assert got.provenance["engine"] == engine
    assert got.provenance["graph"] == graph.hash
    assert port.compare(port.run(net, frames), got)


@pytest.mark.lava
def test_a_module_whose_graph_must_be_lowered_first_is_refused_on_lava_with_the_rule() -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    with pytest.raises(IllegalError) as caught:
        port.run(graph, frames, on="lava-cpu")
    with pytest.raises(IllegalError) as again:
        port.run(net, frames, on="lava-cpu")
    assert again.value.message == caught.value.message


@pytest.mark.parametrize("engine", [None, "module", "reference", "fast"])
def test_a_module_that_is_real_valued_still_is_refused_on_every_engine(engine: str | None) -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    with pytest.raises(CaptureError, match="still real-valued; quantize it before"):
        port.run(net, frames_for(net), on=engine)


def test_a_module_on_an_unknown_engine_is_refused() -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    with pytest.raises(BackendError, match="unknown engine 'pigeon'; the engines are reference, "):
        port.run(net, frames_for(net), on="pigeon")


def test_a_module_is_prepared_for_an_engine_of_graphs_with_frames_only() -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    port.quantize(net, frames)
    with pytest.raises(FramesError, match=r"give prepare\(..., frames=...\) some frames"):
        port.prepare(net, "fast")
    with port.prepare(net, "fast", frames=frames) as prepared, port.prepare(net) as itself:
        assert port.compare(prepared.run(frames), itself.run(frames))


def test_a_graph_has_no_forward_pass_of_its_own() -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    with pytest.raises(BackendError, match="'module' runs the forward pass of a torch module"):
        port.run(port.quantize(net, frames), frames, on="module")
