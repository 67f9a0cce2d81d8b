"""The committed figures of the trained networks on Kapoho Point, and what the code gives today."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from benchmarks.chips import BOARD, SAMPLES, measured, networks, quantized
from neuroport.targets.target import load_target
from neuroport.targets.verdict import check

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = json.loads((DOCS / "chips.json").read_text())


def test_every_network_in_the_table_is_legal_and_fits() -> None:
    assert set(RESULTS) <= set(networks())
    assert len(RESULTS) >= 8
    for name, row in RESULTS.items():
        assert row["board"]["broken"] == 0, name
        assert row["board"]["fits"], name


def test_what_ran_was_of_lavas_processes_alone_and_differed_nowhere() -> None:
    ran = [row[way] for row in RESULTS.values() for way in ("lava", "standins") if way in row]
    assert ran
    assert all(run["equal"] and run["differ"] == 0 and run["compared"] > 0 for run in ran)
    on_lava = [row for row in RESULTS.values() if "lava" in row]
    assert all(row["lava"]["own"] == {} and row["samples"] == SAMPLES for row in on_lava)
    assert all(
        row["lava"]["processes"]["lava.proc.prodneuron.process.ProdNeuron"]
        == row["board"]["rounding"]
        >= 1
        for row in on_lava
    )


@pytest.mark.parametrize("name", sorted(set(networks()) - set(RESULTS)))
def test_a_network_beside_the_table_is_legal_and_fits_but_for_the_one_that_the_page_names(
    name: str,
) -> None:
    target = load_target(BOARD)
    verdict = check(port.lower(quantized(networks()[name]), BOARD), target)
    assert verdict.refused == 0
    if name != "spike_transformer16_mnist":
        assert verdict.resources.fits
        return
    assert not verdict.resources.fits
    page = (DOCS / "loihi2.md").read_text()
    assert f"`{name}` fit the board" in page
    assert f"{verdict.resources.cores:,} cores" in page


@pytest.mark.parametrize("name", ["ms_resnet8_mnist", "ds_resnet20_saccades"])
def test_the_figures_are_those_of_today(name: str) -> None:
    folder, row = networks()[name], RESULTS[name]
    lowered = port.lower(quantized(folder), BOARD)
    assert lowered.hash == row["lowered"]
    frames = np.load(folder / "frames.npy")[:, : row["samples"]]
    assert measured(lowered, port.run(lowered, frames), frames) == row["board"]
