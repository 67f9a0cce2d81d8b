"""Parameters, neurons and multiply-accumulates of the published sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from neuroport.capture.model_size import Counts, count  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, Readout  # noqa: E402


def counted(build: Callable[[], nn.Module], size: tuple[int, int]) -> Counts:
    with torch.device("meta"):
        net = build()
    return count(net, size)


def millions(value: int) -> float:
    return round(value / 1e6, 2)


@pytest.mark.parametrize(
    ("depth", "parameters", "macs", "neurons"),
    [(18, 11.69, 1.83, 2.31), (34, 21.80, 3.68, 3.56), (104, 77.35, 12.60, 7.23)],
)
def test_ms_resnet_for_imagenet(depth: int, parameters: float, macs: float, neurons: float) -> None:
    found = counted(lambda: MsResNet.imagenet(depth), (224, 224))
    assert millions(found.parameters) == parameters
    assert round(found.macs / 1e9, 2) == macs
    assert round(found.projection_macs / 1e6, 1) == 32.1
    assert millions(found.neurons) == neurons
    assert found.populations == found.neurons


@pytest.mark.parametrize(
    ("blocks", "parameters"),
    [(3, 0.27), (5, 0.47), (7, 0.66), (9, 0.86), (18, 1.73), (80, 7.76)],
)
def test_ms_resnet_of_6n_plus_2(blocks: int, parameters: float) -> None:
    found = counted(lambda: MsResNet(blocks, in_channels=3), (32, 32))
    assert millions(found.parameters) == parameters


def test_ms_resnet_20_for_event_cameras() -> None:
    found = counted(lambda: MsResNet(3, in_channels=2, stem_stride=2, first_stride=2), (128, 128))
    assert millions(found.parameters) == 0.27


@pytest.mark.parametrize(
    ("blocks", "widths", "frames", "parameters", "units"),
    [
        (2, (64, 128, 256), (3, 32), 2.78, 0.57),
        (3, (64, 128, 256), (3, 32), 4.33, 0.80),
        (5, (64, 128, 256), (3, 32), 7.43, 1.26),
        (7, (64, 128, 256), (3, 32), 10.53, 1.72),
        (11, (64, 128, 256), (3, 32), 16.73, 2.64),
        (3, (16, 32, 64), (2, 32), 0.27, 0.20),
        (2, (32, 64, 128), (2, 42), 0.70, 0.50),
    ],
)
def test_ds_resnet(
    blocks: int,
    widths: tuple[int, ...],
    frames: tuple[int, int],
    parameters: float,
    units: float,
) -> None:
    channels, size = frames
    found = counted(
        lambda: DsResNet(blocks, widths, channels, normalize=channels == 2), (size, size)
    )
    assert millions(found.parameters) == parameters
    assert millions(found.neurons) == units
    assert found.populations == 3 * found.neurons


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("domain", ["spike", "membrane"])
def test_densely_additive_network_has_the_weight_layers_of_its_depth(
    depth: int, domain: str
) -> None:
    with torch.device("meta"):
        net = DaNet.imagenet(depth, domain=domain, reach="network")
    layers = [name for name, m in net.named_modules() if isinstance(m, (Conv, Readout))]
    assert sum("projections" not in name for name in layers) == depth


SMALL: dict[str, Any] = {
    "ms_resnet": lambda: MsResNet(1, (2, 3, 4), 2),
    "ms_resnet104's stem": lambda: MsResNet(1, (2, 3, 4), 2, stem="deep", stem_stride=2),
    "danet": lambda: DaNet(1, (2, 3, 4), 2, bottleneck=True, reach="network"),
}


@pytest.mark.parametrize("name", SMALL)
def test_counts_are_those_of_a_run(name: str) -> None:
    net = SMALL[name]().eval()
    neurons = []
    for module in net.modules():
        if isinstance(module, Lif):
            module.register_forward_hook(lambda _, __, out: neurons.append(out[0, 0].numel()))
    with torch.no_grad():
        net(torch.from_numpy(np.zeros((1, 1, 2, 16, 16), np.float32)))
    assert count(SMALL[name](), (16, 16)).neurons == sum(neurons)
