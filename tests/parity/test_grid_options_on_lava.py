"""An equalized and corrected network on Lava: thresholds and biases for each channel."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import neuroport as port  # noqa: E402
from neuroport.graph.node import Lif  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from tests.helpers.modules import enliven, frames_for  # noqa: E402

pytestmark = pytest.mark.lava


@pytest.mark.parametrize("processes", ["stock", "fused"])
def test_an_equalized_and_corrected_network_is_equal_on_lava(processes: str) -> None:
    net = MsResNet(1, (2, 2, 3), in_channels=1, classes=3)
    frames = frames_for(net, steps=3, samples=3)
    enliven(net, 0, frames)
    with torch.no_grad():
        for block in net.blocks:
            block.conv1.norm.weight.mul_(torch.linspace(0.1, 1, len(block.conv1.norm.weight)))
    graph = port.quantize(net, frames, equalize=True, correct_bias=True)
    assert any(len(np.unique(node.threshold)) > 1 for node in graph.of(Lif))
    want = port.run(graph, frames[:, :2])
    got = port.run(port.lower(graph), frames[:, :2], on="lava-cpu", processes=processes)
    assert port.compare(want, got)
