"""The committed work, energy and time of the trained networks, and what the code gives today."""

from __future__ import annotations

import json

import pytest

from benchmarks.energy import DOCS, ROOT, measure, page
from neuroport.analysis.cost_models import ARITHMETIC, BOUND, LOIHI1, UNMEASURED

RESULTS = json.loads((DOCS / "energy.json").read_text())
NETWORKS = RESULTS["networks"]


def test_the_page_is_made_of_the_numbers_and_has_every_label() -> None:
    text = (DOCS / "energy.md").read_text()
    assert text == page(RESULTS, text)
    assert all(label in text for label in (ARITHMETIC, BOUND, LOIHI1, UNMEASURED))
    assert "not available | not available" in text


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_of_a_network_agree_with_each_other(name: str) -> None:
    work, cores = (NETWORKS[name]["energy"][key] for key in ("work", "cores"))
    metrics = NETWORKS[name]["neurobench"]["synaptic_operations"]
    multiplies = work["frame_multiplies"] + work["shortcut_multiplies"] + work["other_multiplies"]
    ours = work["accumulates"] + multiplies
    effective = metrics["Effective_ACs"] + metrics["Effective_MACs"]
    assert 0 < effective <= ours <= work["chip_operations"]
    assert work["active"] == pytest.approx(work["spikes"] + work["graded"])
    assert cores["fits"] == (cores["chips"] == 1)


@pytest.mark.slow
def test_the_numbers_are_those_of_today() -> None:
    name = "ms_resnet8_mnist"
    today = json.loads(json.dumps(measure(ROOT / "models" / name)))
    if today["network"] != NETWORKS[name]["network"]:
        pytest.fail("the network was trained again: make energy")
    assert today == NETWORKS[name]
