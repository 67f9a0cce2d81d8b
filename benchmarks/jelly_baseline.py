"""SpikingJelly's MS-ResNet trained by a recipe of ours: a baseline for a network of ``models/``.

    PYTHONPATH=. runs/jelly/bin/python -m benchmarks.jelly_baseline ms_resnet20_fashion_mnist

``make jelly-baseline`` makes the environment (Python 3.11 or newer, with SpikingJelly). The network
is SpikingJelly's ``MSResNet`` with the recipe's stages and widths, a 3x3 stem that keeps the size
of the pictures, and the neurons that it chooses by itself. Data, augmentation, order of the
batches, optimizer, rates and number of epochs are those of the recipe's real-valued phase; nothing
is quantized, for SpikingJelly has no integer phase. Goes on where it was (``runs/baselines``). The
result goes into ``docs/baselines.json``.
"""

from __future__ import annotations

import argparse
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from neuroport.files import read_json, write_json
from neuroport.recipe import Recipe, load_recipe
from neuroport.reporting.progress import training_report
from neuroport.runs.trace import versions
from neuroport.training import fit as training
from neuroport.training.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "baselines.json"
RUNS = ROOT / "runs" / "baselines"


class Jelly(nn.Module):
    """SpikingJelly's MS-ResNet; states start afresh for every batch."""

    def __init__(self, recipe: Recipe) -> None:
        from spikingjelly.activation_based.model.ms_resnet import MSResNet

        class KeepsSize(MSResNet):  # type: ignore[misc]
            _first_stage_stride = 1  # SpikingJelly's own halves the pictures before the first stage

        super().__init__()
        blocks, widths = recipe.network.blocks, tuple(recipe.network.widths)
        self.inner = KeepsSize(
            T=recipe.data.steps,
            in_channels=recipe.data.shape[0],
            num_classes=recipe.data.class_count,
            layers=(blocks,) * len(widths),
            base_channels=widths[0],
            stem_kernel_size=3,
            stem_stride=1,
            stage_channels=widths,
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Class scores (N, classes) of frames (T, N, C, H, W) of pixels from 0 to 255."""
        from spikingjelly.activation_based import functional

        functional.reset_net(self.inner)
        scores: Tensor = self.inner(frames / 255)
        return scores


def baseline(name: str, recipe: Recipe) -> dict[str, Any]:
    """Train, and return what the page shows."""
    only = replace(recipe, quantization=replace(recipe.quantization, epochs=0))
    build = mock.patch.object(training, "build_network", lambda recipe, folder: Jelly(recipe))
    with build, training_report(lambda line: print(line, flush=True)) as report:
        net = training.fit(only, RUNS / name, report=report)
    epochs = read_checkpoint(RUNS / name).metrics
    return {
        "epochs": [{k: m[k] for k in ("loss", "accuracy")} for m in epochs],
        "accuracy": epochs[-1]["accuracy"],
        "samples": epochs[-1]["samples"],
        "parameters": sum(p.numel() for p in net.parameters()),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions("torch", "spikingjelly")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="a shipped recipe of family ms_resnet with three stages")
    name = parser.parse_args().recipe
    found = baseline(name, load_recipe(name))
    results = read_json(OUT) if OUT.exists() else {}
    write_json(OUT, {**results, name: found})
    print(f"{name}: {found['accuracy']:.2f} % of {found['samples']:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
