"""MS-ResNet and DS-ResNet as bare graphs of modules: the same one for every library.

Each library gives its convolution (with its norm), its neuron and its pooling, and says which
dimensions the mean before the classifier takes; everything else is alike. Needs torch only, so that
it runs in the environment of another library, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WIDTHS = (16, 32, 64)
BLOCKS = 3  # of each stage: 20 layers
STEPS = 4


@dataclass(frozen=True)
class Parts:
    """Modules of a library: ``conv(inputs, outputs, kernel, stride)``, ``neuron()``, ``pool()``."""

    conv: Callable[[int, int, int, int], nn.Module]
    neuron: Callable[[], nn.Module]
    pool: Callable[[], nn.Module]
    mean: Sequence[int]


class Block(nn.Module):
    """Two convolutions and a shortcut, with the neurons before (MS) or after them (DS)."""

    def __init__(self, parts: Parts, inputs: int, outputs: int, stride: int, before: bool) -> None:
        super().__init__()
        self.conv1 = parts.conv(inputs, outputs, 3, stride)
        self.conv2 = parts.conv(outputs, outputs, 3, 1)
        self.neuron1, self.neuron2 = parts.neuron(), parts.neuron()
        self.before = before
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            if before:
                self.shortcut = nn.Sequential(parts.pool(), parts.conv(inputs, outputs, 1, 1))
            else:
                projection = parts.conv(inputs, outputs, 1, stride)
                self.shortcut = nn.Sequential(projection, parts.neuron())

    def forward(self, x: Tensor) -> Tensor:
        shortcut: Tensor = self.shortcut(x)
        if self.before:
            return self.conv2(self.neuron2(self.conv1(self.neuron1(x)))) + shortcut
        return self.neuron2(self.conv2(self.neuron1(self.conv1(x)))) + shortcut


class Residual(nn.Module):
    """MS-ResNet-20 (``before``) or DS-ResNet-20."""

    def __init__(self, parts: Parts, before: bool = True, classes: int = 10) -> None:
        super().__init__()
        self.before, self.mean = before, tuple(parts.mean)
        self.stem, self.neuron = parts.conv(3, WIDTHS[0], 3, 1), parts.neuron()
        blocks, channels = [], WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            for number in range(BLOCKS):
                stride = 2 if stage and not number else 1
                blocks.append(Block(parts, channels, width, stride, before))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.neuron(self.blocks(x)) if self.before else self.blocks(self.neuron(x))
        logits: Tensor = self.classifier(x.mean(self.mean))
        return logits.mean(0) if logits.ndim == 3 else logits


class Bare(nn.Module):
    """The network without its neurons on (T, N, C, H, W), time folded into the batch.

    ``norm`` says whether the convolutions keep their batch norms (training) or have them folded
    into weights and biases (inference).
    """

    def __init__(self, before: bool, last: bool, norm: bool) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
            padding = kernel // 2
            own = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not norm)
            return nn.Sequential(own, nn.BatchNorm2d(outputs)) if norm else own

        parts = Parts(conv, nn.Identity, lambda: nn.AvgPool2d(2), (2, 3))
        self.inner = Residual(parts, before)
        self.format = torch.channels_last if last else torch.contiguous_format
        self.inner.to(memory_format=self.format)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1).contiguous(memory_format=self.format)
        logits: Tensor = self.inner(flat)
        return logits.unflatten(0, (x.shape[0], -1)).mean(0)


def frames(batch: int, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Pixels (T, N, 3, 32, 32), the same in every step, and labels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, 3, 32, 32), generator=generator).float()
    labels = torch.randint(0, classes, (batch,), generator=generator)
    return pixels.expand(STEPS, *pixels.shape).contiguous(), labels


def stepping(net: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], None]:
    """One training step of ``net``: forward, cross entropy, backward, SGD."""
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()

    return step


def evaluating(net: nn.Module, x: Tensor) -> Callable[[], None]:
    """One evaluation of ``net`` without gradients."""
    net.eval()

    def evaluate() -> None:
        with torch.no_grad():
            net(x)

    return evaluate
