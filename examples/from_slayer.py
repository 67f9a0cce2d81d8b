"""I train with lava-dl: a SLAYER network, trained for a moment, runs on Lava with equal spikes.

python examples/from_slayer.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lava.lib.dl.slayer as slayer
import torch

import neuroport as port
from neuroport.capture import slayer as capture

STEPS, CLASSES = 16, 4


class Network(torch.nn.Module):
    """An ordinary SLAYER network, with a delay, a norm, pooling and a spike shortcut."""

    def __init__(self) -> None:
        super().__init__()
        block = slayer.block.cuba
        neuron = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        norm = {**neuron, "norm": slayer.neuron.norm.MeanOnlyBatchNorm}
        self.stem = block.Conv(dict(neuron), 1, 4, 3, padding=1, weight_scale=3, delay=True)
        self.body = block.Conv(norm, 4, 4, 3, padding=1, weight_scale=3)
        self.pool = block.Pool(dict(neuron), 2, weight_scale=0.8)
        self.flatten = block.Flatten()
        self.head = block.Dense(dict(neuron), 4 * 16, CLASSES, weight_scale=2, weight_norm=True)

    def forward(self, spike: Any) -> Any:
        stem = self.stem(spike)
        body = self.body(stem) + stem
        return self.head(self.flatten(self.pool(body)))


def stripes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy spikes (N, 1, 8, 8, T) of a bar in one of four places, and the place."""
    labels = torch.randint(0, CLASSES, (count,))
    rate = torch.full((count, 1, 8, 8, STEPS), 0.05)
    for sample, label in enumerate(labels):
        rate[sample, 0, 2 * int(label) : 2 * int(label) + 2] = 0.6
    return (torch.rand(rate.shape) < rate).float(), labels


def main(folder: str = ".") -> int:
    torch.manual_seed(0)
    net = Network()
    net(stripes(2)[0])  # SLAYER draws its sizes and delays in its first pass
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    error = slayer.loss.SpikeRate(true_rate=0.6, false_rate=0.05)
    net.train()
    for _ in range(40):
        x, labels = stripes(16)
        loss = error(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()

    x, labels = stripes(6)
    frames = capture.frames(net, x)
    chip = port.lower(port.quantize(net, frames))
    path = port.export(chip, Path(folder) / "stripes.net")
    want = capture.record(net, x)
    got = port.run(path, frames, on="lava-cpu")
    outcome = port.compare(want, got)
    print(outcome)
    guessed = got["head"].sum(0).argmax(1)
    print("places", labels.tolist(), "guessed on Lava", guessed.tolist())
    return outcome.differing


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:])))
