"""Networks of lava-dl 0.6.0's own tutorials, written anew: the same layers and neurons.

Each docstring names the tutorial, below ``tutorials/lava/lib/dl`` of lava-dl's repository.
"""

from __future__ import annotations

from typing import Any

import lava.lib.dl.bootstrap as bootstrap
import lava.lib.dl.slayer as slayer
import torch
import torch.nn.functional as F

from tests.helpers.slayer_networks import Chain

MEAN = {"norm": slayer.neuron.norm.MeanOnlyBatchNorm}
NMNIST = {
    "threshold": 1.25,
    "current_decay": 0.25,
    "voltage_decay": 0.03,
    "tau_grad": 0.03,
    "scale_grad": 3,
    "requires_grad": True,
}


class Sparse(Chain):
    """As PilotNet's tutorial calls its blocks: with a loss for events, and their counts."""

    def forward(self, x: Any) -> Any:
        counts, loss = [], 0
        for block in self.blocks:
            x = block(x)
            if hasattr(block, "neuron"):
                excess = F.relu(torch.mean(torch.abs(x)) - 0.01)
                loss += F.mse_loss(excess, torch.zeros_like(excess))
                counts.append(torch.sum((torch.abs(x[..., 1:]) > 0).to(x.dtype)).item())
        return x, loss, torch.FloatTensor(counts).reshape((1, -1)).to(x.device)


class Counting(Chain):
    """As the tutorial on XOR calls its blocks."""

    def forward(self, x: Any) -> Any:
        counts = []
        for block in self.blocks:
            x = block(x)
            counts.append(torch.mean(x).item())
        return x, torch.as_tensor(counts)


def oxford() -> Chain:
    """``slayer/oxford``: two dense layers, thresholds and decays learned, no delays."""
    neuron = {"threshold": 0.1, "current_decay": 1, "voltage_decay": 0.1, "requires_grad": True}
    dense = slayer.block.cuba.Dense
    return Chain(dense(dict(neuron), 200, 256), dense(dict(neuron), 256, 200))


def nmnist() -> Chain:
    """``slayer/nmnist``: dense layers with weight norm, dropout and learned axonal delays."""
    drop = {**NMNIST, "dropout": slayer.neuron.Dropout(p=0.05)}
    dense = slayer.block.cuba.Dense
    return Chain(
        dense(dict(drop), 2 * 34 * 34, 512, weight_norm=True, delay=True),
        dense(dict(drop), 512, 512, weight_norm=True, delay=True),
        dense(dict(NMNIST), 512, 10, weight_norm=True),
    )


def nmnist_conv() -> Chain:
    """Layers of ``example/03_NMNIST_CNN`` of slayerPytorch, which lava-dl's SLAYER grew from.

    lava-dl has no convolutional tutorial on N-MNIST. Neurons, norm of weights, delays and dropout
    are those of ``slayer/nmnist``, the scale of weights keeps every layer active.
    """
    drop = {**NMNIST, "dropout": slayer.neuron.Dropout(p=0.05)}
    block, own = slayer.block.cuba, {"weight_norm": True, "delay": True}
    return Chain(
        block.Conv(dict(drop), 2, 16, 5, padding=1, weight_scale=2, **own),
        block.Pool(dict(NMNIST), 2, weight_scale=1, delay=True),
        block.Conv(dict(drop), 16, 32, 3, padding=1, weight_scale=2, **own),
        block.Pool(dict(NMNIST), 2, weight_scale=1, delay=True),
        block.Conv(dict(drop), 32, 64, 3, padding=1, weight_scale=2, **own),
        block.Flatten(),
        block.Dense(dict(NMNIST), 64 * 8 * 8, 10, weight_scale=2, weight_norm=True),
    )


