"""Gradient norm of every block at initialization, without training.

Of one batch's cross-entropy L, in training mode: ``signal`` is the norm of dL/d(output) of a block,
which is dL/d(sum) after it in every family whose blocks are added up; ``parameters`` is the norm of
dL/d(parameters) of a block. Gradients pass spikes through the surrogate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.studies.plan import Budget, Run
from neuroport.data.samples import Split, frames_of
from neuroport.nets.danet import DaNet
from neuroport.nets.ms_resnet import MembraneBlock
from neuroport.training.checkpoint import build_network

DEPTHS = (8, 20, 56, 110, 482)
BATCH = 32
OPENED = "ms-opened"  # MS-ResNet whose branches do not start at zero
NETWORKS = (
    "plain",
    "tdbn",
    "sew",
    "ms",
    OPENED,
    "ds1",
    "ds3",
    "da-membrane-stage",
    "da-membrane-network",
    "da-spike-network",
)


def gradient_norms(run: Run, budget: Budget, data: Split) -> dict[str, Any]:
    """Norms of every block, the first one first; each seed has its own weights and batch."""
    opened = run.network == OPENED
    net = build_network(Run("ms" if opened else run.network, run.depth, run.seed).recipe(budget))
    if opened:
        for module in net.modules():
            if isinstance(module, MembraneBlock):
                nn.init.constant_(module.conv2.norm.weight, 0.5)
    return norms_of(net, *batch_of(run.seed, budget, data))


def batch_of(seed: int, budget: Budget, data: Split) -> tuple[Tensor, Tensor]:
    """The seed's training batch: frames (T, N, C, H, W) and labels."""
    chosen = np.arange(BATCH * seed, BATCH * (seed + 1)) % len(data.train.labels)
    frames = torch.from_numpy(frames_of(data.train, chosen, budget.steps).astype(np.float32))
    return frames, torch.from_numpy(data.train.labels[chosen])


def norms_of(net: nn.Module, frames: Tensor, labels: Tensor) -> dict[str, Any]:
    """Norms of every block of ``net``, which is put into training mode."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    blocks = blocks_of(net)
    handles = [block.register_forward_hook(keep) for block in blocks]
    net.train()
    loss = F.cross_entropy(net(frames), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    for handle in handles:
        handle.remove()
    return {
        "signal": [_norm([out.grad]) for out in outputs],
        "parameters": [_norm([p.grad for p in block.parameters()]) for block in blocks],
    }


def decades(first: float, last: float) -> float | None:
    """log10 of first / last; None if one of them is 0, that is below what float32 holds."""
    return math.log10(first / last) if first > 0 < last else None


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """The residual blocks, the first one first."""
    if isinstance(net, DaNet):
        return [block for stage in net.stages for block in stage.blocks]
    return list(net.blocks)


def _norm(gradients: list[Tensor | None]) -> float:
    squares = sum(float(g.double().square().sum()) for g in gradients if g is not None)
    return float(f"{squares**0.5:.4g}")
