"""Random small networks of the layers that ``network.c`` knows, by number."""

from __future__ import annotations

from itertools import count

import numpy as np

from neuroport.backends.compiled_network import fits
from neuroport.graph.graph import Graph
from neuroport.graph.integers import STATE_BITS
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Relay,
)

BITS = (1, 1, 2, 7, 8, 8, 9, 15, 16, 17)
WEIGHTS = {
    "small": (-128, 128, 1),
    "even": (-127, 128, 2),
    "odd": (-255, 256, 1),
    "wide": (-999, 999, 1),
}
DECAYS = (0, 1, 1000, 2048, 4095, 4096)


def layers(seed: int) -> tuple[Graph, np.ndarray]:
    """A network of one number, the same on every machine, that fits 32 bits, and frames for it."""
    for attempt in count():
        graph, frames = _drawn(np.random.default_rng((seed, attempt)))
        if fits(graph):
            return graph, frames


def _drawn(random: np.random.Generator) -> tuple[Graph, np.ndarray]:
    steps, samples = (int(n) for n in random.integers(1, (8, 4)))
    bits, signed = int(random.choice(BITS)), bool(random.random() < 0.3)
    channels, height, width = (int(n) for n in random.integers(1, (40, 12, 12)))
    shape = (channels,) if random.random() < 0.2 else (channels, height, width)
    nodes: list[Node] = [Input("frames", shape, bits, signed)]
    if random.random() < 0.3:
        nodes.append(Delay("later", ("frames",), int(random.integers(1, 4))))
    nodes.append(_synapse(random, nodes[-1].name, "first", shape))
    ended = Graph([*nodes, Readout("end", ("first",))], steps)
    nodes.append(_population(random, ended, ("first",)))
    source, shape = nodes[-1].name, Graph(nodes, steps).facts(nodes[-1].name).shape
    heard = ["second"]
    nodes.append(_synapse(random, source, "second", shape, same=len(shape) == 3))
    if len(shape) == 3 and random.random() < 0.5:  # a shortcut around it
        one = np.ones((shape[0], 1, 1, 1), int)
        nodes.append(
            Conv("shortcut", (source,), one * 2 ** int(random.integers(0, 3)), 1, groups=shape[0])
        )
        heard.append("shortcut")
    ended = Graph([*nodes, Readout("end", tuple(heard))], steps)
    nodes.append(_population(random, ended, tuple(heard), last=True))
    graph = Graph(nodes, steps)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    frames = random.integers(low, high + 1, (steps, samples, *graph.input.shape))
    often = random.random(frames.shape)
    return graph, np.where(often < 0.3, high, np.where(often < 0.5, low, frames))


def _weight(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    low, high, times = WEIGHTS[random.choice(list(WEIGHTS))]
    weight = random.integers(low, high, shape)
    return times * np.where(random.random(shape) < 0.2, random.choice([low, high - 1]), weight)


def _synapse(
    random: np.random.Generator, source: str, name: str, shape: tuple[int, ...], same: bool = False
) -> Node:
    """A synapse of any window; ``same``: of the source's own shape."""
    outputs, exponent = int(random.integers(1, 70)), int(random.integers(0, 3))
    if len(shape) == 1 or (not same and random.random() < 0.1):
        delay = int(random.integers(0, 3)) if random.random() < 0.3 else 0
        weight = _weight(random, (outputs, int(np.prod(shape))))
        return Dense(name, (source,), weight, exponent, random.integers(0, delay + 1, weight.shape))
    if same:
        weight = _weight(random, (shape[0], shape[0], 3, 3))
        return Conv(name, (source,), weight, exponent, (1, 1), (1, 1))
    kernel, dilation = random.integers(1, 5, 2), random.integers(1, 3, 2)
    reach = dilation * (kernel - 1) + 1
    least = np.maximum(0, -(-(reach - shape[1:]) // 2))  # a window reaches no further than the map
    padding = tuple(int(n) for n in least + random.integers(0, 3, 2))
    stride = tuple(int(n) for n in random.integers(1, 4, 2))
    groups = int(random.choice([n for n in range(1, 5) if shape[0] % n == 0]))
    weight = _weight(random, (groups * -(-outputs // groups), shape[0] // groups, *kernel))
    window = stride, padding, tuple(int(n) for n in dilation)
    return Conv(name, (source,), weight, exponent, *window, groups)


def _population(
    random: np.random.Generator, graph: Graph, heard: tuple[str, ...], last: bool = False
) -> Node:
    """A relay, neurons or, at last, a readout of the currents that "end" of the graph hears."""
    end = graph.facts("end")
    name = f"{heard[0]}_population"
    most = max(1, int(max(abs(end.reach_low).max(), abs(end.reach_high).max())))
    one = end.shape if random.random() < 0.5 else (1,)
    bias = random.integers(-min(most, 4000), min(most, 4000) + 1, one)
    decays = [np.full(1, random.choice(DECAYS)), np.full(1, random.choice(DECAYS))]
    if random.random() < 0.3:  # the simple neuron
        decays = [np.full(1, 4096), np.full(1, random.choice([0, 2048, 3072, 4096]))]
    kind = random.choice(["relay", "lif", "lif", *(["readout", "leaky"] if last else [])])
    if kind == "relay":
        shift = max(0, most.bit_length() - int(random.choice([8, 9, 16, 17, 24])))
        return Relay(name, heard, min(shift, STATE_BITS - 1), int(random.integers(0, 4)))
    if kind == "lif":
        threshold = random.integers(0, max(2, min(most, 1 << 17) // 4), end.shape[0])
        return Lif(name, heard, threshold, *decays, bias)
    if kind == "readout":
        return Readout(name, heard, bias)
    return LeakyReadout(name, heard, *decays, bias)