def pilotnet_sdnn() -> Chain:
    """``slayer/pilotnet``: sigma-delta, mean-only norm from the first convolution to the output."""
    neuron = {
        "threshold": 0.1,
        "tau_grad": 0.5,
        "scale_grad": 1,
        "requires_grad": True,
        "shared_param": True,
        "activation": F.relu,
    }
    norm = {**neuron, **MEAN}
    drop = {**norm, "dropout": slayer.neuron.Dropout(p=0.2)}
    block, own = slayer.block.sigma_delta, {"weight_scale": 2, "weight_norm": True}
    return Sparse(
        block.Input(dict(neuron)),
        block.Conv(dict(norm), 3, 24, 3, padding=0, stride=2, **own),
        block.Conv(dict(norm), 24, 36, 3, padding=0, stride=2, **own),
        block.Conv(dict(norm), 36, 64, 3, padding=(1, 0), stride=(2, 1), **own),
        block.Conv(dict(norm), 64, 64, 3, padding=0, stride=1, **own),
        block.Flatten(),
        block.Dense(dict(drop), 64 * 40, 100, **own),
        block.Dense(dict(drop), 100, 50, **own),
        block.Dense(dict(drop), 50, 10, **own),
        block.Output(dict(drop), 10, 1, **own),
    )


def pilotnet_snn() -> Chain:
    """``netx/pilotnet_snn``: the layers, thresholds and decays that its ``network.net`` holds.

    That tutorial runs a trained file; it has no definition to train. In the file every layer but
    the last has a bias, here that of a mean-only norm, and the last never fires: an Affine. 25, 40
    and 36 are the file's threshold and its input's weight and bias.
    """
    neuron = {"threshold": 25 / 64, "current_decay": 1, "voltage_decay": 0.25}
    norm = {**neuron, **MEAN}
    block, own = slayer.block.cuba, {"weight_scale": 3}
    return Chain(
        block.Input(dict(neuron), weight=40 / 64, bias=36 / 64),
        block.Conv(dict(norm), 3, 24, 3, padding=0, stride=2, **own),
        block.Conv(dict(norm), 24, 36, 3, padding=0, stride=2, **own),
        block.Conv(dict(norm), 36, 48, 3, padding=0, stride=2, **own),
        block.Conv(dict(norm), 48, 64, 3, padding=(1, 0), stride=(2, 1), **own),
        block.Conv(dict(norm), 64, 64, 3, padding=0, stride=1, **own),
        block.Flatten(),
        block.Dense(dict(norm), 64 * 40, 100, **own),
        block.Dense(dict(norm), 100, 50, **own),
        block.Dense(dict(norm), 50, 10, **own),
        block.Affine({**neuron, "voltage_decay": 0}, 10, 1, **own),
    )


def xor() -> Chain:
    """``slayer/xor_regression``: all in one, from an Input block to currents."""
    neuron = {
        "threshold": 0.1,
        "current_decay": 0.9,
        "voltage_decay": 0.9,
        "tau_grad": 1,
        "scale_grad": 1,
        "scale": 1 << 6,
        "norm": None,
        "dropout": None,
        "shared_param": True,
        "persistent_state": False,
        "requires_grad": False,
        "graded_spike": False,
    }
    block = slayer.block.cuba
    return Counting(
        block.Input(dict(neuron), count_log=False),
        block.Dense(dict(neuron), 2, 32, count_log=False),
        block.Dense(dict(neuron), 32, 32, count_log=False),
        block.Affine(dict(neuron), 32, 1, dynamics=False, count_log=False),
    )


class Sampling(Chain):
    """As the tutorial on MNIST calls its blocks at first: spiking, and sampled for its ANN."""

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x, mode=bootstrap.Mode.SAMPLE)
        return x


def mnist() -> Chain:
    """``bootstrap/mnist``: blocks that are trained as an ANN and as spiking neurons by turns."""
    return Sampling(*_mnist(bootstrap.block.cuba))


def as_slayer(net: Sampling) -> Chain:
    """The trained network in SLAYER's own blocks, with which bootstrap's share their parameters.

    ``forward`` of bootstrap's has a mode, which no graph has.
    """
    twin = Chain(*_mnist(slayer.block.cuba))
    twin(torch.zeros(1, 28 * 28, 1))  # gives everything its shape
    twin.load_state_dict(net.state_dict())
    return twin.eval()


def _mnist(block: Any) -> list[Any]:
    neuron = {
        "threshold": 1.25,
        "current_decay": 1,
        "voltage_decay": 0.03,
        "tau_grad": 1,
        "scale_grad": 1,
    }
    own = {"weight_norm": True, "weight_scale": 2}
    return [
        block.Input(dict(neuron), weight=1, bias=0),
        block.Dense(dict(neuron), 28 * 28, 512, **own),
        block.Dense(dict(neuron), 512, 512, **own),
        block.Affine(dict(neuron), 512, 10, dynamics=False, **own),
    ]
