"""What quantization cost: the numbers are those of two runs, counted here a second time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import BackendError, CaptureError, FramesError  # noqa: E402
from neuroport.graph import node as nodes  # noqa: E402
from neuroport.nets.baselines import SpikingResNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif  # noqa: E402
from neuroport.nets.synapse import Conv  # noqa: E402
from neuroport.quantization.cost import PopulationCost, quantization_cost  # noqa: E402
from neuroport.quantization.scales import freeze_scales, is_integer  # noqa: E402
from tests.helpers.modules import enliven, frames_for  # noqa: E402

SHAPE = {"widths": (4, 6, 8), "in_channels": 2, "classes": 5}
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "ms": lambda: MsResNet(1, **SHAPE),
    "ds": lambda: DsResNet(1, **SHAPE, levels=3),
    "sew": lambda: SpikingResNet(1, **SHAPE, block="sew"),
}
LABELS = np.arange(6) % 5


def example(family: str) -> tuple[nn.Module, np.ndarray]:
    net = FAMILIES[family]()
    frames = frames_for(net, steps=4, samples=6)
    return enliven(net, 0, frames), frames


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_counts_are_those_of_the_real_network_and_of_the_reference_engine(family: str) -> None:
    net, frames = example(family)
    found = quantization_cost(net, frames, LABELS, batch=4)
    integers = port.run(port.quantize(copy.deepcopy(net), frames), frames)
    spikes: dict[str, np.ndarray] = {}
    for name, module in net.named_modules():
        if isinstance(module, Lif):
            module.register_forward_hook(
                lambda _, __, out, name=name: spikes.update({name: out.numpy() > 0})
            )
    with torch.no_grad():
        logits = net(torch.from_numpy(frames.astype(np.float32)))
    assert [p.name for p in found.populations] == [
        n for n, kind in integers.kinds.items() if kind == "lif"
    ]
    for population in found.populations:
        real, integer = spikes[population.name], integers[population.name] > 0
        assert population.positions == real.size
        assert (population.real, population.integer) == (real.sum(), integer.sum())
        assert population.differing == (real != integer).sum()
        either = (real | integer).sum()
        assert population.share == pytest.approx((real != integer).sum() / max(either, 1))
    assert any(population.differing for population in found.populations)
    guessed = logits.argmax(1).numpy()
    assert found.trained == "post-training"
    assert found.samples == 6
    assert found.predictions == (guessed != integers.predictions).sum()
    assert found.real_correct == (guessed == LABELS).sum()
    assert found.integer_correct == (integers.predictions == LABELS).sum()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_integer_network_is_compared_with_the_real_one_of_the_same_weights(family: str) -> None:
    net, frames = example(family)
    before = quantization_cost(net, frames, LABELS)
    freeze_scales(net, torch.from_numpy(frames[:, :1].astype(np.float32)))
    after = quantization_cost(net, frames, LABELS)
    assert (before.trained, after.trained) == ("post-training", "quantization-aware")
    assert after.populations == before.populations
    assert after.synapses == before.synapses
    assert after.real_correct == before.real_correct


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_weight_errors_and_thresholds_are_those_of_the_graph(family: str) -> None:
    net, frames = example(family)
    found = quantization_cost(net, frames)
    graph = port.quantize(net, frames)
    for synapse in found.synapses:
        module = net.get_submodule(synapse.name)
        if not isinstance(module, Conv):
            assert np.abs(graph[f"{synapse.name}.synapse"].weight).max() == synapse.largest
            continue
        weight = graph[synapse.name].weight
        folded = module.folded()[0].detach().double().numpy()
        error = np.abs(folded / synapse.unit - weight).max()
        assert synapse.largest == np.abs(weight).max() <= 254
        assert synapse.error == pytest.approx(error, abs=1e-3)
        assert 0 < synapse.error <= 1.001
        assert synapse.clipped == 0
    trained = [n for n, m in net.named_modules() if hasattr(m, "synapse")]
    assert sorted(s.name for s in found.synapses) == sorted(trained)
    for population in found.populations:
        node = graph[population.name]
        assert isinstance(node, nodes.Lif)
        assert (np.asarray(node.threshold) == population.threshold).all()
        real = net.get_submodule(population.name).threshold
        assert population.threshold == int(real / population.lsb + 1e-9)


def test_weights_that_left_the_grid_are_counted_as_clipped() -> None:
    net, frames = example("sew")
    freeze_scales(net, torch.from_numpy(frames[:, :1].astype(np.float32)))
    conv = net.blocks[0].conv2
    with torch.no_grad():
        conv.synapse.weight[0, 0, 0, 0] *= 1000
    (found,) = [s for s in quantization_cost(net, frames).synapses if s.name == "blocks.0.conv2"]
    assert (found.clipped, found.largest) == (1, 254)
    assert found.error > 1000


def test_share_is_of_the_spikes_that_either_network_sends() -> None:
    population = PopulationCost("a", 100, real=10, integer=8, differing=6, lsb=0.1, threshold=5)
    assert population.share == 0.5  # 6 in common, 4 and 2 of their own
    assert population.rates == (0.1, 0.08)
    assert PopulationCost("silent", 100, 0, 0, 0, 0.1, 5).share == 0


def test_network_is_left_in_the_phase_and_mode_in_which_it_was() -> None:
    net, frames = example("ms")
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    quantization_cost(net, frames)
    assert not is_integer(net)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_report_reads_as_tables_and_goes_into_json() -> None:
    net, frames = example("ds")
    found = quantization_cost(net, frames, LABELS)
    lines = str(found).splitlines()
    assert lines[0] == "post-training quantization on 6 samples"
    assert lines[1].startswith("accuracy ")
    names = [p.name for p in found.populations] + [s.name for s in found.synapses]
    rows = lines[3 : 5 + len(names)]
    assert lines[5 + len(names) :] == [found.loses]
    assert [line.split()[0] for line in rows] == [
        "population",
        *names[: len(found.populations)],
        "synapse",
        *names[len(found.populations) :],
    ]
    told = json.loads(json.dumps(found.to_dict()))
    assert told["populations"][0]["share"] == found.populations[0].share
    assert told["populations"][0]["real_rate"] == found.populations[0].rates[0]
    assert "accuracy" not in str(quantization_cost(net, frames))


def test_what_does_not_fit_is_refused() -> None:
    net, frames = example("sew")
    with pytest.raises(FramesError, match=r"give \(T, N, C, H, W\)"):
        quantization_cost(net, frames[:, 0])
    with pytest.raises(FramesError, match=r"labels are \(5,\) for 6 samples"):
        quantization_cost(net, frames, LABELS[:5])
    for at, label in ((0, 99), (5, 5), (3, -1)):
        wrong = LABELS.copy()
        wrong[at] = label
        said = rf"labels\[{at}\] is {label}, and the network tells 5 classes, 0 to 4"
        with pytest.raises(FramesError, match=said):
            quantization_cost(net, frames, wrong)
    for batch in (0, -1, 2.5, "3", True):
        said = f"batch is {batch!r}; give a whole number from 1 on"
        with pytest.raises(BackendError, match=said):
            quantization_cost(net, frames, batch=batch)  # type: ignore[arg-type]
    wanted = quantization_cost(net, frames, LABELS.astype(np.uint16), batch=np.int64(4))
    assert wanted == quantization_cost(net, frames, LABELS)
    net.neuron.register_forward_hook(lambda *_: None)
    with pytest.raises(CaptureError, match="'neuron' has forward hooks"):
        quantization_cost(net, frames)
