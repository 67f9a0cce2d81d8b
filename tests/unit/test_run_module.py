"""A torch module runs its own forward pass; any other engine is refused, not left out silently."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import neuroport as port
from neuroport.errors import BackendError
from neuroport.nets.ms_resnet import MsResNet
from tests.modules import frames_for, randomize


@pytest.mark.parametrize("options", [{}, {"on": None}, {"on": "module"}])
def test_a_module_runs_itself(options: dict[str, str | None]) -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    graph = port.quantize(net, frames)
    got = port.run(net, frames, **options)
    assert got.provenance["engine"] == "module"
    assert port.compare(port.run(graph, frames), got)


@pytest.mark.parametrize("engine", ["reference", "fast", "lava-cpu", "pigeon"])
def test_a_module_on_an_engine_is_refused_with_the_way_to_run_it_there(engine: str) -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    port.quantize(net, frames)
    with pytest.raises(BackendError) as caught:
        port.run(net, frames, on=engine)
    cure = f"port.run(port.quantize(net, frames), frames, on={engine!r})"
    assert cure in caught.value.message


def test_a_graph_has_no_forward_pass_of_its_own() -> None:
    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    frames = frames_for(net)
    with pytest.raises(BackendError, match="unknown engine 'module'"):
        port.run(port.quantize(net, frames), frames, on="module")
