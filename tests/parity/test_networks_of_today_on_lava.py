"""The networks of today, trained a little, from their recipe to Lava: no spike differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import neuroport as port  # noqa: E402
from neuroport.data.loading import load_data  # noqa: E402
from neuroport.data.samples import frames_of  # noqa: E402
from neuroport.training.fit import fit  # noqa: E402

pytestmark = pytest.mark.lava
NETWORKS = {
    "e_spikeformer": 'family = "e_spikeformer"\nlevels = 4\nratio = 2\nreparameterize = true',
    "qkformer": 'family = "qkformer"\nheads = 2\nratio = 2',
    "spike_transformer": 'family = "spike_transformer"\nwindow = 7\nreparameterize = true',
    "max_resnet": 'shortcut = "stride"\ndownsampling = "max"',
    "sew_resnet, iand": 'family = "sew_resnet"\nconnect = "iand"',
    "danet, fused": 'family = "danet"\nreach = "fused"',
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_recipe_trains_both_phases_and_lava_sends_what_the_module_sends(
    name: str, tmp_path: Path
) -> None:
    steps = 1 if name == "e_spikeformer" else 3
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "r"\n[data]\nsteps = {steps}\ntrain = 60\ntest = 20\nsize = 14\n'
        f"[network]\nwidths = [4, 6, 8]\n{NETWORKS[name]}\n"
        "[training]\nepochs = 1\nbatch = 10\nshift = 0\n[quantization]\nepochs = 1\n"
    )
    loaded = port.load_recipe(recipe)
    fit(loaded, tmp_path / "run")
    net = port.load(tmp_path / "run")
    frames = np.ascontiguousarray(frames_of(load_data(loaded.data).test, slice(2), steps))
    chip = port.lower(port.quantize(net, frames))
    path = port.export(chip, tmp_path / "r.net")
    want = port.run(net, frames, on="module")
    for options in ({"on": "fast"}, {"on": "lava-cpu", "processes": "fused"}):
        found = port.compare(want, port.run(path, frames, **options), graph=chip, frames=frames)
        assert found, str(found)
        assert not found.only_want
    assert min(float(np.abs(x).max()) for x in want.messages.values()) > 0
