"""TensorBoard events say what metrics.jsonl says, once, whatever interrupted the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neuroport.data.samples import Pictures, Split
from neuroport.recipe import from_dict
from neuroport.training.fit import fit
from neuroport.training.metrics import read_metrics
from neuroport.training.tensorboard import board

RECIPE = from_dict(
    {
        "data": {"steps": 1},
        "network": {"widths": [2, 2, 2]},
        "training": {"epochs": 2, "batch": 10},
        "quantization": {"epochs": 2},
    }
)


class StoppedError(Exception):
    """Raised by a report, as an interruption would be."""


def data() -> Split:
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 12, 12)).astype(np.uint8)
    pictures = Pictures(images, np.arange(20, dtype=np.int64) % 10)
    return Split(pictures, pictures)


def assert_events_are_the_metrics(folder: Path) -> None:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    epochs = read_metrics(folder)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    found = {
        tag: [(scalar.step, scalar.value) for scalar in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    expected: dict[str, list[tuple[int, float]]] = {}
    for each, epoch in zip(metrics, epochs, strict=True):
        scalars = {f"{key}/{each['phase']}": each[key] for key in ("loss", "accuracy", "seconds")}
        blocks = each["gradients"]["blocks"]
        scalars |= {f"gradient/{name}": norm for name, norm in blocks.items()}
        populations = each["activity"]["populations"]
        scalars |= {f"population_spikes/{n}": p["spikes"] for n, p in populations.items()}
        assert scalars.items() <= epoch.scalars().items()
        for tag, value in epoch.scalars().items():
            expected.setdefault(tag, []).append((each["epoch"], float(np.float32(value))))
    assert found == expected
    assert {"spikes_per_neuron/float", "dormant/quantized", "clipped/quantized"} <= found.keys()


@pytest.mark.parametrize("stop", [(1, "batch"), (1, "accuracy"), (3, "accuracy")])
def test_every_epoch_is_there_once_after_an_interruption(
    stop: tuple[int, str], tmp_path: Path
) -> None:
    def train(stops: bool) -> None:
        with board(tmp_path) as report:

            def told(event: dict[str, Any]) -> None:
                # the checkpoint holds the epoch, the events do not
                if stops and event["epoch"] == stop[0] and stop[1] in event:
                    raise StoppedError
                report(event)

            fit(RECIPE, tmp_path, data=data(), report=told)

    with pytest.raises(StoppedError):
        train(stops=True)
    train(stops=False)
    assert_events_are_the_metrics(tmp_path)


def test_finished_run_gets_its_events_when_it_is_asked_for_them(tmp_path: Path) -> None:
    fit(RECIPE, tmp_path, data=data())
    assert not (tmp_path / "tensorboard").exists()
    for _ in range(2):
        with board(tmp_path) as report:
            fit(RECIPE, tmp_path, data=data(), report=report)
        assert_events_are_the_metrics(tmp_path)
