"""The metrics of a run are read as they were written, whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuroport.errors import FormatError, StorageError
from neuroport.training.metrics import read_metrics

OLD = {"phase": "float", "epoch": 1, "loss": 2.5, "accuracy": 10.0, "seconds": 1.5}


def run(folder: Path, *lines: Any) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_run_of_an_older_neuroport_has_no_more_than_it_wrote(tmp_path: Path) -> None:
    (epoch,) = read_metrics(run(tmp_path, OLD))
    assert (epoch.loss, epoch.epochs) == (2.5, 1)
    assert epoch.spikes_per_neuron is None
    assert epoch.scalars() == {"loss/float": 2.5, "accuracy/float": 10.0, "seconds/float": 1.5}


def test_shares_of_a_network_are_weighed_by_neurons(tmp_path: Path) -> None:
    populations = {
        "a": {"neurons": 30, "spikes": 1.0, "dormant": 0.0, "saturated": 2},
        "b": {"neurons": 10, "spikes": 3.0, "dormant": 1.0, "saturated": 0},
    }
    more = {"activity": {"samples": 8, "populations": populations}}
    (epoch,) = read_metrics(run(tmp_path, OLD | more))
    found = epoch.scalars()
    assert found["spikes_per_neuron/float"] == 1.5
    assert found["dormant/float"] == 0.25
    assert found["saturated/float"] == 2.0
    assert found["population_spikes/b"] == 3.0


def test_what_is_no_number_is_left_out_and_what_is_no_epoch_refused(tmp_path: Path) -> None:
    odd = {
        "gradients": {"blocks": {"a": float("nan"), "b": 1.0, "c": "1"}},
        "activity": {"populations": {"x": [], "y": {"neurons": "many", "spikes": 1}}},
        "weights": 3,
    }
    (epoch,) = read_metrics(run(tmp_path, OLD | odd))
    assert epoch.gradients == {"b": 1.0}
    assert epoch.neurons == epoch.spikes == epoch.weights == {}
    for wrong in ([], {}, OLD | {"loss": None}, OLD | {"loss": float("nan")}, OLD | {"epoch": "1"}):
        with pytest.raises(FormatError, match=r"metrics.jsonl, line 2"):
            read_metrics(run(tmp_path, OLD, wrong))
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\x00")
    with pytest.raises(FormatError, match="not JSON"):
        read_metrics(tmp_path)


def test_folder_without_metrics_has_no_epoch_and_no_folder_is_refused(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    with pytest.raises(StorageError, match="no such folder; give the folder of a training run"):
        read_metrics(tmp_path / "nothing")
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        read_metrics(tmp_path)
