"""Residual containers of SLAYER blocks: what they compute, how they wait, what they refuse."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture
from neuroport.errors import CaptureError, IllegalError

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from neuroport.nets.slayer import (  # noqa: E402
    DenselyAdditive,
    MembraneShortcut,
    MultiLevel,
    SpikeShortcut,
)
from tests.helpers import slayer_networks as networks  # noqa: E402

CONTAINERS = [
    "membrane container",
    "spike containers",
    "multi-level neurons",
    "sigma-delta membrane container",
]


def dense(*sizes: int, **options: Any) -> Any:
    return networks.cuba("Dense", *sizes, **{"weight_scale": 3, **options})


def three(**options: Any) -> list[Any]:
    return [dense(20, 16, **options), dense(16, 16, **options), dense(16, 16, **options)]


def test_membrane_shortcut_brings_the_first_current_to_the_last_neurons() -> None:
    torch.manual_seed(1)
    first, second, last = three(delay_shift=False)
    net = MembraneShortcut(first, second, last)
    x = networks.spikes(networks.ROW)
    got = net(x)
    current = first.synapse(x)
    want = last.neuron(last.synapse(second(first.neuron(current))) + current)
    assert 0.05 < want.mean() < 0.6
    assert torch.equal(got, want)
    assert not torch.equal(got, last(second(first(x)))), "the shortcut changes something"


def test_nested_membrane_shortcut_carries_the_sum_on() -> None:
    torch.manual_seed(1)
    a, b, c = three(delay_shift=False)
    d, e = dense(16, 16, delay_shift=False), dense(16, 16, delay_shift=False)
    x = networks.spikes(networks.ROW)
    got = MembraneShortcut(MembraneShortcut(a, b, c), d, e)(x)
    stream = a.synapse(x)
    stream = stream + c.synapse(b(a.neuron(stream)))
    stream = stream + e.synapse(d(c.neuron(stream)))
    assert torch.equal(got, e.neuron(stream))


def test_spike_shortcut_adds_what_the_branch_read() -> None:
    torch.manual_seed(2)
    block = dense(20, 20, delay_shift=False)
    x = networks.spikes(networks.ROW)
    got = SpikeShortcut(block)(x)
    assert torch.equal(got, block(x) + x)
    assert got.max() == 2


def test_every_branch_of_a_densely_additive_stage_reads_all_that_was_sent_before() -> None:
    torch.manual_seed(3)
    a, b, c = (dense(20, 20, delay_shift=False, weight_scale=1) for _ in range(3))
    x = networks.spikes(networks.ROW)
    got = DenselyAdditive(a, [b], c)(x)
    first = a(x)
    second = b(x + first)
    assert torch.equal(got, x + first + second + c(x + first + second))
    assert got.max() > 2


def test_multi_level_neuron_counts_the_thresholds_that_a_current_passes() -> None:
    params = {"threshold": 1, "current_decay": 1, "voltage_decay": 1}
    neurons = [slayer.neuron.cuba.Neuron(**{**params, "threshold": t}) for t in (2, 3)]
    block = slayer.block.cuba.Dense(dict(params), 1, 1, delay_shift=False)
    block.synapse.weight.data.fill_(0.5)
    sent = MultiLevel(block, *neurons)(torch.tensor([[[1.0, 2, 3, 4, 5, 6, 7, 20]]]))
    assert sent.flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("case", CONTAINERS[:3])
def test_shifting_containers_send_the_same_later(case: str) -> None:
    """The shortcut waits for its branch, so that both meet as they do without the shift."""
    net, x = networks.build(f"{case} without shift" if case != CONTAINERS[2] else case)
    for block in net.blocks:
        block.delay_shift = False
    with torch.no_grad():
        want = net(x)
        for block in net.blocks:
            block.delay_shift = True
        late = sum(getattr(b, "latency", int(hasattr(b, "synapse"))) for b in net.blocks)
        got = net(torch.nn.functional.pad(x, (0, late)))
    assert late > len(net.blocks) - 1
    assert want.any()
    assert not got[..., :late].any()
    assert torch.equal(got[..., late:], want)


@pytest.mark.parametrize("case", CONTAINERS)
def test_gradients_reach_every_weight(case: str) -> None:
    net, x = networks.build(case)
    net.train()
    net(x).sum().backward()
    for name, values in net.named_parameters():
        if values.requires_grad and "delay" not in name:
            assert values.grad is not None, name
            assert values.grad.abs().sum() > 0, name


@pytest.mark.parametrize("case", CONTAINERS)
def test_containers_are_copied_and_stored_as_every_module_is(case: str, tmp_path: Path) -> None:
    net, x = networks.build(case)
    want = net(x)
    twin = copy.deepcopy(net)
    for values in net.parameters():
        values.data.zero_()
    torch.save(twin.state_dict(), tmp_path / "net.pt")
    assert torch.equal(twin(x), want)
    net.load_state_dict(torch.load(tmp_path / "net.pt"))
    assert torch.equal(net(x), want)


def test_a_copy_waits_for_its_own_blocks() -> None:
    net = SpikeShortcut(dense(20, 20))
    twin = copy.deepcopy(net)
    twin.delay_shift = False
    assert (net.latency, twin.latency, net.aside.steps, twin.aside.steps) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MembraneShortcut(*three()),
        lambda: SpikeShortcut(dense(20, 20)),
        lambda: DenselyAdditive(dense(20, 20), dense(20, 20)),
        lambda: MultiLevel(dense(20, 20), slayer.neuron.cuba.Neuron(2, 1, 0)),
    ],
    ids=["membrane", "spike", "dense", "levels"],
)
def test_containers_have_a_blocks_shape_and_refuse_netx_with_the_way_out(
    make: Any, tmp_path: Path
) -> None:
    net = make()
    assert net.shape is None
    sent = net(networks.spikes(networks.ROW))
    assert net.shape == sent.shape[1:-1]
    with (
        h5py.File(tmp_path / "net.net", "w") as file,
        pytest.raises(IllegalError, match=r"neuroport\.export"),
    ):
        net.export_hdf5(file.create_group("layer/0"))


def test_masks_and_weight_norm_of_opened_blocks_stay() -> None:
    torch.manual_seed(5)
    mask = (torch.rand(16, 20) < 0.5).float()
    net = MembraneShortcut(
        dense(20, 16, mask=mask), dense(16, 16, weight_norm=True), dense(16, 16, weight_norm=True)
    )
    x = networks.spikes(networks.ROW)
    networks.ready(net, x)
    assert not net.first.synapse.weight[mask.reshape(net.first.synapse.weight.shape) == 0].any()
    frames = capture.frames(net, x)
    outcome = port.compare(capture.record(net, x), port.run(port.quantize(net, frames), frames))
    assert outcome.differing == 0, str(outcome)


def test_projection_is_quantized_as_the_neurons_that_it_feeds() -> None:
    own = slayer.synapse.Dense(16, 16, pre_hook_fx=torch.round)
    given = MembraneShortcut(*three(), shortcut=own)
    assert given.shortcut.pre_hook_fx is torch.round
    made = MembraneShortcut(*three(), shortcut=slayer.synapse.Dense(16, 16))
    assert made.shortcut.pre_hook_fx == made.last.neuron.quantize_8bit


def test_keeping_the_shift_gives_slayers_own_steps() -> None:
    net, x = networks.build("membrane container")
    frames = capture.frames(net, x)
    want = capture.record(net, x, keep_shift=True)
    got = port.run(capture.integer_graph(net, frames, keep_shift=True), frames)
    outcome = port.compare(want, got)
    assert outcome.differing == 0, str(outcome)
    spikes = np.moveaxis(net(x).detach().numpy(), -1, 0)
    assert spikes.any()
    assert np.array_equal(want["blocks.3.delayed"], spikes)


def resonators(*sizes: int) -> Any:
    return slayer.block.rf.Dense(dict(networks.RESONATOR), *sizes)


REFUSED: dict[str, tuple[Any, str]] = {
    "one block": (lambda: MembraneShortcut(dense(20, 16)), "two blocks or more"),
    "no branch": (lambda: SpikeShortcut(), "needs a branch"),
    "no branches": (lambda: DenselyAdditive(), "needs branches"),
    "no levels": (lambda: MultiLevel(dense(20, 16)), "further levels"),
    "flatten first": (
        lambda: MembraneShortcut(slayer.block.cuba.Flatten(), dense(20, 16)),
        "Flatten has no synapse",
    ),
    "recurrent last": (
        lambda: MembraneShortcut(dense(20, 16), networks.cuba("Recurrent", 16, 16)),
        "Recurrent has no synapse",
    ),
    "resonators": (
        lambda: MembraneShortcut(resonators(20, 16), resonators(16, 16)),
        "whose currents are pairs",
    ),
    "persistent": (
        lambda: MembraneShortcut(dense(20, 16, neuron={"persistent_state": True}), dense(16, 16)),
        "persistent_state",
    ),
    "counting": (lambda: SpikeShortcut(dense(20, 20, count_log=True)), "count_log=False"),
    "spikes first": (
        lambda: MembraneShortcut(SpikeShortcut(dense(20, 20)), dense(20, 20)),
        "no current",
    ),
    "nested last": (
        lambda: MembraneShortcut(dense(20, 16), MembraneShortcut(dense(16, 16), dense(16, 16))),
        "nest the first",
    ),
    "other scale": (
        lambda: MultiLevel(dense(20, 16), slayer.neuron.cuba.Neuron(2, 1, 0, scale=32)),
        "one scale",
    ),
    "no module": (lambda: SpikeShortcut(torch.relu), "is not a block"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_container_holds_is_refused_when_it_is_made(case: str) -> None:
    make, why = REFUSED[case]
    with pytest.raises(ValueError, match=why):
        make()


def test_shortcut_that_is_later_than_its_branch_is_refused() -> None:
    net = SpikeShortcut(dense(20, 16, delay_shift=False), shortcut=dense(20, 16))
    with pytest.raises(ValueError, match="1 steps later than the branch"):
        net(networks.spikes(networks.ROW))


def test_container_with_a_forward_of_its_own_is_followed_not_refused() -> None:
    class Doubled(SpikeShortcut):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + x

    torch.manual_seed(4)
    net = networks.Chain(Doubled(dense(20, 20, delay_shift=False)), dense(20, 10))
    x = networks.spikes(networks.ROW)
    networks.ready(net, x)
    frames = capture.frames(net, x)
    outcome = port.compare(capture.record(net, x), port.run(port.quantize(net, frames), frames))
    assert outcome.differing == 0, str(outcome)


def test_lava_dls_own_empty_container_is_refused() -> None:
    net = networks.Chain(slayer.block.base.AbstractResidual())
    with pytest.raises(CaptureError, match="forward"):
        port.quantize(net, np.zeros((4, 1, 20)))
