"""lava-dl's own tutorials: their networks, trained for a moment, send on Lava what SLAYER sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import CaptureError

torch = pytest.importorskip("torch")
pytest.importorskip("lava.lib.dl.slayer")

from benchmarks.tutorials.networks import as_slayer, mnist  # noqa: E402
from benchmarks.tutorials.page import PAGE, RESULTS, page  # noqa: E402
from benchmarks.tutorials.road import TUTORIALS, travel  # noqa: E402
from tests.golden.shipped import folder  # noqa: E402

shipped = pytest.mark.skipif(
    folder() is None, reason="pictures and spikes come with lava-dl's wheel: lava-dl==0.6.0"
)


def arrived(found: dict[str, Any]) -> None:
    """Every population was compared and sent something, from weights that training had moved."""
    assert found["differ"] == 0, found
    assert not found["missing"]
    assert not found["silent"], "equal silence shows nothing"
    assert found["integers_moved"] > 0


@shipped
@pytest.mark.lava
@pytest.mark.parametrize("name", TUTORIALS)
def test_network_of_a_tutorial_runs_on_lava_as_slayer_runs_it(name: str, tmp_path: Path) -> None:
    arrived(travel(name, tmp_path))


def test_network_trained_with_bootstrap_sends_the_same_in_blocks_of_slayer() -> None:
    torch.manual_seed(5)
    net = mnist().eval()
    x = torch.rand(2, 28 * 28, 1).expand(-1, -1, 12).contiguous()
    with torch.no_grad():
        want = net(x)
        got = as_slayer(net)(x)
    assert want.any()
    assert torch.equal(want, got)
    with pytest.raises(CaptureError, match=r"\(Input\) has its own 'forward'.*SLAYER's as it is"):
        port.quantize(net, np.moveaxis(x.round().numpy(), -1, 0))


@shipped
@pytest.mark.long
@pytest.mark.lava
@pytest.mark.parametrize("name", TUTORIALS)
def test_committed_results_are_those_of_today(name: str, tmp_path: Path) -> None:
    kept = json.loads(RESULTS.read_text())["networks"][name]
    today = travel(name, tmp_path, whole=True)
    arrived(today)
    same = ("input", "samples", "steps", "populations", "positions", "integers")
    assert {key: today[key] for key in same} == {key: kept[key] for key in same}


def test_committed_results_are_of_all_tutorials_at_full_length_without_a_difference() -> None:
    kept = json.loads(RESULTS.read_text())["networks"]
    assert list(kept) == list(TUTORIALS)
    for name, found in kept.items():
        arrived(found)
        assert (found["samples"], found["steps"], found["training_steps"]) == TUTORIALS[name].whole


def test_the_table_is_made_of_the_committed_numbers() -> None:
    text = PAGE.read_text()
    assert text == page(json.loads(RESULTS.read_text()), text)
