"""Capturing a deep SLAYER network does not make its user wait."""

from __future__ import annotations

import time

import pytest

import neuroport as port
from neuroport.capture import slayer as capture

torch = pytest.importorskip("torch")
pytest.importorskip("lava.lib.dl.slayer")

from neuroport.nets.slayer import MembraneShortcut  # noqa: E402
from tests.helpers import slayer_networks as networks  # noqa: E402

BLOCKS, LIMIT = 100, 10.0  # seconds of this process; 5.1 were seen on a processor with AVX2 alone


@pytest.mark.parametrize("residual", [False, True], ids=["chain", "residual"])
def test_network_of_100_blocks_is_captured_in_ten_seconds(residual: bool) -> None:
    torch.manual_seed(0)
    blocks = [
        networks.cuba("Conv", 2 if index == 0 else 16, 16, 3, padding=1, weight_scale=2)
        for index in range(BLOCKS)
    ]
    if residual:
        stage = MembraneShortcut(*blocks[:3])
        for index in range(3, BLOCKS - 1, 2):
            stage = MembraneShortcut(stage, *blocks[index : index + 2])
        blocks = [stage, blocks[-1]]
    net, x = networks.Chain(*blocks), networks.spikes((2, 16, 16))[:1]
    networks.ready(net, x)
    started = time.process_time()
    frames = capture.frames(net, x)
    graph = port.quantize(net, frames)
    seconds = time.process_time() - started
    assert sum(node.name.endswith(".synapse") for node in graph) == BLOCKS
    assert seconds < LIMIT, f"{seconds:.1f} s"
