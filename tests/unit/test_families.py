"""Every family of networks: its integer phase, its graph and what lower makes of it are one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.analysis.compare import compare  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.errors import IllegalError  # noqa: E402
from neuroport.lowering import CARRIERS  # noqa: E402
from neuroport.nets.baselines import SpikingResNet  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from tests.modules import enliven  # noqa: E402

WIDTHS = (4, 6, 8)
SHAPE = {"widths": WIDTHS, "in_channels": 2, "classes": 5}
TINY: dict[str, Callable[[], nn.Module]] = {
    "ms_resnet": lambda: MsResNet(1, **SHAPE),
    "ms_resnet by strides": lambda: MsResNet(1, **SHAPE, shortcut="stride"),
    "ms_resnet for events": lambda: MsResNet(
        1, **SHAPE, shortcut="stride", stem_stride=2, first_stride=2
    ),
    "ms_resnet18": lambda: MsResNet.imagenet(18, (3, 4, 5, 6), 2, 5),
    "ms_resnet with a deep stem": lambda: MsResNet(1, **SHAPE, stem="deep"),
    "ds_resnet of 1": lambda: DsResNet(1, **SHAPE, levels=1),
    "ds_resnet of 2": lambda: DsResNet(2, **SHAPE, levels=2),
    "ds_resnet of 3": lambda: DsResNet(1, **SHAPE, levels=3),
    "ds_resnet of 4": lambda: DsResNet(1, **SHAPE, levels=4),
    "ds_resnet for gestures": lambda: DsResNet(1, **SHAPE, normalize=True),
    "vanilla mlf": lambda: DsResNet(2, **SHAPE, block="vanilla"),
    "plain": lambda: SpikingResNet(2, **SHAPE),
    "tdbn": lambda: SpikingResNet(2, **SHAPE, block="tdbn"),
    "sew": lambda: SpikingResNet(2, **SHAPE, block="sew"),
    "da-spike-stage": lambda: DaNet(2, **SHAPE, domain="spike", reach="stage"),
    "da-spike-network": lambda: DaNet(1, **SHAPE, domain="spike", reach="network"),
    "da-membrane-stage": lambda: DaNet(2, **SHAPE, domain="membrane", reach="stage"),
    "da-membrane-network": lambda: DaNet(1, **SHAPE, domain="membrane", reach="network"),
    "da-spike bottleneck": lambda: DaNet(1, (2, 2, 2), 2, 5, "spike", "network", True),
    "da-membrane bottleneck": lambda: DaNet(1, (2, 2, 2), 2, 5, "membrane", "network", True),
}


def pixels(seed: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (3, 2, 2, 8, 8))


@pytest.mark.parametrize("name", TINY)
def test_family_is_one_network_from_the_module_to_chip_time(name: str) -> None:
    frames = pixels()
    net = enliven(TINY[name](), len(name), frames)
    graph = port.quantize(net, frames)
    want = run_module(net, frames)
    outcome = compare(want, port.run(graph, frames))
    assert outcome, str(outcome)
    assert not outcome.only_want
    assert not outcome.only_got
    assert compare(want, port.run(graph, frames, on="fast"))
    for node in graph.populations:
        assert (want.messages[node.name] != 0).any(), f"{node.name} is silent"
    carried = []
    for carrier in CARRIERS:
        try:
            lowered = port.lower(graph, carrier=carrier)
        except IllegalError:
            continue
        carried.append(carrier)
        for time in ("ideal", "chip"):
            outcome = compare(want, port.run(lowered, frames, on="fast", time_model=time))
            assert outcome, f"{carrier}, {time}: {outcome}"
            assert not outcome.only_want
    assert carried[:2] == ["relay", "unroll"]
