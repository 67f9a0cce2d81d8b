"""Networks of snnTorch, written as its tutorials and users write them."""

from __future__ import annotations

from typing import Any

import snntorch as snn
import torch
from snntorch import surrogate, utils
from torch import Tensor, nn
from torch.nn import functional as F


class Dense(nn.Module):
    """Two layers that are given one picture at every step (tutorials 5 and 3)."""

    def __init__(self, inputs: int, steps: int, **options: Any) -> None:
        super().__init__()
        self.steps = steps
        self.fc1 = nn.Linear(inputs, 40)
        self.lif1 = snn.Leaky(beta=0.95, **options)
        self.fc2 = nn.Linear(40, 10)
        self.lif2 = snn.Leaky(beta=0.95, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(self.steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Convolutional(nn.Module):
    """The convolutional network of tutorial 6, its pools before or behind the neurons."""

    def __init__(self, steps: int, pool_first: bool, **options: Any) -> None:
        super().__init__()
        self.steps, self.pool_first = steps, pool_first
        spike_grad = surrogate.fast_sigmoid(slope=25)
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.lif1 = snn.Leaky(beta=0.5, spike_grad=spike_grad, **options)
        self.conv2 = nn.Conv2d(6, 8, 5)
        self.lif2 = snn.Leaky(beta=0.5, spike_grad=spike_grad, **options)
        self.fc1 = nn.Linear(8 * 4 * 4, 10)
        self.lif3 = snn.Leaky(beta=0.5, spike_grad=spike_grad, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spk3_rec, mem3_rec = [], []
        for _ in range(self.steps):
            if self.pool_first:
                cur1 = F.max_pool2d(self.conv1(x), 2)
                spk1, mem1 = self.lif1(cur1, mem1)
                cur2 = F.max_pool2d(self.conv2(spk1), 2)
                spk2, mem2 = self.lif2(cur2, mem2)
            else:
                spk1, mem1 = self.lif1(self.conv1(x), mem1)
                spk2, mem2 = self.lif2(self.conv2(F.max_pool2d(spk1, 2)), mem2)
                spk2 = F.max_pool2d(spk2, 2)
            cur3 = self.fc1(spk2.view(spk2.size(0), -1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec, dim=0), torch.stack(mem3_rec, dim=0)


class Residual(nn.Module):
    """A shortcut of spikes, added before or after the neuron; frames (T, N, C, H, W)."""

    def __init__(self, before: bool, size: int, **options: Any) -> None:
        super().__init__()
        self.before = before
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.lif1 = snn.Leaky(beta=0.8, **options)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.lif2 = snn.Leaky(beta=0.8, **options)
        self.fc = nn.Linear(6 * (size // 2) ** 2, 10)
        self.lif3 = snn.Leaky(beta=0.9, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
        spikes, voltages = [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.bn1(self.conv1(x[step])), mem1)
            branch = self.bn2(self.conv2(spk1))
            if self.before:
                spk2, mem2 = self.lif2(branch + spk1, mem2)
            else:
                spk2, mem2 = self.lif2(branch, mem2)
                spk2 = spk2 + spk1
            spk3, mem3 = self.lif3(self.fc(F.avg_pool2d(spk2, 2).flatten(1)), mem3)
            spikes.append(spk3)
            voltages.append(mem3)
        return torch.stack(spikes), torch.stack(voltages)


class Hidden(nn.Module):
    """Neurons that keep their states, reset where forward begins (tutorial 7)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, data: Tensor) -> Tensor:
        spk_rec = []
        utils.reset(self.net)
        for step in range(data.size(0)):
            spk_out, _ = self.net(data[step])
            spk_rec.append(spk_out)
        return torch.stack(spk_rec)


def hidden(neuron: nn.Module, inputs: int = 12, width: int = 20) -> Hidden:
    """A neuron of any kind between two synapses."""
    last = snn.Leaky(beta=0.9, init_hidden=True, output=True, threshold=0.5)
    return Hidden(nn.Linear(inputs, width), neuron, nn.Linear(width, 6), last)


class PerStepNorm(nn.Module):
    """A norm with parameters of its own for every step (BatchNormTT)."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        from snntorch._layers.bntt import BatchNormTT1d

        self.fc = nn.Linear(12, 8)
        self.bn = BatchNormTT1d(8, steps)
        for step, norm in enumerate(self.bn):
            norm.running_mean.fill_(0.1 * step)
        self.lif = snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        mem, spikes = self.lif.reset_mem(), []
        for step in range(x.size(0)):
            spk, mem = self.lif(self.bn[step](self.fc(x[step])), mem)
            spikes.append(spk)
        return torch.stack(spikes)


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and norms with which neurons fire, at rates far from 0 and 1."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                size = module.weight[0].numel()
                module.weight.normal_(0.15, 2.0, generator=draw).div_(size**0.5)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.2, generator=draw)
                module.running_var.uniform_(0.3, 1.5, generator=draw)
                module.weight.uniform_(0.6, 1.4, generator=draw)
                module.bias.normal_(0.2, 0.2, generator=draw)
    return net.eval()


class Fed(nn.Module):
    """A layer that hears its own spikes of the step before, by lines of forward."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc1 = nn.Linear(12, 10)
        self.back = nn.Linear(10, 10)
        self.lif1 = snn.Leaky(beta=0.8, **options)
        self.fc2 = nn.Linear(10, 6)
        self.lif2 = snn.Leaky(beta=0.9, **options)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spk1, found = torch.zeros(x.size(1), 10), []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]) + self.back(spk1), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            found.append(spk2)
        return torch.stack(found)


class Mutual(nn.Module):
    """Two layers that hear each other, each of them what the other sent the step before."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 10), nn.Linear(12, 7)
        self.there, self.back = nn.Linear(10, 7), nn.Linear(7, 10)
        self.lif1, self.lif2 = snn.Leaky(beta=0.8, **options), snn.Leaky(beta=0.9, **options)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spk1, spk2, found = torch.zeros(x.size(1), 10), torch.zeros(x.size(1), 7), []
        for step in range(x.size(0)):
            cur1 = self.fc1(x[step]) + self.back(spk2)
            cur2 = self.fc2(x[step]) + self.there(spk1)
            spk1, mem1 = self.lif1(cur1, mem1)
            spk2, mem2 = self.lif2(cur2, mem2)
            found.append(spk2)
        return torch.stack(found)


class Gates(nn.Module):
    """Spikes that are combined in every way that users write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(2, 3, 3, padding=1) for _ in range(2))
        self.lif1, self.lif2 = snn.Leaky(beta=0.8), snn.Leaky(beta=0.8, threshold=0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        found = []
        for step in range(x.size(0)):
            a, mem1 = self.lif1(self.conv1(x[step]), mem1)
            b, mem2 = self.lif2(self.conv2(x[step]), mem2)
            gates = (
                a * b,
                a * (1 - b),
                torch.maximum(a, b),
                (a + b).clamp(max=1),
                ((a + b) > 1).float(),
                (~a.bool()).float() * b,
                a + b - 2 * a * b,
                F.max_pool2d(a, 2),
            )
            found.append([a, b, *gates])
        return tuple(torch.stack(each) for each in zip(*found, strict=True))
