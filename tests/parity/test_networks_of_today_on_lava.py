"""The networks of today from their recipe's table to Lava: no spike differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import neuroport as port  # noqa: E402
from neuroport.nets.families import build  # noqa: E402
from neuroport.nets.recipe import NetworkRecipe  # noqa: E402
from tests.helpers.modules import enliven  # noqa: E402

pytestmark = pytest.mark.lava
NETWORKS: dict[str, dict[str, Any]] = {
    "e_spikeformer": {"family": "e_spikeformer", "ratio": 2, "reparameterize": True},
    "qkformer": {"family": "qkformer", "heads": 2, "ratio": 2},
    "spike_transformer": {"family": "spike_transformer", "window": 3, "reparameterize": True},
    "max_resnet": {"shortcut": "stride", "downsampling": "max"},
    "sew_resnet, iand": {"family": "sew_resnet", "connect": "iand"},
    "danet, fused": {"family": "danet", "reach": "fused"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_lava_sends_what_the_module_sends(name: str, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 8, 8))
    net = enliven(build(NetworkRecipe(widths=(4, 6, 8), **NETWORKS[name]), 2, 5), 2, frames)
    chip = port.lower(port.quantize(net, frames))
    path = port.export(chip, tmp_path / "r.net")
    want = port.run(net, frames, on="module")
    assert sum(bool(sent.any()) for sent in want.messages.values()) > len(want.messages) / 2
    found = port.compare(want, port.run(path, frames, on="lava-cpu", processes="fused"))
    assert found, str(found)
    assert not found.only_want
