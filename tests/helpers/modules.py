"""Networks and frames that the tests of layers and of quantization share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.nets.batchnorm import BiasNorm, TdBatchNorm
from neuroport.nets.neuron import Lif
from neuroport.nets.synapse import Conv, GradedConv, Readout


def randomize(net: nn.Module, seed: int, wild: float = 0.0) -> nn.Module:
    """Weights, norms and running statistics as training may leave them; every branch is active.

    ``wild`` spreads layers over decades.
    """
    rng = np.random.default_rng(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.from_numpy(rng.uniform(low, high, tuple(tensor.shape))))

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, BiasNorm) and module.bias.requires_grad:
                uniform(module.bias, -0.1, 0.5)
            if isinstance(module, nn.BatchNorm2d):
                if module.affine:
                    uniform(module.weight, 0.4, 0.9)
                    uniform(module.bias, -0.1, 0.5)
                uniform(module.running_mean, -0.3, 0.3)
                uniform(module.running_var, 0.2, 0.9)
            if isinstance(module, nn.BatchNorm2d) and module.affine:
                module.weight.mul_(10 ** rng.uniform(-wild, wild))
                module.bias.mul_(10 ** rng.uniform(-wild / 2, wild / 2))
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.weight.requires_grad:
                top = 1.7 / module.weight[0].numel() ** 0.5
                uniform(module.weight, -top, top)
                if module.bias is not None:
                    uniform(module.bias, -0.3, 0.3)
    return net.eval()


def enliven(net: nn.Module, seed: int, frames: np.ndarray) -> nn.Module:
    """:func:`randomize`, with the statistics of ``frames``: every population has work to do."""
    rng = np.random.default_rng(seed)
    norms = [m for m in randomize(net, seed).modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            if norm.affine:
                spread = (3.0, 6.0) if isinstance(norm, TdBatchNorm) else (0.5, 1.5)
                norm.weight.copy_(torch.from_numpy(rng.uniform(*spread, norm.num_features)))
        for module in net.modules():  # has no statistics
            if isinstance(module, BiasNorm) and module.bias.requires_grad:
                module.bias.add_(1.0)
        torch.manual_seed(seed)  # of dropout
        net.train()(torch.from_numpy(frames.astype(np.float32)))
    return net.eval()


def frames_for(net: nn.Module, seed: int = 0, steps: int = 3, samples: int = 2) -> np.ndarray:
    """Pixels (T, N, C, 8, 8) for the stem of ``net``."""
    channels = net.stem.synapse.in_channels
    return np.random.default_rng(seed).integers(0, 256, (steps, samples, channels, 8, 8))


class StrongAndWeak(nn.Module):
    """A strong and a weak synapse that meet: the one needs range, the other a fine grid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = GradedConv(1, 64, 3, padding=1, pixels=True)
        self.neuron1 = Lif()
        self.strong = Conv(64, 8, 3, padding=1, norm_scale=20.0)
        self.weak = Conv(64, 8, 3, padding=1, norm_scale=0.01)
        self.neuron2 = Lif()
        self.readout = Readout(8, 3)
        with torch.no_grad():  # the brighter, the more spikes
            self.stem.synapse.weight.abs_()

    def forward(self, frames: Tensor) -> Tensor:
        spikes = self.neuron1(self.stem(frames))
        logits: Tensor = self.readout(self.neuron2(self.strong(spikes) + self.weak(spikes)))
        return logits
