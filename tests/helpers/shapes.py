"""Integer networks in the shapes of the residual families, with random weights and real spikes.

Thresholds are set, population by population, so that each fires in a part of its neurons' steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, IntArray, Lif, Node, Readout, Relay

RATE = 0.2  # share of neuron-steps in which a population is made to fire
STREAM_BITS = 6  # of the graded messages of a real-valued stream


class Shape:
    """A network that grows; ``frames`` are those it is tuned on."""

    def __init__(
        self, frames: IntArray, bits: int = 1, seed: int = 0, engine: object | None = None
    ) -> None:
        self.frames = frames
        self.rng = np.random.default_rng(seed)
        self.steps = len(frames)
        self.nodes: list[Node] = [Input("frames", frames.shape[2:], bits)]
        self.engine = engine or Reference()

    @property
    def graph(self) -> Graph:
        return Graph(self.nodes, self.steps)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.facts(name).shape

    def conv(
        self, name: str, inputs: tuple[str, ...], channels: int, kernel: int = 3, stride: int = 1
    ) -> str:
        taken = self.shape(inputs[0])[0]
        weight = 2 * self.rng.integers(-10, 12, (channels, taken, kernel, kernel))
        pad = kernel // 2
        self.nodes.append(Conv(name, inputs, weight, stride=(stride, stride), padding=(pad, pad)))
        return name

    def lif(self, name: str, inputs: tuple[str, ...], rate: float = RATE) -> str:
        """A population with a bias per channel, a decay of 3/4 and a threshold that suits it."""
        graph = Graph([*self.nodes, Relay("probe", inputs)], self.steps)
        arriving = self.engine.run(graph, self.frames)["probe"]
        threshold = max(2, int(np.quantile(arriving, 1 - rate)))
        bias = self.rng.integers(-threshold // 8 - 1, threshold // 8 + 1, arriving.shape[2])
        self.nodes.append(Lif(name, inputs, threshold, 4096, 3072, np.clip(bias, -4095, 4095)))
        return name

    def mlf(self, name: str, inputs: tuple[str, ...], levels: int) -> tuple[str, ...]:
        """K populations that share a dendrite; each level fires less than the one before."""
        return tuple(self.lif(f"{name}.{k}", inputs, RATE / 2**k) for k in range(levels))

    def classes(self, inputs: tuple[str, ...]) -> Graph:
        size = int(np.prod(self.shape(inputs[0])))
        weight = 2 * self.rng.integers(-4, 5, (10, size))
        self.nodes.append(Dense("classes", inputs, weight))
        self.nodes.append(Readout("potential", ("classes",), self.rng.integers(-9, 9, 10)))
        return self.graph


def ms_resnet(net: Shape, blocks: int, widths: tuple[int, ...]) -> Graph:
    """Membrane shortcuts; where a stage ends, the real-valued stream is projected."""
    stream = [net.conv("stem", ("frames",), widths[0])]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            here = f"s{stage}b{block}"
            stride = 2 if stage and not block else 1
            first = net.lif(f"{here}.lif1", tuple(stream))
            inner = net.conv(f"{here}.conv1", (first,), width, stride=stride)
            second = net.lif(f"{here}.lif2", (inner,))
            outer = net.conv(f"{here}.conv2", (second,), width)
            if stride == 2:
                facts = Graph([*net.nodes, Relay("probe", tuple(stream))], net.steps).facts("probe")
                worst = int(max(facts.high.max(), -facts.low.min()))
                shift = max(0, worst.bit_length() - STREAM_BITS)
                net.nodes.append(Relay(f"{here}.stream", tuple(stream), shift))
                stream = [net.conv(f"{here}.projection", (f"{here}.stream",), width, 1, 2)]
            stream.append(outer)
    return net.classes((net.lif("last", tuple(stream)),))


def ds_resnet(net: Shape, blocks: int, widths: tuple[int, ...], levels: int) -> Graph:
    """Spike shortcuts of multi-level units (K populations): the sum of all levels goes on."""
    x = net.mlf("stem.mlf", (net.conv("stem", ("frames",), widths[0]),), levels)
    for stage, width in enumerate(widths):
        for block in range(blocks):
            here = f"s{stage}b{block}"
            stride = 2 if stage and not block else 1
            inner = net.conv(f"{here}.conv1", x, width, stride=stride)
            middle = net.mlf(f"{here}.mlf1", (inner,), levels)
            outer = net.mlf(f"{here}.mlf2", (net.conv(f"{here}.conv2", middle, width),), levels)
            if stride == 2:
                x = net.mlf(f"{here}.mlf3", (net.conv(f"{here}.skip", x, width, 1, 2),), levels)
            x = (*outer, *x)
    return net.classes(x)


def sew_resnet(net: Shape, blocks: int, widths: tuple[int, ...]) -> Graph:
    """Spike-element-wise addition: a DS-ResNet of one level."""
    return ds_resnet(net, blocks, widths, 1)


def danet(net: Shape, blocks: int, widths: tuple[int, ...], domain: str, reach: str) -> Graph:
    """Densely additive connections, in the spike or membrane domain, within a stage or beyond."""
    current = [net.conv("stem", ("frames",), widths[0])]
    spikes = (net.lif("stem.lif", tuple(current)),)
    for stage, width in enumerate(widths):
        for block in range(blocks):
            here = f"s{stage}b{block}"
            if stage and not block:  # one projection of what the earlier stages sum to
                if domain == "membrane":
                    source = (net.lif(f"{here}.down", tuple(current)),)
                    current = [net.conv(f"{here}.skip", source, width, 1, 2)]
                else:
                    skip = net.conv(
                        f"{here}.skip", spikes if reach == "network" else spikes[:1], width, 1, 2
                    )
                    spikes = (net.lif(f"{here}.down", (skip,)),)
            if domain == "membrane":
                fired = net.lif(f"{here}.lif", tuple(current))
                current.append(net.conv(f"{here}.conv", (fired,), width))
            else:
                fired = net.lif(f"{here}.lif", (net.conv(f"{here}.conv", spikes, width),))
                spikes = (fired, *spikes)
    if domain == "membrane":
        spikes = (net.lif("last", tuple(current)),)
    return net.classes(spikes)


def plain(net: Shape, blocks: int, widths: tuple[int, ...]) -> Graph:
    """A chain: no shortcut at all."""
    x: tuple[str, ...] = ("frames",)
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            conv = net.conv(f"s{stage}b{block}", x, width, stride=stride)
            x = (net.lif(f"s{stage}b{block}.lif", (conv,)),)
    return net.classes(x)


SHAPES: dict[str, Callable[[Shape], Graph]] = {
    "plain": lambda net: plain(net, 2, (4, 6)),
    "ms-resnet": lambda net: ms_resnet(net, 2, (4,)),
    "ms-resnet with projections": lambda net: ms_resnet(net, 1, (4, 6)),
    "sew-resnet": lambda net: sew_resnet(net, 1, (4, 6)),
    "ds-resnet, K = 2": lambda net: ds_resnet(net, 2, (4,), 2),
    "ds-resnet, K = 3": lambda net: ds_resnet(net, 1, (4, 6), 3),
    **{
        f"danet, {domain}, {reach}": (
            lambda net, domain=domain, reach=reach: danet(net, 2, (4, 6), domain, reach)
        )
        for domain in ("spike", "membrane")
        for reach in ("stage", "network")
    },
}


def frames_for(
    shape: tuple[int, ...], steps: int, samples: int, bits: int = 1, seed: int = 0
) -> IntArray:
    """Random frames (T, N, *shape); half of the pixels are silent."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 2**bits, (steps, samples, *shape))
    return np.asarray(values * rng.integers(0, 2, values.shape), np.int64)
