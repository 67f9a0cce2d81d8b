"""The same networks in SpikingJelly, in an environment of its own; prints times as JSON.

    PYTHONPATH=<repository> <environment>/bin/python -m benchmarks.speed.jelly ROUNDS

``bare`` is timed in the same turns: ratios to it compare across versions of torch.
"""

from __future__ import annotations

import json
import sys

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from benchmarks.speed.timing import in_turn
from benchmarks.speed.topology import Bare, Parts, Residual, evaluating, frames, stepping


class Jelly(nn.Module):
    """MS-ResNet-20 of SpikingJelly's layers in multi-step mode; states start afresh every time."""

    def __init__(self) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
            own = layer.Conv2d(
                inputs, outputs, kernel, stride, kernel // 2, bias=False, step_mode="m"
            )
            return nn.Sequential(own, layer.BatchNorm2d(outputs, step_mode="m"))

        def lif() -> nn.Module:
            return neuron.LIFNode(
                tau=2.0,
                v_threshold=0.5,
                detach_reset=True,
                surrogate_function=surrogate.ATan(),
                step_mode="m",
            )

        pool = lambda: layer.AvgPool2d(2, step_mode="m")  # noqa: E731
        self.inner = Residual(Parts(conv, lif, pool, (3, 4)))

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self.inner)
        logits: Tensor = self.inner(x)
        return logits


def main() -> None:
    rounds = int(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    found = {}
    for batch in (16, 64):
        x, labels = frames(batch)
        ways = {
            f"bare, {name}": stepping(Bare(True, last, norm=True), x / 255, labels)
            for name, last in (("contiguous", False), ("channels last", True))
        }
        ways["eager"] = stepping(Jelly(), x / 255, labels)
        found[f"training, batch {batch}"] = in_turn(ways, rounds).seconds
    ways = {
        f"bare, {name}": evaluating(Bare(True, last, norm=False), x / 255)
        for name, last in (("contiguous", False), ("channels last", True))
    }
    ways["eager"] = evaluating(Jelly(), x / 255)
    compiled = Jelly().eval()
    compiled.inner = torch.compile(compiled.inner)  # type: ignore[assignment]
    ways["compiled"] = evaluating(compiled, x / 255)
    found["inference, batch 64"] = in_turn(ways, rounds, warm=3).seconds
    versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
    print(json.dumps({"turns": found, "versions": versions}))


if __name__ == "__main__":
    main()
