"""Concatenation along channels: one synapse per source with its slice of the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.backends.module import run_module  # noqa: E402
from neuroport.errors import CaptureError  # noqa: E402
from neuroport.graph import node as nodes  # noqa: E402
from neuroport.nets.neuron import Lif, Mlf  # noqa: E402
from neuroport.nets.synapse import Conv, GradedConv, Readout  # noqa: E402
from neuroport.quantization.scales import freeze_scales  # noqa: E402
from tests.helpers.modules import enliven, frames_for, randomize  # noqa: E402


class Dense(nn.Module):
    """A dense block: every layer reads all that was sent before it; groups in one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = GradedConv(2, 4, 3, padding=1, pixels=True), Lif()
        self.convs = nn.ModuleList([Conv(4, 2), Conv(6, 2, groups=2), Conv(8, 4, 1, padding=0)])
        self.lifs = nn.ModuleList([Lif(), Mlf((0.5, 1.0)), Lif()])
        self.readout = Readout(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        for conv, lif in zip(self.convs, self.lifs, strict=True):
            x = torch.cat([x, lif(conv(x))], dim=2)
        out: Tensor = self.readout(x)
        return out


class Skips(nn.Module):
    """A skip by concatenation around a membrane shortcut, summed with a third source."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = GradedConv(2, 4, 3, padding=1, pixels=True), Lif()
        self.down, self.inner = Conv(4, 4), Lif()
        self.up, self.wide = Conv(8, 8, groups=4), Lif()
        self.last, self.end, self.readout = Conv(8, 6, stride=2), Lif(), Readout(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        first = self.first(stream)
        inner = self.inner(self.down(first) + stream)
        both = torch.cat([first, inner], 2)
        wide = self.wide(self.up(both))
        out: Tensor = self.readout(self.end(self.last(wide + torch.concat([inner, first], -3))))
        return out


def equal(net: nn.Module, graph: Any, frames: np.ndarray) -> None:
    want = run_module(net, frames)
    assert all((want[node.name] != 0).any() for node in graph.populations)
    for carrier in ("relay", "unroll"):
        chip = port.lower(graph, carrier=carrier)
        for got in (port.run(chip, frames), port.run(chip, frames, time_model="chip")):
            outcome = port.compare(want, got)
            assert outcome.differing == 0, str(outcome)
            assert not outcome.only_want


@pytest.mark.parametrize("kind", [Dense, Skips])
@pytest.mark.parametrize("seed", range(2))
def test_concatenating_network_spikes_as_its_module(kind: type[nn.Module], seed: int) -> None:
    net = kind()
    frames = frames_for(net, seed, steps=4)
    enliven(net, seed, frames)
    equal(net, port.quantize(net, frames), frames)


def test_kernel_is_split_by_source() -> None:
    net = randomize(Skips(), 0)
    graph = port.quantize(net, frames_for(net))
    whole = net.last
    parts = [graph[name] for name in graph["end"].inputs]
    assert [part.name for part in parts] == ["last", "last.channels0to4", "last.channels4to8"]
    assert [part.inputs for part in parts] == [("wide",), ("inner",), ("first",)]
    assert all(isinstance(part, nodes.Conv) and part.groups == 1 for part in parts)
    joined = np.concatenate([parts[1].weight, parts[2].weight], axis=1)
    assert np.array_equal(joined, parts[0].weight)
    assert {part.exponent for part in parts} == {int(whole.exponent)}


@pytest.mark.lava
@pytest.mark.parametrize("kind", [Dense, Skips])
def test_concatenation_goes_through_a_file_to_lava(kind: type[nn.Module], tmp_path: Path) -> None:
    net = randomize(kind(), 1)
    frames = frames_for(net, 1, steps=4)
    path = tmp_path / "net.net"
    port.export(port.lower(port.quantize(net, frames)), path)
    outcome = port.compare(port.run(net, frames), port.run(path, frames, on="lava-cpu"))
    assert outcome.differing == 0, str(outcome)
    assert not outcome.only_want


def test_integer_phase_trains_through_a_concatenation() -> None:
    net = Dense()
    frames = frames_for(net, steps=4)
    enliven(net, 0, frames)
    x = torch.from_numpy(frames).float()
    freeze_scales(net, x)
    net.train()
    loss = nn.functional.cross_entropy(net(x), torch.tensor([0, 1]))
    loss.backward()
    for conv in net.convs:
        assert conv.synapse.weight.grad.abs().sum() > 0
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    equal(net.eval(), port.quantize(net, frames), frames)


class Currents(Skips):
    def forward(self, x: Tensor) -> Tensor:
        stream = self.stem(x)
        return self.readout(self.end(self.last(self.wide(torch.cat([stream, stream], 2)))))


class Frames(Skips):
    def forward(self, x: Tensor) -> Tensor:
        half = x[:, :, :1]
        return self.readout(self.end(self.last(self.wide(self.stem(torch.cat([half, half], 2))))))


class Rows(Skips):
    def forward(self, x: Tensor) -> Tensor:
        first = self.first(self.stem(x))
        return self.readout(self.inner(self.down(torch.cat([first, first], 3))))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Currents, r"'wide' reads 'stem' in a concatenation.*own neurons"),
        (Frames, r"'stem'.*reads what 'getitem' in `half = "),
        (Rows, r"'down'.*reads what 'cat' in `return"),
    ],
    ids=["currents", "parts of frames", "rows"],
)
def test_what_is_no_concatenation_of_spikes_is_refused(kind: type[nn.Module], said: str) -> None:
    with pytest.raises(CaptureError, match=rf"{said}.*test_concatenation\.py:\d+"):
        port.quantize(kind(), np.zeros((2, 1, 2, 8, 8), int))
