"""What an epoch tells beside its loss is what the network does, and costs the training no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import neuroport as port  # noqa: E402
from neuroport.data.samples import frames_of  # noqa: E402
from neuroport.errors import TrainingError  # noqa: E402
from neuroport.graph import integers  # noqa: E402
from neuroport.nets.neuron import Lif, Mlf  # noqa: E402
from neuroport.nets.stream import Stream  # noqa: E402
from neuroport.recipe import from_dict  # noqa: E402
from neuroport.training.checkpoint import build_network, read_checkpoint  # noqa: E402
from neuroport.training.diagnostics import (  # noqa: E402
    GradientNorms,
    activity,
    block_of,
    clipped_weights,
)
from neuroport.training.fit import fit  # noqa: E402
from neuroport.training.metrics import read_metrics  # noqa: E402
from tests.unit.training import test_given_graph as given  # noqa: E402
from tests.unit.training.test_training import data, recipe_of  # noqa: E402, F401


@pytest.fixture(scope="module")
def zoo(root: Path) -> tuple[Any, Any]:
    folder = root / "models" / "ms_resnet8_mnist"
    return port.load(folder), np.load(folder / "frames.npy")[:, :4]


def test_a_block_is_what_the_numbers_of_a_name_say() -> None:
    assert block_of("stem.synapse.weight") == "stem"
    assert block_of("blocks.3.conv1.norm.bias") == "blocks.3"
    assert block_of("stages.0.blocks.1.conv1.synapse.weight") == "stages.0.blocks.1"


def test_activity_is_that_of_the_run(zoo: Any) -> None:
    net, frames = zoo
    trace = port.run(net, frames)
    told = activity(net, torch.tensor(frames, dtype=torch.float32))
    assert told["samples"] == 4
    spiking = {name for name, kind in trace.kinds.items() if kind == "lif"}
    assert set(told["populations"]) == spiking
    for name, found in told["populations"].items():
        sent = trace[name]
        neurons = int(np.prod(sent.shape[2:]))
        assert found["neurons"] == neurons
        assert found["spikes"] == pytest.approx(sent.sum() / (neurons * 4), rel=1e-3)
        dormant = 1 - sent.any(axis=(0, 1)).mean()
        assert found["dormant"] == pytest.approx(dormant, rel=1e-3, abs=1e-4)
        assert found["saturated"] == 0  # the widths are proven, and these voltages leak
    assert not any(module._forward_hooks for module in net.modules())


def test_activity_has_neurons_that_are_called_by_their_forward() -> None:
    """Hooks do not run there, and these populations were missing."""

    class ByForward(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, plain: bool) -> None:
            super().__init__()
            self.plain = plain
            self.neuron, self.levels = Lif(0.4), Mlf((0.3, 0.6))

        def forward(self, x: Any) -> Any:
            if self.plain:
                return self.levels(self.neuron(x) + x)
            return self.levels.forward(self.neuron.forward(x=x) + x)

    torch.manual_seed(0)
    current = torch.rand(4, 2, 1, 5, 5)
    want, got = (activity(ByForward(plain), current)["populations"] for plain in (True, False))
    assert set(got) == {"neuron", "levels"}
    assert got == want
    assert all(each["spikes"] > 0 for each in got.values())


def test_activity_leaves_a_forward_of_the_users_as_it_was() -> None:
    neuron = Lif(0.4)
    neuron.forward = own = lambda x: (x > 0.5).float()  # type: ignore[method-assign]
    net = torch.nn.Sequential(neuron, Lif(0.4))
    current = torch.rand(4, 2, 1, 5, 5)
    found = activity(net, current)["populations"]
    assert found["0"]["spikes"] == pytest.approx(float((current > 0.5).sum()) / 50, rel=1e-3)
    assert neuron.forward is own
    assert "forward" not in vars(net[1])


def test_saturated_voltages_are_counted() -> None:
    """A neuron that never leaks is driven down without end; the state stops it."""

    class Driven(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = port_conv()
            self.neuron = Lif(threshold=100.0, voltage_decay=0.0)
            self.neuron.lsb.fill_(1.0)

        def forward(self, x: Any) -> Any:
            return self.neuron(Stream(x, torch.zeros(1)))

    current = torch.full((6, 2, 1, 2, 2), -float(integers.CURRENT_MAX))
    current[:, 0] = 1.0  # one of two samples stays where it is
    found = activity(Driven(), current)["populations"]["neuron"]
    assert found == {"neurons": 4, "spikes": 0.0, "dormant": 1.0, "saturated": 5 * 4}


def port_conv() -> Any:
    """A layer that says the network is in its integer phase."""
    from neuroport.nets.synapse import Conv

    conv = Conv(1, 1, 1, padding=0)
    conv.lsb.fill_(1.0)
    return conv


def test_weights_beyond_eight_bits_are_counted(root: Path) -> None:
    net = port.load(root / "models" / "ms_resnet8_mnist")
    before = clipped_weights(net)
    weight = net.blocks[0].conv1.synapse.weight
    assert before["blocks.0.conv1"] == {"weights": weight.numel(), "clipped": 0}
    with torch.no_grad():
        weight[0, 0, 0, :2] *= 1e4
    after = clipped_weights(net)
    assert after.pop("blocks.0.conv1")["clipped"] == int((weight[0, 0, 0, :2] != 0).sum()) > 0
    assert all(each["clipped"] == 0 for each in after.values())


def test_norms_are_those_of_the_gradients() -> None:
    net = build_network(from_dict({"network": {"widths": [2, 2, 2]}}))
    norms = GradientNorms(net, batches=25)
    assert [index for index in range(25) if norms.measures(index)] == [*range(0, 25, 3)]
    wanted: dict[str, float] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
            square = float(parameter.grad.double().square().sum())
            wanted[block_of(name)] = wanted.get(block_of(name), 0.0) + square
    norms(net)
    for parameter in net.parameters():
        parameter.grad = None if parameter.grad is None else 3 * parameter.grad
    norms(net)
    told = norms.told()
    assert told["batches"] == 2
    assert told["blocks"] == pytest.approx({n: 2 * s**0.5 for n, s in wanted.items()}, rel=1e-3)
    next(net.parameters()).grad.fill_(float("inf"))  # as of float16, whose step is left out
    norms(net)
    assert norms.told() == told
    with pytest.raises(TrainingError, match="gradients of other blocks"):
        norms.restore([[1.0]])


def test_every_epoch_tells_them_in_order(data: Any, tmp_path: Path) -> None:  # noqa: F811
    fit(recipe_of(clip=0.01, learning_rate=0.2, warmup=0.0), tmp_path, data=data)
    first, second, third = read_metrics(tmp_path)
    assert list(first.gradients) == ["stem", "blocks.0", "blocks.1", "blocks.2", "readout"]
    assert max(first.gradients.values()) > 0.01  # before they are clipped
    assert first.samples == third.samples == 10
    assert set(first.neurons) == set(third.neurons)
    assert 0 < first.spikes_per_neuron < 2
    assert not second.clipped
    assert not second.saturated
    assert set(third.saturated) == set(third.neurons)
    assert sum(third.weights.values()) > 500
    assert "gradients" in read_checkpoint(tmp_path).metrics[0]


def test_a_graph_that_trains_on_tells_of_its_nodes(tmp_path: Path) -> None:
    start = port.trainable(given.graph_of(), {"out": np.full((10,), 0.001)})
    pictures = given.split()
    port.fit(given.recipe_of(), tmp_path, data=pictures, start=start)
    last = read_metrics(tmp_path)[-1]
    assert set(last.gradients) == {"conv1", "lif1", "conv2", "lif2", "fc", "out"}
    assert last.weights == {"conv1": 27, "conv2": 81, "fc": 10 * 147}
    assert set(last.clipped) == set(last.weights)
    frames = frames_of(pictures.test, slice(None), given.STEPS)
    trace = port.run(port.quantize(port.load(tmp_path), frames), frames)
    for name in ("lif1", "lif2"):
        assert last.neurons[name] == 147
        assert last.spikes[name] == pytest.approx(trace[name].sum() / (147 * 20), rel=1e-3)
    assert set(last.neurons) == {"lif1", "lif2"}
