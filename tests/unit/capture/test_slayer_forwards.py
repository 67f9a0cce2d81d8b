"""What the forward of a SLAYER network may say, and what is told of what it may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture

torch = pytest.importorskip("torch")
pytest.importorskip("lava.lib.dl.slayer")

from tests.helpers.slayer_networks import IMAGE, MEAN, ROW, Chain, cuba, ready, spikes  # noqa: E402

Way = Callable[[Any, Any, Any], Any]


class Free(Chain):
    """Blocks, and a forward pass that the test gives."""

    def __init__(self, way: Way, *blocks: Any) -> None:
        super().__init__(*blocks)
        self.way = way
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        return self.way(self, self.blocks, x)


def rows(*sizes: tuple[int, int], **options: Any) -> list[Any]:
    return [cuba("Dense", *size, weight_scale=2, **options) for size in sizes]


def maps(*sizes: tuple[int, int], **options: Any) -> list[Any]:
    return [cuba("Conv", *size, 3, padding=1, weight_scale=3, **options) for size in sizes]


def equal(net: Any, x: Any) -> Any:
    """The graph of ``net``, which sends what SLAYER sends."""
    frames = capture.frames(net, x)
    graph = port.quantize(net, frames)
    for keep in (False, True):
        kept = capture.integer_graph(net, frames, keep_shift=keep)
        outcome = port.compare(capture.record(net, x, keep_shift=keep), port.run(kept, frames))
        assert outcome.differing == 0, str(outcome)
        assert not outcome.only_want
        assert outcome.spikes > 0
    return graph


def joined(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    return b[2](torch.cat([b[1](y), y, x], dim=1))


def summed(net: Any, b: Any, x: Any) -> Any:
    y = torch.cat([b[0](x), b[1](x)], 1)
    return b[2](y + torch.concat([x, b[1](b[0](x))], -2))


FOLLOWED: dict[str, tuple[Way, list[Any]]] = {
    "torch.add": (lambda net, b, x: b[1](torch.add(b[0](x), x)), rows((20, 20), (20, 9))),
    "add": (lambda net, b, x: b[1](b[0](x).add(x)), rows((20, 20), (20, 9))),
    "sum": (lambda net, b, x: b[1](sum([b[0](x), x])), rows((20, 20), (20, 9))),
    "stack": (
        lambda net, b, x: b[1](torch.stack([b[0](x), x]).sum(0)),
        rows((20, 20), (20, 9)),
    ),
    "dropout": (lambda net, b, x: b[1](net.drop(b[0](x))), rows((20, 20), (20, 9))),
    "a block called twice": (lambda net, b, x: b[0](b[0](x)), rows((20, 20))),
    "parts called twice": (
        lambda net, b, x: b[0].neuron(b[0].synapse(b[0](x)) + b[0].synapse(x)),
        rows((20, 20)),
    ),
    "concatenation of rows": (joined, rows((20, 12), (12, 12), (44, 9))),
    "a sum of concatenations": (summed, rows((20, 20), (20, 20), (40, 9))),
}


@pytest.mark.parametrize("case", FOLLOWED)
@pytest.mark.parametrize("shift", [True, False])
def test_what_a_forward_may_say_is_followed(case: str, shift: bool) -> None:
    way, blocks = FOLLOWED[case]
    torch.manual_seed(3)
    for block in blocks:
        block.delay_shift = shift
    x = spikes(ROW, 0.5)
    equal(ready(Free(way, *blocks), x), x)


@pytest.mark.parametrize("groups", [1, 2])
def test_maps_are_concatenated_and_flattened(groups: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    blocks = [
        *maps((2, 4)),
        *maps((6, 4), groups=groups, neuron=MEAN),
        cuba("Dense", 10 * 81, 9, weight_scale=2),
    ]
    net = Free(
        lambda net, b, x: b[2](
            torch.cat([b[1](torch.cat([b[0](x), x], 1)), b[0](x), x], 1).flatten(1, 3)
        ),
        *blocks,
    )
    x = spikes(IMAGE, 0.5)
    graph = equal(ready(net, x), x)
    path = tmp_path / "net.net"
    port.export(port.lower(graph), path)
    frames = capture.frames(net, x)
    assert port.compare(capture.record(net, x), port.run(path, frames)).differing == 0


@pytest.mark.lava
def test_concatenation_runs_on_lava_as_in_slayer() -> None:
    torch.manual_seed(3)
    x = spikes(ROW, 0.5)
    net = ready(Free(joined, *rows((20, 12), (12, 12), (44, 9), delay=True)), x)
    frames = capture.frames(net, x)
    chip = port.lower(port.quantize(net, frames))
    outcome = port.compare(capture.record(net, x), port.run(chip, frames, on="lava-cpu"))
    assert outcome.differing == 0, str(outcome)


def test_network_left_in_training_is_captured_as_it_is_evaluated() -> None:
    torch.manual_seed(0)
    net = Free(
        lambda net, b, x: b[1](b[0](x)) if net.training else b[1](b[2](b[0](x))),
        *rows((20, 20), (20, 9), (20, 20), neuron=MEAN),
    )
    x = spikes(ROW, 0.5)
    ready(net, x).train()
    net.blocks[0].eval()
    modes = [module.training for module in net.modules()]
    graph = equal(net, x)
    assert [node.name for node in graph.populations] == ["blocks.0", "blocks.2", "blocks.1"]
    assert [module.training for module in net.modules()] == modes


def write(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    y[:, :10] = 0
    return b[1](y)


def through_data(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    y.data[..., :4] = 0
    return b[1](y)


def a_view(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    y.view(y.shape).zero_()
    return b[1](y)


def root(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    if np.sqrt(y.sum().item()) > 3:
        y = y + x
    return b[1](y)


def tensor_of_numbers(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    rate = torch.FloatTensor([y.mean().item()])
    return b[1](y + x) if rate > 0.2 else b[1](y)


def mixed(net: Any, b: Any, x: Any) -> Any:
    return b[1](torch.cat([b[0](x)[:, 10:], b[0](x)[:, :10]], 1))


def multiplied(net: Any, b: Any, x: Any) -> Any:
    return b[1](b[0](x) * x)


def by_samples(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    return b[1](y if x.shape[0] < 8 else y + x)


def by_length(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    return b[1](y if len(y) < 8 else y + x)


def by_length_of_what_is_computed(net: Any, b: Any, x: Any) -> Any:
    y = b[0](x)
    return b[1](y if len(y.sum(-1)) < 4 else y + x)


def negated_for_a_block(net: Any, b: Any, x: Any) -> Any:
    b[1].synapse.weight.data.mul_(-1)
    y = b[1](b[0](x))
    b[1].synapse.weight.data.mul_(-1)
    return y


def negated_for_neurons(net: Any, b: Any, x: Any) -> Any:
    """The graph takes a synapse's weights when its neurons are read."""
    y = b[1].synapse(b[0](x))
    b[1].synapse.weight.data.mul_(-1)
    y = b[1].neuron(y)
    b[1].synapse.weight.data.mul_(-1)
    return y


