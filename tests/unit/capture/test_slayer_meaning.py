"""Capturing SLAYER: what is compared is SLAYER's own answer, and its shift is accounted for."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture
from neuroport.graph.node import Conv, Delay, Dense, Lif

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from tests.helpers import slayer_networks as networks  # noqa: E402
from tests.helpers.slayer_networks import CUBA, MEAN, ROW, STEPS, Chain, cuba, ready, spikes  # noqa: E402


def answers(net: Any, x: Any) -> list[Any]:
    """What every block of a chain sends, (T, N, ...): SLAYER alone."""
    found = []
    with torch.no_grad():
        for block in net.blocks:
            x = block(x)
            found.append(np.moveaxis(x.numpy(), -1, 0))
    return found


@pytest.mark.parametrize("case", ["dense", "convolutions", "pooling of odd sizes"])
def test_record_is_slayers_answer_without_its_shift(case: str) -> None:
    net, x = networks.build(case)
    for block in net.blocks:
        block.delay = None  # what is sent is then what its neurons send, one step later
    trace = capture.record(net, x)
    late = 0
    for index, sent in enumerate(answers(net, x)):
        if f"blocks.{index}" not in trace.messages:
            continue
        late += 1
        found = trace[f"blocks.{index}"]
        assert sent.any()
        np.testing.assert_array_equal(
            found[: STEPS - late].reshape(STEPS - late, len(x), -1),
            sent[late:].reshape(STEPS - late, len(x), -1),
        )


@pytest.mark.parametrize("case", ["dense", "norm and delays", "residual", "growing with norm"])
def test_kept_shift_makes_every_step_slayers_own(case: str) -> None:
    net, x = networks.build(case)
    frames = capture.frames(net, x)
    graph = capture.integer_graph(net, frames, keep_shift=True)
    got = port.run(graph, frames)
    assert port.compare(capture.record(net, x, keep_shift=True), got).differing == 0
    with torch.no_grad():
        sent = np.moveaxis(net(x).numpy(), -1, 0)
    last = list(got.messages)[-1]
    assert last.endswith(".delayed")
    assert sent.any()
    np.testing.assert_array_equal(got[last].reshape(sent.shape), sent)


def test_bias_behind_a_shift_begins_when_slayers_does() -> None:
    net = ready(Chain(cuba("Dense", 20, 20), cuba("Dense", 20, 10, neuron=MEAN)), spikes(ROW))
    graph = port.quantize(net, np.zeros((STEPS, 1, 20)))
    assert [node.steps for node in graph if isinstance(node, Delay)] == [1]
    plain = ready(Chain(cuba("Dense", 20, 20), cuba("Dense", 20, 10)), spikes(ROW))
    graph = port.quantize(plain, np.zeros((STEPS, 1, 20)))
    assert not any(isinstance(node, Delay) for node in graph)


def test_branches_of_unequal_depth_meet_as_late_as_slayer_has_them() -> None:
    net, x = networks.build("residual")
    graph = port.quantize(net, capture.frames(net, x))
    assert {node.name for node in graph if isinstance(node, Delay)} == {"two.delay2"}
    read = [name for node in graph if isinstance(node, Dense) for name in node.inputs]
    assert sorted(read) == ["stem", "stem", "two.delay2"], "added once more, and by the +="
    net, x = networks.build("residual without shift")
    graph = port.quantize(net, capture.frames(net, x))
    assert not any(isinstance(node, Delay) for node in graph)


def test_fractional_delays_are_rounded_down_and_split_a_convolution_by_delay() -> None:
    net, x = networks.build("delayed convolutions")
    net.blocks[0].delay.delay.data = torch.tensor([0.9, 2.0, 2.99, 62.7])
    net.blocks[0].delay.clamp()
    graph = port.quantize(net, capture.frames(net, x))
    steps = sorted(n.steps for n in graph if isinstance(n, Delay) and n.inputs == ("blocks.0",))
    assert steps == [2, 62]
    kernels = [n.weight for n in graph if isinstance(n, Conv) and n.name.startswith("blocks.1")]
    assert len(kernels) == 3
    assert all((np.abs(kernels).sum((1, 3, 4)) > 0).sum(0) == 1), "a channel has one delay"


def test_weights_of_minus_256_are_delivered_by_two_synapses() -> None:
    net, x = networks.build("weights of -256")
    graph = port.quantize(net, capture.frames(net, x))
    first, second = (graph[f"blocks.1.synapse{k}"].weight for k in ("", "1"))
    assert (first + second).min() == -256
    assert first.min() == -254
    assert set(np.unique(second)) == {-2, 0}


def test_scaling_norm_becomes_thresholds_or_exponents() -> None:
    net, x = networks.build("scaling norm of 4")
    graph = port.quantize(net, capture.frames(net, x))
    assert all(n.threshold[0] == int(0.4 * 64) << 2 for n in graph if isinstance(n, Lif))
    net, x = networks.build("scaling norm of 1/2")
    graph = port.quantize(net, capture.frames(net, x))
    assert all(n.exponent == 1 for n in graph if isinstance(n, Dense) and "delayed" not in n.name)


def test_capture_and_record_leave_the_network_as_it_was() -> None:
    net, x = networks.build("recurrent")
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recurrent = net.blocks[0]
    with torch.no_grad():
        net(x)
    state = recurrent.neuron.voltage_state.clone()
    assert state.any()
    first = capture.record(net, x)
    assert port.compare(first, capture.record(net, x)).differing == 0
    assert net.training
    assert torch.equal(recurrent.neuron.voltage_state, state)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks or "dynamics" in vars(m) for m in net.modules())


@pytest.mark.parametrize("case", ["adaptive recurrent", "winners that adapt"])
def test_what_an_earlier_call_left_is_not_recorded_and_given_back(case: str) -> None:
    net, x = networks.build(case)  # which ran it
    left = {name: value.clone() for name, value in net.named_buffers()}
    assert left[f"blocks.{case.startswith('w'):d}.neuron.threshold_state"].unique().numel() > 1
    last = [getattr(block, "delay_buffer", None) for block in net.blocks]
    whole, alone = capture.record(net, x), capture.record(net, x[:1])
    for name, messages in whole.messages.items():
        np.testing.assert_array_equal(alone[name], messages[:, :1])
    assert all(torch.equal(left[name], value) for name, value in net.named_buffers())
    assert [getattr(block, "delay_buffer", None) for block in net.blocks] == last


def test_log_of_counts_comes_with_every_block_that_has_one() -> None:
    class Logging(Chain):
        def forward(self, spike: Any) -> Any:
            counts = []
            for block in self.blocks:
                spike, count = block(spike)
                counts.append(count)
            return spike, counts

    net = ready(Chain(cuba("Dense", 20, 20), cuba("Dense", 20, 10)), spikes(ROW))
    graph = port.quantize(net, np.zeros((STEPS, 1, 20)))
    logging = Logging(*net.blocks)
    for block in logging.blocks:
        block.count_log = True  # SLAYER's own mean of booleans fails in torch
    assert port.quantize(logging, np.zeros((STEPS, 1, 20))).hash == graph.hash
    x = spikes(ROW)
    want = capture.record(logging, x)
    assert all((want[node.name] != 0).any() for node in graph.populations)
    outcome = port.compare(want, port.run(graph, capture.frames(logging, x), on="reference"))
    assert outcome, str(outcome)
    assert all(block.count_log for block in logging.blocks)


def test_hundred_blocks_are_captured_in_seconds() -> None:
    options = {"weight_scale": 2, "delay_shift": False}
    net = Chain(*(cuba("Conv", 8, 8, 3, padding=1, **options) for _ in range(100)))
    ready(net, torch.zeros(1, 8, 8, 8, 2))
    started = time.perf_counter()
    graph = port.quantize(net, np.zeros((8, 1, 8, 8, 8)))
    assert time.perf_counter() - started < 5
    assert len(graph.populations) == 100


def test_single_block_is_a_network() -> None:
    block = slayer.block.cuba.Dense(dict(CUBA), 20, 10)
    graph = port.quantize(ready(block, spikes(ROW)), np.zeros((STEPS, 1, 20)))
    assert [node.name for node in graph.populations] == ["dense"]


def test_slayer_takes_reaching_a_threshold_of_64_for_passing_it() -> None:
    """Lava does not, whatever the threshold: leaking neurons with such thresholds are refused."""

    def fired(threshold: float) -> list[int]:
        neuron = slayer.neuron.cuba.Neuron(threshold, current_decay=1, voltage_decay=0)
        with torch.no_grad():
            return [int(t) for t in neuron(torch.ones(1, 1, 70))[0, 0].nonzero()]

    assert fired(63) == [63], "64 steps of 1 pass 63, and reset"
    assert fired(64) == [63], "64 steps reach 64"
