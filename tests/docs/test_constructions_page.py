"""The committed figures of constructions for the chip, and what the code gives today."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from benchmarks.chips import BOARD, ROOT
from benchmarks.constructions import CONSTRUCTIONS, NETWORKS, recipe_of, weights
from neuroport.targets.population_demands import rounding
from neuroport.targets.resources import resources
from neuroport.targets.target import load_target
from neuroport.training.checkpoint import build_network

RESULTS = json.loads((Path(ROOT) / "docs" / "constructions.json").read_text())


def test_every_construction_in_the_table_is_legal_and_fits() -> None:
    assert list(RESULTS) == list(NETWORKS)
    for network, rows in RESULTS.items():
        assert len(rows) >= 2
        for construction, row in rows.items():
            assert row["board"]["broken"] == 0, (network, construction)
            assert row["board"]["fits"], (network, construction)


def test_with_a_coarse_stem_only_published_projections_of_a_stream_round() -> None:
    for network, rows in RESULTS.items():
        for construction, row in rows.items():
            projection, stem, _ = CONSTRUCTIONS[construction]
            streams = projection == "membrane" and network.startswith("ms_resnet")
            assert (row["board"]["rounding"] > 0) == (streams or stem == "rounding")


def test_every_row_was_trained_as_what_it_is() -> None:
    for network, rows in RESULTS.items():
        for construction, row in rows.items():
            other = CONSTRUCTIONS[construction][0] == "spike"
            assert row["epochs"]["integer"] > 0, (network, construction)
            assert (row["epochs"]["real"] > 0) == other, (network, construction)
            assert 0 < row["accuracy"] <= 100


def test_what_rounds_nowhere_ran_on_lavas_own_processes_and_differed_nowhere() -> None:
    rows = [one for rows in RESULTS.values() for one in rows.values()]
    assert all(("lava" in one) == (one["board"]["rounding"] == 0) for one in rows)
    for run in (one["lava"] for one in rows if "lava" in one):
        assert run["equal"]
        assert run["compared"] > 0 == run["differ"]
        assert run["own"] == {}
        assert not any("prodneuron" in name for name in run["processes"])


@pytest.mark.parametrize(
    ("network", "construction"),
    [
        ("ms_resnet20_mnist", "composed, coarse stem"),
        ("danet20_membrane_stage_mnist", "published, coarse stem"),
    ],
)
def test_the_figures_are_those_of_today(network: str, construction: str) -> None:
    """The weights are those before the last epoch, which changes no layer's cores here."""
    recipe = recipe_of(network, construction)
    assert recipe is not None
    net = build_network(recipe)
    net.load_state_dict(weights(network, net))
    frames = np.load(ROOT / "models" / network / "frames.npy")[:, :1]
    lowered = port.lower(port.quantize(net.eval(), frames), BOARD)
    found, row = resources(lowered, load_target(BOARD)), RESULTS[network][construction]["board"]
    assert (found.cores, found.chips, found.neurons) == (row["cores"], row["chips"], row["neurons"])
    assert rounding(lowered) == []