def other_threshold(net: Any, b: Any, x: Any) -> Any:
    neuron = b[0].neuron
    y = b[0](x)
    neuron._threshold, kept = 3 * neuron._threshold, neuron._threshold
    y = b[0](y)
    neuron._threshold = kept
    return y


def neurons_by_forward(net: Any, b: Any, x: Any) -> Any:
    return b[1](b[0].neuron.forward(b[0].synapse(x)))


def synapse_by_forward(net: Any, b: Any, x: Any) -> Any:
    """Weight norm would be a hook of it."""
    return b[1](b[0].neuron(b[0].synapse.forward(x)))


def block_by_forward(net: Any, b: Any, x: Any) -> Any:
    return b[1].forward(b[0](x))


BY_FORWARD = r"block '{}' is called by .forward in `return .*` \(.*forwards\.py:\d+\)"
CHANGES = r"forward changes the weights of the network, '{}', before `.*` \(.*forwards\.py:\d+\)"
TOLD: dict[str, tuple[Way, str]] = {
    "weights of a block": (negated_for_a_block, CHANGES.format("blocks.1.synapse.weight")),
    "weights of a synapse": (negated_for_neurons, CHANGES.format("blocks.1.synapse.weight")),
    "a threshold": (other_threshold, CHANGES.format("blocks.0.neuron._threshold")),
    "samples": (by_samples, r"branches on the number of samples \(`return .*` \(.*forwards\.py:"),
    "len": (by_length, r"number of samples by len \(`return .*forwards\.py:.*; write .shape\[0\]"),
    "len of a sum": (by_length_of_what_is_computed, r"something else.*forwards\.py:\d+"),
    "neurons by forward": (neurons_by_forward, BY_FORWARD.format("blocks.0.neuron")),
    "a synapse by forward": (synapse_by_forward, BY_FORWARD.format("blocks.0.synapse")),
    "a block by forward": (block_by_forward, BY_FORWARD.format("blocks.1")),
    "a write": (write, r"`y\[:, :10\] = 0` \(.*forwards\.py:\d+\) has changed in place"),
    "data": (through_data, r"`y.data\[..., :4\] = 0` \(.*forwards\.py:\d+\) has changed in place"),
    "a view": (a_view, r"`y.view\(y.shape\).zero_\(\)` \(.*forwards\.py:\d+\) has changed"),
    "root": (root, r"`if np.sqrt.*` \(.*forwards\.py:\d+\)|where it called|something else"),
    "a tensor of numbers": (tensor_of_numbers, r"asks for the values.*forwards\.py:\d+"),
    "a product": (multiplied, r"it multiplies.*; add spikes instead, and put factors into weights"),
    "slices": (mixed, r"reads what 'getitem' in `return b\[1\].*` \(.*forwards\.py:\d+\) made"),
}


