"""The networks of :mod:`benchmarks.speed.topology` of lava-dl's SLAYER: synapses and neurons."""

from __future__ import annotations

import lava.lib.dl.slayer as slayer
from torch import Tensor, nn

from benchmarks.speed.topology import Parts, Residual


class Slayer(nn.Module):
    """MS-ResNet-20 of SLAYER's convolutions, torch's norms over (N, C, H, W, T), CUBA neurons."""

    def __init__(self) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
            own = slayer.synapse.Conv(inputs, outputs, kernel, stride, kernel // 2)
            return nn.Sequential(own, nn.BatchNorm3d(outputs))

        def neuron() -> nn.Module:
            return slayer.neuron.cuba.Neuron(  # type: ignore[no-any-return]
                threshold=0.5, current_decay=1.0, voltage_decay=0.5, tau_grad=1, scale_grad=1
            )

        parts = Parts(conv, neuron, lambda: nn.AvgPool3d((2, 2, 1)), (2, 3, 4))
        self.inner = Residual(parts)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits


def last(x: Tensor) -> Tensor:
    """(T, N, C, H, W) as SLAYER takes it, (N, C, H, W, T); real numbers around 1."""
    return (x / 255).permute(1, 2, 3, 4, 0).contiguous()
