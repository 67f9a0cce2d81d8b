"""Networks of SpikingJelly 2: of its model zoo, and as its tutorials write them.

SpikingJelly needs Python 3.11 or newer, and is imported here alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import (
    ms_resnet,
    parametric_lif_net,
    sew_resnet,
    spiking_resnet,
    spiking_vgg,
)
from torch import Tensor, nn


class FullyConnected(nn.Module):
    """The network of the tutorial on MNIST: one step at a time, 's'."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            layer.Flatten(),
            layer.Linear(inputs, 10, bias=False),
            neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class CSNN(nn.Module):
    """The convolutional network of the tutorial on Fashion-MNIST: one picture, repeated, 'm'."""

    def __init__(self, steps: int, channels: int, size: int) -> None:
        super().__init__()
        self.T = steps
        at = surrogate.ATan()
        self.conv_fc = nn.Sequential(
            layer.Conv2d(3, channels, kernel_size=3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron.IFNode(surrogate_function=at),
            layer.MaxPool2d(2, 2),
            layer.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron.IFNode(surrogate_function=at),
            layer.MaxPool2d(2, 2),
            layer.Flatten(),
            layer.Linear(channels * (size // 4) ** 2, channels * 4 * 4, bias=False),
            neuron.IFNode(surrogate_function=at),
            layer.Linear(channels * 4 * 4, 10, bias=False),
            neuron.IFNode(surrogate_function=at),
        )
        functional.set_step_mode(self, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        x_seq = x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)
        return self.conv_fc(x_seq).mean(0)


class StaticEncoder(nn.Module):
    """The form of the older tutorials: the first convolution once, then a loop of single steps."""

    def __init__(self, steps: int, size: int) -> None:
        super().__init__()
        self.T = steps
        self.static_conv = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(8)
        )
        self.conv = nn.Sequential(
            neuron.IFNode(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 8, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            neuron.IFNode(),
            nn.MaxPool2d(2, 2),
        )
        self.fc = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(8 * (size // 4) ** 2, 10, bias=False),
            neuron.LIFNode(tau=2.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.static_conv(x)
        out_spikes_counter = self.fc(self.conv(x))
        for _ in range(1, self.T):
            out_spikes_counter += self.fc(self.conv(x))
        return out_spikes_counter / self.T


class Containers(nn.Module):
    """Layers of torch in containers, a neuron of each kind, joined channels, gates."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = layer.SeqToANNContainer(
            nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        )
        self.n1 = neuron.ParametricLIFNode(init_tau=2.0, step_mode="m")
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.n2 = neuron.LIFNode(tau=3.0, decay_input=False, v_reset=None, step_mode="m")
        self.n3 = neuron.CUBALIFNode()
        self.n3.step_mode = "m"
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(18 * (size // 2) ** 2, 10)
        self.n4 = neuron.IFNode(v_reset=-0.2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.n1(self.first(x))
        b = self.n2(functional.seq_to_ann_forward(a, self.conv))
        c = self.n3(functional.seq_to_ann_forward(a + b, self.conv))
        gates = torch.cat([a * b, torch.maximum(b, c), c * (1 - a)], 2)
        y = functional.seq_to_ann_forward(functional.seq_to_ann_forward(gates, self.pool), self.fc_)
        return functional.multi_step_forward(y, self.n4)

    def fc_(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


def _whole(net: nn.Module) -> nn.Module:
    functional.set_step_mode(net, "m")
    return net


def _voted(channels: int) -> nn.Module:
    net = parametric_lif_net.MNISTNet(channels=channels, spiking_neuron=neuron.ParametricLIFNode)
    net.conv_fc[0] = layer.Conv2d(3, channels, kernel_size=3, padding=1, bias=False)
    net.conv_fc[10] = layer.Linear(channels * 4 * 4, 128)
    net.conv_fc[13] = layer.Linear(128, 100)
    return _whole(net)


# name -> (maps' size, how to make it of the steps)
NETWORKS: dict[str, tuple[int, Callable[[int], nn.Module]]] = {
    "tutorial: LIF, fully connected": (16, lambda steps: FullyConnected(3 * 256)),
    "tutorial: CSNN": (16, lambda steps: CSNN(steps, 8, 16)),
    "tutorial: static encoder": (16, lambda steps: StaticEncoder(steps, 16)),
    "containers, all neurons, gates": (16, lambda steps: Containers(16)),
    "parametric_lif_net": (16, lambda steps: _voted(8)),
    **{
        f"sew_resnet18 {way}": (
            16,
            lambda steps, way=way: _whole(
                sew_resnet.sew_resnet18(
                    cnf=way,
                    spiking_neuron=neuron.IFNode,
                    surrogate_function=surrogate.ATan(),
                    detach_reset=True,
                    num_classes=10,
                )
            ),
        )
        for way in ("ADD", "AND", "IAND")
    },
    "spiking_resnet18": (
        16,
        lambda steps: _whole(
            spiking_resnet.spiking_resnet18(
                spiking_neuron=neuron.LIFNode,
                surrogate_function=surrogate.ATan(),
                detach_reset=True,
                v_threshold=0.5,
                num_classes=10,
            )
        ),
    ),
    "ms_resnet18": (16, lambda steps: ms_resnet.ms_resnet18(T=steps, num_classes=10)),
    "spiking_vgg11_bn": (
        32,
        lambda steps: _whole(
            spiking_vgg.spiking_vgg11_bn(
                spiking_neuron=neuron.LIFNode,
                surrogate_function=surrogate.ATan(),
                v_threshold=0.5,
                num_classes=10,
            )
        ),
    ),
}


def reset(net: nn.Module) -> None:
    functional.reset_net(net)
