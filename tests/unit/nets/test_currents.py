"""What a forward may do to a current on its way to a neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import CaptureError, LayerError  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout  # noqa: E402


class Between(nn.Module):
    """A network that does something to a current on its way to the neuron."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.change = change
        self.stem, self.first = GradedConv(1, 4, 3, padding=1, pixels=True), Lif()
        self.conv, self.second, self.readout = Conv(4, 4, 3, 1, 1), Lif(), Readout(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        current = self.change(self.conv(self.first(self.stem(x))))
        return self.readout(self.second(current))


FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 1, 6, 6), np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y.float(),
        lambda y: y.cpu(),
        lambda y: y.to(torch.float32),
        lambda y: y.view(y.shape),
        lambda y: y.reshape(*y.shape),
    ],
)
def test_what_leaves_a_current_as_it_is_is_no_part_of_the_graph(
    change: Callable[[Any], Any],
) -> None:
    plain = port.quantize(Between(lambda y: y).eval(), FRAMES)
    net = Between(change).eval()
    assert port.quantize(net, FRAMES).hash == plain.hash
    assert port.verify(net, None, FRAMES)


@pytest.mark.parametrize(
    "change", [lambda y: y.double(), lambda y: y.reshape(*y.shape[:2], -1), lambda y: y.abs()]
)
def test_what_changes_a_current_is_refused(change: Callable[[Any], Any]) -> None:
    with pytest.raises(CaptureError, match=r"reads what '(double|reshape|abs)'"):
        port.quantize(Between(change).eval(), FRAMES)
    net = Between(lambda y: y).eval()
    port.quantize(net, FRAMES)
    net.change = change  # its graph is known, and its forward is another one now
    with pytest.raises((LayerError, AttributeError), match="currents may be added"):
        net(torch.from_numpy(FRAMES).float())
