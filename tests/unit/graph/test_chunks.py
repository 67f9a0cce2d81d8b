"""Large weights are worked on in blocks: nothing depends on where these end, nor holds a copy."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from neuroport.graph import chunks
from neuroport.graph.array_storage import pack
from neuroport.graph.fan_out import fan_out
from neuroport.graph.graph import Graph
from neuroport.graph.linear_bounds import Box, Budget, LinearMap, Sum, reach
from neuroport.graph.node import Conv, Dense, Input, Lif, Readout, Relay, Synapse
from neuroport.lowering.cost import cost
from neuroport.targets.rules import require_legal

MIB = 1 << 20


def network(channels: int, classes: int, seed: int = 0) -> Graph:
    """Two convolutions, one of them of a stream, and a readout whose columns repeat."""
    rng = np.random.default_rng(seed)

    def even(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return 2 * rng.integers(-2, 3, shape)

    readout = np.repeat(even(classes, channels), 16, axis=1)
    nodes = [
        Input("input", (channels, 4, 4), bits=1),
        Conv("conv", ("input",), even(channels, channels, 3, 3), padding=(1, 1)),
        Relay("relay", ("conv",), 2),
        Conv("projection", ("relay",), even(channels, channels, 1, 1)),
        Lif("neuron", ("projection",), np.array([9])),
        Dense("synapse", ("neuron",), readout),
        Readout("readout", ("synapse",)),
    ]
    return Graph(nodes, 4)


@contextmanager
def held_at_most(size: int) -> Iterator[None]:
    """Nothing in the block allocates more than ``size`` bytes at once."""
    tracemalloc.start()
    try:
        yield
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < size, f"{most / MIB:.1f} MiB"


def test_blocks_follow_each_other_up_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "BLOCK", 12)
    assert list(chunks.blocks(7, 28)) == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 7)]
    assert list(chunks.blocks(2, 2000)) == [slice(0, 1), slice(1, 2)]
    assert list(chunks.blocks(0, 0)) == []


def test_nothing_depends_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[object]:
        graph = network(8, 5)
        values: list[object] = [graph.hash, cost(graph)]
        for node in graph:
            facts = graph.facts(node.name)
            bounds = (facts.low, facts.high, facts.reach_low, facts.reach_high)
            values += [bound.tolist() for bound in bounds]
        values.append(fan_out(graph, "synapse").tolist())
        arrays = [node.packed("weight") for node in graph if isinstance(node, Synapse)]
        for packed in pack(arrays):
            values += [packed.stored.tolist(), packed.shift, packed.repeat]
        return values

    whole = found()
    for size in (1, 7, 100):
        monkeypatch.setattr(chunks, "BLOCK", size)
        assert found() == whole


def test_integers_of_a_network_do_not_depend_on_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")

    from neuroport.nets.ms_resnet import MsResNet
    from neuroport.quantization import quantize

    torch.manual_seed(0)
    net = MsResNet(1, (4, 8, 8)).eval()
    frames = np.zeros((2, 1, 1, 16, 16), np.uint8)
    whole = quantize(net, frames).hash
    monkeypatch.setattr(chunks, "BLOCK", 20)
    assert quantize(net, frames).hash == whole


def test_deriving_checking_pricing_hashing_and_packing_hold_no_copy_of_the_weights() -> None:
    graph = network(256, 1000)
    nodes = graph.nodes
    assert sum(n.weight.nbytes for n in nodes if isinstance(n, Synapse)) > 36 * MIB
    with held_at_most(12 * MIB):  # the projection is composed with a kernel of 4.5 MiB
        again = Graph(nodes, 4)
    with held_at_most(6 * MIB):  # the readout in bytes takes 4
        require_legal(again, "lava-cpu")
        cost(again)
        assert again.hash == graph.hash
        weights = [node.packed("weight") for node in nodes if isinstance(node, Synapse)]
        for packed in pack(weights):
            del packed


def test_range_of_a_projection_holds_the_kernel_of_one_block_at_a_time() -> None:
    rng = np.random.default_rng(0)
    spikes = Box(np.zeros(64), np.ones(64))
    kernels = [rng.integers(-9, 10, (64, 64, 3, 3)) for _ in range(40)]
    currents = tuple(LinearMap(kernel, (spikes,)) for kernel in kernels)
    bound = np.full(64, 1e6)
    stream = Sum(-bound, bound, currents)
    projection = LinearMap(rng.integers(-9, 10, (64, 64, 1, 1)), (stream,))
    composed = 64 * 64 * 9 * 8
    with held_at_most(10 * composed):
        low, high = reach(projection, Budget())
    weight = projection.weight[:, :, 0, 0]
    whole = [np.tensordot(weight, kernel, 1).reshape(64, -1) for kernel in kernels]
    least = sum(np.minimum(each, 0).sum(1) for each in whole)
    most = sum(np.maximum(each, 0).sum(1) for each in whole)
    np.testing.assert_allclose(low, least, rtol=1e-6)
    np.testing.assert_allclose(high, most, rtol=1e-6)
