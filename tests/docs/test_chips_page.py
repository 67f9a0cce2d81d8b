"""The committed figures of the trained networks on Kapoho Point, and what the code gives today."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from benchmarks.chips import BOARD, SAMPLES, measured, networks, quantized

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


@pytest.mark.parametrize("name", ["ms_resnet8_mnist", "ds_resnet20_saccades"])
def test_the_figures_are_those_of_today(name: str) -> None:
    folder, row = networks()[name], RESULTS[name]
    lowered = port.lower(quantized(folder), BOARD)
    assert lowered.hash == row["lowered"]
    frames = np.load(folder / "frames.npy")[:, : row["samples"]]
    assert measured(lowered, port.run(lowered, frames), frames) == row["board"]