def test_block_that_a_recording_does_not_call_is_named() -> None:
    """A recording has the steps that shifts cut off, too, and forward may see their number."""

    def by_steps(net: Any, b: Any, x: Any) -> Any:
        return b[1](b[0](x) if x.shape[-1] <= steps else x)

    torch.manual_seed(3)
    x = spikes(ROW, 0.5)
    steps = x.shape[-1]
    net = ready(Free(by_steps, *rows((20, 20), (20, 9), delay_shift=True)), x)
    frames = capture.frames(net, x)
    port.quantize(net, frames)
    with pytest.raises(port.NeuroportError, match=r"does not call 'blocks\.0' in this run"):
        port.run(net, frames)


def test_forward_may_note_on_a_block_what_no_block_reads() -> None:
    def notes(net: Any, b: Any, x: Any) -> Any:
        for block in (b[0], b[1]):
            x = block(x)
            block.rate = float(x.shape[1])
        return x

    torch.manual_seed(3)
    x = spikes(ROW, 0.5)
    net = ready(Free(notes, *rows((20, 20), (20, 9))), x)
    frames = np.moveaxis(x.numpy(), -1, 0)
    assert port.quantize(net, frames).hash == port.quantize(net, frames).hash


@pytest.mark.parametrize("case", TOLD)
def test_what_a_forward_may_not_say_is_told_with_its_line(case: str) -> None:
    way, said = TOLD[case]
    torch.manual_seed(3)
    x = spikes(ROW, 0.5)
    net = ready(Free(way, *rows((20, 20), (20, 9))), x)
    with pytest.raises(port.NeuroportError, match=said):
        port.quantize(net, np.moveaxis(x.numpy(), -1, 0))


def test_write_that_no_operation_shows_is_found_on_plain_tensors() -> None:
    """What is read must also be what arrives, though nobody spoke to torch."""
    import ctypes

    def quietly(net: Any, b: Any, x: Any) -> Any:
        y = b[0](x)
        ctypes.memset(y.data_ptr(), 0, 4 * 20)
        return b[1](y)

    torch.manual_seed(3)
    x = spikes(ROW, 0.5)
    net = ready(Free(quietly, *rows((20, 20), (20, 9))), x)
    with pytest.raises(port.NeuroportError, match=r"'blocks.1' receives something else.*\.py:\d+"):
        port.quantize(net, np.moveaxis(x.numpy(), -1, 0))
